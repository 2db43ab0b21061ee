# SPDX-License-Identifier: Apache-2.0
"""One peer of k-means in a process of its own, started by bench/kmeans.py; numpy and the peer only.

    kmeans_peers.py faiss|lloyd ROWS.npy SEEDS.npy ITERATIONS OUT.npy
    kmeans_peers.py plusplus    ROWS.npy K SEED OUT.npy

`lloyd` and `plusplus` are scikit-learn. The first form runs Lloyd's iteration from the seeds, at least twice, and
prints {"version", "build", "seconds"}: of one iteration, the first left out. OUT holds the codewords after one
iteration and after all. The second is KMeans() with its defaults, one k-means++ seeding; it prints also how long
seeding took and how many iterations followed.
"""
import json
import os
import sys
import time

import numpy

THREADS = len(os.sched_getaffinity(0))


def faiss_lloyd(rows, seeds, iterations):
    """All rows, no sample of them; faiss keeps a clock of each iteration."""
    import faiss
    faiss.omp_set_num_threads(THREADS)
    k, d = seeds.shape
    all_rows = {"max_points_per_centroid": len(rows), "min_points_per_centroid": 1}
    models = [faiss.Kmeans(d, k, niter=count, nredo=1, **all_rows) for count in (1, iterations)]
    for model in models:
        model.train(rows, init_centroids=seeds)
    times = [stats["time"] for stats in models[1].iteration_stats]
    return [model.centroids for model in models], {"seconds": (times[-1] - times[0]) / (iterations - 1)}


def faiss_version():
    import faiss
    with open("/proc/self/maps") as file:
        loaded = {os.path.basename(line.split()[-1]) for line in file
                  if "blas" in line and "scipy_openblas" not in line}
    return {"version": faiss.__version__, "build": " ".join([faiss.get_compile_options().strip(), *sorted(loaded)])}


def sklearn_fit(rows, k, iterations, **options):
    import sklearn.cluster
    start = time.perf_counter()
    model = sklearn.cluster.KMeans(k, n_init=1, max_iter=iterations, algorithm="lloyd", **options).fit(rows)
    return model, time.perf_counter() - start


def sklearn_lloyd(rows, seeds, iterations):
    """The difference of two runs: what happens once, around the iterations, is in both."""
    first, before = sklearn_fit(rows, len(seeds), 1, init=seeds, tol=0)
    last, after = sklearn_fit(rows, len(seeds), iterations, init=seeds, tol=0)
    if last.n_iter_ != iterations:
        sys.exit(f"scikit-learn ended after {last.n_iter_} iterations")
    return [first.cluster_centers_, last.cluster_centers_], {"seconds": (after - before) / (iterations - 1)}


def sklearn_plusplus(rows, k, seed):
    import sklearn.cluster
    seeding = []

    def plusplus(x, n_clusters, random_state):
        """What init="k-means++" does, with a clock beside it."""
        start = time.perf_counter()
        centres, _ = sklearn.cluster.kmeans_plusplus(x, n_clusters, random_state=random_state)
        seeding.append(time.perf_counter() - start)
        return centres

    model, seconds = sklearn_fit(rows, k, 300, init=plusplus, random_state=seed)
    return model.cluster_centers_, {"seconds": seconds, "seeding": seeding[0], "iterations": model.n_iter_}


def sklearn_version():
    import sklearn
    import threadpoolctl
    blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {"version": sklearn.__version__,
            "build": ", ".join(f"{b['internal_api']} {b['version']} {b['architecture']}" for b in blas)}


def main():
    how, file, what, number, out = sys.argv[1:]
    rows = numpy.load(file)
    if how == "plusplus":
        codewords, said = sklearn_plusplus(rows, int(what), int(number))
    else:
        run = faiss_lloyd if how == "faiss" else sklearn_lloyd
        codewords, said = run(rows, numpy.load(what), int(number))
    numpy.save(out, numpy.asarray(codewords, numpy.float32))
    print(json.dumps(said | {"threads": THREADS} | (faiss_version() if how == "faiss" else sklearn_version())))


if __name__ == "__main__":
    main()

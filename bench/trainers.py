# SPDX-License-Identifier: Apache-2.0
"""bench/run trainers: mini-batch, online, balanced and exact one-dimensional k-means.

Figures: minibatch_, online_ and balanced_vs_lloyd (final MSE over that of 25 Lloyd iterations of ours, on patches of
photographs; for balanced, of the rows from the codewords of their equal cells), minibatch_vs_sklearn (MSE) and
minibatch_speedup, exact_speedup (time of faiss's exact 1-D k-means over ours) and exact_vs_faiss (MSE).
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import sklearn
import sklearn.cluster

from kmeans import mean_squared_error, patches

try:
    import faiss
except ImportError:
    faiss = None


def ours(program, how, x, k, folder):
    """(codewords, seconds, the MSE that the trainer reports or 0)"""
    file, out = pathlib.Path(folder, "rows.f32"), pathlib.Path(folder, "codewords.f32")
    x.tofile(file)
    d = x.shape[1] if x.ndim == 2 else 1
    run = subprocess.run([str(a) for a in [program, how, file, len(x), d, k, 0, out]], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr.strip())
    said = json.loads(run.stdout)
    return numpy.fromfile(out, numpy.float32).reshape(k, d), said["seconds"], said["mse"]


def exact_by_faiss(x, k):
    centres = numpy.zeros(k, numpy.float32)
    start = time.perf_counter()
    faiss.kmeans1d(faiss.swig_ptr(x), len(x), k, faiss.swig_ptr(centres))
    seconds = time.perf_counter() - start
    centres.sort()
    cells = numpy.searchsorted((centres[1:].astype(float) + centres[:-1]) / 2, x)
    return ((x.astype(float) - centres[cells]) ** 2).mean(), seconds


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    folder = data / "images/cid22_train"
    if not folder.is_dir():
        sys.exit(f"bench trainers: no pictures in {folder}")
    program = build / "bench/bench_trainers"
    count, k, numbers = (20000, 256, 20000) if quick else (130000, 1024, 100000)
    x = patches(folder, count)
    table = [f"{len(x)} patches of 8x8x3, K = {k}; MSE per dimension",
             f"{'trainer':<28} {'MSE':>10} {'seconds':>8}"]
    figures, peers = {}, {"scikit-learn": sklearn.__version__, "numpy": numpy.__version__}
    mse, seconds = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for how in ("lloyd", "minibatch", "online", "balanced"):
            codewords, seconds[how], said = ours(program, how, x, k, temporary)
            mse[how] = said or mean_squared_error(x, codewords)
            table.append(f"{how:<28} {mse[how]:10.7f} {seconds[how]:8.2f}")
        start = time.perf_counter()
        model = sklearn.cluster.MiniBatchKMeans(k, random_state=0, n_init=1).fit(x)
        their_seconds = time.perf_counter() - start
        their_mse = mean_squared_error(x, model.cluster_centers_)
        table.append(f"{'scikit-learn MiniBatchKMeans':<28} {their_mse:10.7f} {their_seconds:8.2f}")
        for how in ("minibatch", "online", "balanced"):
            figures[f"{how}_vs_lloyd"] = mse[how] / mse["lloyd"]
        figures["minibatch_vs_sklearn"] = mse["minibatch"] / their_mse
        figures["minibatch_speedup"] = their_seconds / seconds["minibatch"]

        line = numpy.random.default_rng(0).standard_normal(numbers, dtype=numpy.float32)
        _, our_seconds, our_mse = ours(program, "exact", line, 256, temporary)
        table += ["", f"{numbers} Gaussian numbers, K = 256, exactly",
                  f"{'libvq':<28} {our_mse:10.4e} {our_seconds:8.3f}"]
        if faiss:
            their_mse, their_seconds = exact_by_faiss(line, 256)
            table.append(f"{'faiss.kmeans1d':<28} {their_mse:10.4e} {their_seconds:8.3f}")
            figures["exact_vs_faiss"] = our_mse / their_mse
            figures["exact_speedup"] = their_seconds / our_seconds
            peers["faiss"] = faiss.__version__
        else:
            table.append("faiss is absent: not measured")
    return {name: float(value) for name, value in figures.items()}, table, peers

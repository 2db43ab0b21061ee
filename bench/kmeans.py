# SPDX-License-Identifier: Apache-2.0
"""bench/run kmeans: k-means on 8x8x3 patches of photographs, beside scikit-learn.

Figures: mse_vs_sklearn (mean final MSE of ours over theirs, over the seeds, both measured here by the same code),
seeding_speedup, iteration_speedup and total_speedup (their time over ours).
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import PIL
import PIL.Image
import sklearn
import sklearn.cluster

SIDE = 8
ITERATIONS = 25


def patches(folder, count):
    """`count` patches evenly spread over all whole patches of the pictures in `folder`, in [0, 1], as rows."""
    rows = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        with PIL.Image.open(path) as picture:
            pixels = numpy.asarray(picture.convert("RGB"))
        high, wide = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
        grid = pixels[:high * SIDE, :wide * SIDE].reshape(high, SIDE, wide, SIDE, 3)
        rows.append(grid.transpose(0, 2, 1, 3, 4).reshape(-1, SIDE * SIDE * 3))
    rows = numpy.concatenate(rows)
    count = min(count, len(rows))
    return rows[numpy.arange(count) * len(rows) // count].astype(numpy.float32) / 255


def mean_squared_error(x, codewords):
    """Per dimension, of each row from its nearest codeword; in double."""
    c = codewords.astype(numpy.float64)
    norms = (c * c).sum(1)
    total = 0.0
    for first in range(0, len(x), 4096):
        rows = x[first:first + 4096].astype(numpy.float64)
        nearest = c[(norms - 2 * (rows @ c.T)).argmin(1)]
        total += ((rows - nearest) ** 2).sum()
    return total / x.size


def ours(program, file, shape, k, seed, out):
    arguments = [file, shape[0], shape[1], k, ITERATIONS, seed, out]
    run = subprocess.run([str(a) for a in [program, *arguments]], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr.strip())
    said = json.loads(run.stdout)
    codewords = numpy.fromfile(out, numpy.float32).reshape(k, shape[1])
    return codewords, said["seeding_s"], said["iterations_s"] / said["iterations"]


def theirs(x, k, seed):
    seeding = []

    def plusplus(rows, n_clusters, random_state):
        """What init="k-means++" does, with a clock beside it."""
        start = time.perf_counter()
        centres, _ = sklearn.cluster.kmeans_plusplus(rows, n_clusters, random_state=random_state)
        seeding.append(time.perf_counter() - start)
        return centres

    start = time.perf_counter()
    model = sklearn.cluster.KMeans(k, init=plusplus, n_init=1, max_iter=ITERATIONS, tol=0, random_state=seed).fit(x)
    seconds = time.perf_counter() - start
    return model.cluster_centers_, seeding[0], (seconds - seeding[0]) / model.n_iter_


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    folder = data / "images/cid22_train"
    if not folder.is_dir():
        sys.exit(f"bench kmeans: no pictures in {folder}")
    program = build / "bench/bench_kmeans"
    count, k, seeds = (20000, 256, (0, 1)) if quick else (130000, 1024, (0, 1, 2))
    x = patches(folder, count)
    variance = x.var(0, dtype=numpy.float64).mean()
    table = [f"{len(x)} patches of {SIDE}x{SIDE}x3, K = {k}, {ITERATIONS} iterations; MSE per dimension, SNR in dB, "
             "seconds for seeding and for one iteration",
             f"{'seed':>4} | {'libvq':>9} {'SNR':>6} {'seeding':>8} {'iter':>7} | "
             f"{'sklearn':>9} {'SNR':>6} {'seeding':>8} {'iter':>7}"]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        file, out = pathlib.Path(temporary, "rows.f32"), pathlib.Path(temporary, "codewords.f32")
        x.tofile(file)
        for seed in seeds:
            row, line = [], f"{seed:>4}"
            for codewords, seeding, iteration in (ours(program, file, x.shape, k, seed, out), theirs(x, k, seed)):
                mse = mean_squared_error(x, codewords)
                row += [mse, seeding, iteration]
                line += f" | {mse:9.7f} {10 * numpy.log10(variance / mse):6.3f} {seeding:8.2f} {iteration:7.3f}"
            rows.append(row)
            table.append(line)
    our_mse, our_seeding, our_iteration, their_mse, their_seeding, their_iteration = numpy.mean(rows, axis=0)
    figures = {
        "mse_vs_sklearn": our_mse / their_mse,
        "seeding_speedup": their_seeding / our_seeding,
        "iteration_speedup": their_iteration / our_iteration,
        "total_speedup": (their_seeding + ITERATIONS * their_iteration) / (our_seeding + ITERATIONS * our_iteration),
    }
    peers = {"scikit-learn": sklearn.__version__, "numpy": numpy.__version__}
    return {name: float(value) for name, value in figures.items()}, table, peers

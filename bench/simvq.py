# SPDX-License-Identifier: Apache-2.0
"""bench/run simvq: SimVQ beside other codebooks, in a joint training, on fixed features, and at encoding.

Joint training: a linear encoder and decoder learn together with each codebook on patches of photographs, by
straight-through gradients; K = 4096, five seeds. Patches of photographs of other sets measure, 64 for each code, and the
use also with 195, as many as the authors measure it with. LIBVQ_SIMVQ_K=65536
is the long test, LIBVQ_SIMVQ_SEEDS=1 shortens it. Errors are shares of the variance; "unquantized" is the reconstruction
error without a quantizer, of the same encoder and decoder. LIBVQ_SIMVQ_PARTS=fixed,encode leaves out the joint training.

Figures: plain_use and simvq_use (mean utilisation of the plain codebook with its published start, and of SimVQ as
published), best_variant (the row of our variants, counted from 0 at the top of the table, that has a use of 95 % or more and
the lowest reconstruction error), best_variant_use, error_vs_best_other (its reconstruction error over the lowest of the rows
that are not ours), closed_form_time_ratio (time of the closed form over that of gradient
steps, from the same start to within 1 % of where these end: Adam with the published rates and batches of 4096) and
closed_form_time_ratio_tuned (the same for the best of three learning rates 30 to 300 times as high),
encode_time_vs_flat and memory_vs_flat (SimVQ searched by its basis, over the flat codebook of its codewords; the memory is what
libvq holds once the quantizer is made), decode_vectors_per_second, model_bytes, and the same with _quarter_basis for a basis
of d / 4 dimensions.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import PIL
import PIL.Image

TRAINING, MEASURING = ("cid22_train",), ("cid22_train_jpeg", "clic2025_val_half", "kodak")
SIDE = 512
PUBLISHED_RATE = 1e-4  # of Adam, in the authors' configurations

# name, what it is, whether it is a variant of ours
CODEBOOKS = [
    ("plain", "plain, U(+-1/K) as published", False),
    ("normal", "plain, N(0, 1/d)", False),
    ("online", "k-means start, revival", False),
    ("online-0.98", "the same, decay 0.98 (its best)", False),
    ("simvq", "SimVQ as published", False),
    ("both", "basis and map trained", False),
    ("shrinkage", "shrinkage to SimVQ", True),
    ("together", "averages of basis and map", True),
]


def say(program, *arguments, threads=None):
    """The lines of JSON that the program prints."""
    environment = dict(os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {}))
    run = subprocess.run([str(a) for a in [program, *arguments]], capture_output=True, text=True, env=environment)
    if run.returncode:
        sys.exit(run.stderr.strip())
    return [json.loads(line) for line in run.stdout.splitlines()]


def write_pixels(folder, names, out):
    """All squares of SIDE that lie beside each other in the pictures, as raw bytes. Return how many."""
    count = 0
    for name in names:
        for path in sorted((folder / name).iterdir()):
            with PIL.Image.open(path) as picture:
                picture = picture.convert("RGB")
                for top in range(0, picture.height - SIDE + 1, SIDE):
                    for left in range(0, picture.width - SIDE + 1, SIDE):
                        out.write(picture.crop((left, top, left + SIDE, top + SIDE)).tobytes())
                        count += 1
    return count


def joint(program, pixels, pictures, training, quick):
    k = int(os.environ.get("LIBVQ_SIMVQ_K", 1024 if quick else 4096))
    seeds = range(int(os.environ.get("LIBVQ_SIMVQ_SEEDS", 2 if quick else 5)))
    steps, batch = (600, 1024) if quick else (1500, 1024) if k <= 4096 else (500, 8192)
    jobs = [(name, seed) for name, _, _ in CODEBOOKS for seed in seeds]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(lambda job: say(program, "joint", pixels, pictures, training, job[0], k,
                                                job[1], steps, batch, threads=1)[0], jobs))
    table = [f"joint training: K = {k}, d = 8, {steps} steps of {batch} patches, {len(seeds)} seeds (mean and standard "
             "deviation); use is of 64 patches per code, and of the 195 that measure the rest",
             f"{'codebook':<34} {'use, 64':>14} {'195':>7} {'perplexity':>11} {'code error':>11} {'reconstruction':>17} "
             f"{'unquantized':>11} {'s':>5}"]
    means = {}
    for name, what, _ in CODEBOOKS:
        rows = [result for result, job in zip(results, jobs) if job[0] == name]
        mean = means[name] = {key: float(numpy.mean([row[key] for row in rows])) for key in rows[0]}
        spread = {key: float(numpy.std([row[key] for row in rows])) for key in rows[0]}
        mean["lowest_use"] = min(row["use"] for row in rows)
        table.append(f"{what:<34} {mean['use']:7.2%} {spread['use']:6.2%} {mean['use_195']:7.2%} {mean['perplexity']:11.0f} "
                     f"{mean['code_error']:11.4f} {mean['error']:9.5f} {spread['error']:7.5f} "
                     f"{mean['unquantized']:11.5f} {mean['seconds']:5.1f}")
    good = [name for name, _, own in CODEBOOKS if own and means[name]["use"] >= 0.95]
    best = min(good or [CODEBOOKS[-1][0]], key=lambda name: means[name]["error"])
    others = min(means[name]["error"] for name, _, own in CODEBOOKS if not own)
    figures = {
        "plain_use": means["plain"]["use"],
        "simvq_use": means["simvq"]["use"],
        "best_variant": [name for name, _, _ in CODEBOOKS].index(best),
        "best_variant_use": means[best]["use"],
        "error_vs_best_other": means[best]["error"] / others,
    }
    return figures, table


def fixed(program, pixels, pictures, quick):
    n, k, steps = (16384, 256, 400) if quick else (32768, 512, 800)
    said = say(program, "fixed", pixels, pictures, n, k, 0, steps)
    table = ["", f"fixed features: {n} patches of 48 numbers, K = {k}, on all threads; MSE per number",
             f"{'trainer':<34} {'MSE':>10} {'use':>8} {'seconds':>9}"]
    for row in said:
        if not row["trainer"].startswith(("iteration", "step")):
            rate = f", {row['rate']:g}" if row["rate"] else ""
            seconds = f"{row['seconds']:9.3f}" if row["seconds"] else ""
            table.append(f"{row['trainer'] + rate:<34} {row['mse']:10.6f} {row['use']:8.2%} {seconds}")
    figures = {}
    for name, rates in (("closed_form_time_ratio", ("published", PUBLISHED_RATE, PUBLISHED_RATE)),
                        ("closed_form_time_ratio_tuned", ("best of the others", PUBLISHED_RATE * 2, 1))):
        what, low, high = rates
        steps = [row for row in said if row["trainer"] in ("step", "gradient") and low <= row["rate"] <= high]
        target = 1.01 * min(row["mse"] for row in steps if row["trainer"] == "gradient")
        theirs = min(row["seconds"] for row in steps if row["mse"] <= target)
        ours = min((row["seconds"] for row in said if row["trainer"] == "iteration" and row["mse"] <= target), default=None)
        if ours is None:
            sys.exit("bench simvq: the closed form did not reach the objective of the gradient steps")
        figures[name] = ours / theirs
        table.append(f"to within 1 % of where gradient steps of the {what} rate end: {theirs:.3f} s; in closed form from "
                     f"the same start {ours:.3f} s")
    return figures, table


def encode(program, folder, quick):
    k, d, n = (16384, 128, 4096) if quick else (262144, 128, 2048)
    figures, table = {}, []
    for r in (d, d // 4):
        said = say(program, "encode", k, d, r, n, pathlib.Path(folder, "simvq.safetensors"))[0]
        flat, basis = said["flat"], said["basis"]
        table += ["", f"encoding: K = {k}, d = {d}, a basis of {r} dimensions, {n} vectors, on all threads; the model is "
                      f"{said['model']} bytes; the same codes and vectors",
                  f"{'search':<34} {'us/vector':>10} {'decoding':>10} {'MiB':>8} {'at most':>8} {'ready in s':>10}"]
        for name, what in (("basis", "by the basis"), ("codewords", "by the codewords"), ("flat", "flat codebook")):
            way = said[name]
            table.append(f"{what:<34} {1e6 * way['seconds'] / n:10.1f} {1e6 * way['decoding'] / n:10.2f} "
                         f"{way['bytes'] / 2**20:8.1f} {way['most'] / 2**20:8.1f} {way['loading']:10.2f}")
        suffix = "" if r == d else "_quarter_basis"
        figures["encode_time_vs_flat" + suffix] = basis["seconds"] / flat["seconds"]
        figures["memory_vs_flat" + suffix] = basis["bytes"] / flat["bytes"]
        figures["decode_vectors_per_second" + suffix] = n / basis["decoding"]
        figures["model_bytes" + suffix] = said["model"]
    return figures, table


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    folder = data / "images"
    for name in TRAINING + MEASURING:
        if not (folder / name).is_dir():
            sys.exit(f"bench simvq: no pictures in {folder / name}")
    program, figures, table = build / "bench/bench_simvq", {}, []
    with tempfile.TemporaryDirectory() as temporary:
        pixels = pathlib.Path(temporary, "pixels.u8")
        with open(pixels, "wb") as out:
            training = write_pixels(folder, TRAINING, out)
            pictures = training + write_pixels(folder, MEASURING, out)
        parts = {"joint": lambda: joint(program, pixels, pictures, training, quick),
                 "fixed": lambda: fixed(program, pixels, training, quick),
                 "encode": lambda: encode(program, temporary, quick)}
        for name in os.environ.get("LIBVQ_SIMVQ_PARTS", "joint,fixed,encode").split(","):
            some_figures, some_lines = parts[name]()
            figures.update(some_figures)
            table += some_lines
    return {name: float(value) for name, value in figures.items()}, table, {"numpy": numpy.__version__,
                                                                            "pillow": PIL.__version__}

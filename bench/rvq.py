# SPDX-License-Identifier: Apache-2.0
"""bench/run rvq: residual quantization beside faiss, d = 128, 8 levels of 1024 codewords.

The rows are Gaussian with the variances 1 / (1 + i), rotated at random: 65536 to train on, others to encode. faiss trains
by plain k-means, 10 iterations (Train_default off); ours, from better seeds, takes 4 with a beam of 1, which leave less error
all the same, and 10 with a beam of 5. The table has both sides' errors: a ratio says nothing where ours is larger. Encoding is timed with faiss's codebooks on both
sides, faiss with and without its look-up tables, whichever is faster; ours with its tables prepared, as faiss's are. Codes that
differ are judged by the error that they leave.

Figures: beam1_ratio, beam5_ratio, beam32_ratio (vectors per second, ours over faiss's best); train_ratio (the lesser of
train_beam1_ratio and train_beam5_ratio: seconds of training, faiss's over ours); mse_beam1_vs_faiss, mse_beam5_vs_faiss (of
fresh rows, ours with its codebooks over faiss with its own, trained with a beam of 5); refit_gain_percent (what refits, with a
beam of 5, take from our error on the training rows) and refit_fresh_gain_percent (on fresh rows: 64 rows a codeword are few).
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy

HERE = pathlib.Path(__file__).resolve().parent
D, LEVELS, K, TRAIN = 128, 8, 1024, 65536
ITERATIONS = {1: 4, 5: 4} # of ours, by the beam of training
FRESH = {1: 32768, 5: 8192, 32: 1024}


def rows(count, seed):
    random = numpy.random.default_rng(123)
    rotation, _ = numpy.linalg.qr(random.standard_normal((D, D)))
    variance = 1 / (1 + numpy.arange(D))
    random = numpy.random.default_rng(seed)
    x = random.standard_normal((count, D)) * numpy.sqrt(variance / variance.mean())
    return numpy.ascontiguousarray((x @ rotation.T).astype(numpy.float32))


def peer(folder, quick):
    """In a process of its own: faiss trains and encodes. Prints JSON."""
    import faiss
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    train, fresh = (numpy.fromfile(folder / name, numpy.float32).reshape(-1, D) for name in ("train.f32", "fresh.f32"))
    said = {"version": f"{faiss.__version__} ({faiss.get_compile_options().strip()})", "train": {}, "encode": {},
            "own_mse": {}}
    for beam in (1, 5):
        rq = faiss.ResidualQuantizer(D, LEVELS, K.bit_length() - 1)
        rq.train_type = 0
        rq.max_beam_size = beam
        start = time.perf_counter()
        rq.train(train)
        said["train"][beam] = time.perf_counter() - start
        faiss.vector_to_array(rq.codebooks).astype(numpy.float32).tofile(folder / f"faiss{beam}.f32")
        for encode_beam in (1, 5):
            rq.max_beam_size, rq.use_beam_LUT = encode_beam, int(encode_beam > 1)
            some = fresh[:FRESH[5]]
            codes = rq.compute_codes(some)
            said["own_mse"][f"{beam},{encode_beam}"] = float(((rq.decode(codes) - some) ** 2).mean())
        if beam == 5:
            break
        for encode_beam, count in FRESH.items():
            some, best = fresh[:count], {}
            for tables in (0, 1):
                rq.max_beam_size, rq.use_beam_LUT = encode_beam, tables
                for _ in range(2 if quick else 3):
                    start = time.perf_counter()
                    codes = rq.compute_codes(some)
                    seconds = time.perf_counter() - start
                    if seconds < best.get("seconds", 1e9):
                        best = {"seconds": seconds, "tables": tables,
                                "mse": float(((rq.decode(codes) - some) ** 2).mean())}
            said["encode"][encode_beam] = best
    print(json.dumps(said))


def ask_peer(folder, quick):
    import search
    answers = []
    for environment in search.environments("faiss"):
        run = subprocess.run([sys.executable, __file__, str(folder), str(int(quick))], env=environment, text=True,
                             capture_output=True, check=False)
        if run.returncode:
            sys.exit(f"bench rvq: faiss: {run.stderr.strip().splitlines()[-1]} (bench/README.md says how to install it)")
        answers.append(json.loads(run.stdout))
    best = answers[0]
    for other in answers[1:]: # the better setting in each cell
        for beam in best["train"]:
            best["train"][beam] = min(best["train"][beam], other["train"][beam])
        for beam in best["encode"]:
            best["encode"][beam] = min(best["encode"][beam], other["encode"][beam], key=lambda one: one["seconds"])
    return best


class Ours:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def call(self, *arguments):
        run = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(run.stderr.strip())
        return json.loads(run.stdout)

    def train(self, beam, refits, out):
        return self.call("train", self.folder / "train.f32", TRAIN, D, out, LEVELS, K, beam, ITERATIONS[beam],
                         refits)["seconds"]

    def encode(self, name, count, codebooks, beam, repeats=1):
        """(seconds, seconds of preparing, mean squared error)."""
        codes = self.folder / "codes.u32"
        said = self.call("encode", self.folder / name, count, D, codebooks, LEVELS, K, beam, repeats, codes)
        code = numpy.fromfile(codes, numpy.uint32).reshape(count, LEVELS)
        words = numpy.fromfile(codebooks, numpy.float32).reshape(LEVELS, K, D)
        x = numpy.fromfile(self.folder / name, numpy.float32, count * D).reshape(count, D)
        for level in range(LEVELS):
            x -= words[level][code[:, level]]
        return said["seconds"], said["prepare_seconds"], float((x.astype(numpy.float64) ** 2).mean())


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    del data
    figures, table = {}, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        rows(TRAIN, 1).tofile(folder / "train.f32")
        rows(max(FRESH.values()), 2).tofile(folder / "fresh.f32")
        ours = Ours(build / "bench/bench_rvq", folder)
        theirs = ask_peer(folder, quick)
        table.append("encoding, faiss's codebooks: vectors/s, ours and faiss's best, ratio; mean squared error of both")
        for beam, count in FRESH.items():
            peer_said = theirs["encode"][str(beam)]
            seconds, prepare, mse = ours.encode("fresh.f32", count, folder / "faiss1.f32", beam, 3 if quick else 8)
            figures[f"beam{beam}_ratio"] = peer_said["seconds"] / seconds
            table.append(f"beam {beam:2}: {count / seconds:9.0f} {count / peer_said['seconds']:9.0f} "
                         f"{peer_said['seconds'] / seconds:6.2f}   {mse:.6f} {peer_said['mse']:.6f}"
                         f"   (faiss {'with' if peer_said['tables'] else 'without'} tables; ours took "
                         f"{1e3 * prepare:.0f} ms to make its own)")
        table.append("training: seconds, ours and faiss's, ratio; error of fresh rows with beams of 1 and 5, ours and faiss's")
        for beam, refits in ((1, 0), (5, 0), (5, 2)):
            book = folder / f"ours{beam}{refits}.f32"
            seconds = ours.train(beam, refits, book)
            own = [ours.encode("fresh.f32", FRESH[5], book, b)[2] for b in (1, 5)]
            other = [theirs["own_mse"][f"{beam},{b}"] for b in (1, 5)]
            ratio = theirs["train"][str(beam)] / seconds
            if not refits:
                figures[f"train_beam{beam}_ratio"] = ratio
            table.append(f"beam {beam}{f', {refits} refits' if refits else '          '}: {seconds:6.2f} "
                         f"{theirs['train'][str(beam)]:6.2f} {ratio:5.2f}   {own[0]:.5f} {own[1]:.5f}   "
                         f"{other[0]:.5f} {other[1]:.5f}")
            if beam == 5 and not refits:
                figures |= {f"mse_beam{b}_vs_faiss": own[i] / other[i] for i, b in enumerate((1, 5))}
        figures["train_ratio"] = min(figures["train_beam1_ratio"], figures["train_beam5_ratio"])
        errors = {(name, refits): ours.encode(name, count, folder / f"ours5{refits}.f32", 5)[2]
                  for name, count in (("train.f32", TRAIN), ("fresh.f32", FRESH[5])) for refits in (0, 2)}
        for figure, name in (("refit_gain_percent", "train.f32"), ("refit_fresh_gain_percent", "fresh.f32")):
            figures[figure] = 100 * (1 - errors[name, 2] / errors[name, 0])
    return figures, table, {"faiss": theirs["version"]}


if __name__ == "__main__":
    peer(pathlib.Path(sys.argv[1]), bool(int(sys.argv[2])))

# SPDX-License-Identifier: Apache-2.0
"""bench/run pq: product quantization of 128 dimensions beside faiss.

Rows are Gaussian with a spectrum of 1 / (1 + i), rotated at random: as features are, no two dimensions are alike and all
slices are. Each side trains its own codebooks on the same rows (k-means of as many iterations from one seed) and both
encode other rows, once with faiss's codebooks, where their codes must agree, and once with their own, for the error.

Figures: min_ratio, the least over the four shapes of ratio_MxBITS, faiss's time to encode over ours, faiss's being the
better of ProductQuantizer.compute_codes() and IndexPQ.sa_encode() in the better of its environments; decode_ratio_MxBITS;
mse_vs_MxBITS, our mean squared error over faiss's, each with its own codebooks; train_ratio_MxBITS; differ, the largest share
of codes that are not faiss's, and excess, the largest relative excess of a squared distance of ours where they differ.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy

import search

HERE = pathlib.Path(__file__).resolve().parent
D = 128
SHAPES = ((8, 8), (8, 10), (16, 8), (16, 10))


class Peer:
    """faiss in processes of its own, one for each environment."""

    def __init__(self):
        self.processes = [subprocess.Popen([sys.executable, HERE / "pq_peer.py"], env=environment, text=True,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                          for environment in search.environments("faiss")]
        self.version = json.loads(self.read(self.processes[0]))
        for process in self.processes[1:]:
            self.read(process)

    @staticmethod
    def read(process):
        line = process.stdout.readline()
        if not line:
            sys.exit(f"bench pq: faiss ended: {process.communicate()[1].strip()}")
        return line

    def ask(self, **asked):
        """The answers of every environment."""
        answers = []
        for process in self.processes:
            process.stdin.write(json.dumps(asked | {name: str(asked[name]) for name in ("rows", "codebooks", "codes")
                                                    if name in asked}) + "\n")
            process.stdin.flush()
            answers.append(json.loads(self.read(process)))
        return answers

    def close(self):
        for process in self.processes:
            process.stdin.close()
            process.terminate()
            process.wait()


def rows(n, seed):
    random = numpy.random.default_rng(seed)
    spectrum = 1 / (1 + numpy.arange(D))
    rotation, _ = numpy.linalg.qr(random.standard_normal((D, D)))
    x = random.standard_normal((n, D)) * numpy.sqrt(spectrum / spectrum.mean())
    return (x @ rotation).astype(numpy.float32)


class Shape:
    """One (M, bits) and what both sides make of it."""

    def __init__(self, ours, folder, peer, m, bits, sizes, rounds):
        self.ours, self.folder, self.peer, self.m, self.bits = ours, folder, peer, m, bits
        self.trained, self.n, self.iterations = sizes
        self.name = f"{m}x{bits}"
        codebooks = {who: folder / f"{who}-{self.name}.f32" for who in ("ours", "theirs")}
        train = min(a["seconds"] for a in peer.ask(op="train", rows=folder / "train.f32", n=self.trained, d=D, m=m,
                                                   bits=bits, iterations=self.iterations,
                                                   codebooks=codebooks["theirs"]))
        self.train_ratio = train / search.program(
            ours, "train", folder / "train.f32", self.trained, D, m, 1 << bits, self.iterations, 0,
            codebooks["ours"])["seconds"]
        own = self.code(codebooks["ours"], 1)
        best, theirs = {}, {}
        for _ in range(rounds):  # in turns, so that a slow moment of the machine falls on both
            for side, answers in ((best, [self.code(codebooks["theirs"], 2)]),
                                  (theirs, self.ask_code(codebooks["theirs"], 2))):
                for answer in answers:
                    for key, value in answer.items():
                        side[key] = min(side.get(key, value), value)
        self.encode, self.decode = self.n / best["encode"], self.n / best["decode"]
        self.their_encode = self.n / min(theirs["compute_codes"], theirs["sa_encode"])
        self.their_decode = self.n / theirs["decode"]
        self.mse, self.their_mse = own["mse"], theirs["mse"]
        self.compare(codebooks["theirs"])

    def code(self, codebooks, repeats):
        return search.program(self.ours, "code", self.folder / "rows.f32", self.n, D, self.m, 1 << self.bits, codebooks,
                              repeats, self.folder / "our-codes", "all")

    def ask_code(self, codebooks, repeats):
        return self.peer.ask(op="code", rows=self.folder / "rows.f32", n=self.n, d=D, m=self.m, bits=self.bits,
                             codebooks=codebooks, repeats=repeats, codes=self.folder / "their-codes")

    def compare(self, codebooks):
        """The share of codes that differ, and the largest relative excess of a squared distance of ours, in float64."""
        ours, theirs = (numpy.fromfile(self.folder / name, numpy.uint32).reshape(self.n, self.m)
                        for name in ("our-codes", "their-codes"))
        x = numpy.fromfile(self.folder / "rows.f32", numpy.float32, self.n * D).reshape(self.n, self.m, -1)
        codewords = numpy.fromfile(codebooks, numpy.float32).reshape(self.m, 1 << self.bits, -1)
        row, part = numpy.nonzero(ours != theirs)
        wide = x[row, part].astype(numpy.float64)
        a, b = (((wide - codewords[part, codes[row, part]]) ** 2).sum(1) for codes in (ours, theirs))
        self.differ = len(row) / ours.size
        self.excess = float((a / b - 1).max()) if len(row) else 0.0


def run(build, data, quick):
    del data
    sizes = (16384, 32768, 6) if quick else (65536, 131072, 10)
    peer = Peer()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            rows(sizes[0] + sizes[1], 0)[:sizes[0]].tofile(folder / "train.f32")
            rows(sizes[0] + sizes[1], 0)[sizes[0]:].tofile(folder / "rows.f32")
            shapes = [Shape(build / "bench/bench_pq", folder, peer, m, bits, sizes, 1 if quick else 2)
                      for m, bits in SHAPES]
    finally:
        peer.close()
    figures = {"min_ratio": min(s.encode / s.their_encode for s in shapes)}
    for s in shapes:
        figures |= {f"ratio_{s.name}": s.encode / s.their_encode, f"decode_ratio_{s.name}": s.decode / s.their_decode,
                    f"mse_vs_{s.name}": s.mse / s.their_mse, f"train_ratio_{s.name}": s.train_ratio}
    figures |= {"differ": max(s.differ for s in shapes), "excess": max(s.excess for s in shapes)}
    table = ["| M x bits | encode, vectors/s | faiss | ratio | decode, vectors/s | faiss | MSE, own codebooks | faiss | "
             "training, faiss / ours |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for s in shapes:
        table.append(f"| {s.m} x {s.bits} | {s.encode / 1e3:,.0f}k | {s.their_encode / 1e3:,.0f}k | "
                     f"{s.encode / s.their_encode:.1f} | {s.decode / 1e6:.1f}M | {s.their_decode / 1e6:.1f}M | "
                     f"{s.mse:.5f} | {s.their_mse:.5f} | {s.train_ratio:.1f} |")
    return figures, table, {"faiss": peer.version}

# SPDX-License-Identifier: Apache-2.0
"""One peer of the search, asked by bench/search.py through its standard input; standard library and the peer only.

    search_peers.py faiss|torch|sklearn

prints a JSON line with the versions, then answers each line {"rows": file, "codewords": file, "n", "d", "k", "seconds",
"repeats", "codes": file} with {"n", "seconds"}: how many rows were searched (of n, as many as take about the seconds
asked, or all if that is null) and the least time of a pass. The codes go to the file as uint32; the other files are raw
float32.
"""
import json
import os
import sys
import time

import numpy

THREADS = len(os.sched_getaffinity(0))


class Faiss:
    """IndexFlatL2; the index is filled before the clock starts."""

    def __init__(self):
        import faiss
        faiss.omp_set_num_threads(THREADS)
        self.faiss = faiss
        with open("/proc/self/maps") as file:
            paths = {line.split()[-1] for line in file if "/" in line}
        loaded = sorted({os.path.basename(os.path.realpath(path)) for path in paths
                         if "faiss" in path or "blas" in os.path.basename(path)})
        # numpy brings a BLAS of its own, which faiss never calls.
        self.version = {"version": faiss.__version__, "build": faiss.get_compile_options().strip(),
                        "loaded": [name for name in loaded if "scipy_openblas" not in name]}

    def prepare(self, codewords):
        index = self.faiss.IndexFlatL2(codewords.shape[1])
        index.add(codewords)
        return [lambda rows: index.search(rows, 1)[1][:, 0]]


class Torch:
    """argmin over |c|^2 - 2xc, in chunks of rows whose scores stay in a cache, or of 4 Mi scores; and cdist."""

    def __init__(self):
        import torch
        torch.set_num_threads(THREADS)
        self.torch = torch
        self.version = {"version": torch.__version__, "build": torch.backends.cpu.get_cpu_capability()}

    def prepare(self, codewords):
        torch = self.torch
        c = torch.from_numpy(codewords)
        norms, transposed = (c * c).sum(1), c.T.contiguous()

        def chunked(scores):
            chunk = max(1, scores // len(c))
            out = torch.empty(chunk, len(c))

            def search(rows):
                x = torch.from_numpy(rows)
                codes = torch.empty(len(x), dtype=torch.int64)
                for first in range(0, len(x), chunk):
                    part = x[first:first + chunk]
                    place = out[:len(part)]
                    torch.addmm(norms, part, transposed, alpha=-2, out=place)
                    torch.argmin(place, 1, out=codes[first:first + len(part)])
                return codes.numpy()
            return search

        def cdist(rows):
            chunk = max(1, (1 << 22) // len(c))
            return torch.cat([torch.cdist(part, c).argmin(1) for part in torch.from_numpy(rows).split(chunk)]).numpy()

        return [chunked(1 << 18), chunked(1 << 20), chunked(1 << 22), cdist]


class Sklearn:
    def __init__(self):
        import sklearn
        import sklearn.metrics
        import threadpoolctl
        sklearn.set_config(assume_finite=True)
        blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        self.metrics = sklearn.metrics
        self.version = {"version": sklearn.__version__,
                        "build": ", ".join(f"{b['internal_api']} {b['version']} {b['architecture']}" for b in blas)}

    def prepare(self, codewords):
        return [lambda rows: self.metrics.pairwise_distances_argmin(rows, codewords)]


def clock(way, rows):
    start = time.perf_counter()
    codes = way(rows)
    return time.perf_counter() - start, codes


def measure(ways, rows, k, target, repeats):
    """(n, seconds, codes) of the fastest way. Those that a first pass leaves far behind go no further."""
    if target:
        few = min(len(rows), (1 << 24) // k)
        looked = min(clock(ways[0], rows[:few])[0] for _ in range(2))
        rows = rows[:max(few, int(few * target / looked))]
    passes = sorted(((*clock(way, rows), way) for way in ways), key=lambda one: one[0])
    seconds, codes, _ = passes[0]
    for first, _, way in passes:
        if first < 1.5 * passes[0][0]:
            seconds = min([seconds] + [clock(way, rows)[0] for _ in range(repeats)])
    return len(rows), seconds, codes


def main():
    peer = {"faiss": Faiss, "torch": Torch, "sklearn": Sklearn}[sys.argv[1]]()
    print(json.dumps(peer.version), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        k, d = asked["k"], asked["d"]
        rows = numpy.fromfile(asked["rows"], numpy.float32, asked["n"] * d).reshape(-1, d)
        codewords = numpy.fromfile(asked["codewords"], numpy.float32).reshape(k, d)
        n, seconds, codes = measure(peer.prepare(codewords), rows, k, asked["seconds"], asked["repeats"])
        codes.astype(numpy.uint32).tofile(asked["codes"])
        print(json.dumps({"n": n, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()

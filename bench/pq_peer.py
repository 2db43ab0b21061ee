# SPDX-License-Identifier: Apache-2.0
"""faiss's product quantizer, asked by bench/pq.py through its standard input; standard library, numpy and faiss only.

Prints a JSON line with the version, then answers each line {"op": "train", "rows", "n", "d", "m", "bits", "iterations",
"codebooks"} with {"seconds"}, and {"op": "code", "rows", "n", "d", "m", "bits", "codebooks", "repeats", "codes"} with the
least seconds of {"compute_codes", "sa_encode", "decode"} and the {"mse"} per element. Files are raw float32, codes uint32.
"""
import json
import os
import sys
import time

import faiss
import numpy

faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))


def clock(call, repeats):
    least = None
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
        least = seconds if least is None else min(least, seconds)
    return least, result


def unpack(packed, m, bits):
    """Little-endian bit fields to n x m codes."""
    if bits == 8:
        return packed.astype(numpy.uint32)
    planes = numpy.unpackbits(packed, axis=1, bitorder="little")[:, :m * bits].reshape(len(packed), m, bits)
    return (planes.astype(numpy.uint32) << numpy.arange(bits, dtype=numpy.uint32)).sum(2, dtype=numpy.uint32)


def train(asked, x):
    pq = faiss.ProductQuantizer(asked["d"], asked["m"], asked["bits"])
    pq.cp.niter = asked["iterations"]
    pq.cp.max_points_per_centroid = 1 << 30
    seconds, _ = clock(lambda: pq.train(x), 1)
    faiss.vector_to_array(pq.centroids).astype(numpy.float32).tofile(asked["codebooks"])
    return {"seconds": seconds}


def code(asked, x):
    m, bits = asked["m"], asked["bits"]
    index = faiss.IndexPQ(asked["d"], m, bits)
    faiss.copy_array_to_vector(numpy.fromfile(asked["codebooks"], numpy.float32), index.pq.centroids)
    index.is_trained = True
    # The transposed centroids are not made by hand: they serve a search that compute_codes() does not use.
    compute, packed = clock(lambda: index.pq.compute_codes(x), asked["repeats"])
    encode, _ = clock(lambda: index.sa_encode(x), asked["repeats"])
    decode, decoded = clock(lambda: index.pq.decode(packed), asked["repeats"])
    unpack(packed, m, bits).tofile(asked["codes"])
    off = x.astype(numpy.float64) - decoded
    return {"compute_codes": compute, "sa_encode": encode, "decode": decode, "mse": float((off * off).mean())}


def main():
    print(json.dumps({"version": faiss.__version__, "build": faiss.get_compile_options().strip()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        x = numpy.fromfile(asked["rows"], numpy.float32, asked["n"] * asked["d"]).reshape(-1, asked["d"])
        print(json.dumps({"train": train, "code": code}[asked["op"]](asked, x)), flush=True)


if __name__ == "__main__":
    main()

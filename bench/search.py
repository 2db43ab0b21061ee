# SPDX-License-Identifier: Apache-2.0
"""bench/run search: the nearest codeword, beside faiss, torch and scikit-learn, and beside what the machine can do.

Figures: geomean_best_peer and min_best_peer (our vectors per second, all kernels allowed, over those of the best peer
in each cell of K x d); geomean_avx512 and min_avx512 (the same with AMX masked), min_avx2 (with AVX-512 masked);
geomean_debian_faiss (over Debian's faiss, which is not among the best peers); f32_share_of_peak (the float32 kernel
against register-only FMA, least over d >= 32) and amx_share_of_peak (least over d >= 64); one_vector_share_of_bandwidth
(the codebook's float32 bytes per second of a one-vector search against reading as large an array again and again);
mismatches (rows that any kernel gave another code or score than the contract). What the machine lacks is left out.
"""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import PIL.Image

HERE = pathlib.Path(__file__).resolve().parent
MASKS = ("all", "vnni", "avx512", "avx2")
AVX2, AVX512, VNNI, AMX = 1, 2, 8, 16  # of vq_cpu_flag
DEBIAN = "/usr/bin/python3"
PATCH = 4


def program(path, *arguments, feed=None, environment=None):
    """What a program says as JSON; `feed` writes to its standard input."""
    run = subprocess.Popen([str(a) for a in (path, *arguments)], stdin=subprocess.PIPE if feed else None,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        if feed:
            feed(run.stdin)
    except BrokenPipeError:
        pass  # it ended early and says why
    out, err = run.communicate()
    if run.returncode:
        sys.exit(err.decode().strip())
    return json.loads(out)


def environments(name):
    """The settings to try for a peer: the better in each cell counts. None may be held to an older processor."""
    clean = {key: value for key, value in os.environ.items()
             if not key.startswith(("OPENBLAS_", "OMP_", "MKL_", "FAISS_"))}
    if name == "faiss":
        # The wheel's OpenBLAS (0.3.15) is old: a processor that it does not know gets SSE2 unless told.
        with open("/proc/cpuinfo") as file:
            features = next((line.split() for line in file if line.startswith("flags")), [])
        core = "SkylakeX" if "avx512bw" in features else "Haswell" if "avx2" in features else None
        clean |= {"OPENBLAS_CORETYPE": core} if core else {}
    return [clean, clean | {"OMP_WAIT_POLICY": "PASSIVE"}]


class Peer:
    """A library in processes of its own, one for each environment."""

    def __init__(self, name, kind, python):
        self.name, self.best = name, []
        self.processes = [subprocess.Popen([python, HERE / "search_peers.py", kind], env=environment, text=True,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                          for environment in environments(name)]
        said = [process.stdout.readline() for process in self.processes]
        if not all(said):
            why = self.processes[0].communicate()[1].strip().splitlines()
            self.close()
            raise RuntimeError(why[-1] if why else "it does not start")
        self.version = json.loads(said[0])
        self.differ = self.compared = 0
        self.excess = self.own_excess = 0.0

    def ask(self, process, cell, repeats):
        process.stdin.write(json.dumps(cell | {"repeats": repeats}) + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
        if not said:
            sys.exit(f"bench search: {self.name} ended: {process.communicate()[1].strip()}")
        said = json.loads(said)
        return said["n"] / said["seconds"]

    def search(self, cell, repeats):
        """Vectors per second in the best environment; the codes are in the cell's file."""
        rates = [self.ask(process, cell, 1) for process in self.processes]
        best = rates.index(max(rates))
        return max(rates[best], self.ask(self.processes[best], cell, repeats))

    def compare(self, x, codewords, ours, theirs):
        """Count other codes; keep the largest relative excess of a squared distance, ours and theirs, in float64."""
        ours = ours[:len(theirs)]
        theirs = theirs[:len(ours)]
        rows = numpy.flatnonzero(ours != theirs)
        self.compared += len(ours)
        self.differ += len(rows)
        if len(rows):
            wide = x[rows].astype(numpy.float64)
            a, b = (((wide - codewords[codes[rows]]) ** 2).sum(1) for codes in (ours, theirs))
            self.excess = max(self.excess, (a / b - 1).max())
            self.own_excess = max(self.own_excess, (b / a - 1).max())

    def close(self):
        for process in self.processes:
            process.stdin.close()
            process.terminate()
            process.wait()


def start_peers():
    """(peers, what there is to say about those that are absent)."""
    peers, remarks = [], []
    for name, kind, python in (("faiss", "faiss", sys.executable), ("torch", "torch", sys.executable),
                               ("sklearn", "sklearn", sys.executable), ("Debian's faiss", "faiss", DEBIAN)):
        try:
            peers.append(Peer(name, kind, python))
        except (OSError, RuntimeError) as missing:
            remarks.append(f"{name} is left out: {missing} (bench/README.md says how to install it)")
    return peers, remarks


def peak(limits, flags):
    """Operations per second of all threads in the widest unit that these flags allow."""
    units = ((AMX, "bf16_amx"), (VNNI, "int8_vnni"), (AVX512, "f32_avx512"), (AVX2, "f32_avx2"))
    name = next((unit for flag, unit in units if flags & flag and unit in limits), None)
    return limits[name][1] if name else math.nan


class Cell:
    """Gaussian rows and codewords, and what each searcher makes of them."""

    def __init__(self, k, d):
        self.k, self.d, self.peers = k, d, {}
        self.masks = {}

    def measure(self, build, peers, folder, quick):
        k, d = self.k, self.d
        target, repeats = (0.15, 2) if quick else (0.5, 3)
        # About ten times what reaches the float32 limit of a small machine, and at most 128 MB.
        most = int(min((1 << 25) / d, max(8192, target * 4e12 / (k * (2 * d + 30)))))
        # faiss takes a slow path for less than some 130,000 floats of queries, so it is not asked how many it can do.
        fixed = min(most, int(target * 3e11 / (2 * k * d)))
        random = numpy.random.default_rng(k + d)
        x = random.standard_normal((most, d), numpy.float32)
        codewords = random.standard_normal((k, d), numpy.float32)
        rows, words, codes = (folder / name for name in ("rows.f32", "codewords.f32", "codes.u32"))
        x.tofile(rows)
        codewords.tofile(words)
        said = program(build / "bench/bench_nearest", rows, most, d, words, k, ",".join(MASKS), 0, target, repeats,
                       codes)
        ours = numpy.fromfile(codes, numpy.uint32)
        for mask in said["masks"]:
            self.masks[mask["mask"]] = (said["n"] / mask["seconds"], mask["flags"])
        self.differ = sum(mask["differ"] for mask in said["masks"])
        cell = {"rows": str(rows), "codewords": str(words), "codes": str(codes), "d": d, "k": k}
        for peer in peers:
            amount = {"n": fixed, "seconds": None} if peer.name == "faiss" else {"n": most, "seconds": target / 2}
            self.peers[peer.name] = peer.search(cell | amount, repeats)
            peer.compare(x, codewords, ours, numpy.fromfile(codes, numpy.uint32))

    def best_peer(self):
        return max((rate for name, rate in self.peers.items() if not name.startswith("Debian")), default=math.nan)

    def ratio(self, mask):
        return self.masks[mask][0] / self.best_peer()

    def share(self, mask, limits):
        rate, flags = self.masks[mask]
        return 2 * self.k * self.d * rate / peak(limits, flags)

    def line(self, limits):
        text = f"{self.k:>6} {self.d:>4} |"
        for mask in MASKS:
            rate = self.masks[mask][0]
            text += (f" {rate / 1e3:8.1f} {2e-9 * self.k * self.d * rate:6.0f} {100 * self.share(mask, limits):3.0f}%"
                     f" {self.ratio(mask):5.2f} |")
        return text + "".join(f" {rate / 1e3:8.1f} {self.masks['all'][0] / rate:5.1f}" for rate in self.peers.values())


def patches(folder, count):
    """Feed bytes: `count` patches of the pictures, shuffled, those at one offset after those at another."""
    pictures = []
    for path in sorted(folder.iterdir()):
        with PIL.Image.open(path) as picture:
            pictures.append(numpy.asarray(picture.convert("RGB")))

    def feed(pipe):
        left = count
        for down, right in ((0, 0), (2, 2), (0, 2), (2, 0), (1, 1), (3, 3), (1, 3), (3, 1)):
            rows = []
            for pixels in pictures:
                pixels = pixels[down:, right:]
                high, wide = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
                grid = pixels[:high * PATCH, :wide * PATCH].reshape(high, PATCH, wide, PATCH, 3)
                rows.append(grid.transpose(0, 2, 1, 3, 4).reshape(-1, PATCH * PATCH * 3))
            rows = numpy.random.default_rng(down * PATCH + right).permutation(numpy.concatenate(rows))[:left]
            pipe.write(rows.tobytes())
            left -= len(rows)
            if not left:
                break
    return feed


def exactness(build, data, quick):
    """{kind: {"queries", "mismatches"}}; of the patches, half the queries are their residuals."""
    check = build / "bench/bench_exactness"
    gaussian, hard, features = (200_000, 100_000, 100_000) if quick else (10_000_000, 800_000, 10_000_000)
    said = program(check, "gaussian", gaussian)
    folder = data / "images/cid22_train"
    if not folder.is_dir():
        sys.exit(f"bench search: no pictures in {folder}")
    said |= program(check, "bytes", 1024, PATCH * PATCH * 3, feed=patches(folder, features // 2))
    return said | program(check, "hard", hard)


def one_vector(build, folder, quick):
    """{mask: seconds} of a search of one vector at a time, K = 65536, d = 64: 16 MiB of codewords."""
    k, d, queries = 65536, 64, 64
    random = numpy.random.default_rng(0)
    rows, words = folder / "rows.f32", folder / "codewords.f32"
    random.standard_normal((queries, d), numpy.float32).tofile(rows)
    random.standard_normal((k, d), numpy.float32).tofile(words)
    said = program(build / "bench/bench_nearest", rows, queries, d, words, k, ",".join(MASKS), 1, 0, 10 if quick else 40,
                   folder / "codes.u32")
    return {mask["mask"]: mask["seconds"] / said["n"] for mask in said["masks"]}, k * d * 4


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def collect(cells, limits, flags, peers, vector, size, found):
    figures = {}
    if any(cell.best_peer() > 0 for cell in cells):
        for ending, mask, needed in (("best_peer", "all", 0), ("avx512", "vnni", AVX512), ("avx2", "avx2", AVX2)):
            if flags & needed == needed:
                ratios = [cell.ratio(mask) for cell in cells]
                figures |= {f"geomean_{ending}": geomean(ratios), f"min_{ending}": min(ratios)}
    debian = next((peer.name for peer in peers if peer.name.startswith("Debian")), None)
    if debian:
        figures["geomean_debian_faiss"] = geomean([cell.masks["all"][0] / cell.peers[debian] for cell in cells])
    if flags & AVX2:
        figures["f32_share_of_peak"] = min(cell.share("avx512", limits) for cell in cells if cell.d >= 32)
    if flags & AMX:
        figures["amx_share_of_peak"] = min(cell.share("all", limits) for cell in cells if cell.d >= 64)
    figures["one_vector_microseconds"] = 1e6 * vector["all"]
    figures["one_vector_share_of_bandwidth"] = size / vector["all"] / limits["read_16_mib"][1]
    figures["mismatches"] = sum(kind["mismatches"] for kind in found.values()) + sum(cell.differ for cell in cells)
    return figures


def describe_limits(limits):
    units = {"f32_avx2": "AVX2 FMA", "f32_avx512": "AVX-512 FMA", "bf16_avx512": "AVX-512 bf16 dot product",
             "int8_vnni": "AVX-512 VNNI", "bf16_amx": "AMX bf16", "read_1_gib": "reading 1 GiB (GB/s)",
             "read_16_mib": "reading 16 MiB (GB/s)"}
    return [f"limits, 1 thread and {limits['threads']}, in G operations/s: " +
            ", ".join(f"{text} {limits[name][0] / 1e9:.0f} {limits[name][1] / 1e9:.0f}"
                      for name, text in units.items() if name in limits)]


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    peers, remarks = start_peers()
    grid = [(1024, 8), (1024, 64), (8192, 32), (8192, 128), (65536, 64)] if quick else [
        (k, d) for k in (1024, 8192, 65536) for d in (8, 32, 64, 128, 256)]
    cells = [Cell(k, d) for k, d in grid]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        limits = program(build / "bench/bench_limits")
        for cell in cells:
            cell.measure(build, peers, folder, quick)
        vector, size = one_vector(build, folder, quick)
        # The clock of the processor moves: a limit is the best of before and after.
        later = program(build / "bench/bench_limits")
        limits |= {name: list(map(max, value, later[name])) for name, value in limits.items() if name != "threads"}
    for peer in peers:
        peer.close()
    found = exactness(build, data, quick)

    flags = cells[0].masks["all"][1]
    names = "".join(f" {peer.name[:8]:>8} ratio" for peer in peers)
    table = describe_limits(limits) + [
        "search: 1000 vectors/s, effective GFLOP/s (2 K d each), share of the limit of the widest unit allowed, ratio "
        "to the best peer; then the peers and the ratio of \"all\" to each",
        f"{'K':>6} {'d':>4} |" + "".join(f" {mask:>8} GFLOPs      ratio |" for mask in MASKS) + names]
    table += [cell.line(limits) for cell in cells]
    for mask in MASKS:
        rate = size / vector[mask]
        table.append(f"one vector, K = 65536, d = 64, {mask:>6}: {1e6 * vector[mask]:7.1f} us, {rate / 1e9:6.1f} GB/s "
                     f"of float32 codewords, {100 * rate / limits['read_16_mib'][1]:.0f} % of reading 16 MiB, "
                     f"{100 * rate / limits['read_1_gib'][1]:.0f} % of reading 1 GiB")
    table.append("kernels against the contract: " + ", ".join(
        f"{kind} {count['mismatches']} of {count['queries']}" for kind, count in found.items()))
    table += [f"{peer.name}: {peer.differ} of {peer.compared} codes differ; there our squared distance is at most "
              f"{peer.excess:.1e} above theirs, theirs at most {peer.own_excess:.1e} above ours" for peer in peers]
    figures = collect(cells, limits, flags, peers, vector, size, found)
    versions = {peer.name: " ".join([peer.version["version"], f"({peer.version['build']})",
                                     *peer.version.get("loaded", [])]) for peer in peers}
    return {name: float(value) for name, value in figures.items()}, table + remarks, versions

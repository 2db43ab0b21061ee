# SPDX-License-Identifier: Apache-2.0
"""bench/run kmeans: Lloyd's iteration, whole trainings and data larger than memory, beside faiss and scikit-learn.

Figures: min_iteration_ratio (time of one Lloyd iteration of the best peer over ours on Gaussian rows, least over N, d
and K; all begin at the same codewords and must have the same objective after an iteration),
min_iteration_ratio_photographs (the same on patches of photographs: whole numbers tie, ties fall differently, and later
objectives part a little); time_to_quality_ratio (whole time of scikit-learn's KMeans(), k-means++ and all, over our
whole time until our MSE is not above theirs; least over K); repair_gain_percent (how far our MSE with repair is below
theirs, least over K); peak_rss_mib_streaming (peak memory of the process, mapped pages and all, that trains on a
file of 4 GiB); streaming_io_percent (share of its time that went by until rows were in memory); mse_vs_sklearn (ours
without repair over theirs, greatest over K); seeding_speedup (their time over ours, least over K).
"""
import importlib.util
import pathlib
import shutil
import sys
import tempfile

import numpy
import PIL.Image
import sklearn

from search import environments, program

HERE = pathlib.Path(__file__).resolve().parent
SIDE = 8
GRID = ((262144, 64, 1024), (262144, 128, 4096), (524288, 32, 8192))
SHAPES = {32: (8, 4), 64: (8, 8), 128: (8, 16)}  # of a patch of one channel with so many pixels
KINDS = {"Gaussian": 1e-5, "photographs": 1e-4}  # how far objectives may be apart: whole numbers tie
PEERS = {"faiss": "faiss", "lloyd": "scikit-learn"}
# Options of bench_kmeans: one run is ended when it is good enough, the other goes its way.
WAYS = {"libvq": {"iterations": 100}, "repair": {"iterations": 3, "repair": 20}}
FULL = (1 << 24, 64, 1 << 16)  # vectors, d and codewords of the data larger than memory
SAME = 1e-5  # an MSE that is reported and that of the codewords


def pictures(folder, mode):
    for path in sorted(pathlib.Path(folder).iterdir()):
        with PIL.Image.open(path) as picture:
            yield numpy.asarray(picture.convert(mode))


def spread(rows, count):
    """`count` of the rows, evenly spread, in [0, 1]."""
    count = min(count, len(rows))
    return rows[numpy.arange(count) * len(rows) // count].astype(numpy.float32) / 255


def patches(folder, count, shape=(SIDE, SIDE), mode="RGB"):
    """`count` patches evenly spread over all whole patches of the pictures in `folder`, in [0, 1], as rows."""
    rows = []
    for pixels in pictures(folder, mode):
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        high, wide = pixels.shape[0] // shape[0], pixels.shape[1] // shape[1]
        grid = pixels[:high * shape[0], :wide * shape[1]].reshape(high, shape[0], wide, shape[1], -1)
        rows.append(grid.transpose(0, 2, 1, 3, 4).reshape(high * wide, -1))
    return spread(numpy.concatenate(rows), count)


def mean_squared_error(x, codewords):
    """Per dimension, of each row from its nearest codeword: that is found in float32 and measured in double."""
    mean = codewords.mean(0, dtype=numpy.float64).astype(numpy.float32)
    c = codewords - mean
    norms = (c.astype(numpy.float64) ** 2).sum(1).astype(numpy.float32)
    total = 0.0
    for first in range(0, len(x), 4096):
        rows = x[first:first + 4096]
        nearest = codewords[(norms - 2 * ((rows - mean) @ c.T)).argmin(1)]
        total += ((rows.astype(numpy.float64) - nearest) ** 2).sum()
    return total / x.size


def ours(build, file, out, k, **options):
    """(what bench_kmeans says, the codewords)"""
    said = program(build / "bench/bench_kmeans", file, out, k, *(f"{name}={value}" for name, value in options.items()))
    return said, numpy.fromfile(out, numpy.float32).reshape(k, said["d"])


def theirs(how, environment, file, what, number, out):
    said = program(sys.executable, HERE / "kmeans_peers.py", how, file, what, number, out, environment=environment)
    return said, numpy.load(out)


def check_mse(x, said, codewords):
    """The MSE of our codewords, which is the one that was reported."""
    mse = mean_squared_error(x, codewords)
    if abs(said["mse"][-1] / mse - 1) > SAME:
        sys.exit(f"bench kmeans: libvq reports an MSE of {said['mse'][-1]}, and that of its codewords is {mse}")
    return mse


class Lloyd:
    """One cell of the grid: the same iterations of everybody on one kind of data."""

    def __init__(self, kind, n, d, k):
        self.kind, self.n, self.d, self.k = kind, n, d, k

    def rows(self, pixels):
        if self.kind == "photographs":
            return patches(pixels, self.n, SHAPES[self.d], "L")
        return numpy.random.default_rng(0).standard_normal((self.n, self.d), numpy.float32)

    def measure(self, build, folder, pixels, tries, iterations):
        """Fill in the results; `tries`: the environments of each peer, of which the fastest remains."""
        file, seeds, raw = folder / "rows.npy", folder / "seeds.npy", folder / "seeds.f32"
        x = self.rows(pixels)
        distinct = numpy.unique(x, axis=0)
        chosen = distinct[numpy.random.default_rng(1).permutation(len(distinct))[:self.k]]
        numpy.save(file, x)
        numpy.save(seeds, chosen)
        chosen.tofile(raw)
        runs = [ours(build, file, folder / "out.f32", self.k, iterations=iterations, seeds=raw) for _ in range(3)]
        check_mse(x, *runs[0])
        mse = runs[0][0]["mse"]
        # The first iteration is left out, as it is of the peers.
        self.seconds = {"libvq": min((said["ends"][-1] - said["ends"][0]) / (iterations - 1) for said, _ in runs)}
        self.first, self.last, versions = {}, {}, {}
        for peer in tries:
            runs = [theirs(peer, environment, file, seeds, iterations, folder / "out.npy")
                    for environment in tries[peer]]
            best = min(range(len(runs)), key=lambda i: runs[i][0]["seconds"])
            tries[peer] = [tries[peer][best]]
            said, codewords = runs[best]
            self.seconds[peer] = said["seconds"]
            self.first[peer], self.last[peer] = (mean_squared_error(x, c) / mse[at] - 1
                                                 for c, at in zip(codewords, (1, iterations)))
            versions[PEERS[peer]] = f"{said['version']} ({said['build']}, {said['threads']} threads)"
        return versions

    def ratio(self):
        return min(self.seconds[peer] for peer in self.seconds if peer != "libvq") / self.seconds["libvq"]

    def line(self, limits):
        rate = 2 * self.n * self.d * self.k / self.seconds["libvq"]
        peak = max(limits[name][1] for name in limits if name.startswith("f32"))
        text = (f"{self.kind:>11} {self.n:>6} {self.d:>3} {self.k:>4} | {self.seconds['libvq']:7.4f} "
                f"{self.n / self.seconds['libvq'] / 1e3:6.0f} {rate / 1e9:6.0f} {100 * rate / peak:4.0f} %")
        for peer in PEERS:
            text += (f" | {self.seconds[peer]:7.3f} {self.seconds[peer] / self.seconds['libvq']:5.2f} "
                     f"{self.first[peer]:+.0e} {self.last[peer]:+.0e}" if peer in self.seconds else
                     f" | {'absent':>29}")
        return text


def compare_lloyd(build, pixels, folder, quick):
    """The grid: (figures, table lines, the peers' versions)"""
    tries = {peer: environments(peer) for peer in PEERS if importlib.util.find_spec(peer.replace("lloyd", "sklearn"))}
    iterations = 3 if quick else 4
    cells = [Lloyd(kind, *shape) for kind in KINDS for shape in (GRID[:1] if quick else GRID)]
    limits = program(build / "bench/bench_limits")
    table = [f"Lloyd's iteration, the mean of {iterations - 1}: seconds, 1000 vectors/s, effective GFLOP/s (2 K d "
             "each), share of the",
             "limit of float32 FMA; seconds of faiss and scikit-learn, their time over ours, their objective beside "
             "ours after one iteration and all",
             f"{'data':>11} {'N':>6} {'d':>3} {'K':>4} | {'libvq':>7} {'1000/s':>6} {'GFLOPs':>6} {'share':>6}" +
             "".join(f" | {peer:>7} ratio {'first':>6} {'last':>6}" for peer in PEERS)]
    versions = {}
    for cell in cells:
        versions |= cell.measure(build, folder, pixels, tries, iterations)
        table.append(cell.line(limits))
    for cell in cells:
        for peer, apart in cell.first.items():
            if abs(apart) > KINDS[cell.kind]:
                table.append(f"bench kmeans: the objective of {peer} is {apart:+.1e} off ({cell.kind}, K = {cell.k})")
                sys.exit("\n".join(table))
    figures = {"min_iteration_ratio": min(cell.ratio() for cell in cells if cell.kind == "Gaussian"),
               "min_iteration_ratio_photographs": min(cell.ratio() for cell in cells if cell.kind == "photographs")}
    return figures, table, versions


class Whole:
    """Whole trainings with one K: scikit-learn's with some seeds, ours with more of them."""

    def __init__(self, k, their_seeds, our_seeds):
        self.k, self.their_seeds, self.our_seeds = k, their_seeds, our_seeds

    def measure(self, build, x, folder):
        file = folder / "rows.npy"
        numpy.save(file, x)
        runs = [theirs("plusplus", environments("sklearn")[0], file, self.k, seed, folder / "out.npy")
                for seed in range(self.their_seeds)]
        self.target = numpy.mean([mean_squared_error(x, codewords) for _, codewords in runs])
        self.theirs = {name: numpy.mean([said[name] for said, _ in runs])
                       for name in ("seconds", "seeding", "iterations")}
        self.ours = {}
        for way, options in WAYS.items():
            runs = [ours(build, file, folder / "out.f32", self.k, seed=seed, **options)
                    for seed in range(self.our_seeds)]
            check_mse(x, *runs[-1])
            self.ours[way] = self.summary([said for said, _ in runs], "repair" in options)

    def summary(self, runs, whole):
        """The means over the seeds: of the whole, or up to the first iteration whose mean MSE is not above theirs."""
        last = numpy.mean([said["mse"][-1] for said in runs])
        at, mse, seconds = len(runs[0]["ends"]), last, numpy.mean([said["seconds"] for said in runs])
        if not whole:
            means = numpy.mean([said["mse"] for said in runs], axis=0)
            at = next((i for i in range(1, len(means)) if means[i] <= self.target), at)
            mse, seconds = means[at], numpy.mean([said["ends"][at - 1] for said in runs])
        return {"iterations": at, "mse": mse, "last": last, "seconds": seconds,
                "seeding": numpy.mean([said["seeded"] for said in runs])}

    def speed(self, way):
        """Their time over ours; 0 if we do not get there."""
        mine = self.ours[way]
        return self.theirs["seconds"] / mine["seconds"] if mine["mse"] <= self.target else 0.0

    def lines(self):
        they = self.theirs
        yield (f"{self.k:>4} {'scikit-learn':<14} {self.their_seeds:>5} {they['seeding']:8.2f} {they['seconds']:8.2f} "
               f"{they['iterations']:5.0f} {self.target:10.8f}")
        for way, mine in self.ours.items():
            yield (f"{self.k:>4} {way:<14} {self.our_seeds:>5} {mine['seeding']:8.2f} {mine['seconds']:8.2f} "
                   f"{mine['iterations']:5} {mine['mse']:10.8f} {self.speed(way):6.1f} {mine['last']:10.8f} "
                   f"{100 * (1 - mine['last'] / self.target):6.2f} %")


def compare_whole(build, pixels, folder, quick):
    """(figures, table lines)"""
    cells = [Whole(256, 1, 2)] if quick else [Whole(1024, 2, 3), Whole(4096, 1, 2)]
    x = patches(pixels, 20000 if quick else 130000)
    table = [f"whole training, {len(x)} patches of {SIDE}x{SIDE}x3, means over the seeds: scikit-learn's KMeans() as "
             "it comes, one k-means++",
             "seeding; ours up to the first iteration whose MSE is not above that, and with repair to the end; its "
             "time over ours; our MSE at the end, and how far that is below",
             f"{'K':>4} {'':<14} {'seeds':>5} {'seeding':>8} {'seconds':>8} {'iter.':>5} {'MSE':>10} {'ratio':>6} "
             f"{'MSE at end':>10} {'below':>8}"]
    for cell in cells:
        cell.measure(build, x, folder)
        table += cell.lines()
    figures = {
        "time_to_quality_ratio": min(max(cell.speed(way) for way in WAYS) for cell in cells),
        "repair_gain_percent": min(100 * (1 - cell.ours["repair"]["last"] / cell.target) for cell in cells),
        "mse_vs_sklearn": max(cell.ours["libvq"]["last"] / cell.target for cell in cells),
        "seeding_speedup": min(cell.theirs["seeding"] / cell.ours["libvq"]["seeding"] for cell in cells)}
    return figures, table


def write_rows(file, n, d):
    """n x d Gaussian numbers as a .npy file, piece by piece."""
    random = numpy.random.default_rng(0)
    out = numpy.lib.format.open_memmap(file, "w+", numpy.float32, (n, d))
    for first in range(0, n, 1 << 16):
        out[first:first + (1 << 16)] = random.standard_normal((min(1 << 16, n - first), d), numpy.float32)
    out.flush()


def stream(build, _, folder, quick):
    """(figures, table lines)"""
    n, d, k = (1 << 18, 64, 1 << 14) if quick else FULL
    file, size = folder / "large.npy", 4 * n * d
    if shutil.disk_usage(folder).free < 1.1 * size:
        sys.exit(f"bench kmeans: {folder} has no room for a file of {size >> 20} MiB (set TMPDIR)")
    write_rows(file, n, d)
    said, _ = ours(build, file, folder / "out.f32", k, iterations=1, stream=1)
    file.unlink()
    ends = said["passes"][1:] + [said["seconds"]]
    passes = [end - begin for begin, end in zip(said["passes"], ends)]
    rate = n / passes[-1]
    table = [f"{n} Gaussian vectors of {d} in a mapped file of {size / 2**30:.3g} GiB, dropped from the system's cache "
             f"behind the reader; K = {k}, one iteration:",
             f"{said['seconds']:.1f} s, {100 * said['io'] / said['seconds']:.2f} % of it I/O "
             f"({len(passes) * size / said['io'] / 1e9:.2f} GB/s); {passes[0]:.1f} s to look at the rows and choose "
             f"seeds, {' and '.join(f'{s:.1f}' for s in passes[1:])} s to search all;",
             f"{rate / 1e3:.0f} thousand vectors/s, {2 * rate * k * d / 1e9:.0f} effective GFLOP/s; peak "
             f"memory of the process {said['peak_rss'] / 2**20:.0f} MiB; MSE {said['mse'][0]:.7f}, then "
             f"{said['mse'][1]:.7f}; {said['used']} codewords used"]
    return {"peak_rss_mib_streaming": said["peak_rss"] / 2**20,
            "streaming_io_percent": 100 * said["io"] / said["seconds"]}, table


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    pixels = data / "images/cid22_train"
    if not pixels.is_dir():
        sys.exit(f"bench kmeans: no pictures in {pixels}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        figures, table, peers = compare_lloyd(build, pixels, folder, quick)
        for part in (compare_whole, stream):
            more, lines = part(build, pixels, folder, quick)
            figures |= more
            table += ["", *lines]
    peers = {"scikit-learn": sklearn.__version__, **peers, "numpy": numpy.__version__}
    return {name: float(value) for name, value in figures.items()}, table, peers

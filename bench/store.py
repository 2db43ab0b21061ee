# SPDX-License-Identifier: Apache-2.0
"""bench/run store: data sets as tokens, their size and the speed of reading them, beside what pipelines store today.

All photographs of the data folder go into shards of each packing by `vqstore pack`, with the built-in model at its
default levels. A million records of 256 codes (K = 1024, drawn like words, 9.4 bits each) are made for the speeds of
reading: on one core, from files in the page cache; a record at random from a mapping whose pages were never touched,
page faults included.

Figures: bytes_vs_pixels_percent and bytes_vs_source_percent (of the photographs' shard, packing rans, over the decoded
samples and over the PNG and JPEG files), rans_vs_bits (the same photographs), bits_vs_least (shard of the photographs,
packing bits, less its index, over ceil(log2 K) bits per code); open_us, random_raw_us, random_bits_us,
random_rans_us, find_us (means); raw_mcodes_s, bits_mcodes_s, rans_mcodes_s (all records in order); rans_vs_entropy
(bytes of the made codes over the entropy that they were drawn with); pack_vs_encode_speed (of `vqstore pack` on the
photographs, packing bits, over reading and encoding them and no more, on all cores), pack_rans_vs_encode_speed.
"""
import gzip
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy

import libvq
import libvq_store

PHOTOS = "kodak", "cid22_train", "cid22_train_jpeg", "clic2025_val_half", "robot_cam"
PACKINGS = "raw", "bits", "rans"


def program(build, *arguments):
    out = subprocess.run([str(build / "bench/bench_store"), *map(str, arguments)], check=True, capture_output=True)
    return json.loads(out.stdout)


def entropy_bytes(records):
    """Of the codes of each level by themselves, order 0."""
    bits = 0
    for level in range(len(records[0])):
        counts = numpy.bincount(numpy.concatenate([codes[level].ravel() for codes in records]))
        counts = counts[counts > 0]
        bits -= (counts * numpy.log2(counts / counts.sum())).sum()
    return bits / 8


def others(records, folder, peers):
    """(name, bytes) of other ways to keep the same codes."""
    size, blocks = 0, 0
    for codes in records:
        file = io.BytesIO()
        numpy.save(file, codes)  # int64, as argmin gives it
        size += len(file.getvalue())
        blocks += -(-len(file.getvalue()) // 4096) * 4096
    yield ".npy per record, int64", size
    yield "the same in blocks of 4 KiB", blocks
    yield ".npy per record, uint16", sum(128 + 2 * codes.size for codes in records)
    flat = numpy.concatenate([codes.ravel() for codes in records]).astype("<u2").tobytes()
    yield "Megatron .bin and .idx, uint16", len(flat) + 34 + 12 * len(records) + 8 * (len(records) + 1)
    yield "gzip -9 of uint16", len(gzip.compress(flat, 9))
    if shutil.which("zstd"):
        (folder / "flat").write_bytes(flat)
        yield "zstd -19 of uint16", len(subprocess.run(["zstd", "-19", "-c", "-q", str(folder / "flat")], check=True,
                                                       capture_output=True).stdout)
        peers["zstd"] = subprocess.run(["zstd", "-qV"], capture_output=True, text=True).stdout.strip()
    yield "entropy of order 0, of each level", entropy_bytes(records)


def same_codes(build, shards, step):
    """Do the packings, and both readers, give the same?"""
    library = libvq.Library(build / "libvq.so")
    first, *rest = [libvq.Store(shards[packing]["path"], library) for packing in PACKINGS]
    for number in range(0, len(first), step):
        codes = first[number].codes
        if not all(numpy.array_equal(codes, shard[number].codes) for shard in rest):
            sys.exit(f"bench store: record {number} differs between packings")
    for packing in PACKINGS:
        if not numpy.array_equal(libvq_store.open(shards[packing]["path"])[0].codes, first[0].codes):
            sys.exit(f"bench store: libvq_store.py reads other codes ({packing})")


def pack(build, data, files, path, packing):
    """@return seconds."""
    names = "".join(f"{file.relative_to(pathlib.Path(data) / 'images')}\n" for file in files)
    path.with_suffix(".txt").write_text(names)
    begin = time.perf_counter()
    subprocess.run([str(build / "bin/vqstore"), "pack", "-qf", "--list", str(path.with_suffix(".txt")), "--root",
                    str(pathlib.Path(data) / "images"), "--packing", packing, "-o", str(path)], check=True)
    return time.perf_counter() - begin


def photographs(build, data, quick, folder, figures, table, peers):
    files = sorted(file for name in PHOTOS for file in (pathlib.Path(data) / "images" / name).glob("*.*")
                   if file.suffix in (".png", ".jpg"))[::8 if quick else 1]
    if not files:
        return table.append(f"skipped: no pictures in {data}/images")
    alone = program(build, "encode", *files)
    shards, pixels, source = {}, alone["pixel_bytes"], sum(file.stat().st_size for file in files)
    for packing in PACKINGS:
        path = folder / f"{packing}.vqs"
        shards[packing] = {"path": path, "seconds": min(pack(build, data, files, path, packing) for _ in range(2)),
                           "bytes": path.stat().st_size}
    same_codes(build, shards, 7)
    shard = libvq_store.open(shards["bits"]["path"])
    records, codes = [record.codes for record in shard], shard.codes
    figures["bytes_vs_pixels_percent"] = 100 * shards["rans"]["bytes"] / pixels
    figures["bytes_vs_source_percent"] = 100 * shards["rans"]["bytes"] / source
    figures["rans_vs_bits"] = shards["rans"]["bytes"] / shards["bits"]["bytes"]
    index = 48 * len(records)  # rows of records and of keys
    figures["bits_vs_least"] = (shards["bits"]["bytes"] - index) / (codes * 10 / 8)
    figures["pack_vs_encode_speed"] = alone["seconds"] / shards["bits"]["seconds"]
    figures["pack_rans_vs_encode_speed"] = alone["seconds"] / shards["rans"]["seconds"]
    table.append(f"{len(files)} photographs, {codes} codes of 10 bits; samples {pixels} bytes, files {source} bytes; "
                 f"encoded in {alone['seconds']:.2f} s")
    rows = [(f"shard, {packing} ({shards[packing]['seconds']:.2f} s)", shards[packing]["bytes"])
            for packing in PACKINGS]
    table.append(f"{'':34} {'bytes':>10} {'of samples':>10} {'of files':>9} {'of bits':>8}")
    for name, size in rows + list(others(records, folder, peers)):
        table.append(f"{name:34} {size:10.0f} {size / pixels:10.3%} {size / source:9.2%} "
                     f"{size / shards['bits']['bytes']:8.3f}")


def made(build, quick, folder, figures, table):
    count = 100000 if quick else 1000000
    out = program(build, "made", folder / "made", count, 256)
    shards, positions = out["shards"], out["positions"]
    same_codes(build, shards, count // 500)
    codes = count * positions
    least, entropy = codes * 10 / 8, codes * out["entropy"] / 8
    of_records = {packing: shards[packing]["block_bytes"] for packing in PACKINGS}
    # Of a record all but its codes has as many bytes in both packings.
    figures["rans_vs_entropy"] = (of_records["rans"] - of_records["bits"] + least) / entropy
    table.append("")
    table.append(f"{count} records of {positions} codes, {out['entropy']:.3f} bits of entropy each, with keys and "
                 "labels")
    table.append(f"{'':5} {'bytes':>10} {'index':>9} {'tables':>6} {'written':>8} {'open us':>8} {'random us':>10} "
                 f"{'99 %':>6} {'key us':>7} {'Mcodes/s':>9}")
    sums = set()
    for packing in PACKINGS:
        shard, speed = shards[packing], program(build, "read", shards[packing]["path"])
        sums.add(speed["sum"])
        table.append(f"{packing:5} {shard['bytes']:10} {shard['index_bytes']:9} {shard['table_bytes']:6} "
                     f"{shard['seconds']:6.2f} s {speed['open_us']:8.1f} {speed['random_us']:10.2f} "
                     f"{speed['random_us_99']:6.2f} {speed['find_us']:7.2f} {speed['mcodes_s']:9.1f}")
        figures[f"random_{packing}_us"] = speed["random_us"]
        figures[f"{packing}_mcodes_s"] = speed["mcodes_s"]
        figures["open_us"] = max(figures.get("open_us", 0), speed["open_us"])
        figures["find_us"] = max(figures.get("find_us", 0), speed["find_us"])
    if len(sums) > 1:
        sys.exit("bench store: the packings give other codes")


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    figures, table, peers = {}, [], {"numpy": numpy.__version__}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        photographs(build, data, quick, folder, figures, table, peers)
        made(build, quick, folder, figures, table)
    return figures, table, peers

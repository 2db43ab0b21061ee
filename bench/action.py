# SPDX-License-Identifier: Apache-2.0
"""bench/run action: the codecs of robot actions beside 256 bins and FAST, on demonstrations that they were not fitted to.

Every fifth demonstration is held out; errors are root mean squares of values mapped to [-1, 1] by the 1 % and 99 % quantiles of
the others; bits are the codes' own, those of FAST ten for each token of its vocabulary of 1024. FAST is ours, whose merges and ids
are compared with the published code's where `tokenizers` and `scipy` are installed.

Figures, per data set (g1, franka, handwriting, adroit): rmse_ratio_vs_bins_quarter_bits (for adroit _half_bits too): the fitted
codec at 2 (4) bits per value over bins at 8; rmse_ratio_vs_fast_same_bits: the fitted codec with the most levels that take no more
bits than FAST, over FAST; universal_vs_fitted: the largest ratio of their errors at the same levels. chunk_us_median and
chunk_us_worst: a chunk of 16 x 7, encoded or decoded, whichever takes longer, over a million calls.
"""
import ctypes
import json
import pathlib
import subprocess
import sys

import numpy

import fast_peer

SETS = {"g1": ("g1_inspire_pick_bottle", "action_*"), "franka": ("franka_robottasks", "*"),
        "handwriting": ("franka_handwriting2d", "*"), "adroit": ("adroit_door", "action_*")}


def fast(build, train, test):
    """(bits per value, error, None or what was compared with the published code)"""
    rows = numpy.concatenate(train)
    low, high = numpy.quantile(rows, 0.01, axis=0), numpy.quantile(rows, 0.99, axis=0)
    chunks, unseen = fast_peer.chunks_of(train, low, high), fast_peer.chunks_of(test, low, high)
    compared = None
    try:
        _, _, merges, same, lost = fast_peer.compare(build, chunks, unseen)
        compared = f"{merges} merges and the ids of {same} chunks are the published code's; it cannot decode {lost} more"
    except ImportError:
        pass
    ours = fast_peer.Ours(build, chunks, fast_peer.Form(ctypes.sizeof(fast_peer.Form), fast_peer.HORIZON,
                                                        chunks.shape[2], 0, 0, 0))
    tokens, squares, values = 0, 0.0, 0
    for signal in test:
        steps = len(signal)
        for chunk in fast_peer.chunks_of([signal], low, high):
            ids = ours.encode(chunk)
            off = (ours.decode(ids).astype(numpy.float64) - chunk)[:steps]  # a held step is no value of the signal
            tokens, squares, values = tokens + len(ids), squares + float((off ** 2).sum()), values + off.size
            steps -= len(chunk)
    return 10 * tokens / values, (squares / values) ** 0.5, compared


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    program = str(pathlib.Path(build) / "bench/bench_action")
    figures, table, peers = {}, [], {}
    for name, (folder, pattern) in SETS.items():
        files = sorted((pathlib.Path(data) / "actions" / folder).glob(pattern + ".npy"))
        if not files:
            sys.exit(f"bench action: no actions in {data}/actions/{folder}")
        train, test = [f for i, f in enumerate(files) if i % 5 != 4], files[4::5]
        out = subprocess.run([program, "quality", "action", *map(str, train), "--", *map(str, test)], check=True,
                             capture_output=True)
        result = json.loads(out.stdout)
        fast_bits, fast_error, compared = fast(build, fast_peer.load(train), fast_peer.load(test))
        bins = result["bins"][0]["rmse"]
        table += [f"{name}: {len(test)} of {len(files)} demonstrations held out, fitted in {result['fit_seconds']:.1f} s",
                  f"{'codec':>14} | " + " ".join(f"{r['bits']:9.2f}" for r in result["fitted"]) + "  bits per value"]
        for codec in ("fitted", "fitted_beam", "universal"):
            table.append(f"{codec:>14} | " + " ".join(f"{r['rmse']:9.5f}" for r in result[codec]))
        table.append(f"{'':>14} | 256 bins {bins:.5f}, quantile bins {result['quantile_bins'][0]['rmse']:.5f} at 8 bits; "
                     f"FAST {fast_error:.5f} at {fast_bits:.2f} bits")
        if compared:
            table.append(f"{'':>14} | FAST: {compared}")
        table.append("")
        by_levels = {r["levels"]: r["rmse"] for r in result["fitted"]}
        affordable = [r["levels"] for r in result["fitted"] if r["bits"] <= fast_bits]
        figures[f"{name}_rmse_ratio_vs_bins_quarter_bits"] = by_levels[4] / bins
        if name == "adroit":
            figures[f"{name}_rmse_ratio_vs_bins_half_bits"] = by_levels[8] / bins
        figures[f"{name}_rmse_ratio_vs_fast_same_bits"] = by_levels[max(affordable)] / fast_error
        figures[f"{name}_universal_vs_fitted"] = max(u["rmse"] / f["rmse"] for u, f in
                                                     zip(result["universal"], result["fitted"]))
    out = subprocess.run([program, "time", "10000" if quick else "1000000"], check=True, capture_output=True)
    times = json.loads(out.stdout)
    figures["chunk_us_median"] = max(times[w]["median_us"] for w in ("encode", "decode"))
    figures["chunk_us_worst"] = max(times[w]["worst_us"] for w in ("encode", "decode"))
    table.append(f"a chunk of 16 x 7 to {times['codes']} codes and back, {times['calls']} calls: " + "; ".join(
        f"{w} {times[w]['median_us']:.1f} us median, {times[w]['p99_us']:.1f} 99 %, {times[w]['worst_us']:.0f} worst"
        for w in ("encode", "decode")))
    try:
        import scipy
        import tokenizers
        peers = {"tokenizers": tokenizers.__version__, "scipy": scipy.__version__}
    except ImportError:
        pass
    return figures, table, peers

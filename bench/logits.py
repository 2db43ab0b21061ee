# SPDX-License-Identifier: Apache-2.0
"""bench/run logits: heads of language models beside the dense layer, in quality and in speed.

The real layer is data/lm/code_lm (V = 16,384, d = 256, F16). Heads are built with the first half of its hidden states and measured by
`vqlogits eval` on the second half, tied and rvq ones with several numbers of codes; the setting at which each comes within 4 % of
the dense perplexity is printed. The large one is made in memory by bench_logits (V = 128,256, d = 4,096 of float32, 2.1 GB; bench_logits_layer.c
says how, and what it has in common with real ones), and timed beside OpenBLAS in the same process; states for timing and recall are others
than those given to the build.

Figures: rerank_ppl_ratio, rerank_recall1, rerank_bytes_ratio (ours over dense F16's) of the default rerank head of the real layer;
rerank_speedup_b1, rerank_speedup_b16 (top 50, rows F16, over float32 sgemv and sgemm), with the fewest of the tried probes at which
recall@1 is 99 %, which is rerank_large_recall1 then; tied_speedup (K = V / 100 in F16, top 50,
over sgemv), dense_bandwidth_share (of the measured reading speed, float32, batch 1), dense_b16_vs_openblas (our speed over sgemm's),
dense_f16_vs_f32 (speeds).
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import search

LARGE, SMALL = ("128256", "4096", "1"), ("16384", "1024", "0.5")
TIED = (512, 1024, 2048, 4096, 8192, 12288)


def call(*command, environment=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"bench logits: {done.stderr.strip()}")
    return done.stdout


def real(build, data, quick):
    """(results of vqlogits eval, with what each head was built with)"""
    program, layer = build / "bin/vqlogits", data / "lm/code_lm/head.safetensors"
    states = data / "lm/code_lm/states.safetensors"
    if not layer.exists():
        sys.exit(f"bench logits: no {layer}")
    wanted = [("dense i8", ["--mode", "dense", "--storage", "i8"]), ("rerank", []),
              ("rerank, rows i8", ["--storage", "i8"])]
    wanted += [(f"tied {k}", ["--mode", "tied", "--codes", k, "--counts", f"{layer}:count"]) for k in TIED]
    wanted += [(f"rvq {levels} x {width}", ["--mode", "rvq", "--levels", levels, "--width", width])
               for levels, width in ((1, 8), (2, 8), (3, 8), (4, 8), (2, 4))]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options) in enumerate(wanted[:4] if quick else wanted):
            head = pathlib.Path(folder, f"{number}.safetensors")
            if "dense" not in options:
                options = [*options, "--states", f"{states}:hidden", "--use", ":4096"]
            call(program, "build", f"{layer}:rows", "-q", "-o", head, *options)
            probes = ["--probes", "sweep"] if name == "rerank" and not quick else []
            runs = [[]] + ([probes] if probes else [])
            for extra in runs:
                told = json.loads(call(program, "eval", head, "--reference", f"{layer}:rows", "--states", f"{states}:hidden",
                                       "--targets", f"{states}:target", "--use", "4096:", "--json", *extra))
                for result in told["results"]:
                    label = name if not extra else f"{name}, {result['probes']} probed"
                    results.append((label, result))
    return told["perplexity"], results


def table_of(perplexity, results):
    lines = [f"code_lm, 4096 states that the build has not seen; dense perplexity {perplexity:.4f}",
             f"{'head':<24} {'ppl ratio':>9} {'KL nats':>9} {'recall@1':>9} {'@10':>9} {'of bytes':>9} {'rows':>8} {'us/token':>9}"]
    for name, r in results:
        lines.append(f"{name:<24} {r['perplexity_ratio']:9.4f} {r['kl']:9.5f} {r['recall_1']:9.3%} {r['recall_10']:9.3%} "
                     f"{r['bytes_ratio']:9.2%} {r['rows_per_token']:8.0f} {1e6 * r['seconds_per_token']:9.1f}")
    for mode in ("tied", "rvq"):
        within = [(r["bytes_ratio"], name) for name, r in results
                  if name.startswith(mode) and r["perplexity_ratio"] <= 1.04]
        if any(name.startswith(mode) for name, _ in results):
            lines.append(f"{mode} comes within 4 % of dense with " + (min(within)[1] if within else "none of these"))
    return lines


def large(build, quick):
    # Debian's OpenBLAS is as old as faiss's and takes newer processors for a Prescott, too.
    return json.loads(call(build / "bench/bench_logits", *(SMALL if quick else LARGE),
                           environment=search.environments("faiss")[0]))


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    build, data = pathlib.Path(build), pathlib.Path(data)
    perplexity, results = real(build, data, quick)
    table = table_of(perplexity, results)
    rerank = dict(reversed(results))["rerank"]
    figures = {"rerank_ppl_ratio": rerank["perplexity_ratio"], "rerank_recall1": rerank["recall_1"],
               "rerank_bytes_ratio": rerank["bytes_ratio"]}
    made = large(build, quick)
    matrix = 4 * made["v"] * made["d"]
    table += ["", f"made layer, V = {made['v']}, d = {made['d']}: {matrix / made['read_s'] / 1e9:.1f} GB/s can be read; top 50, ms per token",
              f"{'':<12} {'batch 1':>10} {'batch 16':>10} {'recall@1':>9} {'MB read':>9} {'codes':>7} {'probes':>7} {'built s':>8}"]
    if "sgemv_s" in made:
        table.append(f"{'OpenBLAS':<12} {1e3 * made['sgemv_s']:10.3f} {1e3 * made['sgemm_s']:10.3f}  (all logits, float32)")
    for name in ("dense_f32", "dense_f16"):
        logits = made[name + "_logits"]
        table.append(f"{name:<12} {1e3 * logits['b1_s']:10.3f} {1e3 * logits['b16_s']:10.3f}  (all logits)")
    for name, r in made.items():
        if isinstance(r, dict) and "topk_b1_s" in r:
            table.append(f"{name:<12} {1e3 * r['topk_b1_s']:10.3f} {1e3 * r['topk_b16_s']:10.3f} {r['recall1']:9.2%} "
                         f"{r['bytes'] / 1e6:9.2f} {r['codes']:7} {r['probes']:7} {r['build_s']:8.1f}")
    figures["dense_bandwidth_share"] = made["read_s"] / made["dense_f32_logits"]["b1_s"]
    figures["dense_f16_vs_f32"] = made["dense_f32_logits"]["b1_s"] / made["dense_f16_logits"]["b1_s"]
    good = min((r for name, r in made.items() if name.startswith("rerank") and r["recall1"] >= 0.99),
               key=lambda r: r["probes"], default=made["rerank"])
    figures["rerank_large_recall1"] = good["recall1"]
    table.append(f"rerank reaches recall@1 of 99 % with {good['probes']} probes")
    if "sgemv_s" not in made:
        table.append("OpenBLAS is absent (bench/README.md says how to install it): no speedups")
        return figures, table, {}
    if made["difference"] > 1e-5:
        sys.exit(f"bench logits: our logits differ from OpenBLAS's by {made['difference']:.2g} of the largest")
    figures["dense_b16_vs_openblas"] = made["sgemm_s"] / made["dense_f32_logits"]["b16_s"]
    figures["rerank_speedup_b1"] = made["sgemv_s"] / good["topk_b1_s"]
    figures["rerank_speedup_b16"] = made["sgemm_s"] / good["topk_b16_s"]
    figures["tied_speedup"] = made["sgemv_s"] / made["tied"]["topk_b1_s"]
    return figures, table, {"OpenBLAS": made["openblas"]}

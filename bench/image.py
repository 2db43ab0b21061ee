# SPDX-License-Identifier: Apache-2.0
"""bench/run image: the image codec on kodak, beside JPEG and, as the honest horizon, WebP and AVIF.

Two kinds of settings: a number of levels, every code in its ten bits, as `vqenc --levels` makes them; and a lambda, with a
beam of 8 and entropy coding, as `vqenc --lambda L --beam 8` does.

Figures: psnr_default, bpp_default; psnr_at_0p15, bpp_at_0p15, jpeg_psnr_at_0p15 and the same at 0p25 (the lambda whose mean
is nearest 0.15 or 0.25 bit per pixel, and baseline JPEG, optimised Huffman, 4:2:0, of at least the same size per image),
encode_mp_per_s (PNG file to token bytes), encode_rate_aware_mp_per_s (samples to token bytes, lambda 0.02, beam 8) and
decode_mp_per_s (tokens to samples, without writing the PNG). Bits count every byte of the file.
"""
import json
import pathlib
import subprocess
import sys

import image_peers


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    files = sorted((pathlib.Path(data) / "images/kodak").glob("*.png"))
    if not files:
        sys.exit(f"bench image: no pictures in {data}/images/kodak")
    if quick:
        files = files[::6]
    command = [str(pathlib.Path(build) / "bench/bench_image"), "--rounds", "1" if quick else "5"]
    out = subprocess.run(command + [str(f) for f in files], check=True, capture_output=True)
    ours = json.loads(out.stdout)
    images, seconds = ours["images"], ours["seconds"]
    levels = sorted(level["levels"] for level in images[0]["levels"])

    def of(image, key):
        kind, value = key
        return next(s for s in image["levels" if kind == "levels" else "rates"] if s[kind] == value)

    keys = [("levels", n) for n in levels] + [("lambda", r["lambda"]) for r in images[0]["rates"]]
    rows = {}
    for key in keys:
        rows[key] = {
            "bpp": mean(8 * of(i, key)["bytes"] / i["pixels"] for i in images),
            "psnr": mean(of(i, key)["psnr"] for i in images),
            "ms_ssim": mean(of(i, key)["ms_ssim"] for i in images),
        }
    default = ("levels", ours["default_levels"])
    nearest = {at: min((k for k in keys if k[0] == "lambda"), key=lambda k: abs(rows[k]["bpp"] - at))
               for at in (0.15, 0.25)}
    table = [f"kodak, {len(files)} images, mean of the images; peers of at least the same size (JPEG) or nearest to it",
             f"{'setting':>12} {'bpp':>6} {'PSNR':>6} {'MS-SSIM':>7} | "
             + " | ".join(f"{p:>4} {'bpp':>6} {'PSNR':>6} {'MS-SSIM':>7}" for p in ("JPEG", "WebP", "AVIF"))]
    jpeg = {}
    shown = keys if not quick else [default] + sorted(set(nearest.values()))
    for key in shown:
        targets = {str(f): of(i, key)["bytes"] for f, i in zip(files, images)}
        peers = image_peers.compare(targets)
        line = (f"{key[0] + ' ' + str(key[1]):>12} {rows[key]['bpp']:6.3f} {rows[key]['psnr']:6.2f} "
                f"{rows[key]['ms_ssim']:7.4f}")
        for name in ("jpeg", "webp", "avif"):
            peer = peers.get(name)
            line += " | " + (f"     {peer['bpp']:6.3f} {peer['psnr']:6.2f} {peer['ms_ssim']:7.4f}" if peer
                             else f"{'absent':>26}")
        table.append(line + ("   <- default" if key == default else ""))
        jpeg[key] = peers["jpeg"]["psnr"]
    pixels = sum(i["pixels"] for i in images)
    encode = seconds["png_read"] + seconds["encode"] + seconds["serialize"]
    figures = {
        "psnr_default": rows[default]["psnr"],
        "bpp_default": rows[default]["bpp"],
        "ms_ssim_default": rows[default]["ms_ssim"],
        "psnr_at_0p15": rows[nearest[0.15]]["psnr"],
        "bpp_at_0p15": rows[nearest[0.15]]["bpp"],
        "jpeg_psnr_at_0p15": jpeg[nearest[0.15]],
        "psnr_at_0p25": rows[nearest[0.25]]["psnr"],
        "bpp_at_0p25": rows[nearest[0.25]]["bpp"],
        "jpeg_psnr_at_0p25": jpeg[nearest[0.25]],
        "encode_mp_per_s": pixels / encode / 1e6,
        "encode_rate_aware_mp_per_s": pixels / seconds["rate_aware"] / 1e6,
        "decode_mp_per_s": pixels / seconds["decode"] / 1e6,
        "share_png": seconds["png_read"] / encode,
        "share_search": seconds["search"] / encode,
        "share_transform": seconds["transform"] / encode,
    }
    table.append(f"encode {figures['encode_mp_per_s']:.1f} MP/s on {ours['threads']} threads, PNG file to token bytes: "
                 f"{100 * figures['share_png']:.0f} % PNG, {100 * figures['share_transform']:.0f} % transform, "
                 f"{100 * figures['share_search']:.0f} % search; decode {figures['decode_mp_per_s']:.1f} MP/s, "
                 f"PNG writing {pixels / seconds['png_write'] / 1e6:.1f} MP/s; "
                 f"rate-aware, beam 8: {figures['encode_rate_aware_mp_per_s']:.2f} MP/s from samples to token bytes")
    return figures, table, image_peers.versions()

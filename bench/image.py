# SPDX-License-Identifier: Apache-2.0
"""bench/run image: the image codec on kodak, beside JPEG and, as the honest horizon, WebP and AVIF.

Figures: psnr_default, bpp_default, psnr_at_0p15 (the setting nearest 0.15 bit per pixel), jpeg_psnr_at_0p15
(baseline JPEG, optimised Huffman, 4:2:0, of at least the same size per image), encode_mp_per_s (PNG file to
token bytes) and decode_mp_per_s (tokens to samples, without writing the PNG). Bits count every byte of the file.
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

    def setting(image, n):
        return next(level for level in image["levels"] if level["levels"] == n)

    rows = {}
    for n in levels:
        rows[n] = {
            "bpp": mean(8 * setting(i, n)["bytes"] / i["pixels"] for i in images),
            "psnr": mean(setting(i, n)["psnr"] for i in images),
            "ms_ssim": mean(setting(i, n)["ms_ssim"] for i in images),
        }
    default = ours["default_levels"]
    nearest = min(levels, key=lambda n: abs(rows[n]["bpp"] - 0.15))
    table = [f"kodak, {len(files)} images, mean of the images; peers of at least the same size (JPEG) or nearest to it",
             f"{'levels':>6} {'bpp':>6} {'PSNR':>6} {'MS-SSIM':>7} | "
             + " | ".join(f"{p:>4} {'bpp':>6} {'PSNR':>6} {'MS-SSIM':>7}" for p in ("JPEG", "WebP", "AVIF"))]
    jpeg_at_nearest = None
    shown = levels if not quick else sorted({nearest, default})
    for n in shown:
        targets = {str(f): setting(i, n)["bytes"] for f, i in zip(files, images)}
        peers = image_peers.compare(targets)
        line = f"{n:>6} {rows[n]['bpp']:6.3f} {rows[n]['psnr']:6.2f} {rows[n]['ms_ssim']:7.4f}"
        for name in ("jpeg", "webp", "avif"):
            peer = peers.get(name)
            line += " | " + (f"     {peer['bpp']:6.3f} {peer['psnr']:6.2f} {peer['ms_ssim']:7.4f}" if peer
                             else f"{'absent':>26}")
        table.append(line + ("   <- default" if n == default else ""))
        if n == nearest:
            jpeg_at_nearest = peers["jpeg"]["psnr"]
    pixels = sum(i["pixels"] for i in images)
    encode = seconds["png_read"] + seconds["encode"] + seconds["serialize"]
    figures = {
        "psnr_default": rows[default]["psnr"],
        "bpp_default": rows[default]["bpp"],
        "ms_ssim_default": rows[default]["ms_ssim"],
        "psnr_at_0p15": rows[nearest]["psnr"],
        "bpp_at_0p15": rows[nearest]["bpp"],
        "jpeg_psnr_at_0p15": jpeg_at_nearest,
        "encode_mp_per_s": pixels / encode / 1e6,
        "decode_mp_per_s": pixels / seconds["decode"] / 1e6,
        "share_png": seconds["png_read"] / encode,
        "share_search": seconds["search"] / encode,
        "share_transform": seconds["transform"] / encode,
    }
    table.append(f"encode {figures['encode_mp_per_s']:.1f} MP/s on {ours['threads']} threads, PNG file to token bytes: "
                 f"{100 * figures['share_png']:.0f} % PNG, {100 * figures['share_transform']:.0f} % transform, "
                 f"{100 * figures['share_search']:.0f} % search; decode {figures['decode_mp_per_s']:.1f} MP/s, "
                 f"PNG writing {pixels / seconds['png_write'] / 1e6:.1f} MP/s")
    return figures, table, image_peers.versions()

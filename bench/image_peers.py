#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""JPEG, WebP and AVIF at given sizes: the peers of bench/run image.

    bench/image_peers.py [--json] --bpp 0.15 PICTURE...
    bench/image_peers.py [--json] --sizes '{"photo.png": 7372}'

JPEG is baseline with optimised Huffman tables and 4:2:0, at the lowest quality that is not smaller than the target (so the
peer never has fewer bytes, but for a target beyond quality 100); WebP (method 6) and AVIF are at the quality
whose size is nearest. Every byte of the file counts. PSNR is of RGB in 8 bits, MS-SSIM of luma, both as
codecs/image_metrics.h defines them.
"""
import argparse
import functools
import io
import json
import math
import pathlib
import sys

import numpy
import PIL
from PIL import Image, features

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
MIN_SIDE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
QUALITIES = range(101)
OPTIONS = {
    "jpeg": {"format": "JPEG", "optimize": True, "progressive": False, "subsampling": "4:2:0"},
    "webp": {"format": "WEBP", "method": 6},
    "avif": {"format": "AVIF"},
}


@functools.lru_cache(maxsize=None)
def load(path):
    with Image.open(path) as image:
        return image.convert("RGB")


@functools.lru_cache(maxsize=None)
def encode(path, peer, quality):
    """The bytes of the picture's file at a quality."""
    out = io.BytesIO()
    load(path).save(out, quality=quality, **OPTIONS[peer])
    return out.getvalue()


def quality_for(path, peer, target):
    """JPEG: the smallest file of at least `target` bytes. Others: the nearest."""
    size = {q: len(encode(path, peer, q)) for q in search(path, peer, target)}
    if peer == "jpeg":
        enough = [q for q in size if size[q] >= target]
        return min(enough, key=lambda q: (size[q], q)) if enough else max(size, key=size.get)
    return min(size, key=lambda q: (abs(size[q] - target), q))


def search(path, peer, target):
    """The qualities to choose from: for JPEG, which is quick, all; else those around where the size passes `target`."""
    if peer == "jpeg":
        return QUALITIES[1:]
    low, high = QUALITIES[0], QUALITIES[-1]
    while high - low > 1:
        middle = (low + high) // 2
        if len(encode(path, peer, middle)) < target:
            low = middle
        else:
            high = middle
    return low, high


def luma(rgb):
    return rgb @ numpy.array([0.299, 0.587, 0.114])


def psnr(a, b):
    mse = numpy.mean((a - b) ** 2)
    return math.inf if mse == 0 else -10 * math.log10(mse)


def smooth(plane):
    """The 11 x 11 Gaussian window of 1.5 where it lies wholly inside."""
    window = numpy.exp(-((numpy.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    height, width = plane.shape
    rows = sum(w * plane[i:height - WINDOW + 1 + i] for i, w in enumerate(window))
    return sum(w * rows[:, i:width - WINDOW + 1 + i] for i, w in enumerate(window))


def ssim_means(x, y):
    """Mean SSIM and mean of its contrast-structure factor."""
    c1, c2 = 0.01**2, 0.03**2
    mx, my = smooth(x), smooth(y)
    vx, vy, cov = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    structure = (2 * cov + c2) / (vx + vy + c2)
    return numpy.mean(structure * (2 * mx * my + c1) / (mx * mx + my * my + c1)), numpy.mean(structure)


def halve(plane):
    plane = plane[:plane.shape[0] // 2 * 2, :plane.shape[1] // 2 * 2]
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4


def ssim(x, y):
    return float(ssim_means(x, y)[0])


def ms_ssim(x, y):
    """NaN if a side is below 161."""
    if min(x.shape) < MIN_SIDE:
        return math.nan
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        whole, structure = ssim_means(x, y)
        product *= max(whole if scale == len(WEIGHTS) - 1 else structure, 0) ** weight
        x, y = halve(x), halve(y)
    return float(product)


def peer_result(path, peer, target):
    """Quality, bytes, bits per pixel, PSNR and MS-SSIM of one picture through one peer."""
    quality = quality_for(path, peer, target)
    data = encode(path, peer, quality)
    image = load(path)
    reference = numpy.asarray(image, numpy.float64) / 255
    with Image.open(io.BytesIO(data)) as decoded:
        other = numpy.asarray(decoded.convert("RGB"), numpy.float64) / 255
    return {"quality": quality, "bytes": len(data), "bpp": 8 * len(data) / (image.width * image.height),
            "psnr": psnr(reference, other), "ms_ssim": ms_ssim(luma(reference), luma(other))}


def available():
    """The peers that this Pillow can write; JPEG must be one."""
    return ["jpeg"] + [p for p in ("webp", "avif") if features.check(p)]


def compare(targets):
    """{path: bytes} to {peer: {bpp, psnr, ms_ssim: mean of the images, images: {path: result}}}. A peer that Pillow
    lacks is absent."""
    peers = {}
    for peer in available():
        images = {path: peer_result(path, peer, target) for path, target in targets.items()}
        peers[peer] = {name: sum(r[name] for r in images.values()) / len(images)
                       for name in ("bpp", "psnr", "ms_ssim")}
        peers[peer]["images"] = images
    return peers


def versions():
    """{peer: version} of what compare() runs."""
    found = {"Pillow": PIL.__version__, "libjpeg-turbo": features.version("libjpeg_turbo") or "absent"}
    for name, feature in (("libwebp", "webp"), ("libavif", "avif")):
        found[name] = features.version(feature) or "absent"
    return found


def main():
    parser = argparse.ArgumentParser(prog="bench/image_peers.py",
                                     description="JPEG, WebP and AVIF at given sizes.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--bpp", type=float, help="the same bits per pixel for every PICTURE")
    which.add_argument("--sizes", type=json.loads, help="a JSON object {picture: bytes}")
    parser.add_argument("--json", action="store_true", help="every picture's figures, for programs")
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="files, or folders of .png files")
    args = parser.parse_args()
    if bool(args.pictures) != (args.bpp is not None):
        parser.error("--bpp goes with pictures, --sizes without")
    targets = args.sizes
    if args.bpp is not None:
        names = [pathlib.Path(p) for p in args.pictures]
        files = [f for n in names for f in (sorted(n.glob("*.png")) if n.is_dir() else [n])]
        targets = {str(f): round(args.bpp * load(str(f)).width * load(str(f)).height / 8) for f in files}
    if not targets:
        sys.exit("bench/image_peers.py: no pictures")
    peers = compare(targets)
    if args.json:
        print(json.dumps({"peers": peers, "versions": versions()}, indent=2))
        return
    print(f"{'peer':5} {'picture':16} {'quality':>7} {'bytes':>8} {'bpp':>7} {'PSNR':>6} {'MS-SSIM':>7}")
    for peer, result in peers.items():
        for path, image in result["images"].items():
            print(f"{peer:5} {pathlib.Path(path).name[:16]:16} {image['quality']:7} {image['bytes']:8} "
                  f"{image['bpp']:7.4f} {image['psnr']:6.2f} {image['ms_ssim']:7.4f}")
        print(f"{peer:5} {'mean':16} {'':7} {'':8} {result['bpp']:7.4f} {result['psnr']:6.2f} "
              f"{result['ms_ssim']:7.4f}")
    print(", ".join(f"{name} {version}" for name, version in versions().items()))


if __name__ == "__main__":
    main()

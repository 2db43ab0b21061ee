# SPDX-License-Identifier: Apache-2.0
"""What JPEG, WebP and AVIF (through Pillow) make of pictures at given sizes in bytes.

Baseline JPEG (optimised Huffman tables, 4:2:0) of the lowest quality whose file is at least as large as asked for, so
that it never has fewer bytes than libvq; WebP (method 6) and AVIF of the quality whose size is nearest.
PSNR is over RGB in 8 bits; MS-SSIM is that of codecs/image_metrics.h.

    image_peers.py BYTES PICTURE...        prints the means as JSON
"""
import functools
import io
import json
import sys

import numpy as np
import PIL
from PIL import Image, features
from scipy.ndimage import correlate1d

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(a, b):
    mse = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255 ** 2 / mse)) if mse else float("inf")


def _filter(plane):
    x = np.arange(11) - 5
    g = np.exp(-x * x / (2 * 1.5 ** 2))
    g /= g.sum()
    return correlate1d(correlate1d(plane, g, axis=0), g, axis=1)[5:-5, 5:-5]


def _ssim(x, y):
    mx, my = _filter(x), _filter(y)
    vx, vy, cov = _filter(x * x) - mx * mx, _filter(y * y) - my * my, _filter(x * y) - mx * my
    cs = (2 * cov + 9e-4) / (vx + vy + 9e-4)
    return (cs * (2 * mx * my + 1e-4) / (mx * mx + my * my + 1e-4)).mean(), cs.mean()


def _halve(p):
    p = p[:p.shape[0] // 2 * 2, :p.shape[1] // 2 * 2]
    return (p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4


def ms_ssim(a, b):
    x, y = (p.astype(np.float64) @ (0.299, 0.587, 0.114) / 255 for p in (a, b))
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        ssim, cs = _ssim(x, y)
        product *= max(ssim if scale == len(WEIGHTS) - 1 else cs, 0) ** weight
        x, y = _halve(x), _halve(y)
    return float(product)


@functools.lru_cache(maxsize=None)
def _encode(path, kind, quality):
    options = {"jpeg": {"optimize": True, "subsampling": "4:2:0", "progressive": False},
               "webp": {"method": 6}, "avif": {"speed": 6}}[kind]
    out = io.BytesIO()
    _picture(path).save(out, kind.upper(), quality=quality, **options)
    return out.getvalue()


@functools.lru_cache(maxsize=64)
def _picture(path):
    return Image.open(path).convert("RGB")


def _at_least(path, kind, target):
    """The lowest quality whose file has at least `target` bytes; sizes rise with quality."""
    low, high = 0, 100
    while low < high:
        middle = (low + high) // 2
        if len(_encode(path, kind, middle)) >= target:
            high = middle
        else:
            low = middle + 1
    return low


def _file(path, kind, target):
    quality = _at_least(path, kind, target)
    data = _encode(path, kind, quality)
    if kind != "jpeg" and quality > 0:
        below = _encode(path, kind, quality - 1)
        if target - len(below) < len(data) - target:
            return below
    return data


def compare(targets):
    """{path: bytes} -> {"jpeg": {"bpp", "psnr", "ms_ssim"}, "webp": ..., "avif": ...}, means over the pictures."""
    kinds = ["jpeg", "webp"] + (["avif"] if features.check("avif") else [])
    result = {}
    for kind in kinds:
        rows = []
        for path, target in targets.items():
            data = _file(path, kind, target)
            original = np.asarray(_picture(path))
            decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            pixels = original.shape[0] * original.shape[1]
            rows.append((8 * len(data) / pixels, psnr(original, decoded), ms_ssim(original, decoded)))
        result[kind] = dict(zip(("bpp", "psnr", "ms_ssim"), np.mean(rows, axis=0).tolist()))
    return result


def versions():
    found = {"Pillow": PIL.__version__}
    for name in ("libjpeg_turbo", "webp", "avif"):
        version = features.version(name)
        if version:
            found[name] = version
    return found


if __name__ == "__main__":
    print(json.dumps(compare({path: int(sys.argv[1]) for path in sys.argv[2:]}), indent=2))

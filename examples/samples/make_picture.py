#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Render picture.png: a mountain lake in the evening, 384x256.

A height field of ridged noise is marched by rays, lit by a low sun, veiled by air and mirrored in water.
Needs NumPy. The noise has a fixed seed: the same picture comes out every time.

    python3 make_picture.py picture.png
"""
import struct
import sys
import zlib

import numpy as np

WIDTH, HEIGHT, SUPERSAMPLE = 384, 256, 2
GRID, CELL = 1024, 0.05  # the height field: cells and their size
SUN = np.array([-0.62, 0.30, 0.72])
SUN /= np.linalg.norm(SUN)


def value_noise(rng, shape, cells):
    """Smooth periodic noise in [-1, 1] with `cells` knots to a side."""
    knots = rng.uniform(-1, 1, (cells, cells))
    axes = []
    for n in shape:
        t = np.arange(n) * (cells / n)
        i = t.astype(int)
        f = t - i
        axes.append((i % cells, (i + 1) % cells, f * f * f * (f * (f * 6 - 15) + 10)))
    (y0, y1, fy), (x0, x1, fx) = axes
    fy, fx = fy[:, None], fx[None, :]
    top = knots[np.ix_(y0, x0)] * (1 - fx) + knots[np.ix_(y0, x1)] * fx
    bottom = knots[np.ix_(y1, x0)] * (1 - fx) + knots[np.ix_(y1, x1)] * fx
    return top * (1 - fy) + bottom * fy


def fractal(rng, n, first, octaves, gain, ridged):
    total, amplitude = np.zeros((n, n)), 1.0
    for octave in range(octaves):
        layer = value_noise(rng, (n, n), first << octave)
        total += amplitude * ((1 - np.abs(layer)) * 2 - 1 if ridged else layer)
        amplitude *= gain
    return total


def sample(field, x, z):
    """Bilinear, periodic; x and z in units of the scene."""
    u, v = x / CELL, z / CELL
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    fu, fv = u - i, v - j
    i, j = i % GRID, j % GRID
    i1, j1 = (i + 1) % GRID, (j + 1) % GRID
    return ((field[j, i] * (1 - fu) + field[j, i1] * fu) * (1 - fv)
            + (field[j1, i] * (1 - fu) + field[j1, i1] * fu) * fv)


def terrain(rng):
    ridges = fractal(rng, GRID, 5, 8, 0.47, True)
    hills = fractal(rng, GRID, 4, 7, 0.5, False)
    z, x = np.mgrid[0:GRID, 0:GRID] * CELL
    far = np.clip((z - 13) / 16, 0, 1)
    side = np.abs(x - 25.6)
    valley = np.clip((side - 1.5 - 0.10 * z) / 9, 0, 1)
    rise = np.clip(1.25 * far + 0.9 * valley ** 1.4 * np.clip(z / 10, 0.25, 1), 0, 1.5)
    return rise * (2.3 + 1.9 * ridges) + 0.30 * hills - 0.55


def sky(direction, clouds):
    """Colour of the sky: warm at the horizon, blue above, with a sun and high clouds."""
    up = np.clip(direction[..., 1], 0, 1)[..., None]
    toward = np.clip(direction @ SUN, 0, 1)[..., None]
    low, mid, high = np.array([1.0, .74, .50]), np.array([.66, .70, .84]), np.array([.17, .32, .62])
    t, s = np.clip(up * 4.2, 0, 1), np.clip(up * 1.9 - 0.12, 0, 1)
    colour = (low * (1 - t) + mid * t) * (1 - s) + high * s
    colour = colour + toward ** 6 * np.array([.30, .16, .03]) + toward ** 900 * 3.0
    plane = 1.0 / (direction[..., 1] + 0.09)
    cover = sample(clouds, direction[..., 0] * plane * 6.5 + 14, direction[..., 2] * plane * 3.6 + 8)
    cover = np.clip(cover * 1.3 + 0.10, 0, 1)[..., None] * np.clip(up * 8, 0, 1)
    lit = np.array([1.0, .86, .74]) + toward ** 3 * np.array([.25, .10, -.04])
    shade = np.array([.62, .55, .62])
    cloud = lit * (1 - 0.5 * cover) + shade * 0.5 * cover
    return colour * (1 - cover * 0.88) + cloud * cover * 0.88


def march(height, origin, direction, floor):
    """Distance to the terrain (inf if none); rays stop at height `floor`, the water."""
    shape = direction.shape[:-1]
    hit = np.full(shape, np.inf)
    t = np.full(shape, 0.25)
    before = t.copy()
    active = np.ones(shape, bool)
    for _ in range(330):
        index = np.nonzero(active)
        if not len(index[0]):
            break
        d, distance = direction[index], t[index]
        p = origin[index] + d * distance[:, None] if origin.ndim > 1 else origin + d * distance[:, None]
        gap = p[:, 1] - np.maximum(sample(height, p[:, 0], p[:, 2]), floor)
        below = gap < 0
        hit[tuple(i[below] for i in index)] = 0.5 * (distance + before[index])[below]
        before[index] = distance
        t[index] = distance + np.clip(0.42 * gap, 0.012 + 0.0022 * distance, 1.0)
        active[index] = ~below & (t[index] < 46) & (p[:, 1] < 7)
    return hit


def shade(height, detail, clouds, origin, direction, distance):
    """Colour of terrain points with snow, rock, forest, shadow and air."""
    safe = np.where(np.isfinite(distance), distance, 1.0)[..., None]
    p = origin + direction * safe
    e = 0.04
    x, z = p[..., 0], p[..., 2]
    slope_x = (sample(height, x + e, z) - sample(height, x - e, z)) / (2 * e)
    slope_z = (sample(height, x, z + e) - sample(height, x, z - e)) / (2 * e)
    normal = np.stack([-slope_x, np.ones_like(slope_x), -slope_z], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    grain = sample(detail, x * 3.1, z * 3.1)
    level = p[..., 1]

    rock = np.array([.36, .30, .27]) * (1 + 0.35 * grain[..., None])
    forest = np.array([.085, .125, .060]) * (1 + 0.75 * grain[..., None])
    meadow = np.array([.29, .26, .10]) * (1 + 0.45 * grain[..., None])
    snow = np.array([.93, .95, 1.0]) * (1 + 0.05 * grain[..., None])
    flat = normal[..., 1]
    wood = np.clip((1.5 + 0.5 * grain - level) * 2.2, 0, 1)[..., None]
    open_ground = np.clip((grain - 0.05) * 2.2, 0, 1)[..., None] * np.clip((flat - .8) * 6, 0, 1)[..., None]
    white = (np.clip((level - 1.9 - 0.45 * grain) * 1.6, 0, 1) * np.clip((flat - 0.50) * 4, 0, 1))[..., None]
    albedo = rock * (1 - wood) + (forest * (1 - open_ground) + meadow * open_ground) * wood
    albedo = albedo * (1 - white) + snow * white

    shadow_origin = p + normal * 0.03
    lit = np.isinf(march(height, shadow_origin.reshape(-1, 3),
                         np.broadcast_to(SUN, p.shape).reshape(-1, 3), -9.0)).reshape(level.shape)
    sun = (np.clip(normal @ SUN, 0, 1) * lit)[..., None]
    light = sun * np.array([1.75, 1.18, .70]) + (0.55 + 0.45 * flat[..., None]) * np.array([.30, .38, .54])
    colour = albedo * light
    haze = sky(np.stack([direction[..., 0], np.full_like(level, 0.045), direction[..., 2]], -1), clouds)
    air = (1 - np.exp(-safe * 0.020)) * np.exp(-0.32 * np.clip(level, 0, 9))[..., None]
    return colour * (1 - air) + haze * air * 0.92


def trace(height, detail, clouds, origin, direction):
    """Terrain or sky along each ray, without water."""
    distance = march(height, origin, direction, -9.0)
    land = shade(height, detail, clouds, origin, direction, distance)
    return np.where(np.isfinite(distance)[..., None], land, sky(direction, clouds)), distance


def conifers(image, rng, light_edge):
    """Near trees in silhouette along the lower corners, drawn in picture space."""
    rows, columns, _ = image.shape
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    trees = []
    for side in (0, 1):
        for _ in range(24):
            along = abs(rng.normal(0, 0.13))
            centre = along if side == 0 else 1 - along * 0.75
            trees.append((centre * columns, rows * (1.02 + 0.10 * rng.random()),
                          rows * (0.50 - 1.15 * along) * rng.uniform(0.62, 1.05), rng.integers(1 << 30)))
    for cx, foot, size, seed in sorted(trees, key=lambda tree: tree[1]):
        if size < rows * 0.10:
            continue
        own = np.random.Generator(np.random.PCG64(int(seed)))
        t = (y - (foot - size)) / size
        tiers = 9 + int(own.integers(5))
        teeth = 0.62 + 0.38 * ((t * tiers + own.random()) % 1.0)
        ragged = 1 + 0.22 * np.sin(x * 1.7 + own.random() * 9) * np.sin(y * 1.3 + own.random() * 9)
        half = size * 0.17 * np.clip(t, 0, 1) ** 0.85 * teeth * ragged
        inside = (t > 0) & (np.abs(x - cx) < half)
        edge = np.clip((cx - x) / np.maximum(half, 1e-6), 0, 1)[..., None]
        needle = 1 + 0.5 * np.sin(x * 2.3 + y * 1.9)[..., None] * np.sin(y * 0.9 - x * 1.1)[..., None]
        colour = np.array([.028, .040, .030]) * needle + edge ** 3 * light_edge * needle
        image[inside] = colour[inside]
    return image


def render():
    rng = np.random.Generator(np.random.PCG64(2026))
    height, detail = terrain(rng), fractal(rng, GRID, 32, 5, 0.62, False)
    clouds = fractal(rng, GRID, 6, 7, 0.55, False)
    rows, columns = HEIGHT * SUPERSAMPLE, WIDTH * SUPERSAMPLE
    y, x = np.mgrid[0:rows, 0:columns]
    direction = np.stack([(x + .5) / columns * 2 - 1, (0.40 - (y + .5) / rows) * 2 * HEIGHT / WIDTH,
                          np.full(x.shape, 1.45)], -1)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    origin = np.array([25.6, 0.62, 0.6])

    colour, distance = trace(height, detail, clouds, origin, direction)
    to_water = np.where(direction[..., 1] < -1e-4, -origin[1] / np.minimum(direction[..., 1], -1e-4), np.inf)
    wet = to_water < distance
    # The lake: what the mirrored ray sees, bent by ripples that the distance flattens.
    reach = to_water[wet]
    p = origin + direction[wet] * reach[:, None]
    calm = 0.034 / (1 + 0.22 * reach)
    normal = np.stack([calm * sample(detail, p[:, 0] * 4.0, p[:, 2] * 9.0), np.ones(len(p)),
                       calm * sample(detail, p[:, 0] * 5.0 + 7, p[:, 2] * 11.0)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    d = direction[wet]
    mirrored = d - 2 * np.sum(d * normal, -1, keepdims=True) * normal
    mirrored[:, 1] = np.abs(mirrored[:, 1])
    seen, _ = trace(height, detail, clouds, p + np.array([0, .004, 0]), mirrored)
    fresnel = (0.10 + 0.90 * (1 - np.clip(-d[:, 1], 0, 1)) ** 5)[:, None]
    deep = np.array([.030, .085, .105])
    colour[wet] = seen * (0.30 + 0.62 * fresnel) * np.array([.90, .96, 1.0]) + deep * (1 - fresnel)

    colour = conifers(colour, rng, np.array([.26, .15, .05]))
    toward = np.clip(direction @ SUN, 0, 1)[..., None]
    colour = colour + toward ** 14 * np.array([.16, .08, .02])  # glare
    colour = colour * 0.74
    colour = (colour * (2.51 * colour + .03)) / (colour * (2.43 * colour + .59) + .14)  # filmic curve
    colour = colour.reshape(HEIGHT, SUPERSAMPLE, WIDTH, SUPERSAMPLE, 3).mean((1, 3))
    return np.clip(np.clip(colour, 0, 1) ** (1 / 1.75) * 255 + 0.5, 0, 255).astype(np.uint8)


def png(pixels):
    """The bytes of a PNG, each row with the filter of the smallest sum of differences."""
    rows, columns, channels = pixels.shape
    flat = pixels.reshape(rows, columns * channels).astype(int)
    above = np.zeros(columns * channels, int)
    body = bytearray()
    for row in flat:
        left = np.concatenate([np.zeros(channels, int), row[:-channels]])
        corner = np.concatenate([np.zeros(channels, int), above[:-channels]])
        guess = left + above - corner
        a, b, c = abs(guess - left), abs(guess - above), abs(guess - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
        tried = [(row - p) % 256 for p in (0, left, above, (left + above) // 2, paeth)]
        best = min(range(5), key=lambda i: np.minimum(tried[i], 256 - tried[i]).sum())
        body += bytes([best]) + tried[best].astype(np.uint8).tobytes()
        above = row

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(body), 9))
            + chunk(b"IEND", b""))


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:
        file.write(png(render()))

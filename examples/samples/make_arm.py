#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Simulate arm.npy: a 7-joint arm that moves between poses for 20 s at 50 Hz, [1000, 7] float32, radians.

Each reach is a minimum-jerk path (Flash and Hogan 1985) that a damped servo follows; the encoder has noise.
Needs nothing but Python.

    python3 make_arm.py arm.npy
"""
import random
import struct
import sys

RATE, STEPS, JOINTS = 50, 1000, 7
LIMITS = [(-2.8, 2.8), (-1.7, 1.7), (-2.8, 2.8), (-3.0, -0.1), (-2.8, 2.8), (0.0, 3.7), (-2.8, 2.8)]


def simulate():
    random.seed(2026)
    pose = [0.0, -0.6, 0.0, -2.2, 0.0, 1.6, 0.8]
    start, goal, begun, lasts = pose[:], pose[:], 0, 1
    position, speed = pose[:], [0.0] * JOINTS
    rows = []
    for step in range(STEPS):
        if step >= begun + lasts:
            start, begun = goal, step + random.randint(0, 15)
            goal = [min(high, max(low, p + random.gauss(0, 0.16 * (high - low))))
                    for p, (low, high) in zip(pose, LIMITS)]
            farthest = max(abs(a - b) for a, b in zip(start, goal))
            lasts = max(30, round(RATE * (0.5 + 1.1 * farthest)))
        t = min(1.0, max(0.0, (step - begun) / lasts))
        share = t * t * t * (10 - 15 * t + 6 * t * t)
        row = []
        for j in range(JOINTS):
            target = start[j] + (goal[j] - start[j]) * share
            stiffness = 18.0 - 1.2 * j  # the heavy joints near the base are held harder
            for _ in range(4):
                force = stiffness ** 2 * (target - position[j]) - 1.8 * stiffness * speed[j]
                speed[j] += force / (4 * RATE)
                position[j] += speed[j] / (4 * RATE)
            row.append(position[j] + random.gauss(0, 0.0004))
        rows.append(row)
    return rows


if __name__ == "__main__":
    data = b"".join(struct.pack(f"<{JOINTS}f", *row) for row in simulate())
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({STEPS}, {JOINTS}), }}"
    header = header.ljust(-(len(header) + 11) % 64 + len(header)) + "\n"
    with open(sys.argv[1], "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)

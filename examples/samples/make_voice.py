#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Synthesise voice.wav: the vowels a e i o u on a falling melody, 2 s, 16 kHz, 16 bit, mono.

A source-filter model (Fant 1960): glottal pulses through four formant resonators. Needs nothing but Python.

    python3 make_voice.py voice.wav
"""
import math
import random
import struct
import sys
import wave

RATE, SECONDS = 16000, 2.0
# Formants of a male voice in Hz, after Peterson and Barney 1952, and their bandwidths.
VOWELS = [(730, 1090, 2440, 3400), (530, 1840, 2480, 3400), (270, 2290, 3010, 3600),
          (570, 840, 2410, 3300), (300, 870, 2240, 3200)]
BANDWIDTHS = (80, 100, 140, 200)


def blend(position):
    """Formants at a position in the sequence of vowels: held, then gliding to the next."""
    i = min(int(position), len(VOWELS) - 1)
    j = min(i + 1, len(VOWELS) - 1)
    t = max(0.0, (position - i - 0.7) / 0.3)
    t = t * t * (3 - 2 * t)
    return [a * (1 - t) + b * t for a, b in zip(VOWELS[i], VOWELS[j])]


def synthesise():
    random.seed(2026)
    samples, phase = [], 0.0
    memory = [[0.0, 0.0] for _ in BANDWIDTHS]
    before = 0.0
    count = int(RATE * SECONDS)
    for n in range(count):
        t = n / count
        pitch = 132 - 34 * t + 2.0 * math.sin(2 * math.pi * 5.2 * n / RATE)
        phase = (phase + pitch / RATE) % 1.0
        # Rosenberg's pulse: a slow opening, a fast closing, then closed; with a little breath.
        if phase < 0.40:
            flow = 0.5 * (1 - math.cos(math.pi * phase / 0.40))
        elif phase < 0.56:
            flow = math.cos(math.pi / 2 * (phase - 0.40) / 0.16)
        else:
            flow = 0.0
        value = flow - before + 0.004 * random.gauss(0, 1)
        before = flow
        for state, formant, width in zip(memory, blend(t * len(VOWELS)), BANDWIDTHS):
            radius = math.exp(-math.pi * width / RATE)
            turn = 2 * radius * math.cos(2 * math.pi * formant / RATE)
            gain = 1 - turn + radius * radius
            value = gain * value + turn * state[0] - radius * radius * state[1]
            state[1], state[0] = state[0], value
        place = t * len(VOWELS) % 1.0
        loud = min(1.0, place / 0.08) * (0.35 + 0.65 * min(1.0, (1 - place) / 0.25))
        samples.append(value * loud * min(1.0, n / 400, (count - n) / 1600))
    peak = max(map(abs, samples))
    return [round(s / peak * 26000) for s in samples]


if __name__ == "__main__":
    with wave.open(sys.argv[1], "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        pcm = synthesise()
        file.writeframes(struct.pack(f"<{len(pcm)}h", *pcm))

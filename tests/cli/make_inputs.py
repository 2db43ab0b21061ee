# SPDX-License-Identifier: Apache-2.0
"""Small inputs for the command-line tests, good and bad, made with nothing but Python."""
import base64
import math
import random
import struct
import zlib

# A grey JPEG of 8x8 pixels, baseline, made by libjpeg.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAx"
    "NDQ0Hyc5PTgyPC4zNDL/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAABf/EABkQAAEFAAAAAAAAAAAAAAAAAAAFBiIz"
    "Uf/aAAgBAQAAPwAhhINUMP/Z")


def png(width, height, colour_type, bits, rows):
    """The bytes of a PNG; `rows` are the bytes of each row, unfiltered."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def picture(width, height, channels, bits=8, opaque=False):
    """A smooth pattern with a little noise: channels 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA."""
    noise = random.Random(width * 7919 + height * 31 + channels)
    rows = []
    for y in range(height):
        values = []
        for x in range(width):
            pixel = [120 + 100 * ((x * (c + 1) // 3 + y * (3 - c) // 2) % 64) / 64 + noise.uniform(-8, 8)
                     for c in range(3)]
            colours = pixel[:1] if channels < 3 else pixel
            alpha = [] if channels % 2 else [255 if opaque else 255 * (x + y) / max(1, width + height - 2)]
            values += colours + alpha
        top = 255 if bits == 8 else 65535
        numbers = [min(top, max(0, round(v * top / 255))) for v in values]
        rows.append(bytes(numbers) if bits == 8 else struct.pack(f">{len(numbers)}H", *numbers))
    return png(width, height, {1: 0, 2: 4, 3: 2, 4: 6}[channels], bits, rows)


def npy(shape, seed, damage=None):
    noise = random.Random(seed)
    count, columns = math.prod(shape), shape[-1]
    values = [noise.gauss(0, 1) + 3 * (i // columns % 5) for i in range(count)]
    if damage is not None:
        values[damage] = float("nan")
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header = header.ljust(-(len(header) + 11) % 64 + len(header)) + "\n"
    return (b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
            + struct.pack(f"<{len(values)}f", *values))


def npy_ids(values):
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({len(values)},), }}"
    header = header.ljust(-(len(header) + 11) % 64 + len(header)) + "\n"
    return (b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
            + struct.pack(f"<{len(values)}i", *values))


def wav(seconds, rate, channels=1, seed=1):
    """A voice of sorts: a buzz whose pitch and colour change, with pauses."""
    noise = random.Random(seed)
    values, phase = [], 0.0
    for i in range(int(seconds * rate)):
        t = i / rate
        phase += (110 + 30 * math.sin(2 * math.pi * 1.3 * t)) / rate
        loud = 0.3 * max(0, math.sin(2 * math.pi * 1.7 * t + seed)) ** 0.5
        tone = sum(math.sin(2 * math.pi * h * phase) / h for h in range(1, 8 + int(8 * math.sin(3 * t) ** 2)))
        for c in range(channels):
            values.append(max(-32768, min(32767, round(32767 * loud * (0.4 + 0.2 * c) * (tone + noise.gauss(0, 0.05))))))
    data = struct.pack(f"<{len(values)}h", *values)
    return (b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
            + b"data" + struct.pack("<I", len(data)) + data)


def write_all(folder):
    rgb = picture(70, 45, 3)
    files = {
        "rgb.png": rgb,
        "one.png": picture(1, 1, 3),
        "grey.png": picture(33, 20, 1),
        "grey_alpha.png": picture(20, 33, 2),
        "rgba.png": picture(48, 40, 4),
        "opaque.png": picture(48, 40, 4, opaque=True),
        "deep.png": picture(40, 30, 3, bits=16),
        "truncated.png": rgb[:len(rgb) // 2],
        "photo.jpg": JPEG,
        "jpeg.png": JPEG,
        "webp.png": b"RIFF\x24\x00\x00\x00WEBPVP8 \x18\x00\x00\x00" + bytes(24),
        "empty.png": b"",
        "noise.png": bytes(random.Random(1).randrange(256) for _ in range(3000)),
        "voice.wav": wav(3, 16000),
        "stereo.wav": wav(1, 24000, 2, seed=2),
        "cut.wav": wav(0.2, 8000)[:1000],
        "a.npy": npy((300, 4), 1),
        "b.npy": npy((200, 4), 2),
        "wide.npy": npy((10, 5), 3),
        "nan.npy": npy((50, 4), 4, damage=41),
        "none.npy": npy((0, 4), 5),
        "column.npy": npy((300, 1), 5),
        "line.npy": npy((7,), 5),
        "targets.npy": npy_ids([i * 7 % 300 for i in range(200)]),
        "odd_ids.npy": npy_ids([1000 - 3 * i for i in range(300)]),
        "bad_ids.npy": npy_ids([5, -1] + 198 * [7]),
        "teacher.npy": npy((300, 2), 6),
        "grids.npy": npy((9, 4, 6, 3), 7),
        "grid.npy": npy((4, 6, 3), 8),
        "small_grid.npy": npy((4, 5, 3), 9),
        "nan_grids.npy": npy((9, 4, 6, 3), 7, damage=5 * 72 + 3),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)

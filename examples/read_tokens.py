#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read a token file of libvq with NumPy alone: both packings, every checksum verified.

    python3 read_tokens.py tokens.bin

The format is specified in docs/FORMATS.md. read_tokens() is what to copy.
"""
import json
import struct
import sys

import numpy as np

MAGIC = b"\x89VQT\r\n\x1a\n"
FILE_HEADER, CHUNK_HEADER, ALIGN = 48, 16, 64


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def crc32c(data):
    """Castagnoli's CRC (RFC 3720); a package such as crc32c is faster, where there is one."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def chunks(data):
    """Type and payload of every chunk, after its checksum was verified."""
    at = FILE_HEADER
    while True:
        kind, _, length = struct.unpack_from("<4sIQ", data, at)
        end = at + CHUNK_HEADER + length
        if end + 4 > len(data) or struct.unpack_from("<I", data, end)[0] != crc32c(data[at:end]):
            raise ValueError(f"byte {at}: a damaged chunk")
        yield kind, data[at + CHUNK_HEADER:end]
        if kind == b"TEND":
            if struct.unpack("<Q", data[at + CHUNK_HEADER:end])[0] != len(data):
                raise ValueError(f"byte {at}: the file has another size than its end says")
            return
        # The payload of the next chunk lies at a multiple of 64, right after its header.
        at = -(-(end + 4 + CHUNK_HEADER) // ALIGN) * ALIGN - CHUNK_HEADER


def unpack(payload, k, positions, packing):
    """The codes, an array of [levels, positions]."""
    if packing == "raw":
        width = 1 if max(k) <= 1 << 8 else 2 if max(k) <= 1 << 16 else 4
        return np.frombuffer(payload, f"<u{width}").reshape(len(k), positions).astype(np.uint32)
    levels, at = [], 0
    for size in k:  # each level begins at a byte; its codes follow each other from the lowest bit up
        bits = max(1, (size - 1).bit_length())
        length = (positions * bits + 7) // 8
        packed = np.frombuffer(payload[at:at + length], np.uint8)
        ones = np.unpackbits(packed, bitorder="little")[:positions * bits].reshape(positions, bits)
        levels.append(ones @ (1 << np.arange(bits, dtype=np.uint64)))
        at += length
    return np.array(levels).astype(np.uint32)


def read_tokens(path):
    """@return the codes, [levels, *grid], and what the file says about them."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != MAGIC:
        raise ValueError("not a token file")
    major, _ = struct.unpack_from("<HH", data, 8)
    if struct.unpack_from("<I", data, 44)[0] != crc32c(data[:44]):
        raise ValueError("byte 44: a damaged header")
    if major != 1:
        raise ValueError(f"version {major} of the format, not 1")
    head, codes = None, None
    for kind, payload in chunks(data):
        if kind == b"HEAD":
            head = json.loads(payload)
        elif kind == b"TOKS":
            codes = unpack(payload, head["k"], int(np.prod(head["grid"])), head["packing"])
        elif kind != b"TEND" and not kind[0] & 0x20:  # a capital letter: not to be skipped
            raise ValueError(f"a chunk {kind.decode()} that this reader does not know")
    if any((level >= size).any() for level, size in zip(codes, head["k"])):
        raise ValueError("a code is out of range")
    return codes.reshape(-1, *head["grid"]), head


if __name__ == "__main__":
    tokens, about = read_tokens(sys.argv[1])
    print(json.dumps(about, indent=2))
    print("codes", tokens.shape)
    for number, level in enumerate(tokens):
        print(f"level {number}: {len(np.unique(level))} codes occur, the first are {level.ravel()[:6].tolist()}")

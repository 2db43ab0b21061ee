#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read a head of libvq with NumPy alone, and compute the logits of hidden states.

    python3 read_head.py head.safetensors states.npy

The format is specified in docs/FORMATS.md. Head is what to copy: all logits of a head of any mode, in rising order of the ids.
"""
import json
import sys

import numpy as np

TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "U8": "u1", "U16": "<u2", "U32": "<u4"}


def read_safetensors(path):
    """The settings and the arrays of a safetensors file; BF16 becomes float32."""
    with open(path, "rb") as file:
        data = file.read()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    settings = json.loads(header.pop("__metadata__", {}).get("libvq", "{}"))
    arrays = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        array = np.frombuffer(data[start + first:start + end], TYPES[entry["dtype"]]).reshape(entry["shape"])
        arrays[name] = (array.astype("<u4") << 16).view("<f4") if entry["dtype"] == "BF16" else array
    return settings, arrays


class Head:
    def __init__(self, path):
        settings, self.arrays = read_safetensors(path)
        self.mode = settings["head"]
        self.order = np.argsort(self.arrays["ids"])
        self.ids = self.arrays["ids"][self.order]

    def product(self, name, states):
        """States times the rows of a matrix, with its scales and biases."""
        out = states @ self.arrays[name].astype(np.float32).T
        return out * self.arrays.get(name + ".scale", 1) + self.arrays.get(name + ".bias", 0)

    def logits(self, states):
        """n x V, in rising order of the ids."""
        if self.mode in ("dense", "rerank"):
            return self.product("rows", states)[:, self.order]
        if self.mode == "tied":
            sizes = np.diff(self.arrays["first"])
            return (np.repeat(self.product("codes", states), sizes, axis=1) + self.arrays["bias"])[:, self.order]
        codes, first = self.arrays["row.codes"], self.arrays["book.first"]
        out = np.zeros((len(states), len(self.ids)), np.float32) + self.arrays.get("bias", 0)
        for level, at in enumerate(first):  # rvq: a table of products for each level, looked up by the codes
            book = self.arrays[f"book.{level}"]
            out += (states[:, at:at + book.shape[1]] @ book.T)[:, codes[:, level]]
        return out[:, self.order]


if __name__ == "__main__":
    head = Head(sys.argv[1])
    hidden = np.load(sys.argv[2]).astype(np.float32)
    for row in head.logits(hidden[:5]):
        best = np.argsort(-row, kind="stable")[:5]
        print(" ".join(f"{head.ids[t]} ({row[t]:.4f})" for t in best))

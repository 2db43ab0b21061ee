# SPDX-License-Identifier: Apache-2.0
"""FAST as it was published, beside ours: `tokenizers` and `scipy` from PyPI (bench/README.md). Used by bench/action.py.

    python3 bench/fast_peer.py BUILD DATA      same merges from the same chunks, same ids for 1000 others: prints what was compared
"""
import ctypes
import json
import pathlib
import sys

import numpy

HORIZON = 16


class Form(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("horizon", ctypes.c_uint32), ("dimensions", ctypes.c_uint32),
                ("scale", ctypes.c_double), ("min_token", ctypes.c_int32), ("vocabulary", ctypes.c_uint32)]


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Ours:
    """codecs/fast.h through ctypes."""

    def __init__(self, build, chunks=None, form=None, tokenizer=None):
        self.lib = ctypes.CDLL(str(pathlib.Path(build) / "libvq.so"))
        self.lib.vq_last_error.restype = ctypes.c_char_p
        self.lib.vq_fast_max_tokens.restype = ctypes.c_size_t
        self.fast, self.form = ctypes.c_void_p(), form
        if tokenizer is None:
            chunks = numpy.ascontiguousarray(chunks, numpy.float32)
            self.call("vq_fast_train", ctypes.byref(self.fast), chunks.ctypes.data_as(ctypes.c_void_p),
                      ctypes.c_size_t(len(chunks)), ctypes.byref(form))
        else:
            text = tokenizer.encode()
            self.call("vq_fast_parse", ctypes.byref(self.fast), text, ctypes.c_size_t(len(text)), ctypes.byref(form),
                      b"tokenizer.json", None)
        self.form = Form()
        self.lib.vq_fast_get_form(ctypes.byref(self.form), self.fast)
        self.ids = numpy.zeros(self.lib.vq_fast_max_tokens(self.fast), numpy.uint32)

    def call(self, name, *arguments):
        if getattr(self.lib, name)(*arguments):
            raise RuntimeError(f"{name}: {self.lib.vq_last_error().decode()}")

    def tokenizer(self):
        out = Bytes()
        self.call("vq_fast_serialize", ctypes.byref(out), self.fast)
        return ctypes.string_at(out.data, out.size).decode()

    def encode(self, chunk):
        count, chunk = ctypes.c_size_t(), numpy.ascontiguousarray(chunk, numpy.float32)
        self.call("vq_fast_encode", self.ids.ctypes.data_as(ctypes.c_void_p), ctypes.byref(count), None, self.fast,
                  chunk.ctypes.data_as(ctypes.c_void_p))
        return self.ids[:count.value].tolist()

    def decode(self, ids):
        out, ids = numpy.zeros((self.form.horizon, self.form.dimensions), numpy.float32), numpy.array(ids, numpy.uint32)
        self.call("vq_fast_decode", out.ctypes.data_as(ctypes.c_void_p), None, self.fast,
                  ids.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(len(ids)), 0, None)
        return out


class Theirs:
    """The published recipe: DCT, scale, round, characters, a byte-level BPE trained by tokenizers."""

    def __init__(self, chunks, scale=10, vocabulary=1024):
        from tokenizers import ByteLevelBPETokenizer
        from tokenizers.trainers import BpeTrainer
        self.scale = scale
        integers = self.integers(chunks)
        self.min_token = int(integers.min())
        self.bpe = ByteLevelBPETokenizer()
        self.bpe._tokenizer.train_from_iterator(
            (self.text(c) for c in integers),
            trainer=BpeTrainer(vocab_size=vocabulary, min_frequency=2, show_progress=False, special_tokens=[],
                               initial_alphabet=[chr(i) for i in range(int(integers.max()) - self.min_token + 1)],
                               max_token_length=10000))

    def integers(self, chunks):
        from scipy.fft import dct
        return numpy.around(dct(numpy.asarray(chunks, numpy.float64), axis=1, norm="ortho") * self.scale).astype(int)

    def text(self, integers):
        return "".join(map(chr, numpy.maximum(integers.flatten() - self.min_token, 0)))

    def encode(self, chunk):
        return self.bpe.encode(self.text(self.integers(chunk[None])[0])).ids

    def decode(self, ids, shape):
        from scipy.fft import idct
        integers = numpy.array([ord(c) for c in self.bpe.decode(ids)]) + self.min_token
        return idct(integers.reshape(shape) / self.scale, axis=0, norm="ortho")

    def tokenizer(self):
        return self.bpe._tokenizer.to_str()


def load(files):
    return [numpy.load(f) for f in files]


def chunks_of(signals, low, high):
    """Normalised chunks; of the last one of a signal the last step is held."""
    out = []
    for signal in signals:
        signal = (2 * (signal.astype(numpy.float64) - low) / (high - low) - 1).astype(numpy.float32)
        short = -len(signal) % HORIZON
        signal = numpy.concatenate([signal, numpy.repeat(signal[-1:], short, 0)])
        out.append(signal.reshape(-1, HORIZON, signal.shape[1]))
    return numpy.concatenate(out)


def compare(build, train, test):
    """(ours, theirs, merges, chunks, chunks that theirs cannot decode): asserts that merges and ids are the same."""
    theirs = Theirs(train)
    ours = Ours(build, train, Form(ctypes.sizeof(Form), HORIZON, train.shape[2], 0, 0, 0))
    a, b = json.loads(ours.tokenizer())["model"], json.loads(theirs.tokenizer())["model"]
    assert a["vocab"] == b["vocab"], "the vocabularies differ"
    assert a["merges"] == b["merges"], "the merges differ"
    assert ours.form.min_token == theirs.min_token
    form = Form(ctypes.sizeof(Form), HORIZON, train.shape[2], 10, theirs.min_token, 0)
    read = Ours(build, form=form, tokenizer=theirs.tokenizer())
    lost = 0
    for chunk in test:
        ids = theirs.encode(chunk)
        if theirs.bpe.decode(ids) != theirs.text(theirs.integers(chunk[None])[0]):  # a byte without a token was dropped: ours takes the nearest that has one
            lost += 1
            ours.decode(ours.encode(chunk))
            continue
        assert ours.encode(chunk) == ids and read.encode(chunk) == ids, "the ids of a chunk differ"
        assert numpy.abs(ours.decode(ids) - theirs.decode(ids, chunk.shape)).max() < 1e-5, "a decoded chunk differs"
    return ours, theirs, len(b["merges"]), len(test) - lost, lost


def main():
    build, data = sys.argv[1:3]
    total = 0
    for name, pattern in (("g1_inspire_pick_bottle", "action_*"), ("franka_robottasks", "*"),
                          ("franka_handwriting2d", "*"), ("adroit_door", "action_*")):
        files = sorted((pathlib.Path(data) / "actions" / name).glob(pattern + ".npy"))
        train = load(f for i, f in enumerate(files) if i % 5 != 4)
        rows = numpy.concatenate(train)
        low, high = numpy.quantile(rows, 0.01, axis=0), numpy.quantile(rows, 0.99, axis=0)
        test = chunks_of(load(files[4::5]), low, high)
        _, _, merges, chunks, lost = compare(build, chunks_of(train, low, high), test)
        total += chunks
        print(f"{name}: {merges} merges and the ids of {chunks} chunks not trained on are the same; "
              f"{lost} more lose bytes in the published code, which cannot decode them")
    print(f"{total} chunks in all")


if __name__ == "__main__":
    main()

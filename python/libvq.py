# SPDX-License-Identifier: Apache-2.0
"""The C library through ctypes: stores read, and shards written, at its speed, and codecs. NumPy alone is needed.

    import libvq
    store = libvq.Store("photos.vqs")                    # as libvq_store.open(), and the records are the same
    store[7].codes, store.get("cat.png").label

    codec = libvq.Codec("image")                         # a built-in model, or the path of one
    tokens = codec.encode(pixels)                        # H x W x C: float32 in [0, 1], or uint8
    tokens.codes                                         # int64 [levels, *grid]
    codec.decode(tokens)                                 # float32, of the shape that was encoded

    with libvq.ShardWriter("photos.vqs", {"tokens": tokens}) as writer:   # streams by name, and what they are like
        writer.add({"tokens": tokens}, key="cat.png", label=3)

The library is found where the loader finds it (LD_LIBRARY_PATH), or at the path LIBVQ_LIBRARY.
"""
import ctypes
import functools
import operator
import os
import threading

import numpy

import libvq_store

KINDS = {None: 0, "image": 1, "audio": 2, "action": 3}
PACKINGS = {"raw": 0, "bits": 1, "rans": 3}
NO_RECORD = 1  # VQ_E_ARG


class Error(RuntimeError):
    """What vq_last_error() said."""


class _Dimensions(ctypes.Structure):
    _fields_ = [("count", ctypes.c_size_t), ("names", ctypes.POINTER(ctypes.c_char_p)), ("scaled", ctypes.c_int),
                *((name, ctypes.POINTER(ctypes.c_float)) for name in ("low", "high", "min", "max")),
                ("binary", ctypes.POINTER(ctypes.c_uint8))]


class _Signal(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("ndim", ctypes.c_uint32), ("shape", ctypes.c_size_t * 3),
                ("rate", ctypes.c_double), ("bits", ctypes.c_uint32), ("data", ctypes.c_void_p),
                ("dimensions", ctypes.POINTER(_Dimensions))]


class _Tokens(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("source_ndim", ctypes.c_uint32), ("source_shape", ctypes.c_size_t * 3),
                ("rate", ctypes.c_double), ("bits", ctypes.c_uint32), ("grid_ndim", ctypes.c_uint32),
                ("grid", ctypes.c_size_t * 3), ("levels", ctypes.c_uint32), ("k", ctypes.c_uint32 * 64),
                ("codes", ctypes.c_void_p), ("codec", ctypes.c_char * 32), ("model", ctypes.c_uint8 * 32),
                ("dimensions", ctypes.POINTER(_Dimensions))]


class _Stream(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 32), ("kind", ctypes.c_int), ("levels", ctypes.c_uint32),
                ("k", ctypes.c_uint32 * 64), ("codec", ctypes.c_char * 32), ("model", ctypes.c_uint8 * 32)]


class _Schema(ctypes.Structure):
    _fields_ = [("streams", ctypes.c_uint32), ("stream", _Stream * 16)]


class _Info(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char_p), ("split", ctypes.c_char_p), ("caption", ctypes.c_char_p),
                ("has_label", ctypes.c_int), ("label", ctypes.c_int64), ("source_bytes", ctypes.c_uint64)]


class _Record(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint64), ("info", _Info), ("streams", ctypes.c_uint32),
                ("tokens", ctypes.POINTER(_Tokens) * 16)]


class _ShardOpts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("packing", ctypes.c_int), ("block_bytes", ctypes.c_uint32),
                *((name, ctypes.c_int) for name in ("resume", "append", "no_replace", "no_sync"))]


class _ShardInfo(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32 * 2), ("packing", ctypes.c_int),
                *((name, ctypes.c_uint64) for name in ("records", "blocks", "keys", "codes", "file_bytes",
                                                       "block_bytes", "index_bytes", "table_bytes")),
                ("schema", _Schema)]


class Library:
    """Functions by their names, whose status becomes an exception."""

    def __init__(self, path=None):
        self.lib = ctypes.CDLL(str(path or os.environ.get("LIBVQ_LIBRARY", "libvq.so.0")))
        self.lib.vq_last_error.restype = self.lib.vq_version.restype = ctypes.c_char_p
        self.lib.vq_store_records.restype = ctypes.c_uint64
        self.lib.vq_store_shards.restype = ctypes.c_size_t
        self.lib.vq_store_shard.restype = ctypes.c_void_p
        self.lib.vq_shard_get_info.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        for name in ("store_records", "store_shards", "store_free", "shard_writer_free", "record_free", "tokens_free",
                     "signal_free", "codec_free"):
            getattr(self.lib, f"vq_{name}").argtypes = [ctypes.c_void_p]
        self.version = self.lib.vq_version().decode()

    def call(self, name, *arguments):
        if getattr(self.lib, name)(*arguments):
            raise Error(f"{name}: {self.lib.vq_last_error().decode()}")


@functools.lru_cache(maxsize=None)
def library(path=None):
    """The one that everything here uses unless told otherwise."""
    return Library(path)


def floats(array):
    return numpy.ascontiguousarray(array, numpy.float32)


def pointer(array):
    """Of a contiguous array, which must outlive the call."""
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


def _array(address, shape, of, dtype):
    """A copy of what lies there."""
    count = int(numpy.prod(shape))
    return numpy.frombuffer((of * count).from_address(address), numpy.dtype(of)).astype(dtype).reshape(shape)


class _Owned:
    """What the library made and wants back."""
    handle = lib = None

    def __init__(self, lib, handle, free):
        self.lib, self.handle, self._free = lib, handle, free

    def __del__(self):
        if self.handle:
            getattr(self.lib.lib, self._free)(self.handle)


def _about_dimensions(d):
    """As HEAD of a token file has it."""
    if not d:
        return None
    d, about = d.contents, {}
    if d.names:
        about["names"] = [name.decode() for name in d.names[:d.count]]
    if d.scaled:
        about.update((name, getattr(d, name)[:d.count]) for name in ("low", "high", "min", "max", "binary"))
    return about


def _stream(t):
    """A libvq_store.Stream of a struct vq_tokens."""
    codes = _array(t.codes, (t.levels, *t.grid[:t.grid_ndim]), ctypes.c_uint32, numpy.int64)
    return libvq_store.Stream(codes, tuple(t.source_shape[:t.source_ndim]), t.rate, t.bits,
                              _about_dimensions(t.dimensions))


class Tokens(_Owned):
    """The tokens of one signal."""

    def __init__(self, codes, k, kind=None, source=(), rate=0, bits=0, lib=None):
        """codes: [levels, *grid]; k: of each level; the rest as in vq/tokens.h, if they are of a signal."""
        super().__init__(lib or library(), ctypes.POINTER(_Tokens)(), "vq_tokens_free")
        codes = numpy.asarray(codes)
        values = numpy.ascontiguousarray(codes, numpy.uint32)
        if (values != codes).any() or len(codes) != len(k):
            raise ValueError("codes are whole numbers of 32 bits, with as many levels as there are K")
        grid = (ctypes.c_size_t * 3)(*codes.shape[1:])
        self.lib.call("vq_tokens_create", ctypes.byref(self.handle), codes.ndim - 1, grid, len(k),
                      (ctypes.c_uint32 * len(k))(*k))
        t = self.handle.contents
        ctypes.memmove(t.codes, pointer(values), values.nbytes)
        t.kind, t.source_ndim, t.rate, t.bits = KINDS[kind], len(source), rate, bits
        t.source_shape[:] = (*source, 1, 1, 1)[:3]
        self.lib.call("vq_tokens_validate", self.handle)

    @classmethod
    def _taken(cls, lib, handle):
        tokens = cls.__new__(cls)
        _Owned.__init__(tokens, lib, handle, "vq_tokens_free")
        return tokens

    @property
    def codes(self):
        return _stream(self.handle.contents).codes

    @property
    def k(self):
        return self.handle.contents.k[:self.handle.contents.levels]


class Codec(_Owned):
    """Signals to tokens and back. May be used from many threads."""

    def __init__(self, model, lib=None):
        super().__init__(lib or library(), ctypes.c_void_p(), "vq_codec_free")
        self.lib.call("vq_codec_open", ctypes.byref(self.handle), os.fsencode(model), None)

    def encode(self, samples, kind="image", rate=0):
        """samples: [H, W, C] of an image, [T, C] of a sound, [T, D] or [N, T, D] of actions. rate: per second."""
        samples = numpy.asarray(samples)
        bits = samples.dtype.itemsize * 8 if samples.dtype in (numpy.uint8, numpy.uint16) else 0
        values = floats(samples / float((1 << bits) - 1) if bits else samples)
        signal = ctypes.POINTER(_Signal)()
        self.lib.call("vq_signal_create", ctypes.byref(signal), KINDS[kind], values.ndim,
                      (ctypes.c_size_t * values.ndim)(*values.shape))
        try:
            ctypes.memmove(signal.contents.data, pointer(values), values.nbytes)
            signal.contents.rate, signal.contents.bits = rate, bits
            tokens = ctypes.POINTER(_Tokens)()
            self.lib.call("vq_codec_encode", ctypes.byref(tokens), self.handle, signal, None)
        finally:
            self.lib.lib.vq_signal_free(signal)
        return Tokens._taken(self.lib, tokens)

    def decode(self, tokens):
        signal = ctypes.POINTER(_Signal)()
        self.lib.call("vq_codec_decode", ctypes.byref(signal), self.handle, tokens.handle, None)
        try:
            s = signal.contents
            return _array(s.data, tuple(s.shape[:s.ndim]), ctypes.c_float, numpy.float32)
        finally:
            self.lib.lib.vq_signal_free(signal)


class Store(_Owned):
    """Records of a shard, or of a folder of shards, as libvq_store.open() gives them, and by its interface. It may be
    read from many threads, and be pickled, by its path."""

    def __init__(self, path, lib=None):
        super().__init__(lib or library(), ctypes.c_void_p(), "vq_store_free")
        self.path, self._local = os.fspath(path), threading.local()
        self.lib.call("vq_store_open", ctypes.byref(self.handle), os.fsencode(path), None)
        self.records = self.lib.lib.vq_store_records(self.handle)
        infos = [_ShardInfo() for _ in range(self.lib.lib.vq_store_shards(self.handle))]
        for i, info in enumerate(infos):
            shard = self.lib.lib.vq_store_shard(None, self.handle, ctypes.c_size_t(i))
            self.lib.lib.vq_shard_get_info(ctypes.byref(info), shard)
        self.codes = sum(info.codes for info in infos)
        self.names = [stream.name.decode() for info in infos[:1] for stream in info.schema.stream[:info.schema.streams]]

    def __reduce__(self):
        return Store, (self.path,)

    def __len__(self):
        return self.records

    def __getitem__(self, number):
        number, asked = operator.index(number), number
        if number < 0:
            number += self.records
        if not 0 <= number < self.records:
            raise IndexError(f"{self.path}: there is no record {asked} (there are {self.records})")
        if not hasattr(self._local, "record"):
            record = ctypes.POINTER(_Record)()
            self.lib.call("vq_record_create", ctypes.byref(record))
            self._local.record = _Owned(self.lib, record, "vq_record_free")
        record = self._local.record.handle
        self.lib.call("vq_store_read", record, self.handle, ctypes.c_uint64(number))
        r = record.contents
        key, split, caption = (text and text.decode() for text in (r.info.key, r.info.split, r.info.caption))
        streams = {name: _stream(r.tokens[i].contents) for i, name in enumerate(self.names) if r.tokens[i]}
        return libvq_store.Record(number, key, r.info.label if r.info.has_label else None, split, caption,
                                  r.info.source_bytes or None, streams)

    def find(self, key):
        """The number of the first record with this key. KeyError if there is none."""
        number = ctypes.c_uint64()
        if "\0" in key:
            raise KeyError(key)
        status = self.lib.lib.vq_store_find(ctypes.byref(number), self.handle, key.encode())
        if status == NO_RECORD:
            raise KeyError(key)
        if status:
            raise Error(self.lib.lib.vq_last_error().decode())
        return number.value

    def get(self, key):
        """The first record with this key. KeyError if there is none."""
        return self[self.find(key)]

    def verify(self):
        """Look at every byte. The first fault raises."""
        self.lib.call("vq_store_verify", self.handle, None, None)


def write_manifest(folder, names, lib=None):
    """Make shards that lie in a folder one store. names: of files, in the order of their records."""
    texts = (ctypes.c_char_p * len(names))(*map(os.fsencode, names))
    (lib or library()).call("vq_store_write_manifest", os.fsencode(folder), texts, ctypes.c_size_t(len(names)))


class ShardWriter:
    """A shard, written block by block and given its name at the end; what raises before leaves PATH.part."""

    def __init__(self, path, streams, packing="bits", resume=False, append=False, lib=None):
        """streams: by name, Tokens with the levels, K, kind and codec of all that the stream will have."""
        self.lib, self.names, self.handle = lib or library(), list(streams), ctypes.c_void_p()
        schema = _Schema(len(streams))
        for i, (name, tokens) in enumerate(streams.items()):
            self.lib.call("vq_store_stream_of", ctypes.byref(schema.stream[i]), name.encode(), tokens.handle)
        opts = _ShardOpts(ctypes.sizeof(_ShardOpts), PACKINGS[packing] + 1, 0, resume, append)
        self.lib.call("vq_shard_create", ctypes.byref(self.handle), os.fsencode(path), ctypes.byref(schema),
                      ctypes.byref(opts))

    def add(self, streams, key=None, label=None, split=None, caption=None, source_bytes=0):
        """streams: Tokens by name; a record may lack some."""
        key, split, caption = (text and text.encode() for text in (key, split, caption))
        info = _Info(key, split, caption, label is not None, label or 0, source_bytes or 0)
        tokens = (ctypes.POINTER(_Tokens) * len(self.names))()
        for name, of in streams.items():
            tokens[self.names.index(name)] = of.handle
        self.lib.call("vq_shard_add", self.handle, ctypes.byref(info), tokens)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if not kind:
                self.lib.call("vq_shard_finish", self.handle, None)
        finally:
            self.lib.lib.vq_shard_writer_free(self.handle)
            self.handle = None

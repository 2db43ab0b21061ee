# SPDX-License-Identifier: Apache-2.0
"""The shared library through ctypes, for benchmarks that compare arrays in this process."""
import ctypes

import numpy

EUCLIDEAN, F32 = 0, 0


class Error(RuntimeError):
    """What vq_last_error() said."""


class FsqOpts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("bound", ctypes.c_int), ("levels", ctypes.c_uint32),
                ("dims", ctypes.c_void_p)]


class LfqOpts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("spherical", ctypes.c_int), ("scale", ctypes.c_float),
                ("levels", ctypes.c_uint32), ("dims", ctypes.c_void_p)]


def floats(array):
    return numpy.ascontiguousarray(array, numpy.float32)


def pointer(array):
    """Of a contiguous array, which must outlive the call."""
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


class Library:
    """Functions by their names, whose status becomes an exception."""

    def __init__(self, build):
        self.lib = ctypes.CDLL(str(build / "libvq.so"))
        self.lib.vq_last_error.restype = ctypes.c_char_p
        self.lib.vq_version.restype = ctypes.c_char_p
        self.version = self.lib.vq_version().decode()

    def call(self, name, *arguments):
        if getattr(self.lib, name)(*arguments):
            raise Error(f"{name}: {self.lib.vq_last_error().decode()}")

    def fsq(self, bins, bound):
        out, bins = ctypes.c_void_p(), numpy.array(bins, numpy.uint32)
        opts = FsqOpts(ctypes.sizeof(FsqOpts), bound, 0, None)
        self.call("vq_fsq_create", ctypes.byref(out), pointer(bins), ctypes.c_uint32(len(bins)), ctypes.byref(opts))
        return Quantizer(self, out, len(bins), 1)

    def lfq(self, bits, spherical):
        out = ctypes.c_void_p()
        opts = LfqOpts(ctypes.sizeof(LfqOpts), spherical, 0, 0, None)
        self.call("vq_lfq_create", ctypes.byref(out), ctypes.c_uint32(bits), ctypes.byref(opts))
        return Quantizer(self, out, bits, 1)

    def residual(self, codebooks):
        """codebooks: levels x K x d"""
        codebooks = floats(codebooks)
        levels, k, d = codebooks.shape
        parts, out = (ctypes.c_void_p * levels)(), ctypes.c_void_p()
        for level in range(levels):
            self.call("vq_codebook_create", ctypes.byref(parts, level * ctypes.sizeof(ctypes.c_void_p)),
                      pointer(codebooks[level]), ctypes.c_uint32(k), ctypes.c_uint32(d), EUCLIDEAN, F32)
        self.call("vq_residual_create", ctypes.byref(out), parts, ctypes.c_uint32(levels))
        return Quantizer(self, out, d, levels)


class Quantizer:
    def __init__(self, library, handle, d, levels):
        self.library, self.handle, self.d, self.levels = library, handle, d, levels

    def __del__(self):
        self.library.lib.vq_quantizer_free(self.handle)

    def codes(self, x):
        x = floats(x)
        codes = numpy.empty((len(x), self.levels), numpy.uint32)
        self.library.call("vq_quantize", pointer(codes), self.handle, pointer(x), ctypes.c_size_t(len(x)), None)
        return codes

    def vectors(self, codes):
        codes = numpy.ascontiguousarray(codes, numpy.uint32)
        x = numpy.empty((len(codes), self.d), numpy.float32)
        self.library.call("vq_dequantize", pointer(x), self.handle, pointer(codes), ctypes.c_size_t(len(codes)), None)
        return x

    def scalar_gradient(self, x, gradient):
        x, gradient = floats(x), floats(gradient)
        out = numpy.empty_like(x)
        self.library.call("vq_scalar_gradient", pointer(out), self.handle, pointer(x), pointer(gradient),
                          ctypes.c_size_t(len(x)))
        return out

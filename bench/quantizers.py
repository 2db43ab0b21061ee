# SPDX-License-Identifier: Apache-2.0
"""Quantizers of the shared library through ctypes, for benchmarks that compare arrays in this process."""
import ctypes

import numpy

import libvq
from libvq import floats, pointer

EUCLIDEAN, F32 = 0, 0


class FsqOpts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("bound", ctypes.c_int), ("levels", ctypes.c_uint32),
                ("dims", ctypes.c_void_p)]


class LfqOpts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("spherical", ctypes.c_int), ("scale", ctypes.c_float),
                ("levels", ctypes.c_uint32), ("dims", ctypes.c_void_p)]


class SimvqForm(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("k", ctypes.c_uint32), ("dim", ctypes.c_uint32),
                ("basis_dim", ctypes.c_uint32), ("seed", ctypes.c_uint64)]


class LossWeights(ctypes.Structure):
    """Named for what they pull."""
    _fields_ = [("codebook", ctypes.c_double), ("commitment", ctypes.c_double)]


class Library(libvq.Library):
    """Functions by their names, whose status becomes an exception."""

    def __init__(self, build):
        super().__init__(build / "libvq.so")
        self.lib.vq_loss_forward.restype = ctypes.c_double

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

    def simvq(self, seed, k, weights):
        """weights: W, r x d, the transpose of a torch Linear's"""
        weights, out = floats(weights), ctypes.c_void_p()
        form = SimvqForm(ctypes.sizeof(SimvqForm), k, weights.shape[1], weights.shape[0], seed)
        self.call("vq_simvq_create", ctypes.byref(out), ctypes.byref(form), pointer(weights), None)
        return Quantizer(self, out, weights.shape[1], 1)

    def simvq_basis(self, seed, k, r):
        rows = numpy.empty((k, r), numpy.float32)
        self.lib.vq_simvq_basis(pointer(rows), ctypes.c_uint64(seed), ctypes.c_uint32(r), ctypes.c_uint32(0),
                                ctypes.c_size_t(k))
        return rows

    def estimate_backward(self, upstream, x, q, rotation):
        """The gradient at x of what a gradient at q stands for."""
        upstream, x, q, out = floats(upstream), floats(x), floats(q), numpy.zeros_like(floats(x))
        self.lib.vq_estimate_backward(pointer(out), pointer(upstream), pointer(x), pointer(q), ctypes.c_size_t(len(x)),
                                      ctypes.c_size_t(x.shape[1]), ctypes.c_int(rotation))
        return out

    def loss(self, x, q, codebook, commitment):
        """(loss, gradient at x, gradient at q)"""
        x, q, weights = floats(x), floats(q), LossWeights(codebook, commitment)
        n, d, of_x, of_q = len(x), x.shape[1], numpy.zeros_like(x), numpy.zeros_like(q)
        loss = self.lib.vq_loss_forward(pointer(x), pointer(q), ctypes.c_size_t(n), ctypes.c_size_t(d),
                                        ctypes.byref(weights))
        self.lib.vq_loss_backward(pointer(of_x), pointer(of_q), pointer(x), pointer(q), ctypes.c_size_t(n),
                                  ctypes.c_size_t(d), ctypes.byref(weights), ctypes.c_double(1))
        return loss, of_x, of_q

    def simvq_map_gradient(self, codes, of_q, basis, weights):
        """The gradient at W of one at the codewords that were looked up."""
        of_q, basis, weights = floats(of_q), floats(basis), floats(weights)
        codes = numpy.ascontiguousarray(codes, numpy.uint32)
        (k, r), d = basis.shape, weights.shape[1]
        of_codewords, of_map = numpy.zeros((k, d), numpy.float32), numpy.zeros_like(weights)
        self.lib.vq_lookup_backward(pointer(of_codewords), pointer(of_q), pointer(codes), ctypes.c_size_t(len(of_q)),
                                    ctypes.c_size_t(d))
        self.lib.vq_simvq_backward(pointer(of_map), None, None, pointer(of_codewords), pointer(basis),
                                   pointer(weights), ctypes.c_size_t(k), ctypes.c_uint32(r), ctypes.c_uint32(d), 0)
        return of_map


class Quantizer:
    def __init__(self, library, handle, d, levels):
        self.vq, self.handle, self.d, self.levels = library, handle, d, levels

    def __del__(self):
        self.vq.lib.vq_quantizer_free(self.handle)

    def codes(self, x):
        x = floats(x)
        codes = numpy.empty((len(x), self.levels), numpy.uint32)
        self.vq.call("vq_quantize", pointer(codes), self.handle, pointer(x), ctypes.c_size_t(len(x)), None)
        return codes

    def vectors(self, codes):
        codes = numpy.ascontiguousarray(codes, numpy.uint32)
        x = numpy.empty((len(codes), self.d), numpy.float32)
        self.vq.call("vq_dequantize", pointer(x), self.handle, pointer(codes), ctypes.c_size_t(len(codes)), None)
        return x

    def scalar_gradient(self, x, gradient):
        x, gradient = floats(x), floats(gradient)
        out = numpy.empty_like(x)
        self.vq.call("vq_scalar_gradient", pointer(out), self.handle, pointer(x), pointer(gradient),
                          ctypes.c_size_t(len(x)))
        return out

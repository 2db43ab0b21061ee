# SPDX-License-Identifier: Apache-2.0
"""bench/run published: the same inputs and weights through lucidrains' vector-quantize-pytorch and through libvq.

For each method: codes that differ, the largest differences of outputs and of gradients, and the package's time over
ours, both from float32 vectors to codes and decoded vectors. A code may differ only where the package's float32 cannot
tell: FSQ is compared with the package's float64, where no code may differ; of RVQ each first difference must be a tie
within float32's error. Anything else is an error.

Figures: NAME_codes (share of rows with the package's float32 codes), NAME_output and NAME_gradient (largest difference,
relative to the largest value), NAME_speedup.
"""
import sys
import time
from importlib import metadata

import numpy

import libvq
import quantizers

try:
    import torch
    import vector_quantize_pytorch as package
except ImportError:
    torch = package = None


class Difference(Exception):
    """libvq and the package do not agree."""


def expect(condition, what):
    if not condition:
        raise Difference(what)


def relative(ours, theirs):
    return float(numpy.abs(ours - theirs).max() / numpy.abs(theirs).max())


def seconds(function, rounds=5):
    """The best of a few rounds, after one for warming up."""
    best = float("inf")
    function()
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def speedup(quantizer, module, x):
    """Of encoding and decoding: the package's forward pass does both."""
    tensor = torch.from_numpy(x)[None]
    with torch.no_grad():
        theirs = seconds(lambda: module(tensor))
    return theirs / seconds(lambda: quantizer.vectors(quantizer.codes(x)))


def in_double(make):
    """A module of the package whose constants and arithmetic are float64."""
    torch.set_default_dtype(torch.float64)
    try:
        return make()
    finally:
        torch.set_default_dtype(torch.float32)


def gradient_of(module, x, upstream):
    """Of sum(output * upstream), by the package's straight-through estimator."""
    tensor = torch.from_numpy(x)[None].requires_grad_()
    (module(tensor)[0] * torch.from_numpy(upstream)[None]).sum().backward()
    return tensor.grad[0].numpy()


def compare(quantizer, module, x, upstream):
    """Of a scalar quantizer: (share of equal codes, output difference, gradient difference, speedup)"""
    module.eval()
    with torch.no_grad():
        out, index = module(torch.from_numpy(x)[None])[:2]
    codes = quantizer.codes(x)
    same = codes[:, 0] == index[0].numpy()
    output = relative(quantizer.vectors(codes)[same], out[0].numpy()[same])
    module.train()
    gradient = relative(quantizer.scalar_gradient(x, upstream), gradient_of(module, x, upstream))
    module.eval()
    expect(output < 3e-7, f"outputs differ by {output:.2g}")
    expect(gradient < 1e-5, f"gradients differ by {gradient:.2g}")
    return same.mean(), output, gradient, speedup(quantizer, module, x)


def compare_fsq(vq, random, rows, bins, symmetric):
    x = (2 * random.standard_normal((rows, len(bins)))).astype(numpy.float32)
    upstream = random.standard_normal(x.shape).astype(numpy.float32)
    quantizer = vq.fsq(bins, int(symmetric))

    def make():
        return package.FSQ(list(bins), preserve_symmetry=symmetric)

    with torch.no_grad():
        exact = in_double(lambda: make()(torch.from_numpy(x).double()[None])[1])[0].numpy()
    wrong = int((quantizer.codes(x)[:, 0] != exact).sum())
    expect(not wrong, f"{wrong} codes differ from those of float64")
    return compare(quantizer, make(), x, upstream)


def fsq(vq, random, rows):
    """FSQ by tanh, with the bins that the paper recommends for 2^8, 2^12 and 2^16."""
    for bins in ((8, 6, 5), (7, 5, 5, 5, 5), (8, 8, 8, 5, 5, 5)):
        yield "x".join(map(str, bins)), *compare_fsq(vq, random, rows, bins, False)


def fsq_symmetric(vq, random, rows):
    for bins in ((8, 6, 5), (2, 2, 2, 2, 2, 2), (17, 17, 17)):
        yield "x".join(map(str, bins)), *compare_fsq(vq, random, rows, bins, True)


def compare_lfq(vq, random, rows, bits, spherical):
    x = random.standard_normal((rows, bits)).astype(numpy.float32)
    x[:3] = 0  # neither sign: the lower code
    x[3:6] = -0.0
    upstream = random.standard_normal(x.shape).astype(numpy.float32)
    upstream[:6] = 0  # the package's gradient of 0 / |0| is a matter of its epsilon
    module = package.LFQ(dim=bits, codebook_size=2 ** bits, spherical=spherical, entropy_loss_weight=0.)
    module.frac_per_sample_entropy = min(1., 64 / rows)  # its entropies are rows x K in memory
    few = min(rows, 4096)
    same, output, gradient, _ = compare(vq.lfq(bits, spherical), module, x[:few], upstream[:few])
    module.eval()
    quantizer = vq.lfq(bits, spherical)
    with torch.no_grad():
        index = module(torch.from_numpy(x)[None]).indices[0].numpy()
    expect((quantizer.codes(x)[:, 0] == index).all() and same == 1, "codes differ")
    return 1.0, output, gradient, speedup(quantizer, module, x)


def lfq(vq, random, rows):
    for bits in (8, 12, 18):
        yield f"{bits} bits", *compare_lfq(vq, random, rows, bits, False)


def bsq(vq, random, rows):
    for bits in (8, 12, 18):
        yield f"{bits} bits", *compare_lfq(vq, random, rows, bits, True)


def check_ties(x, codebooks, ours, theirs):
    """Where codes differ, the first that does must have been a tie for float32."""
    for row in numpy.flatnonzero((ours != theirs).any(axis=1)):
        residual = x[row].astype(float)
        for level, codebook in enumerate(codebooks.astype(float)):
            a, b = ours[row, level], theirs[row, level]
            distances = [((residual - codebook[code]) ** 2).sum() for code in (a, b)]
            if a != b:
                scale = (residual ** 2).sum() + (codebook[[a, b]] ** 2).sum()
                expect(abs(distances[0] - distances[1]) < 1e-6 * scale, f"row {row}, level {level}: codes {a} and {b}")
                break
            residual = residual - codebook[a]


def residual(vq, random, rows):
    """ResidualVQ, greedy, with codebooks that are rows of its input: it is a comparison of searches."""
    for d, k, levels in ((16, 256, 4), (64, 1024, 8)):
        x = random.standard_normal((rows // 4, d)).astype(numpy.float32)
        codebooks = numpy.stack([random.standard_normal((k, d)) * 0.75 ** level for level in range(levels)])
        codebooks = codebooks.astype(numpy.float32)
        module = package.ResidualVQ(dim=d, codebook_size=k, num_quantizers=levels).eval()
        for layer, codebook in zip(module.layers, codebooks):
            layer._codebook.embed.data.copy_(torch.from_numpy(codebook)[None])
        quantizer = vq.residual(codebooks)
        with torch.no_grad():
            out, index = module(torch.from_numpy(x)[None])[:2]
        ours, theirs = quantizer.codes(x), index[0].numpy()
        check_ties(x, codebooks, ours, theirs)
        same = (ours == theirs).all(axis=1)
        output = relative(quantizer.vectors(ours)[same], out[0].numpy()[same])
        expect(output < 1e-6, f"outputs differ by {output:.2g}")
        yield f"d {d}, {levels} x {k}", same.mean(), output, None, speedup(quantizer, module, x)


def compare_simvq(vq, random, rows, d, r, k, rotation):
    """Codes, outputs, loss, and the gradients at the input and at the map of sum(output * upstream) + loss."""
    x = random.standard_normal((rows, d)).astype(numpy.float32)
    upstream = (random.standard_normal(x.shape) / rows).astype(numpy.float32)
    module = package.SimVQ(dim=d, codebook_size=k, frozen_codebook_dim=r, rotation_trick=rotation)
    basis = vq.simvq_basis(7, k, r)
    module.frozen_codebook.copy_(torch.from_numpy(basis))
    weights = module.code_transform.weight.detach().numpy().T.copy()
    quantizer = vq.simvq(7, k, weights)
    tensor = torch.from_numpy(x)[None].requires_grad_()
    out, index, loss = module(tensor)
    ((out * torch.from_numpy(upstream)[None]).sum() + loss).backward()
    codes, theirs = quantizer.codes(x), index[0].numpy()[:, None]
    check_ties(x, quantizer.vectors(numpy.arange(k)[:, None])[None], codes, theirs)
    same = codes[:, 0] == theirs[:, 0]
    q = quantizer.vectors(theirs)  # their codes, so that gradients are of the same function
    output = relative(q, out[0].detach().numpy())
    expect(output < 3e-6, f"outputs differ by {output:.2g}")
    ours, of_x, of_q = vq.loss(x, q, 1, 0.25)
    expect(abs(ours / loss.item() - 1) < 1e-5, f"losses {ours} and {loss.item()}")
    of_x += vq.estimate_backward(upstream, x, q, int(rotation))
    of_map = vq.simvq_map_gradient(theirs, of_q, basis, weights)
    gradient = max(relative(of_x, tensor.grad[0].numpy()),
                   relative(of_map, module.code_transform.weight.grad.numpy().T))
    expect(gradient < 1e-4, f"gradients differ by {gradient:.2g}")
    module.eval()
    return same.mean(), output, gradient, speedup(quantizer, module, x)


def simvq(vq, random, rows):
    """SimVQ with its defaults but for the estimator: straight through, and (the default) the rotation trick."""
    for d, r, k in ((16, 16, 1024), (64, 32, 4096)):
        for rotation in (False, True):
            yield (f"d {d}, K {k}, " + ("rot" if rotation else "STE"),
                   *compare_simvq(vq, random, rows // 16, d, r, k, rotation))


def rotation(vq, random, rows):
    """The rotation trick by itself, on pairs of vectors at any angle and of lengths from 1/10 to 10."""
    from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to
    for d in (2, 16, 128):
        x, q, upstream = (random.standard_normal((rows // 16, d)).astype(numpy.float32) for _ in range(3))
        x *= 10 ** random.uniform(-1, 1, (len(x), 1)).astype(numpy.float32)
        tensor = torch.from_numpy(x).double().requires_grad_()
        out = rotate_to(tensor, torch.from_numpy(q).double())
        (out * torch.from_numpy(upstream).double()).sum().backward()
        output = relative(q, out.detach().numpy())  # ours is q itself
        gradient = relative(vq.estimate_backward(upstream, x, q, 1), tensor.grad.numpy())
        expect(output < 1e-5, f"outputs differ by {output:.2g}")
        expect(gradient < 1e-5, f"gradients differ by {gradient:.2g}")
        yield f"d {d}", 1.0, output, gradient, None


# Each: f(vq, random, rows) yields (which, share of equal codes, output difference, gradient difference or None,
# speedup or None), and raises Difference.
METHODS = [fsq, fsq_symmetric, lfq, bsq, residual, simvq, rotation]


def number(value, form):
    return "-" if value is None else format(value, form)


def run(build, data, quick):
    """Return (figures, table lines, peers)."""
    if package is None:
        return {}, ["skipped: vector_quantize_pytorch is absent (bench/README.md says how to install it)"], {}
    vq, figures = quantizers.Library(build), {}
    table = [f"{'method':<15} {'':<14} {'equal codes':>11} {'output':>9} {'gradient':>9} {'speedup':>8}"]
    for method in METHODS:
        results = []
        try:
            for which, *result in method(vq, numpy.random.default_rng(0), 1 << 13 if quick else 1 << 17):
                same, output, gradient, ratio = result
                table.append(f"{method.__name__:<15} {which:<14} {same:11.6%} {output:9.1e} {number(gradient, '9.1e'):>9} "
                             f"{number(ratio, '8.1f'):>8}")
                results.append(result)
        except (Difference, libvq.Error) as why:
            sys.exit(f"bench published: {method.__name__}: {why}")
        for column, (name, worst) in enumerate((("codes", min), ("output", max), ("gradient", max), ("speedup", min))):
            values = [result[column] for result in results if result[column] is not None]
            if values:
                figures[f"{method.__name__}_{name}"] = float(worst(values))
    return figures, table, {"vector-quantize-pytorch": metadata.version("vector-quantize-pytorch"),
                            "torch": torch.__version__, "numpy": numpy.__version__}

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the malformed files of this folder, each named for its fault, and the tables of what readers must say.

    python3 tests/malformed/make.py        (no other programs needed; the same bytes every time)

Each folder gets its files and expected.txt: file name, status, and a part of the sentence, separated by tabs. (png/ and
jpeg/ hold only such tables, for the hostile pictures of shared/data, and are not made here.)
"""
import json
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# ---- tokens.bin -----------------------------------------------------------------------------------------

HEAD = {"kind": "image", "shape": [16, 45, 3], "bits": 8, "grid": [1, 1, 3], "k": [16, 8], "packing": "bits",
        "codec": "image"}
CODES = bytes([0x21, 0x0F, 0x47, 0x01])  # 1 2 15 in four bits, 7 0 5 in three


def file_header(major=1, minor=0, reserved=bytes(32), magic=b"\x89VQT\r\n\x1a\n"):
    body = magic + struct.pack("<HH", major, minor) + reserved
    return body + struct.pack("<I", crc32c(body))


def chunk(kind, payload, flags=0, length=None, bad_crc=False):
    body = kind + struct.pack("<IQ", flags, len(payload) if length is None else length) + payload
    return body + struct.pack("<I", crc32c(body) ^ bad_crc)


def aligned(parts, end=True, end_payload=None, pad=b"\0", tail=b""):
    """Chunks with padding so that payloads are aligned, then TEND with the total length."""
    out = parts[0]
    for part in parts[1:]:
        while (len(out) + 16) % 64:
            out += pad
        out += part
    if end:
        while (len(out) + 16) % 64:
            out += pad
        total = len(out) + 28
        out += chunk(b"TEND", struct.pack("<Q", total) if end_payload is None else end_payload)
    return out + tail


def tokens(head=None, codes=CODES, text=None, **changes):
    if text is None:
        text = json.dumps({**(HEAD if head is None else head), **changes}, separators=(",", ":")).encode()
    return aligned([file_header(), chunk(b"HEAD", text), chunk(b"TOKS", codes)])


def without(key):
    return {k: v for k, v in HEAD.items() if k != key}


def token_files():
    good = tokens()
    head, codes = chunk(b"HEAD", json.dumps(HEAD).encode()), chunk(b"TOKS", CODES)
    flipped = bytearray(good)
    flipped[70] ^= 4
    yield "empty", b"", "VQ_E_FORMAT", "empty"
    yield "text", b"not tokens at all\n", "VQ_E_FORMAT", "signature"
    yield "magic-newline-translated", good.replace(b"\r\n", b"\n", 1), "VQ_E_FORMAT", "signature"
    yield "magic-only", good[:8], "VQ_E_FORMAT", "inside its header"
    yield "header-cut", good[:40], "VQ_E_FORMAT", "inside its header"
    yield "header-only", good[:48], "VQ_E_FORMAT", "a chunk should begin"
    yield "version-newer-major", aligned([file_header(major=2), head, codes]), "VQ_E_VERSION", "version 2.0"
    yield "header-checksum", good[:44] + b"\0\0\0\0" + good[48:], "VQ_E_CHECKSUM", "file header"
    yield "header-reserved-set", aligned([file_header(reserved=b"\1" + bytes(31)), head, codes]), \
        "VQ_E_FORMAT", "reserved"
    yield "chunk-checksum", aligned([file_header(), chunk(b"HEAD", json.dumps(HEAD).encode(), bad_crc=True), codes]), \
        "VQ_E_CHECKSUM", "HEAD"
    yield "chunk-type-not-letters", aligned([file_header(), chunk(b"HE\0D", b"{}"), codes]), "VQ_E_FORMAT", "type"
    yield "chunk-flags", aligned([file_header(), head, chunk(b"TOKS", CODES, flags=1)]), "VQ_E_FORMAT", "flags"
    yield "chunk-longer-than-file", aligned([file_header(), head, chunk(b"TOKS", CODES, length=1 << 20)]), \
        "VQ_E_FORMAT", "more than the file"
    yield "chunk-length-wraps", aligned([file_header(), head, chunk(b"TOKS", CODES, length=(1 << 64) - 1)]), \
        "VQ_E_FORMAT", "more than the file"
    yield "no-head", aligned([file_header(), codes]), "VQ_E_FORMAT", "not HEAD"
    yield "two-heads", aligned([file_header(), head, head, codes]), "VQ_E_FORMAT", "second"
    yield "no-codes", aligned([file_header(), head]), "VQ_E_FORMAT", "no chunk TOKS"
    yield "two-codes", aligned([file_header(), head, codes, codes]), "VQ_E_FORMAT", "second"
    yield "no-end", aligned([file_header(), head, codes], end=False), "VQ_E_FORMAT", "a chunk should begin"
    yield "end-wrong-length", aligned([file_header(), head, codes], end_payload=struct.pack("<Q", 7)), \
        "VQ_E_FORMAT", "size of the file"
    yield "end-short-payload", aligned([file_header(), head, codes], end_payload=b"1234"), \
        "VQ_E_FORMAT", "size of the file"
    yield "trailing-byte", aligned([file_header(), head, codes], tail=b"\0"), "VQ_E_FORMAT", "size of the file"
    yield "padding-not-zero", aligned([file_header(), head, codes], pad=b"\1"), "VQ_E_FORMAT", "padding byte"
    yield "critical-chunk-unknown", aligned([file_header(), head, chunk(b"Xtra", b"?"), codes]), \
        "VQ_E_UNSUPPORTED", "Xtra"
    yield "json-broken", tokens(text=b'{"kind":"image",'), "VQ_E_FORMAT", "JSON"
    yield "json-array", tokens(text=b"[]"), "VQ_E_FORMAT", "not an object"
    yield "json-duplicate-key", tokens(text=b'{"kind":"image","kind":"audio"}'), "VQ_E_FORMAT", "duplicate"
    yield "json-too-deep", tokens(text=b"[" * 100 + b"]" * 100), "VQ_E_LIMIT", "deeper"
    yield "kind-missing", tokens(without("kind")), "VQ_E_FORMAT", "kind"
    yield "kind-unknown", tokens(kind="smell"), "VQ_E_FORMAT", "kind"
    yield "shape-missing", tokens(without("shape")), "VQ_E_FORMAT", "shape"
    yield "shape-zero", tokens(shape=[16, 0, 3]), "VQ_E_FORMAT", "shape"
    yield "shape-negative", tokens(shape=[16, -45, 3]), "VQ_E_FORMAT", "shape"
    yield "shape-four-dimensions", tokens(shape=[1, 2, 3, 4]), "VQ_E_FORMAT", "shape"
    yield "grid-missing", tokens(without("grid")), "VQ_E_FORMAT", "grid"
    yield "grid-fraction", tokens(grid=[1, 1, 3.5]), "VQ_E_FORMAT", "grid"
    yield "grid-overflow", tokens(grid=[1 << 62, 1 << 62, 3]), "VQ_E_LIMIT", "grid"
    yield "grid-too-many-codes", tokens(grid=[1, 1 << 16, 1 << 16]), "VQ_E_LIMIT", "codes"
    yield "k-missing", tokens(without("k")), "VQ_E_FORMAT", "k"
    yield "k-zero", tokens(k=[16, 0]), "VQ_E_FORMAT", "k"
    yield "k-too-large", tokens(k=[16, 1 << 32]), "VQ_E_FORMAT", "k"
    yield "k-65-levels", tokens(k=[16] * 65), "VQ_E_FORMAT", "k"
    yield "packing-missing", tokens(without("packing")), "VQ_E_FORMAT", "packing"
    yield "packing-unknown", tokens(packing="zip"), "VQ_E_UNSUPPORTED", "packing"
    yield "rate-negative", tokens(rate=-1), "VQ_E_FORMAT", "rate"
    yield "bits-zero", tokens(bits=0), "VQ_E_FORMAT", "bits"
    yield "codec-too-long", tokens(codec="x" * 32), "VQ_E_FORMAT", "codec"
    yield "model-short", tokens(model="ab"), "VQ_E_FORMAT", "model"
    yield "model-not-hexadecimal", tokens(model="g" * 64), "VQ_E_FORMAT", "model"
    yield "codes-short", tokens(codes=CODES[:3]), "VQ_E_FORMAT", "HEAD says"
    yield "codes-long", tokens(codes=CODES + b"\0"), "VQ_E_FORMAT", "HEAD says"
    yield "codes-out-of-range", tokens(k=[16, 7]), "VQ_E_FORMAT", "K is 7"
    yield "codes-padding-bits", tokens(codes=CODES[:1] + b"\xff" + CODES[2:]), "VQ_E_FORMAT", "padding bit"
    yield "raw-out-of-range", tokens(packing="raw", codes=bytes([1, 2, 16, 7, 0, 5])), "VQ_E_FORMAT", "K is 16"
    yield "entropy-without-tables", tokens(packing="entropy", codes=bytes([0, 0x53, 0x9A, 0x21, 0xC4])), \
        "VQ_E_UNSUPPORTED", "entropy coded"
    yield "entropy-few-bytes-many-codes", tokens(packing="entropy", grid=[1, 9999, 9999], codes=bytes(9)), \
        "VQ_E_FORMAT", "too few"
    yield "bit-flip", bytes(flipped), "VQ_E_CHECKSUM", "checksum"


# ---- safetensors ----------------------------------------------------------------------------------------

def safetensors(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8), **extra):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **extra}


def safetensors_files():
    eight = bytes(8)
    sealed = {"__metadata__": {"libvq": "{}", "libvq_sha256": "0" * 64}, "a": tensor()}
    yield "empty", b"", "VQ_E_FORMAT", "bytes"
    yield "text", b"hello, this is a text\n", "VQ_E_FORMAT", "safetensors"
    yield "length-cut", b"\x10\0\0", "VQ_E_FORMAT", "bytes"
    yield "header-cut", safetensors({"a": tensor()}, eight)[:20], "VQ_E_FORMAT", "cut short"
    yield "header-length-huge", safetensors({"a": tensor()}, eight, size=1 << 40), "VQ_E_FORMAT", "cut short"
    yield "header-length-wraps", safetensors({"a": tensor()}, eight, size=(1 << 64) - 1), "VQ_E_FORMAT", "cut short"
    yield "header-empty", safetensors(b""), "VQ_E_FORMAT", "no JSON"
    yield "header-not-json", safetensors(b"{hello}"), "VQ_E_FORMAT", "JSON"
    yield "header-array", safetensors(b"[1]"), "VQ_E_FORMAT", "no JSON"
    yield "header-too-deep", safetensors(b'{"a":' * 80 + b"1" + b"}" * 80), "VQ_E_LIMIT", "deeper"
    yield "duplicate-name", safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(tensor()).encode(),) * 2), eight), \
        "VQ_E_FORMAT", "duplicate"
    yield "name-empty", safetensors({"": tensor()}, eight), "VQ_E_FORMAT", "no name"
    yield "tensor-not-object", safetensors({"a": 1}), "VQ_E_FORMAT", "dtype"
    yield "dtype-missing", safetensors({"a": {"shape": [2], "data_offsets": [0, 8]}}, eight), "VQ_E_FORMAT", "dtype"
    yield "dtype-unknown", safetensors({"a": tensor("F33")}, eight), "VQ_E_FORMAT", "F33"
    yield "dtype-f8", safetensors({"a": tensor("F8_E4M3", (8,))}, eight), "VQ_E_UNSUPPORTED", "F8_E4M3"
    yield "shape-missing", safetensors({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, eight), "VQ_E_FORMAT", "shape"
    yield "shape-negative", safetensors({"a": tensor(shape=(-2,))}, eight), "VQ_E_FORMAT", "dimension 0"
    yield "shape-fraction", safetensors({"a": tensor(shape=(2.0,))}, eight), "VQ_E_FORMAT", "dimension 0"
    yield "shape-overflow", safetensors({"a": tensor(shape=(1 << 40, 1 << 40))}, eight), "VQ_E_FORMAT", "dimension"
    yield "shape-wraps-to-fit", safetensors({"a": tensor(shape=(1 << 62, 4, 2))}, eight), "VQ_E_FORMAT", "dimension"
    yield "shape-nine-dimensions", safetensors({"a": tensor(shape=(1,) * 8 + (2,))}, eight), "VQ_E_LIMIT", "dimensions"
    yield "offsets-missing", safetensors({"a": {"dtype": "F32", "shape": [2]}}, eight), "VQ_E_FORMAT", "data_offsets"
    yield "offsets-three", safetensors({"a": tensor(offsets=(0, 4, 8))}, eight), "VQ_E_FORMAT", "data_offsets"
    yield "offsets-reversed", safetensors({"a": tensor(offsets=(8, 0))}, eight), "VQ_E_FORMAT", "outside"
    yield "offsets-negative", safetensors({"a": tensor(offsets=(-8, 0))}, eight), "VQ_E_FORMAT", "data_offsets"
    yield "offsets-past-the-end", safetensors({"a": tensor(offsets=(8, 16))}, eight), "VQ_E_FORMAT", "outside"
    yield "size-not-shape", safetensors({"a": tensor(shape=(3,))}, eight), "VQ_E_FORMAT", "needs 12"
    yield "overlap", safetensors({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)), "VQ_E_FORMAT", "overlaps"
    yield "hole", safetensors({"a": tensor(), "b": tensor(offsets=(12, 20))}, bytes(20)), "VQ_E_FORMAT", "hole"
    yield "trailing-bytes", safetensors({"a": tensor()}, bytes(9)), "VQ_E_FORMAT", "follow"
    yield "data-missing", safetensors({"a": tensor()}), "VQ_E_FORMAT", "outside"
    yield "metadata-not-object", safetensors({"__metadata__": 1, "a": tensor()}, eight), "VQ_E_FORMAT", "__metadata__"
    yield "metadata-not-text", safetensors({"__metadata__": {"k": 1}, "a": tensor()}, eight), "VQ_E_FORMAT", "text"
    yield "settings-without-seal", safetensors({"__metadata__": {"libvq": "{}"}, "a": tensor()}, eight), \
        "VQ_E_FORMAT", "without its checksum"
    yield "seal-wrong", safetensors(sealed, eight), "VQ_E_CHECKSUM", "does not match"
    yield "seal-short", safetensors({"__metadata__": {"libvq": "{}", "libvq_sha256": "00"}, "a": tensor()}, eight), \
        "VQ_E_FORMAT", "without its checksum"


# ---- npy ------------------------------------------------------------------------------------------------

def npy(text, data=b"", version=1, length=None, magic=b"\x93NUMPY"):
    text = text.encode() if isinstance(text, str) else text
    size = len(text) if length is None else length
    return magic + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text + data


def header(descr="'<f4'", order="False", shape="(2,)"):
    return "{'descr': %s, 'fortran_order': %s, 'shape': %s, }\n" % (descr, order, shape)


def npy_files():
    eight = bytes(8)
    yield "empty", b"", "VQ_E_FORMAT", "empty"
    yield "text", b"1.0, 2.0, 3.0\n", "VQ_E_FORMAT", "not a .npy"
    yield "magic-wrong", npy(header(), eight, magic=b"\x93NUMPX"), "VQ_E_FORMAT", "not a .npy"
    yield "magic-only", b"\x93NUMPY", "VQ_E_FORMAT", "not a .npy"
    yield "version-zero", npy(header(), eight, version=0), "VQ_E_VERSION", "version 0"
    yield "version-four", npy(header(), eight, version=4), "VQ_E_VERSION", "version 4"
    yield "header-cut", npy(header(), eight)[:30], "VQ_E_FORMAT", "inside its header"
    yield "header-longer-than-file", npy(header(), eight, length=60000), "VQ_E_FORMAT", "inside its header"
    yield "header-huge", npy(header(), eight, version=2, length=1 << 30), "VQ_E_LIMIT", "header"
    yield "header-not-a-dict", npy("[1, 2]\n", eight), "VQ_E_FORMAT", "no dict"
    yield "header-not-closed", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", eight), \
        "VQ_E_FORMAT", "header has no"
    yield "header-code", npy("{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (2,)}\n", eight), \
        "VQ_E_FORMAT", "no dtype"
    yield "header-trailing-text", npy(header() + "x", eight), "VQ_E_FORMAT", "no end"
    yield "key-missing", npy("{'descr': '<f4', 'shape': (2,)}\n", eight), "VQ_E_FORMAT", "fortran_order"
    yield "key-twice", npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", eight), \
        "VQ_E_FORMAT", "twice"
    yield "key-unknown", npy("{'colour': 'red', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", eight), \
        "VQ_E_FORMAT", "unknown"
    yield "order-number", npy(header(order="0"), eight), "VQ_E_FORMAT", "True or False"
    yield "shape-list", npy(header(shape="[2]"), eight), "VQ_E_FORMAT", "no shape"
    yield "shape-negative", npy(header(shape="(-2,)"), eight), "VQ_E_FORMAT", "possible size"
    yield "shape-overflow", npy(header(shape="(99999999999999999999,)"), eight), "VQ_E_FORMAT", "possible size"
    yield "shape-product-overflow", npy(header(shape="(4294967296, 4294967296, 4)"), eight), "VQ_E_LIMIT", "address"
    yield "shape-wraps-to-fit", npy(header(shape="(4611686018427387904, 4, 2)"), eight), "VQ_E_LIMIT", "address"
    yield "shape-nine-dimensions", npy(header(shape="(1, 1, 1, 1, 1, 1, 1, 1, 2)"), eight), "VQ_E_LIMIT", "dimensions"
    yield "shape-not-closed", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2", eight), \
        "VQ_E_FORMAT", "header has no"
    yield "data-short", npy(header(), bytes(7)), "VQ_E_FORMAT", "needs 8"
    yield "data-long", npy(header(), bytes(9)), "VQ_E_FORMAT", "needs 8"
    yield "dtype-objects", npy(header("'|O'"), eight), "VQ_E_UNSUPPORTED", "objects"
    yield "dtype-complex", npy(header("'<c8'", shape="(1,)"), eight), "VQ_E_UNSUPPORTED", "complex"
    yield "dtype-text", npy(header("'<U2'", shape="(1,)"), eight), "VQ_E_UNSUPPORTED", "texts"
    yield "dtype-date", npy(header("'<M8[s]'", shape="(1,)"), eight), "VQ_E_UNSUPPORTED", "dates"
    yield "dtype-structured", npy(header("[('x', '<f4'), ('y', '<f4')]", shape="(1,)"), eight), \
        "VQ_E_UNSUPPORTED", "structured"
    yield "dtype-longdouble", npy(header("'<f16'", shape="(1,)"), bytes(16)), "VQ_E_UNSUPPORTED", "f16"
    yield "dtype-unknown", npy(header("'<q4'"), eight), "VQ_E_FORMAT", "dtype"
    yield "dtype-no-order", npy(header("'f4'"), eight), "VQ_E_FORMAT", "dtype"


# ---- actions: csv, npz, npy -----------------------------------------------------------------------------

def member(name=b"actions.npy", data=None, method=0, flags=0, packed=None, crc=None, size=None, offset=0, magic=b"PK\1\2"):
    """A member's local part and its entry of the directory."""
    data = npy(header(shape="(2, 1)"), bytes(8)) if data is None else data
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = (deflate.compress(data) + deflate.flush() if method == 8 else data) if packed is None else packed
    crc = zlib.crc32(data) if crc is None else crc
    size = len(data) if size is None else size
    common = struct.pack("<HHHHHIIIHH", 20, flags, method, 0, 0, crc, len(raw), size, len(name), 0)
    return (b"PK\3\4" + common + name + raw,
            magic + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, offset) + name)


def npz(members, count=None, at=None, length=None, tail=b""):
    local, directory = b"".join(m[0] for m in members), b"".join(m[1] for m in members)
    return local + directory + b"PK\5\6" + struct.pack(
        "<HHHHIIH", 0, 0, len(members), len(members) if count is None else count, len(directory) if length is None
        else length, len(local) if at is None else at, 0) + tail


def action_files():
    yield "empty", b"", "VQ_E_FORMAT", "neither"
    yield "binary", bytes(range(64)), "VQ_E_FORMAT", "neither"
    yield "csv-header-only", b"x,y\n", "VQ_E_FORMAT", "no rows"
    yield "csv-nan", b"x,y\n1,2\n3,nan\n", "VQ_E_NONFINITE", "line 3, column 2"
    yield "csv-infinite", b"1,2\n-inf,3\n", "VQ_E_NONFINITE", "line 2, column 1"
    yield "csv-overflow", b"1,2\n1e39,3\n", "VQ_E_NONFINITE", "line 2, column 1"
    yield "csv-missing", b"1,2\n3,\n", "VQ_E_FORMAT", "line 2, column 2: the value is missing"
    yield "csv-short-row", b"1,2,3\n4,5\n", "VQ_E_FORMAT", "line 2: 2 columns"
    yield "csv-long-row", b"1,2\n4,5,6\n", "VQ_E_FORMAT", "line 2: more than 2"
    yield "csv-word", b"x,y\n1,2\n3,four\n", "VQ_E_FORMAT", "line 3, column 2: not a number"
    yield "csv-hexadecimal", b"x,y\n0x10,2\n", "VQ_E_FORMAT", "line 2, column 1: not a number"
    yield "csv-quote-open", b"1,2\n\"3,4\n", "VQ_E_FORMAT", "line 2, column 1: not a field"
    yield "csv-field-long", b"1,2\n" + b"3" * 300 + b",4\n", "VQ_E_FORMAT", "line 2, column 1: not a field"
    yield "csv-nul", b"1,2\n3,\0004\n", "VQ_E_FORMAT", "line 2, column 2"
    yield "csv-time-falls", b"timestamp,x\n0,1\n2,1\n1,1\n", "VQ_E_FORMAT", "line 4, column 1: the time"
    yield "csv-wide-claim", b",".join([b"1"] * 200) + b"\n" + b"1\n" * 300, "VQ_E_FORMAT", "do not have 200"
    yield "npy-one-dimension", npy(header(), bytes(8)), "VQ_E_FORMAT", "1 dimensions"
    yield "npy-nan", npy(header(shape="(1, 2)"), struct.pack("<ff", 1, float("nan"))), "VQ_E_NONFINITE", "row 0, column 1"
    yield "npy-double-overflow", npy(header("'<f8'", shape="(2, 1)"), struct.pack("<dd", 1, 1e39)), \
        "VQ_E_NONFINITE", "row 1, column 0"
    yield "zip-magic-only", b"PK\3\4", "VQ_E_FORMAT", "not a whole zip"
    yield "zip-cut", npz([member()])[:-5], "VQ_E_FORMAT", "not a whole zip"
    yield "zip-no-array", npz([member(b"a.txt", b"hello")]), "VQ_E_FORMAT", "0 arrays"
    yield "zip-two-arrays", npz([member(b"a.npy"), member(b"b.npy")]), "VQ_E_FORMAT", "2 arrays"
    yield "zip-same-name", npz([member(), member()]), "VQ_E_FORMAT", "two of that name"
    yield "zip-encrypted", npz([member(flags=1)]), "VQ_E_UNSUPPORTED", "encrypted"
    yield "zip-method", npz([member(method=12)]), "VQ_E_UNSUPPORTED", "method 12"
    yield "zip-crc", npz([member(crc=1)]), "VQ_E_CHECKSUM", "actions: the checksum"
    yield "zip-stored-sizes", npz([member(size=4000)]), "VQ_E_FORMAT", "cannot unpack"
    yield "zip-bomb", npz([member(method=8, size=1 << 30)]), "VQ_E_FORMAT", "cannot unpack"
    yield "zip-deflate-short", npz([member(method=8, size=2000)]), "VQ_E_FORMAT", "deflated"
    yield "zip-deflate-noise", npz([member(method=8, packed=b"\xff" * 40)]), "VQ_E_FORMAT", "deflated"
    yield "zip-64", npz([member(size=0xFFFFFFFF)]), "VQ_E_UNSUPPORTED", "zip64"
    yield "zip-64-directory", npz([member()], at=0xFFFFFFFF), "VQ_E_UNSUPPORTED", "zip64"
    yield "zip-directory-beyond", npz([member()], at=1 << 20), "VQ_E_FORMAT", "directory"
    yield "zip-directory-length", npz([member()], length=7), "VQ_E_FORMAT", "directory"
    yield "zip-directory-magic", npz([member(magic=b"PK\1\3")]), "VQ_E_FORMAT", "directory is damaged"
    yield "zip-count-beyond", npz([member()], count=9), "VQ_E_FORMAT", "directory is damaged"
    yield "zip-member-beyond", npz([member(offset=5000)]), "VQ_E_FORMAT", "not the header"
    yield "zip-array-damaged", npz([member(data=b"\x93NUMPX" + bytes(80))]), "VQ_E_FORMAT", "not a .npy"


# ---- sound ----------------------------------------------------------------------------------------------

def riff(*chunks, form=b"WAVE", magic=b"RIFF", size=None):
    body = form + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def part(name, payload, size=None):
    return name + struct.pack("<I", len(payload) if size is None else size) + payload + b"\0" * (len(payload) & 1)


def fmt(coding=1, channels=1, rate=8000, bits=16, align=None):
    align = channels * bits // 8 if align is None else align
    return part(b"fmt ", struct.pack("<HHIIHH", coding, channels, rate, rate * align & 0xFFFFFFFF, align, bits))


def float_wav(*samples):
    return riff(fmt(coding=3, bits=32), part(b"data", struct.pack(f"<{len(samples)}f", *samples)))


def crc(data, width, polynomial):
    value, top, mask = 0, 1 << (width - 1), (1 << width) - 1
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
    return value


def flac(declared=192, rate=8000, channels=1, frames=1, magic=b"fLaC"):
    """Blocks of 192 samples that are all 1000."""
    info = struct.pack(">HH", 192, 192) + bytes(6)
    info += ((rate << 44) | (channels - 1) << 41 | 15 << 36 | declared).to_bytes(8, "big") + bytes(16)
    out = magic + b"\x80" + len(info).to_bytes(3, "big") + info
    for number in range(frames):
        frame = bytes([0xFF, 0xF8, 0x14, (channels - 1) << 4 | 8, number])
        frame += bytes([crc(frame, 8, 0x07)])
        frame += (b"\0" + struct.pack(">h", 1000)) * channels
        out += frame + crc(frame, 16, 0x8005).to_bytes(2, "big")
    return out


def sound_files():
    data = part(b"data", struct.pack("<8h", *range(0, 800, 100)))
    good, tune = riff(fmt(), data), flac(frames=4, declared=4 * 192)
    flipped = bytearray(tune)
    flipped[-20] ^= 0x40
    yield "empty", b"", "VQ_E_FORMAT", "empty"
    yield "text", b"la la la\n", "VQ_E_FORMAT", "not a sound file"
    yield "raw-samples", struct.pack("<64h", *range(64)), "VQ_E_FORMAT", "not a sound file"
    yield "magic-only", b"RIFF", "VQ_E_FORMAT", "not a sound file"
    yield "riff-of-another-kind", riff(fmt(), data, form=b"AVI "), "VQ_E_FORMAT", "not a sound file"
    yield "header-only", riff(), "VQ_E_FORMAT", "damaged"
    yield "format-missing", riff(data), "VQ_E_FORMAT", "damaged"
    yield "format-short", riff(part(b"fmt ", b"\1\0\1\0"), data), "VQ_E_FORMAT", "damaged"
    yield "data-missing", riff(fmt()), "VQ_E_FORMAT", "damaged"
    yield "no-samples", riff(fmt(), part(b"data", b"")), "VQ_E_FORMAT", "no samples"
    yield "cut-in-samples", good[:-6], "VQ_E_FORMAT", "was cut"
    yield "cut-in-header", good[:30], "VQ_E_FORMAT", "was cut"
    yield "size-beyond-file", riff(fmt(), data, size=1 << 20), "VQ_E_FORMAT", "was cut"
    yield "channels-none", riff(fmt(channels=0, align=2), data), "VQ_E_FORMAT", "damaged"
    yield "channels-too-many", riff(fmt(channels=64), part(b"data", bytes(256))), "VQ_E_LIMIT", "64 channels"
    yield "rate-zero", riff(fmt(rate=0), data), "VQ_E_FORMAT", "damaged"
    yield "rate-low", riff(fmt(rate=10), data), "VQ_E_LIMIT", "10 samples per second"
    yield "rate-huge", riff(fmt(rate=2_000_000_000), data), "VQ_E_LIMIT", "2000000000 samples per second"
    yield "coding-adpcm", riff(part(b"fmt ", struct.pack("<HHIIHHHH", 0x11, 1, 8000, 4055, 256, 4, 2, 505)),
                               part(b"fact", struct.pack("<I", 505)), part(b"data", bytes(256))), \
        "VQ_E_UNSUPPORTED", "not read"
    yield "coding-gsm", riff(part(b"fmt ", struct.pack("<HHIIHHHH", 0x31, 1, 8000, 1625, 65, 0, 2, 320)),
                             part(b"fact", struct.pack("<I", 320)), part(b"data", bytes(65))), \
        "VQ_E_UNSUPPORTED", "not read"
    yield "sample-nan", float_wav(0.5, float("nan"), 0.5), "VQ_E_NONFINITE", "0.000125 s"
    yield "sample-infinite", float_wav(0.5, 0.5, float("-inf")), "VQ_E_NONFINITE", "0.000250 s"
    yield "sample-not-scaled", float_wav(0, 32767, 0), "VQ_E_FORMAT", "full scale"
    yield "flac-magic-only", b"fLaC", "VQ_E_FORMAT", "damaged"
    yield "flac-cut-in-frame", tune[:-7], "VQ_E_FORMAT", "damaged"
    yield "flac-frames-missing", flac(frames=2, declared=1000 * 192), "VQ_E_FORMAT", "384 of 192000"
    yield "flac-bit-flipped", bytes(flipped), "VQ_E_FORMAT", "damaged"
    yield "flac-declares-a-day", flac(declared=(1 << 36) - 1), "VQ_E_FORMAT", "192 of 68719476735"
    yield "ogg-cut", b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis", "VQ_E_FORMAT", "damaged"
    yield "mp3-header-only", b"\xff\xfb\x90\x64", "VQ_E_FORMAT", "damaged"
    yield "id3-of-nothing", b"ID3\3\0\0\x7f\x7f\x7f\x7f", "VQ_E_FORMAT", "damaged"


def sound_seeds():
    """Whole files, for the fuzzer to begin with."""
    samples = struct.pack("<8h", *range(0, 800, 100))
    yield "wav-16", riff(fmt(), part(b"data", samples))
    yield "wav-stereo-8", riff(fmt(channels=2, bits=8), part(b"data", samples))
    yield "wav-24", riff(fmt(bits=24), part(b"data", samples + samples[:8]))
    yield "wav-float", float_wav(0, 0.5, -0.5)
    yield "wav-double", riff(fmt(coding=3, bits=64), part(b"data", struct.pack("<3d", 0, 0.5, -0.5)))
    yield "wav-ulaw", riff(fmt(coding=7, bits=8), part(b"data", samples))
    yield "wav-44100", riff(fmt(rate=44100), part(b"LIST", b"INFOINAM\4\0\0\0abc\0"), part(b"data", samples))
    yield "wav-of-a-stream", riff(fmt(), part(b"data", samples, size=0xFFFFFFFF), size=0xFFFFFFFF)
    yield "flac", flac(frames=3, declared=3 * 192)
    yield "flac-stereo", flac(frames=2, declared=2 * 192, channels=2, rate=48000)
    aiff = b"AIFFCOMM" + struct.pack(">IhIh", 18, 1, 8, 16) + b"\x40\x0b\xfa\0\0\0\0\0\0\0"
    aiff += b"SSND" + struct.pack(">III", 24, 0, 0) + samples
    yield "aiff", b"FORM" + struct.pack(">I", len(aiff)) + aiff
    yield "au", b".snd" + struct.pack(">IIIII", 24, 16, 3, 8000, 1) + samples


def main():
    seeds = HERE.parent / "fuzz/corpus/sound"
    seeds.mkdir(exist_ok=True)
    for name, data in sound_seeds():
        (seeds / name).write_bytes(data)
    for folder, suffix, files in (("tokens", "bin", token_files()), ("safetensors", "safetensors", safetensors_files()),
                                  ("npy", "npy", npy_files()), ("actions", "in", action_files()),
                                  ("sound", "snd", sound_files())):
        path = HERE / folder
        path.mkdir(exist_ok=True)
        for old in path.iterdir():
            old.unlink()
        rows = []
        for name, data, status, words in files:
            (path / f"{name}.{suffix}").write_bytes(data)
            rows.append(f"{name}.{suffix}\t{status}\t{words}\n")
        (path / "expected.txt").write_text("".join(rows))


if __name__ == "__main__":
    main()

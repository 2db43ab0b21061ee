# SPDX-License-Identifier: Apache-2.0
"""Read the stores of libvq, data sets as tokens, with NumPy alone. docs/FORMATS.md, section 9, is the format.

    import libvq_store
    store = libvq_store.open("photos.vqs")              # or a folder of shards; mapped: nothing is read yet
    record = store[7]                                   # or store.get("cat.png"), or a negative number
    record.codes                                        # int64 [levels, *grid]; record.streams["state"].codes
    store.labels                                        # of all records, from the index alone

    loader = torch.utils.data.DataLoader(libvq_store.Dataset("photos.vqs"), batch_size=64, num_workers=4)

Every record's checksum is verified as it is read, unless check=False. What is damaged raises Damaged, and the other
records are read as before; what this reader is too old for raises Unsupported. libvq.py reads the same by the C
library, and faster.
"""
import bisect
import hashlib
import io
import json
import math
import operator
import os
import struct
from typing import NamedTuple

import numpy

MAGIC = b"\x89VQS\r\n\x1a\n"
MANIFEST = "manifest.json"
FILE_HEADER, CHUNK_HEADER, FOOTER, ALIGN = 48, 16, 80, 64
KINDS = ("image", "audio", "action")
NO_LABEL = -1 << 63
ROW = numpy.dtype([("offset", "<u8"), ("length", "<u4"), ("crc", "<u4"), ("label", "<i8"), ("codes", "<u4"),
                   ("row_crc", "<u4")])
KEY = numpy.dtype([("hash", "<u8"), ("record", "<u8")])


class Error(ValueError):
    """What is wrong, with the file's name."""


class Damaged(Error):
    """The bytes are not what was written, or no shard."""


class Unsupported(Error):
    """Of a newer version, or larger than was allowed."""


class Stream(NamedTuple):
    """The tokens of one stream of a record."""
    codes: numpy.ndarray  # int64 [levels, *grid]
    source: tuple         # shape of the signal that was encoded; () if it was none
    rate: float           # samples or steps per second; 0 = not known
    bits: int             # per sample of the source; 0 = not known
    dimensions: object    # what is known of an action's, as in HEAD of a token file, or None


class Record(NamedTuple):
    number: int
    key: str
    label: int
    split: str
    caption: str
    source_bytes: int  # of the file that was encoded; None, as all of these, if it is not known
    streams: dict      # by name, of those that the record has

    @property
    def codes(self):
        """Of its first stream."""
        return next(iter(self.streams.values())).codes


# CRC32C (RFC 3720) is a sum (xor) over the bytes of a row, each by a table of its place.

ROW_BYTES = 512


def _crc_tables():
    table = numpy.arange(256, dtype=numpy.uint32)
    for _ in range(8):
        table = table >> 1 ^ (table & 1) * numpy.uint32(0x82F63B78)
    places = [table]  # of the last byte
    while len(places) < ROW_BYTES:
        places.append(places[-1] >> 8 ^ table[places[-1] & 255])
    return numpy.stack(places[::-1])


_TABLES = _crc_tables()
_BYTE, _FIRST = _TABLES[-1].tolist(), _TABLES[:4].tolist()
_FLAT, _PLACES = _TABLES.ravel(), numpy.arange(0, _TABLES.size, 256)


def crc32c(data, crc=0):
    """Castagnoli's CRC of bytes, after those of `crc`."""
    crc, short = crc ^ 0xFFFFFFFF, len(data) % ROW_BYTES
    if short < 64:
        for byte in bytes(data[:short]):
            crc = crc >> 8 ^ _BYTE[(crc ^ byte) & 255]
    else:
        row = numpy.frombuffer(data, numpy.uint8, short).copy()
        row[:4] ^= numpy.frombuffer(struct.pack("<I", crc), numpy.uint8)
        crc = int(numpy.bitwise_xor.reduce(_FLAT[_PLACES[-short:] + row]))
    for at in range(short, len(data), 1 << 20):
        rows = numpy.frombuffer(data[at:at + (1 << 20)], numpy.uint8).reshape(-1, ROW_BYTES)
        for row in numpy.bitwise_xor.reduce(_FLAT[_PLACES + rows], axis=1).tolist():
            crc = (_FIRST[0][crc & 255] ^ _FIRST[1][crc >> 8 & 255] ^ _FIRST[2][crc >> 16 & 255]
                   ^ _FIRST[3][crc >> 24] ^ row)
    return crc ^ 0xFFFFFFFF


def key_hash(key):
    """64-bit FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


class _Bytes:
    """Bytes taken one after the other; what is not there raises."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if size > len(self.data) - self.at:
            raise Damaged(f"byte {self.at}: cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def varint(self, least=0, most=(1 << 64) - 1):
        value, shift, begin = 0, 0, self.at
        for byte in self.data[begin:begin + 10]:
            value |= (byte & 127) << shift
            self.at += 1
            if byte < 128:
                if least <= value <= most and (byte or not shift):
                    return value
                break
            shift += 7
        raise Damaged(f"byte {begin}: a number that cannot be")

    def text(self, most):
        data = self.take(self.varint(0, most))
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise Damaged(f"byte {self.at}: a text that is not UTF-8") from None
        if "\0" in text:
            raise Damaged(f"byte {self.at}: a text with a 0")
        return text


def _json(data):
    def pairs(items):
        if len(dict(items)) < len(items):
            raise ValueError("a key twice")
        return dict(items)

    try:
        return json.loads(bytes(data).decode(), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as fault:
        raise Damaged(f"JSON that cannot be read: {fault}") from None


def _integer(value, least, most):
    return type(value) is int and least <= value <= most


# Packings: bytes to levels of codes.

def _unpack_raw(data, positions, ks):
    width = 1 if max(ks) <= 1 << 8 else 2 if max(ks) <= 1 << 16 else 4
    if len(data) != positions * len(ks) * width:
        raise Damaged("not as many bytes of codes as the shape implies")
    return numpy.frombuffer(data, f"<u{width}").reshape(len(ks), positions).astype(numpy.int64)


def _unpack_bits(data, positions, ks):
    widths = [max(1, (k - 1).bit_length()) for k in ks]
    if len(data) != sum((positions * bits + 7) // 8 for bits in widths):
        raise Damaged("not as many bytes of codes as the shape implies")
    padded = bytes(data) + bytes(8)
    words = numpy.ndarray((len(data) + 1,), "<u8", padded, strides=(1,))  # one that begins at each byte
    codes, at = numpy.empty((len(ks), positions), numpy.int64), 0
    for level, bits in enumerate(widths):
        begins = numpy.arange(0, positions * bits, bits, numpy.uint64)
        codes[level] = words[(begins >> 3) + numpy.uint64(at)] >> (begins & 7) & numpy.uint64((1 << bits) - 1)
        at += (positions * bits + 7) // 8
        if positions * bits % 8 and padded[at - 1] >> positions * bits % 8:
            raise Damaged("an unused bit is not 0")
    return codes


def _varints(data):
    """All of them, of at most three bytes each."""
    data = numpy.frombuffer(data, numpy.uint8).astype(numpy.int64)
    ends = numpy.flatnonzero(data < 128)
    sizes = numpy.diff(ends, prepend=-1)
    if not len(ends) or ends[-1] != len(data) - 1 or sizes.max() > 3 or (data[ends[sizes > 1]] == 0).any():
        raise Damaged("numbers that cannot be")
    values = data[ends]
    for back in 1, 2:
        longer = numpy.flatnonzero(sizes > back)
        values[longer] = values[longer] << 7 | data[ends[longer] - back] & 127
    return iter(values.tolist())


LEFT, ABOVE, BEFORE, BELOW = 1, 2, 3, 4  # which codes nearby tell of a code; below: of the level before
TOTAL, LOW = 1 << 16, 1 << 24


def _symbols(k):
    """How many, and what a code is divided by to get its symbol."""
    return ((k - 1) // TOTAL + 1, TOTAL) if k > TOTAL else (max(k, 2), 1)


class _Level:
    """The tables of one level: which neighbours count, the classes of their symbols, a table for each context."""

    def __init__(self, numbers, ks, level, room):
        self.symbols, self.divisor = _symbols(ks[level])
        self.nears, contexts = [], 1
        for _ in range(self._number(numbers, 0, 2)):
            near = self._number(numbers, LEFT, BELOW if level else BEFORE)
            count = self._number(numbers, 1, 64)
            symbols, divisor = _symbols(ks[level - 1]) if near == BELOW else (self.symbols, self.divisor)
            if self.nears and self.nears[0][0] == near:
                raise Damaged("one neighbour twice")
            classes = [self._number(numbers, 0, count - 1) for _ in range(symbols)] + [count]
            self.nears.append((near, count + 1, classes, divisor))
            contexts *= count + 1
        self.frequencies = contexts * self.symbols
        if self.frequencies > room:
            raise Damaged("more frequencies than there may be")
        self.starts = [self._table(numbers) for _ in range(contexts)]

    @staticmethod
    def _number(numbers, least, most):
        number = next(numbers, -1)
        if not least <= number <= most:
            raise Damaged("a number that cannot be, or the end")
        return number

    def _table(self, numbers):
        """Where each symbol's interval begins, and the end."""
        starts, total = [0], 0
        while len(starts) <= self.symbols:
            frequency = self._number(numbers, 0, TOTAL - 256)
            total += frequency
            starts.append(total)
            if not frequency:
                starts += [total] * self._number(numbers, 0, self.symbols + 1 - len(starts))
        if not total:
            return [TOTAL * symbol // self.symbols for symbol in range(self.symbols + 1)]
        if total != TOTAL:
            raise Damaged("frequencies do not add up")
        return starts

    def contexts(self, shape, codes, below):
        """For each position, in turn, the context's number; `codes` grows meanwhile."""
        _, rows, columns = shape
        nears = []
        for near, count, classes, divisor in self.nears:
            back = {LEFT: 1, ABOVE: columns, BEFORE: rows * columns, BELOW: 0}[near]
            nears.append((near, count, classes, divisor, back, below if near == BELOW else codes))
        for at in range(math.prod(shape)):
            inner = at % (rows * columns)
            there = (None, inner % columns > 0, inner >= columns, at >= rows * columns, True)
            context = 0
            for near, count, classes, divisor, back, known in nears:
                context = context * count + classes[known[at - back] // divisor if there[near] else -1]
            yield context


class _Rans:
    """A decoder: states that take turns, and words of 32 bits (docs/FORMATS.md, section 9)."""

    def __init__(self, data, count):
        self.two = count >= 4096
        first = 7 if self.two else len(data) if len(data) < 8 else 4 + len(data) % 4
        states = 14 if self.two else first
        if count // 1536 > len(data) + 14 or len(data) < states or (len(data) - states) % 4:
            raise Damaged("an entropy coded stream of a size that cannot be")
        self.now, self.other = int.from_bytes(data[:first], "little"), int.from_bytes(data[first:states], "little")
        if not self.two and (not first or not data[first - 1]) or self.now >> 56:
            raise Damaged("an entropy coded stream begins with a state that cannot be")
        self.words = iter(numpy.frombuffer(data, "<u4", offset=states).tolist())

    def take(self, starts):
        """The symbol whose interval holds what comes next; without intervals, 16 bits."""
        value = self.now & TOTAL - 1
        if starts is None:
            symbol, x = value, self.now >> 16
        else:
            symbol = bisect.bisect_right(starts, value) - 1
            start = starts[symbol]
            x = (starts[symbol + 1] - start) * (self.now >> 16) + value - start
        if x < LOW:
            word = next(self.words, None)
            if word is not None:
                x = x << 32 | word
        self.now, self.other = (self.other, x) if self.two else (x, 0)
        return symbol

    def finish(self):
        if next(self.words, None) is not None or (self.now, self.other) != ((LOW, LOW) if self.two else (TOTAL, 0)):
            raise Damaged("an entropy coded stream breaks")


def _unpack_rans(data, grid, ks, levels):
    shape = (1,) * (3 - len(grid)) + grid
    decoder = _Rans(data, sum(math.prod(grid) * (2 if k > TOTAL else 1) for k in ks))
    out, below = [], None
    for level in levels:
        codes = []
        for context in level.contexts(shape, codes, below):
            code = decoder.take(level.starts[context])
            codes.append(code if level.divisor == 1 else code * TOTAL + decoder.take(None))
        out.append(codes)
        below = codes
    decoder.finish()
    return numpy.array(out, numpy.int64)


class _Sequence:
    """Of records. It may be read from many threads, and be pickled, by its path."""

    def __init__(self, path, check=True, max_codes=1 << 28):
        """check: verify the checksums of what is read; max_codes: of one record, else Unsupported."""
        self.path, self.check, self.max_codes = os.fspath(path), check, max_codes
        try:
            self._open()
        except Error as fault:
            raise type(fault)(f"{self.path}: {fault}") from None

    def __reduce__(self):
        return type(self), (self.path, self.check, self.max_codes)

    def __len__(self):
        return self.records

    def __getitem__(self, number):
        number, asked = operator.index(number), number
        if number < 0:
            number += self.records
        if not 0 <= number < self.records:
            raise IndexError(f"{self.path}: there is no record {asked} (there are {self.records})")
        return self._read(number)

    def get(self, key):
        """The first record with this key. KeyError if there is none."""
        return self[self.find(key)]


class Shard(_Sequence):
    """One shard."""

    def _open(self):
        try:
            mapped = numpy.memmap(self.path, numpy.uint8, "r")
        except ValueError:  # a file of no bytes cannot be mapped
            mapped = numpy.zeros(0, numpy.uint8)
        self._data = memoryview(mapped.view(numpy.ndarray))
        header = bytes(self._data[:FILE_HEADER])
        if header[:8] != MAGIC:
            raise Damaged("not a shard")
        if len(header) < FILE_HEADER or crc32c(header[:44]) != struct.unpack_from("<I", header, 44)[0]:
            raise Damaged("byte 44: the checksum of the header does not match")
        self.version = struct.unpack_from("<HH", header, 8)
        if self.version[0] != 1:
            raise Unsupported(f"version {self.version[0]} of the format, not 1")
        if not self.version[1] and any(header[12:44]):
            raise Damaged("byte 12: reserved bytes are not 0")
        payload, self._first = self._chunk(FILE_HEADER, b"HEAD")
        self._head(_json(payload))
        self._tables = [None] * len(self.streams)
        if self.packing == "rans":
            payload, self._first = self._chunk(self._first, b"TABL")
            self._read_tables(_varints(payload))
        self._footer()

    def _chunk(self, at, kind, check=True):
        """The payload of the chunk whose header is here, and where the next one's header is."""
        if at < FILE_HEADER or at + CHUNK_HEADER + 4 > len(self._data):
            raise Damaged(f"byte {at}: cut short")
        found, flags, length = struct.unpack_from("<4sIQ", self._data, at)
        end = at + CHUNK_HEADER + length
        if found != kind or flags or end + 4 > len(self._data):
            raise Damaged(f"byte {at}: not a chunk {kind.decode()}")
        if check and crc32c(self._data[at:end]) != struct.unpack_from("<I", self._data, end)[0]:
            raise Damaged(f"byte {at}: the checksum of {kind.decode()} does not match")
        return self._data[at + CHUNK_HEADER:end], -(-(end + 4 + CHUNK_HEADER) // ALIGN) * ALIGN - CHUNK_HEADER

    def _head(self, head):
        streams = head.get("streams") if isinstance(head, dict) else None
        if not isinstance(streams, list) or not 1 <= len(streams) <= 16:
            raise Damaged("HEAD has no streams")
        for stream in streams:
            if not isinstance(stream, dict) or not isinstance(stream.get("name"), str):
                raise Damaged("HEAD has a stream without a name")
            ks = stream.get("k")
            if not isinstance(ks, list) or not 1 <= len(ks) <= 64 or not all(_integer(k, 1, 2**32 - 1) for k in ks):
                raise Damaged(f"HEAD: K of the stream {stream['name']} cannot be")
            if "kind" in stream and stream["kind"] not in KINDS:
                raise Unsupported(f"HEAD: a stream of another kind than {', '.join(KINDS)}")
        if len({stream["name"] for stream in streams}) < len(streams):
            raise Damaged("HEAD: two streams of one name")
        self.streams, self.packing = streams, head.get("packing")
        if self.packing not in ("raw", "bits", "rans"):
            raise Unsupported(f"HEAD: the packing {self.packing!r}")

    def _read_tables(self, numbers):
        room = 1 << 22
        for number, stream in enumerate(self.streams):
            levels = next(numbers, -1)
            if levels not in (0, len(stream["k"])):
                raise Damaged("TABL: tables of another number of levels")
            tables = []
            for level in range(levels):
                tables.append(_Level(numbers, stream["k"], level, room))
                room -= tables[-1].frequencies
            self._tables[number] = tables or None
        if next(numbers, None) is not None:
            raise Damaged("TABL: more than the tables")

    def _footer(self):
        try:
            footer, _ = self._chunk(len(self._data) - FOOTER, b"SEND")
            if len(footer) != 60:
                raise Damaged("a footer of another size")
        except Damaged as fault:
            raise Damaged(f"{fault}: the shard has no footer; it is cut short, or was not finished "
                          "(vqstore repair)") from None
        size, self.records, self.codes, self.blocks, index, keys_at, keys = struct.unpack_from("<7Q", footer)
        if size != len(self._data) or any(footer[56:]):
            raise Damaged("the footer says another size of the file")
        self._rows = self._table(index, b"RIDX", ROW, self.records)
        self._keys = self._table(keys_at, b"KIDX", KEY, keys) if keys else numpy.zeros(0, KEY)
        self._end, self._keys_at = index - CHUNK_HEADER, keys_at

    def _table(self, at, kind, dtype, count):
        payload, _ = self._chunk(at - CHUNK_HEADER, kind, check=False)  # its rows have checksums, or what they name
        if at < self._first or len(payload) != count * dtype.itemsize:
            raise Damaged(f"byte {at}: {kind.decode()} is not where the footer says, or of another length")
        return numpy.frombuffer(payload, dtype)

    @property
    def labels(self):
        """int64, of all records; NO_LABEL where there is none. The checksums of the index are not looked at."""
        return self._rows["label"].astype(numpy.int64)

    @property
    def sizes(self):
        """int64: codes of each record, over all streams and levels."""
        return self._rows["codes"].astype(numpy.int64)

    def _bytes(self, number):
        row = self._rows[number].tobytes()
        if self.check and crc32c(row[:28]) != struct.unpack_from("<I", row, 28)[0]:
            raise Damaged("the checksum of its row in the index does not match")
        offset, length, crc = struct.unpack_from("<QII", row)
        if not self._first <= offset <= offset + length <= self._end:
            raise Damaged("the index says that it lies outside the blocks")
        data = bytes(self._data[offset:offset + length])
        if self.check and crc32c(data) != crc:
            raise Damaged(f"{length} bytes at byte {offset}: the checksum does not match")
        return data

    def _read(self, number):
        try:
            return self._parse(number, _Bytes(self._bytes(number)))
        except Error as fault:
            raise type(fault)(f"{self.path}: record {number}: {fault}") from None

    def _parse(self, number, data):
        known = data.take(1)[0]
        if known & ~31:
            raise Damaged("byte 0: bits that are not known")
        key = data.text(4095) if known & 1 else None
        zigzag = data.varint() if known & 2 else None
        label = None if zigzag is None else zigzag >> 1 ^ -(zigzag & 1)
        split = data.text(255) if known & 4 else None
        caption = data.text(1 << 20) if known & 8 else None
        source_bytes = data.varint(1) if known & 16 else None
        shapes = [self._shape(data, stream) for stream in self.streams]
        streams, room = {}, self.max_codes
        for number_of, (stream, shape) in enumerate(zip(self.streams, shapes)):
            if shape:
                grid, source, rate, bits, dimensions, plain, size = shape
                room -= math.prod(grid) * len(stream["k"])
                if room < 0:
                    raise Unsupported(f"a record of more than {self.max_codes} codes (max_codes)")
                if self.packing == "raw" and any(data.take(-data.at % 4)):
                    raise Damaged(f"byte {data.at}: padding that is not 0")
                codes = self._unpack(number_of, data.take(size), grid, plain)
                streams[stream["name"]] = Stream(codes, source, rate, bits, dimensions)
        if data.at != len(data.data):
            raise Damaged(f"byte {data.at}: bytes follow its codes")
        return Record(number, key, label, split, caption, source_bytes, streams)

    def _shape(self, data, stream):
        flags = data.take(1)[0]
        grid_dims, source_dims = flags & 3, flags >> 2 & 3
        if not grid_dims:
            if flags:
                raise Damaged(f"byte {data.at}: a stream that is not there has a shape")
            return None
        if bool(source_dims) != ("kind" in stream) or flags & 128 and self.packing != "rans":
            raise Damaged(f"byte {data.at}: a stream's shape that cannot be")
        grid = tuple(data.varint(1, 2**63 - 1) for _ in range(grid_dims))
        source = tuple(data.varint(1, 2**63 - 1) for _ in range(source_dims))
        rate = struct.unpack("<d", data.take(8))[0] if flags & 16 else 0.0
        if flags & 16 and not 0 < rate < math.inf:
            raise Damaged(f"byte {data.at}: a rate that cannot be")
        bits = data.varint(1, 64) if flags & 32 else 0
        dimensions = _json(data.take(data.varint())) if flags & 64 else None
        return grid, source, rate, bits, dimensions, flags & 128, data.varint()

    def _unpack(self, stream, data, grid, plain):
        ks, positions = self.streams[stream]["k"], math.prod(grid)
        if self.packing == "raw":
            codes = _unpack_raw(data, positions, ks)
        elif self.packing == "bits" or plain:
            codes = _unpack_bits(data, positions, ks)
        elif self._tables[stream]:
            codes = _unpack_rans(data, grid, ks, self._tables[stream])
        else:
            raise Damaged("entropy coded, but there are no tables")
        if (codes.max(axis=1) >= numpy.array(ks)).any():
            raise Damaged("a code that is not below its K")
        return codes.reshape(len(ks), *grid)

    def find(self, key):
        """The number of the first record with this key. KeyError if there is none."""
        hashes, wanted = self._keys["hash"], numpy.uint64(key_hash(key.encode()))
        at = bisect.bisect_left(hashes, wanted)
        while at < len(hashes) and hashes[at] == wanted:
            number = int(self._keys["record"][at])
            if number < self.records and self[number].key == key:
                return number
            at += 1
        if self.check and len(hashes):  # or is it damage that hides it?
            self._chunk(self._keys_at - CHUNK_HEADER, b"KIDX")
        raise KeyError(key)

    def verify(self):
        """Look at every byte: all chunks, all records, and what the index says of them. The first fault raises."""
        at, end = FILE_HEADER, len(self._data) - FOOTER
        while at < end:
            if at < FILE_HEADER or at + CHUNK_HEADER > end:
                raise Damaged(f"{self.path}: byte {at}: a chunk is cut short")
            _, following = self._chunk(at, bytes(self._data[at:at + 4]))
            at = following
        for number, row in enumerate(self._rows):
            record = self[number]
            label = NO_LABEL if record.label is None else record.label
            if sum(stream.codes.size for stream in record.streams.values()) != row["codes"] or label != row["label"]:
                raise Damaged(f"{self.path}: record {number}: the index says something else of it")


class Store(_Sequence):
    """Shards as one, their records numbered through: a folder with its manifest.json, or that."""

    def _open(self):
        manifest = os.path.join(self.path, MANIFEST) if os.path.isdir(self.path) else self.path
        with io.open(manifest, "rb") as file:
            said = _json(file.read())
        if not isinstance(said, dict) or said.get("format") != "libvq store":
            raise Damaged("not the manifest of a store")
        if said.get("version") != 1:
            raise Unsupported(f"version {said.get('version')} of the manifest, not 1")
        self.shards, self._sums, self._firsts = [], [], [0]
        for entry in said["shards"] if isinstance(said.get("shards"), list) else [None]:
            name, digest = (entry.get(key) if isinstance(entry, dict) else None for key in ("name", "sha256"))
            if not isinstance(name, str) or not isinstance(digest, str) or not name or name[0] == "." or "/" in name:
                raise Damaged("the manifest has a shard that cannot be")
            shard = Shard(os.path.join(os.path.dirname(manifest), name), self.check, self.max_codes)
            is_so = (shard.records, shard.codes, len(shard._data), shard.streams)
            if (*(entry.get(key) for key in ("records", "codes", "bytes")), said.get("streams")) != is_so:
                raise Damaged(f"{name}: not the shard that the manifest is of")
            self.shards.append(shard)
            self._sums.append(digest)
            self._firsts.append(self._firsts[-1] + shard.records)
        self.records, self.codes = self._firsts[-1], sum(shard.codes for shard in self.shards)
        if said.get("records") != self.records or not self.shards:
            raise Damaged("the manifest says another number of records")
        self.streams = self.shards[0].streams

    @property
    def labels(self):
        return numpy.concatenate([shard.labels for shard in self.shards])

    @property
    def sizes(self):
        return numpy.concatenate([shard.sizes for shard in self.shards])

    def _read(self, number):
        at = bisect.bisect_right(self._firsts, number) - 1
        return self.shards[at][number - self._firsts[at]]._replace(number=number)

    def find(self, key):
        for first, shard in zip(self._firsts, self.shards):
            try:
                return first + shard.find(key)
            except KeyError:
                pass
        raise KeyError(key)

    def verify(self):
        for shard, digest in zip(self.shards, self._sums):
            shard.verify()
            if hashlib.sha256(shard._data).hexdigest() != digest:
                raise Damaged(f"{shard.path}: its SHA-256 is not the manifest's")


def open(path, check=True, max_codes=1 << 28):  # as gzip.open()
    """A Shard; of a folder or a manifest, a Store."""
    is_set = os.path.isdir(path) or os.path.basename(path) == MANIFEST
    return (Store if is_set else Shard)(path, check, max_codes)


def __getattr__(name):
    """Dataset is made when it is asked for: torch takes seconds to import."""
    if name != "Dataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import torch

    class Dataset(torch.utils.data.Dataset):
        """(codes, int64 [levels, *grid]; label, -1 if there is none) of each record, or transform(record).

        stream: its name; None = the first that a record has."""

        def __init__(self, store, stream=None, transform=None):
            """store: a path, or what open() gives, or one of libvq.py's."""
            self.store = open(store) if isinstance(store, (str, os.PathLike)) else store
            self.stream, self.transform = stream, transform

        def __len__(self):
            return len(self.store)

        def __getitem__(self, number):
            record = self.store[number]
            if self.transform:
                return self.transform(record)
            codes = record.codes if self.stream is None else record.streams[self.stream].codes
            return torch.from_numpy(codes), -1 if record.label is None else record.label

    Dataset.__qualname__ = "Dataset"  # so that a worker process finds it
    globals()["Dataset"] = Dataset
    return Dataset

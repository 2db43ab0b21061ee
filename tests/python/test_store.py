# SPDX-License-Identifier: Apache-2.0
"""python/: what C writes is read by NumPy and by C alike, and what is damaged raises. usage: test_store.py libvq.so"""
import json
import os
import pathlib
import pickle
import struct
import sys
import tempfile
import threading
import unittest

try:
    import numpy
except ImportError:
    print("skipped: NumPy is absent")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
sys.dont_write_bytecode = True
os.environ["LIBVQ_LIBRARY"] = sys.argv.pop(1)
import libvq  # noqa: E402
import libvq_store  # noqa: E402

PACKINGS = "raw", "bits", "rans"


def make_record(number, random):
    """Tokens of some streams, and what is known of them: of its number."""
    def codes(levels, grid, k):
        steps = random.integers(-2, 3, (levels, *grid)).cumsum(-1)  # neighbours resemble each other
        return numpy.minimum(numpy.abs(steps), random.integers(0, k, (levels, *grid)))

    rows, columns = random.integers(1, 12, 2).tolist()
    streams = {}
    if number % 11 != 10:
        streams["tokens"] = libvq.Tokens(codes(2, (1, rows, columns), 16), [1000, 16], "image",
                                         (16 * rows - 3, 16 * columns, 3), bits=8)
    if number % 2:
        streams["action"] = libvq.Tokens(codes(1, (2, columns, 3), 200), [200], "action", (2, 5 * columns, 3),
                                         rate=12.5)
    if number % 3 != 1:
        streams["labels"] = libvq.Tokens(random.integers(0, 70001, (1, 1 + number * 7)), [70001])
    about = {"key": None if number % 5 == 4 else f"folder/ä{number}.png", "label": None if number % 3 else number - 10,
             "split": "train" if number % 4 else None, "caption": f"caption {number}" if number % 7 == 0 else None,
             "source_bytes": number % 6 * 1000}
    return streams, about


def write(path, packing, count, seed=1):
    random = numpy.random.default_rng(seed)
    records = [make_record(number, random) for number in range(count)]
    like = {name: next(streams[name] for streams, _ in records if name in streams)
            for name in ("tokens", "action", "labels")}
    with libvq.ShardWriter(path, like, packing) as writer:
        for streams, about in records:
            writer.add(streams, **about)
    return records


def same(a, b):
    """Two records."""
    return a[:-1] == b[:-1] and a.streams.keys() == b.streams.keys() and all(
        x[1:] == b.streams[name][1:] and x.codes.dtype == numpy.int64 == b.streams[name].codes.dtype
        and numpy.array_equal(x.codes, b.streams[name].codes) for name, x in a.streams.items())


class Store(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.paths = {packing: os.path.join(cls.folder.name, f"{packing}.vqs") for packing in PACKINGS}
        cls.written = {packing: write(path, packing, 400) for packing, path in cls.paths.items()}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_reads_what_was_written(self):
        for packing, path in self.paths.items():
            shard = libvq_store.open(path)
            self.assertEqual((len(shard), shard.packing), (400, packing))
            for record, (streams, about) in zip(shard, self.written[packing]):
                self.assertEqual(record.streams.keys(), streams.keys())
                for name, tokens in streams.items():
                    numpy.testing.assert_array_equal(record.streams[name].codes, tokens.codes)
                self.assertEqual((record.key, record.label, record.split, record.caption, record.source_bytes or 0),
                                 tuple(about.values()))

    def test_equals_c_on_a_thousand_random_records(self):
        numbers = numpy.random.default_rng(2).integers(0, 400, 1000).tolist()
        for packing, path in self.paths.items():
            ours, theirs = libvq_store.open(path), libvq.Store(path)
            self.assertEqual((len(ours), ours.codes), (len(theirs), theirs.codes))
            for number in numbers:
                self.assertTrue(same(ours[number], theirs[number]), f"{packing}, record {number}")

    def test_finds_keys(self):
        for path in self.paths.values():
            for shard in libvq_store.open(path), libvq.Store(path):
                for number in 0, 1, 7, 398:
                    self.assertEqual(shard.find(f"folder/ä{number}.png"), number)
                    self.assertEqual(shard.get(f"folder/ä{number}.png").number, number)
                for key in "folder/ä4.png", "", "folder/ä1.png\0":
                    self.assertRaises(KeyError, shard.find, key)

    def test_counts_from_the_end_and_not_beyond(self):
        for shard in libvq_store.open(self.paths["bits"]), libvq.Store(self.paths["bits"]):
            self.assertTrue(same(shard[-1], shard[399]))
            self.assertTrue(same(shard[numpy.int64(5)], shard[5]))
            for number in 400, -401:
                self.assertRaises(IndexError, lambda: shard[number])
            self.assertRaises(TypeError, lambda: shard[1.0])

    def test_index(self):
        shard = libvq_store.open(self.paths["bits"])
        labels = [libvq_store.NO_LABEL if number % 3 else number - 10 for number in range(400)]
        self.assertEqual(shard.labels.tolist(), labels)
        self.assertEqual(shard.sizes.sum(), shard.codes)

    def test_pickles_by_path_and_serves_threads(self):
        for shard in libvq_store.open(self.paths["rans"]), libvq.Store(self.paths["rans"]):
            copy, wrong = pickle.loads(pickle.dumps(shard)), []

            def work(first):
                for number in range(first, 400, 4):
                    if not same(copy[number], shard[number]):
                        wrong.append(number)

            threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])

    def test_verifies(self):
        for path in self.paths.values():
            libvq_store.open(path).verify()
            libvq.Store(path).verify()

    def test_crc32c(self):
        self.assertEqual(libvq_store.crc32c(b"123456789"), 0xE3069283)
        data = numpy.random.default_rng(3).bytes((2 << 20) + 7)

        def slow(data):
            crc = 0xFFFFFFFF
            for byte in data:
                crc ^= byte
                for _ in range(8):
                    crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
            return crc ^ 0xFFFFFFFF

        for size in 0, 1, 3, 4, 511, 512, 513, 514, 515, 1023, 2049:
            self.assertEqual(libvq_store.crc32c(data[1:1 + size]), slow(data[1:1 + size]), size)
        part = libvq_store.crc32c(data[:777777])
        self.assertEqual(libvq_store.crc32c(data[777777:], part), libvq_store.crc32c(data))


class Damage(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "x.vqs")

    def tearDown(self):
        self.folder.cleanup()

    def opened(self, data, **options):
        pathlib.Path(self.path).write_bytes(data)
        return libvq_store.Shard(self.path, **options)

    def test_truncated_anywhere(self):
        write(self.path, "rans", 12)
        data = pathlib.Path(self.path).read_bytes()
        for size in [*range(0, 200), *range(200, len(data), 61)]:
            self.assertRaises(libvq_store.Error, self.opened, data[:size])

    def test_each_byte_flipped(self):
        for packing in PACKINGS:
            write(self.path, packing, 12)
            data = pathlib.Path(self.path).read_bytes()
            whole = list(self.opened(data))
            for at in range(0, len(data), 5):
                bad = bytearray(data)
                bad[at] ^= 1 << at % 8
                try:
                    shard = self.opened(bytes(bad))
                    shard.verify()
                    padding = bad[at] == 1 << at % 8  # zeros between chunks, which no checksum covers
                    self.assertTrue(padding, f"{packing}: byte {at}")
                except libvq_store.Error:
                    continue
                self.assertTrue(all(map(same, shard, whole)))

    def test_one_damaged_record_leaves_the_others(self):
        records = write(self.path, "bits", 40)
        data = bytearray(pathlib.Path(self.path).read_bytes())
        offset = int(self.opened(bytes(data))._rows["offset"][20])
        data[offset + 1] ^= 4
        shard = self.opened(bytes(data))
        with self.assertRaisesRegex(libvq_store.Damaged, "x.vqs: record 20: .*checksum"):
            shard[20]
        for number in set(range(40)) - {20}:
            self.assertEqual(shard[number].key, records[number][1]["key"])

    def test_past_the_checksums(self):
        """check=False: bytes at random give what they give, or an Error, and nothing else."""
        random = numpy.random.default_rng(4)
        for packing in PACKINGS:
            write(self.path, packing, 30)
            data = pathlib.Path(self.path).read_bytes()
            first, end = self.opened(data)._first, self.opened(data)._end
            raised = 0
            for _ in range(150):
                bad = bytearray(data)
                for at in random.integers(first, end, 20):
                    bad[at] = random.integers(256)
                shard = self.opened(bytes(bad), check=False, max_codes=100000)
                for number in range(30):
                    try:
                        shard[number]
                    except libvq_store.Error:
                        raised += 1
            self.assertGreater(raised, 30)

    def test_hostile_heads_and_tables(self):
        """With checksums that are right."""
        def chunk(kind, payload, at):
            out = kind + struct.pack("<IQ", 0, len(payload)) + payload
            out += struct.pack("<I", libvq_store.crc32c(out))
            return out + bytes(-(at + len(out) + 16) % 64)

        def begin(head, tables=None):
            header = libvq_store.MAGIC + struct.pack("<HH", 1, 0) + bytes(32)
            data = header + struct.pack("<I", libvq_store.crc32c(header))
            data += chunk(b"HEAD", head if isinstance(head, bytes) else json.dumps(head).encode(), len(data))
            if tables is not None:
                data += chunk(b"TABL", tables, len(data))
            rows = len(data) + 16
            data += chunk(b"RIDX", b"", len(data))
            size = len(data) + 80
            return data + chunk(b"SEND", struct.pack("<7QI", size, 0, 0, 0, rows, 0, 0, 0), len(data))[:80]

        stream = {"name": "x", "k": [4]}
        good = {"streams": [stream], "packing": "rans", "block": 4096}
        flat = bytes([1, 0, *(128, 128, 1) * 4])
        self.assertEqual(len(self.opened(begin(good, flat))), 0)
        self.assertEqual(len(self.opened(begin(good, b"\0"))), 0)
        for tables in (b"", b"\1", b"\2\0", flat + b"\0", flat[:-1], b"\1\0\0\5", bytes([1, 0, *(128, 128, 1) * 3, 1]),
                       b"\1\1\4", b"\1\1\1\101", b"\1\1\1\1\1", b"\1\0\200\200\4", b"\xff" * 40, b"\1\0\x80\0", b"\1\2\1\1\0\0\0\0\1"):
            self.assertRaises(libvq_store.Error, self.opened, begin(good, tables))
        for head in (b"", b"{", b"[]", b"[" * 100000, b"\xff", b'{"streams":1,"streams":2}', {},
                     {**good, "streams": []}, {**good, "streams": [stream] * 2}, {**good, "streams": [{}]}, {**good, "streams": [7]},
                     {**good, "streams": [{**stream, "k": [0]}]}, {**good, "streams": [{**stream, "k": [2**32]}]},
                     {**good, "streams": [{**stream, "k": [1.5]}]}, {**good, "streams": [{**stream, "kind": "smell"}]},
                     {**good, "packing": "lzma"}, {**good, "packing": ["raw"]}):
            self.assertRaises(libvq_store.Error, self.opened, begin(head, flat))


class Sets(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.manifest = pathlib.Path(self.folder.name) / "manifest.json"
        for number, packing in enumerate(PACKINGS):
            write(self.path(number), packing, 30, number)
        libvq.write_manifest(self.folder.name, ["0.vqs", "1.vqs", "2.vqs"])

    def tearDown(self):
        self.folder.cleanup()

    def path(self, number):
        return os.path.join(self.folder.name, f"{number}.vqs")

    def test_shards_are_one(self):
        shards = [libvq_store.open(self.path(number)) for number in range(3)]
        for path in self.folder.name, str(self.manifest):
            ours, theirs = libvq_store.open(path), libvq.Store(path)
            self.assertEqual((len(ours), ours.codes), (90, theirs.codes))
            for number in range(90):
                self.assertEqual(ours[number].number, number)
                self.assertTrue(same(ours[number], theirs[number]))
                self.assertTrue(same(ours[number]._replace(number=number % 30), shards[number // 30][number % 30]))
            for key in "folder/ä0.png", "folder/ä28.png":
                self.assertEqual(ours.find(key), theirs.find(key))
            self.assertRaises(KeyError, ours.find, "folder/ä4.png")
            self.assertRaises(IndexError, lambda: ours[90])
            self.assertTrue(same(pickle.loads(pickle.dumps(ours))[-1], theirs[89]))
            self.assertEqual(ours.labels.tolist(), shards[0].labels.tolist() * 3)
            self.assertEqual(ours.sizes.sum(), ours.codes)
            ours.verify()
            theirs.verify()

    def test_manifests_that_lie(self):
        text = self.manifest.read_text()
        said = json.loads(text)
        first, *others = said["shards"]
        lies = ({"name": "../0.vqs"}, {"name": ""}, {"name": 1}, {"name": "1.vqs"}, {"records": 31}, {"bytes": 1},
                {"codes": None}, {"sha256": 7})
        for change in ({"format": "zip"}, {"version": 2}, {"records": 91}, {"shards": []}, {"shards": 3},
                       {"streams": []}, {"shards": said["shards"][:2]},
                       *({"shards": [{**first, **lie}, *others]} for lie in lies)):
            self.manifest.write_text(json.dumps({**said, **change}))
            self.assertRaises(libvq_store.Error, libvq_store.open, self.folder.name)
        for bad in "", "[]", "{", text[:-9], "\0":
            self.manifest.write_text(bad)
            self.assertRaises(libvq_store.Error, libvq_store.open, self.folder.name)
        digest = said["shards"][1]["sha256"]
        self.manifest.write_text(text.replace(digest, digest[::-1]))
        self.assertRaisesRegex(libvq_store.Damaged, "1.vqs: its SHA-256", libvq_store.open(self.folder.name).verify)
        self.manifest.write_text(text)
        os.remove(self.path(1))
        self.assertRaises(FileNotFoundError, libvq_store.open, self.folder.name)


class Torch(unittest.TestCase):
    def test_dataset(self):
        if "torch" not in sys.modules:
            try:
                import torch
            except ImportError:
                self.skipTest("torch is absent")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.vqs")
            codes = numpy.random.default_rng(5).integers(0, 1024, (50, 4, 8, 8))
            made = [libvq.Tokens(of, [1024] * 4) for of in codes]
            with libvq.ShardWriter(path, {"tokens": made[0]}) as writer:
                for number, tokens in enumerate(made):
                    writer.add({"tokens": tokens}, label=number if number % 2 else None)
            for store in path, libvq.Store(path):
                dataset = libvq_store.Dataset(store)
                self.assertIsInstance(dataset, torch.utils.data.Dataset)
                loader = torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=2)
                batches = list(loader)
                read = torch.cat([batch for batch, _ in batches])
                self.assertEqual(read.dtype, torch.int64)
                numpy.testing.assert_array_equal(read.numpy(), codes)
                labels = torch.cat([label for _, label in batches]).tolist()
                self.assertEqual(labels, [number if number % 2 else -1 for number in range(50)])
            of = libvq_store.Dataset(path, "tokens", transform=lambda record: record.number)
            self.assertEqual([of[i] for i in range(50)], list(range(50)))
            self.assertEqual(pickle.loads(pickle.dumps(libvq_store.Dataset(path)))[3][1], 3)


class Coding(unittest.TestCase):
    def test_codec(self):
        rows, columns = numpy.mgrid[0:40, 0:56] / 56
        pixels = numpy.stack([rows, columns, 1 - rows], -1)
        codec = libvq.Codec("image")
        tokens = codec.encode(pixels)
        self.assertEqual(tokens.codes.shape[1:], (1, 3, 4))
        self.assertTrue((tokens.codes.max(axis=(1, 2, 3)) < tokens.k).all())
        decoded = codec.decode(tokens)
        self.assertEqual((decoded.shape, decoded.dtype), (pixels.shape, numpy.float32))
        self.assertLess(numpy.square(decoded - pixels).mean(), 0.01)
        eight = codec.encode(numpy.uint8(255 * pixels))
        self.assertEqual(eight.codes.shape, tokens.codes.shape)
        self.assertRaises(libvq.Error, codec.encode, pixels * numpy.nan)
        self.assertRaises(libvq.Error, libvq.Codec, "smell")


if __name__ == "__main__":
    unittest.main()

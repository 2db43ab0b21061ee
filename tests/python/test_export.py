# SPDX-License-Identifier: Apache-2.0
"""vqstore export, read by those that it is for: NumPy, and PyTorch, safetensors, webdataset and Megatron where they are.

usage: test_export.py libvq.so vqstore"""
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

try:
    import numpy
except ImportError:
    print("skipped: NumPy is absent")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
sys.dont_write_bytecode = True
os.environ["LIBVQ_LIBRARY"] = sys.argv.pop(1)
VQSTORE = sys.argv.pop(1)
import libvq  # noqa: E402


def module(case, name):
    """A module, or the test is skipped."""
    try:
        __import__(name)
    except ImportError as fault:
        case.skipTest(f"{name} is absent ({fault})")
    return sys.modules[name]


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        random = numpy.random.default_rng(1)
        cls.folder = tempfile.TemporaryDirectory()
        cls.store = os.path.join(cls.folder.name, "store.vqs")
        cls.records = [(random.integers(0, 1000, (2, 1, *random.integers(1, 9, 2))), random.integers(0, 70000, (1, 5)),
                        number - 3 if number % 2 else None) for number in range(20)]
        made = [{"tokens": libvq.Tokens(codes, [1024, 1000]), "more": libvq.Tokens(more, [70000])}
                for codes, more, _ in cls.records]
        del made[7]["more"]
        with libvq.ShardWriter(cls.store, made[0], "rans") as writer:
            for number, (streams, (*_, label)) in enumerate(zip(made, cls.records)):
                writer.add(streams, key=f"ä{number}", label=label, caption="so" if number % 3 else None)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def export(self, to, *options):
        path = os.path.join(self.folder.name, f"{to}{''.join(options)}")
        subprocess.run([VQSTORE, "export", "-q", self.store, "--to", to, "-o", path, *options], check=True)
        return path

    def check_flat(self, arrays, dtype):
        """Of the names that a store's streams have."""
        self.assertEqual({str(arrays[f"{name}.codes"].dtype) for name in ("tokens", "more")}, {dtype})
        for number, (tokens, more, label) in enumerate(self.records):
            for name, codes in ("tokens", tokens), ("more", more if number != 7 else numpy.zeros((0, 0), int)):
                begin, end = arrays[f"{name}.offsets"][number:number + 2]
                numpy.testing.assert_array_equal(arrays[f"{name}.codes"][begin:end], codes.ravel())
                grid = arrays[f"{name}.grids"][number]
                self.assertEqual(grid.tolist(), [*codes.shape[1:], 1, 1][:3] if codes.size else [0, 0, 0])
            self.assertEqual(arrays["labels"][number], -1 if label is None else label)

    def test_npy(self):
        for dtype, options in ("int32", ()), ("int64", ("--dtype", "i64")):
            path = pathlib.Path(self.export("npy", *options))
            arrays = {file.stem: numpy.load(file, mmap_mode="r", allow_pickle=False) for file in path.glob("*.npy")}
            self.check_flat(arrays, dtype)
            self.assertEqual((path / "keys.txt").read_text().split("\n"), [f"ä{number}" for number in range(20)] + [""])

    def test_npy_in_torch(self):
        torch = module(self, "torch")
        path = pathlib.Path(self.export("npy", "--dtype", "i64"))
        codes = torch.from_numpy(numpy.load(path / "tokens.codes.npy"))
        self.assertEqual((codes.dtype, int(codes[0])), (torch.int64, int(self.records[0][0].flat[0])))

    def test_safetensors(self):
        path = self.export("safetensors")
        with open(path, "rb") as file:  # by the format's own description
            size = int.from_bytes(file.read(8), "little")
            head, data = json.loads(file.read(size)), file.read()
        types = {"I32": "<i4", "I64": "<i8"}
        arrays = {name: numpy.frombuffer(data[slice(*about["data_offsets"])], types[about["dtype"]]).reshape(about["shape"])
                  for name, about in head.items() if name != "__metadata__"}
        self.check_flat(arrays, "int32")
        self.check_flat(module(self, "safetensors.numpy").load_file(path), "int32")

    def megatron_codes(self, stream):
        return [(tokens if stream == "tokens" else more if number != 7 else more[:, :0]).ravel()
                for number, (tokens, more, _) in enumerate(self.records)]

    def test_megatron(self):
        """By the description of its index."""
        for stream, dtype, number in ("tokens", "<u2", 8), ("more", "<i4", 4):
            path = self.export("megatron", "--stream", stream)
            index, data = (pathlib.Path(path + end).read_bytes() for end in (".idx", ".bin"))
            self.assertEqual(index[:18], b"MMIDIDX\0\0" + (1).to_bytes(8, "little") + bytes([number]))
            count, documents = numpy.frombuffer(index, "<i8", 2, 18)
            lengths = numpy.frombuffer(index, "<i4", count, 34)
            pointers = numpy.frombuffer(index, "<i8", count, 34 + 4 * count)
            self.assertEqual(numpy.frombuffer(index, "<i8", -1, 34 + 12 * count).tolist(), list(range(documents)))
            for codes, length, at in zip(self.megatron_codes(stream), lengths, pointers, strict=True):
                numpy.testing.assert_array_equal(numpy.frombuffer(data, dtype, length, at), codes)

    def test_megatron_by_its_own_reader(self):
        module(self, "torch")
        indexed = module(self, "megatron.core.datasets.indexed_dataset")
        for stream, dtype in ("tokens", numpy.uint16), ("more", numpy.int32):
            dataset = indexed.IndexedDataset(self.export("megatron", "--stream", stream))
            self.assertEqual((len(dataset), dataset.index.dtype), (20, dtype))
            self.assertEqual(dataset.document_indices.tolist(), list(range(21)))
            for read, codes in zip(dataset, self.megatron_codes(stream)):
                numpy.testing.assert_array_equal(read, codes)

    def check_sample(self, number, sample, load):
        tokens, more, label = self.records[number]
        numpy.testing.assert_array_equal(load(sample["tokens.npy"]), tokens)
        self.assertEqual("more.npy" in sample, number != 7)
        if number != 7:
            numpy.testing.assert_array_equal(load(sample["more.npy"]), more)
        about = json.loads(sample["json"])
        self.assertEqual((about["key"], about.get("caption")), (f"ä{number}", "so" if number % 3 else None))
        self.assertEqual(sample.get("cls"), None if label is None else str(label).encode())

    def test_webdataset(self):
        samples = {}
        with tarfile.open(self.export("webdataset")) as tar:
            for member in tar:
                name, end = member.name.split(".", 1)
                samples.setdefault(name, {})[end] = tar.extractfile(member).read()
        self.assertEqual(len(samples), 20)

        def load(data):
            import io
            return numpy.load(io.BytesIO(data), allow_pickle=False)

        for number, sample in enumerate(samples.values()):
            self.check_sample(number, sample, load)

    def test_webdataset_by_itself(self):
        webdataset = module(self, "webdataset")
        read = list(webdataset.WebDataset(self.export("webdataset"), shardshuffle=False))
        self.assertEqual(len(read), 20)
        for number, sample in enumerate(read):
            self.check_sample(number, sample, lambda data: webdataset.autodecode.npy_loads(data))


if __name__ == "__main__":
    unittest.main()

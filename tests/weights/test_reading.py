"""Weight files in all supported formats, and files in other formats."""

import io
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from involution.weights import read_weights, write_weights

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.num_batches_tracked": torch.tensor(4)}


class Mischief:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def same(weights):
    return weights.keys() == WEIGHTS.keys() and all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
@pytest.mark.parametrize("hparams", [None, {"classes": ["cat"], "network": "rednet26"}])
def test_what_is_written_is_read(tmp_path, name, hparams):
    write_weights(tmp_path / name, WEIGHTS, hparams)
    saved = read_weights(tmp_path / name)
    assert same(saved.weights)
    assert saved.hparams == hparams


@pytest.mark.parametrize("length", range(120, 150))
def test_safetensors_of_every_length_of_header(tmp_path, length):
    """The first byte of the file is that of a pickle where the header is 128 bytes long."""
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", metadata={"text": "x" * (length - 90)})
    assert read_weights(tmp_path / "w.safetensors").weights["a"].tolist() == [1, 1]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_formats_of_torch(tmp_path, nested, zipped):
    saved = {"meta": {"epoch": 3}, "state_dict": WEIGHTS} if nested else WEIGHTS
    torch.save(saved, tmp_path / "w.bin", _use_new_zipfile_serialization=zipped)
    assert same(read_weights(tmp_path / "w.bin").weights)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("named", [False, True])
def test_the_format_of_paddle(tmp_path, protocol, named):
    arrays = {name: value.numpy().copy(order="F") for name, value in WEIGHTS.items()}
    if named:
        arrays = {name: (name, value) for name, value in arrays.items()}
    content = pickle.dumps({**arrays, "StructuredToParameterName@@": {"a": "b"}}, protocol)
    (tmp_path / "w.pdparams").write_bytes(content)
    assert same(read_weights(tmp_path / "w.pdparams").weights)


def picture():
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, "PNG")
    return file.getvalue()


def zipped(*entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def saved(value, **kwargs):
    file = io.BytesIO()
    torch.save(value, file, **kwargs)
    return file.getvalue()


def recompressed(content):
    archive = zipfile.ZipFile(io.BytesIO(content))
    entries = [(entry, archive.read(entry)) for entry in archive.namelist()]
    return zipped(*entries, compression=zipfile.ZIP_DEFLATED)


OTHERS = {
    "empty": b"",
    "short": b"PK",
    "text": b"no weights at all, but a text of some length",
    "picture": picture(),
    "archive": zipped(("a.txt", "text")),
    "truncated": saved(WEIGHTS)[:-200],
    "truncated legacy": saved(WEIGHTS, _use_new_zipfile_serialization=False)[:-20],
    "compressed": recompressed(saved(WEIGHTS)),
    "header of another length": (10**6).to_bytes(8, "little") + b"{}",
    "safetensors without tensors": (2).to_bytes(8, "little") + b"[]",
    "a pickled list": pickle.dumps([1, 2]),
    "an array of objects": pickle.dumps({"a": np.array([{}, None])}),
    "a big-endian array": pickle.dumps({"a": np.zeros(2, ">f4")}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files(tmp_path, name):
    path = tmp_path / "other.pth"
    path.write_bytes(OTHERS[name])
    message = (
        r"^ckpt_path: expected a file of weights without code, got .*other.pth, which is damaged or another kind.*$"
    )
    with pytest.raises(ValueError, match=message):
        read_weights(path, "ckpt_path")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "with list"),
        ({}, "with nothing"),
        ({"state_dict": {}}, "with nothing"),
        ({"state_dict": 5}, "with int"),
        ({"a": torch.zeros(2), "b": 3}, "with 'b', which is not a plain tensor"),
        ({3: torch.zeros(2)}, "with 3, which is not a plain tensor"),
        ({"a": torch.zeros(1).expand(10**12)}, "with 'a', which is not a plain tensor"),
    ],
    ids=str,
)
def test_other_values(tmp_path, value, message):
    torch.save(value, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"^checkpoint: expected weights by name, got .*other[.]pth {message}$"):
        read_weights(tmp_path / "other.pth")


def test_places(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint: expected a file, got gone.pth, which does not exist"):
        read_weights("gone.pth")
    with pytest.raises(ValueError, match=r"checkpoint: expected a file of weights, got .*, which is a folder"):
        read_weights(tmp_path)


@pytest.mark.parametrize("write", ["torch", "legacy", "paddle", "reduce"])
def test_code_does_not_run(tmp_path, write):
    mischief = Mischief(tmp_path / "written")
    value = {"state_dict": {"a": torch.zeros(1)}, "meta": mischief}
    path = tmp_path / "bad.pth"
    if write == "paddle":
        path.write_bytes(pickle.dumps({"a": mischief}))
    elif write == "reduce":
        path.write_bytes(pickle.dumps(mischief))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(ValueError, match=r"expected a file of weights without code, got .*bad.pth"):
        read_weights(path)
    assert not (tmp_path / "written").exists()


def test_a_pickle_takes_no_memory_for_entries_that_it_only_claims(tmp_path):
    """The unpickler in C takes 16 bytes for each number below the largest that an object is remembered by."""
    (tmp_path / "w.pdparams").write_bytes(b"\x80\x02Nr" + (2**24).to_bytes(4, "little") + b".")
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected a file of weights without code"):
        read_weights(tmp_path / "w.pdparams")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_another_protocol_is_read_without_a_warning(tmp_path):
    torch.save(WEIGHTS, tmp_path / "w.pth", pickle_protocol=3)
    assert same(read_weights(tmp_path / "w.pth").weights)


def around(value, levels, copies=1):
    for _ in range(levels):
        value = [value] * copies
    return value


def inside_itself():
    value = {}
    value["a"] = value
    return value


@pytest.mark.parametrize(
    "hparams",
    [around("x", 30, copies=10), inside_itself(), around("x", 200), ["x" * 10**5] * 200, 10**30],
    ids=["many times", "in itself", "deep", "long", "large"],
)
def test_hparams_that_nobody_could_walk_or_print(tmp_path, hparams):
    """A few bytes in a pickle are any number of values, if lists contain a list many times."""
    torch.save({"state_dict": WEIGHTS, "hyper_parameters": hparams}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"checkpoint: expected a few plain hyper_parameters, got .*w.pth with more"):
        read_weights(tmp_path / "w.pth")


def test_safetensors_of_other_hparams(tmp_path):
    save_file(WEIGHTS, tmp_path / "w.safetensors", metadata={"hyper_parameters": "{not JSON"})
    with pytest.raises(ValueError, match="expected a file of weights without code"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w.txt", "out: expected a file ending in .safetensors, .pth, .pt, got"),
        ("gone/w.pth", "out: expected a file in an existing folder, got"),
        ("folder.pth", "out: expected a file, got .*, which is a folder"),
    ],
)
def test_where_weights_can_be_written(tmp_path, name, message):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ValueError, match=message):
        write_weights(tmp_path / name, WEIGHTS)

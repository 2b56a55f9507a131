import subprocess
import sys

import numpy as np
import pytest
import torch

from limbeck.data import Npy, Npz
from limbeck.errors import DataError


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        return str(tmp_path)

    return save


def both_sides(x, y):
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}


def test_it_gives_what_the_same_arrays_give_in_memory(save, tmp_path, pictures):
    (train, labels), (test, test_labels) = pictures(12), pictures(6, start=12)
    arrays = {"x_train": train, "y_train": labels, "x_test": test, "y_test": test_labels}
    np.savez(tmp_path / "data.npz", **arrays)
    mapped, held = Npy(path=save(**arrays)).load(), Npz(path=str(tmp_path / "data.npz")).load()
    for side in ("train", "test"):
        one, other = getattr(mapped, side), getattr(held, side)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.labels, other.labels)
    assert mapped.preprocess == held.preprocess
    assert mapped.official


def test_a_change_in_memory_never_reaches_the_file(save, pictures):
    folder = save(**both_sides(*pictures(6)))
    before = np.load(f"{folder}/x_train.npy").copy()
    Npy(path=folder).load().train.inputs.fill_(7)
    assert np.array_equal(np.load(f"{folder}/x_train.npy"), before)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((4, 3)), "type float64"),
        (np.zeros((4, 3), dtype=">f4"), "type >f4"),
        (np.asfortranarray(np.zeros((4, 3), dtype=np.float32)), "Fortran's order"),
        (np.zeros((4, 8, 9, 3), dtype=np.uint8), "channels at the end"),
        (np.full((4, 3), np.nan, dtype=np.float32), "4 of 4 examples hold NaN"),
        (np.array([{}, {}, {}, {}], dtype=object), "cannot be read"),
        (np.zeros(4, dtype=np.uint8), r"shape \(4,\)"),
    ],
)
def test_inputs_that_cannot_be_used_as_they_lie_are_refused(save, x, words):
    with pytest.raises(DataError, match=words):
        Npy(path=save(**both_sides(x, np.arange(4) % 2))).load()


def test_missing_torn_and_other_files_are_refused(save, tmp_path, pictures):
    folder = save(**both_sides(*pictures(6)))
    whole = (tmp_path / "x_train.npy").read_bytes()
    for content in (whole[:-1], whole[:40], b"", b"hello"):
        (tmp_path / "x_train.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"x_train\.npy cannot be read"):
            Npy(path=folder).load()
    with (tmp_path / "x_train.npy").open("wb") as file:
        np.savez(file, x=np.zeros(3))
    with pytest.raises(DataError, match="an archive"):
        Npy(path=folder).load()
    (tmp_path / "x_train.npy").unlink()
    with pytest.raises(DataError, match=r"x_train\.npy is not there"):
        Npy(path=folder).load()


GROWTH = """
import re, sys
from pathlib import Path
import torch
from limbeck.data import Npy
from limbeck.preparation import Materials, prepare
from limbeck.recipe import recipe_from_tree

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def data_of(folder):
    tree = {"data": {"source": "npy", "path": folder}, "teacher": {"kind": "train", "model": {"name": "mlp"}},
            "student": {"model": {"name": "mlp"}}}
    return prepare(recipe_from_tree(tree, {}, where="here"), Materials())

small = data_of(sys.argv[1])
before = anonymous()
large = data_of(sys.argv[2])
assert large.train.select(large.train.labelled).inputs.data_ptr() == large.given_train.inputs.data_ptr()
print(anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("megabytes", [48, pytest.param(320, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_inputs_take_no_memory_of_their_own(tmp_path, megabytes, dtype):
    for name, count in (("small", 10), ("large", megabytes * 16 * (4 if dtype == "uint8" else 1))):
        (tmp_path / name).mkdir()
        for side, rows in (("train", count), ("test", 10)):
            x = np.lib.format.open_memmap(tmp_path / name / f"x_{side}.npy", "w+", dtype, (rows, 128, 128))
            x[:, 0, 0] = np.arange(rows) % 251
            np.save(tmp_path / name / f"y_{side}.npy", np.arange(rows) % 5)
    words = [sys.executable, "-c", GROWTH, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 24

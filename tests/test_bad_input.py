"""What users do wrong, each through the command line: one message, its three parts, its exit status, nothing lost."""

import errno
import gzip
import json
import os
import resource
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.files import read_tensors, sealed, write_json, write_tensors
from limbeck.locks import locked
from limbeck.recipe_text import write_yaml
from limbeck.record import read_record
from running import TEST, TRAIN, Said, images, limbeck_says, measured, rows, save_npz, tree

pytestmark = pytest.mark.usefixtures("unsynced")


def check(said: Said, status: int, *words: str) -> None:
    """One message in three parts, the status, and no traceback."""
    assert said.status == status, said.err
    assert "Traceback" not in said.err
    message = said.err[said.err.index("limbeck: ") :]
    assert message.count("limbeck: ") == 1
    assert message.count("\n  expected: ") == message.count("\n  do: ") == 1
    assert said.out == ""
    for word in words:
        assert word in message, message


def distil(tmp_path: Path, text: str | bytes, *words: object) -> Said:
    path = tmp_path / "r.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return limbeck_says("distill", path, *words)


def with_data(tmp_path: Path, **data: Any) -> Said:
    text = write_yaml({**tree(Path("X"), tmp_path / "run"), "data": data})
    said = distil(tmp_path, text)
    assert not (tmp_path / "run" / "teacher").exists()
    return said


# --- recipes ------------------------------------------------------------------------------------------------------

LEAST = "data: {source: digits}\nteacher: {kind: saved, path: T}\nstudent: {model: {name: mlp}}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("- 1", ["holds one list"]),
        (LEAST + "distil: {}", ["unknown key distil (did you mean distill?)"]),
        (LEAST + "fit: {epoch: 1}", ["unknown key fit.epoch (did you mean epochs?)"]),
        (LEAST + "fit: {epochs: many}", ["fit.epochs is 'many'", "a valid integer"]),
        (LEAST + "fit: {batch_size: 2, accumulate: 4}", ["batch_size 2 cannot be split into 4 micro-batches"]),
        (LEAST + "out: 7", ["out is 7"]),
        (LEAST + "fit: !!python/object/apply:os.system [touch canary]", ["the tag"]),
        (LEAST + "x: &a {}\ny: *a", ["an anchor or alias"]),
        (LEAST + "out: a\nout: b", ["duplicate key"]),
        (LEAST + "? [a]\n: b", ["has the key"]),
        (LEAST + "x: " + "[" * 500, ["nesting deeper"]),
        (b"\xff\xfe" + LEAST.encode(), ["not UTF-8"]),
        (b"\x00" * 100, ["special characters"]),
        (LEAST + "#" * (10 * 2**20), ["is larger than"]),
        (LEAST + "device: tpu", ["device is 'tpu'"]),
        (LEAST, ["T holds no saved model"]),
    ],
)
def test_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, words: list[str]):
    monkeypatch.chdir(tmp_path)
    check(distil(tmp_path, text), 3 if text == LEAST else 2, *words)
    assert not list(tmp_path.rglob("canary"))


def test_a_recipe_that_is_not_there(tmp_path: Path):
    check(limbeck_says("distill", tmp_path / "none.yaml"), 2, "No such file or directory")
    check(limbeck_says("distill", tmp_path), 2, "Is a directory")


def test_a_gpu_that_is_not_there(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check(limbeck_says("distill", recipe, "--set", "device=cuda"), 4, "torch finds no GPU")


def test_options(recipe: Path, tmp_path: Path):
    check(limbeck_says("distill", recipe, "--require", "gain"), 2, "--require 'gain'")
    check(limbeck_says("distill", recipe, "--set", "fit.epochs"), 2, "--set fit.epochs")
    check(limbeck_says("distill", recipe, "--set", "fit.epochs.x=1"), 2, "goes through epochs")
    check(limbeck_says("distill", recipe, "--resume", "--overwrite"), 2, "--resume came with --overwrite")
    check(limbeck_says("distill", recipe, "--set", "out=~nobody-of-this-name/x"), 2, "out is '~nobody")
    check(limbeck_says("list", "nothing"), 2, "list nothing")
    assert not (tmp_path / "run").exists()


# --- data ---------------------------------------------------------------------------------------------------------


def arrays(path: Path, **given: Any) -> Path:
    np.savez(path, **given)
    return path


def test_npz_files(tmp_path: Path, npz: Path):
    path = tmp_path / "x.npz"

    def says(*words: str) -> None:
        check(with_data(tmp_path, source="npz", path=str(path)), 3, *words)

    says("is not there")
    path.write_bytes(npz.read_bytes()[:500])
    says("cannot be read")
    path.write_bytes(b"not a zip")
    says("cannot be read")
    path.write_bytes(b"")
    says("cannot be read")
    x, y = images(0, 30)
    arrays(path, x=x)
    says("lacks y; it has x")
    arrays(path, x=x, y=y[:-1])
    says("30 inputs came with labels of shape (29,)")
    arrays(path, x=x, y=np.zeros(30, dtype=int))
    says("the classes are 0")
    arrays(path, x_train=x, y_train=np.zeros(30, dtype=int), x_test=x + 1, y_test=y)
    says("all labels of the training set are 0")
    arrays(path, x=x, y=y + 0.5)
    says("has the type float64")
    arrays(path, x=x, y=np.arange(30) * 10**6)
    says("the highest label is 29000000")
    arrays(path, x=x[:4], y=np.array([0, 1, 2, 3]), classes=np.array(list("abcdefgh")))
    says("4 examples came with 8 classes")
    arrays(path, x=np.where(rows(0, 30)[0] > 1, np.nan, rows(0, 30)[0]), y=y)
    says("examples hold NaN or infinity")
    arrays(path, x=np.array([{"a": 1}] * 30), y=y)
    says("cannot be read")
    path.unlink()
    path.mkdir()
    says("is not a file")


def test_mislabelled_npz(tmp_path: Path):
    x, y = images(0, TRAIN)
    path = arrays(
        tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9] + 5, classes=np.array(list("abc"))
    )
    check(with_data(tmp_path, source="npz", path=str(path)), 3, "labels have no class; example 0 has the label 5")
    check(with_data(tmp_path, source="npz", path=str(path), layout="nwhc"), 2, "data.layout is 'nwhc'")
    check(with_data(tmp_path, source="npz", path=str(path), test_share=1.5), 2, "test_share must be between 0 and 1")


def write_idx(folder: Path, train: int = 30, test: int = 12) -> None:
    folder.mkdir(exist_ok=True)
    for name, seed, count in (("train", 0, train), ("t10k", 1, test)):
        x, y = images(seed, count)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *x.shape) + x.tobytes())
        label_bytes = struct.pack(">4BI", 0, 0, 8, 1, count) + y.astype(np.uint8).tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(label_bytes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: shutil.rmtree(folder),
        lambda folder: (folder / "train-labels-idx1-ubyte").unlink(),
        lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(b""),
        lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0"),
        lambda folder: cut(folder / "train-images-idx3-ubyte", -1),
        lambda folder: cut(folder / "t10k-labels-idx1-ubyte", -3),
        lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(b"PNG" * 500),
        lambda folder: (folder / "train-labels-idx1-ubyte").write_bytes(
            (folder / "t10k-labels-idx1-ubyte").read_bytes()
        ),
        lambda folder: shutil.copy(folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"),
        lambda folder: half_a_gzip(folder / "train-images-idx3-ubyte"),
    ],
)
def test_idx_folders(tmp_path: Path, spoil: Callable[[Path], Any]):
    folder = tmp_path / "idx"
    write_idx(folder)
    spoil(folder)
    check(with_data(tmp_path, source="idx", path=str(folder)), 3, "idx")


def cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


def half_a_gzip(path: Path) -> None:
    packed = gzip.compress(path.read_bytes())
    path.with_name(path.name + ".gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()


def test_image_folders(tmp_path: Path):
    folder = tmp_path / "pictures"
    check(with_data(tmp_path, source="images", path=str(folder)), 3, "is not there")
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                value = 40 * number + 100 * (name == "dog")
                Image.new("RGB", (8, 8), (value, 0, 0)).save(folder / split / name / f"{number}.png")
    path = folder / "train" / "cat" / "2.png"
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"<svg/>"):
        path.write_bytes(data)
        check(with_data(tmp_path, source="images", path=str(folder)), 3, "cat/2.png")
    path.write_bytes(whole)
    shutil.rmtree(folder / "train" / "dog")
    shutil.rmtree(folder / "test" / "dog")
    check(with_data(tmp_path, source="images", path=str(folder)), 3, "has 1 class folders")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labelled": 10**9}, "1000000000 examples are to be chosen"),
        ({"labelled": 2}, "2 examples are to be labelled"),
        ({"validation": TRAIN}, "examples are to be chosen"),
        ({"validation": 1}, "1 examples are to be held out"),
    ],
)
def test_choices_that_the_data_do_not_allow(tmp_path: Path, npz: Path, changes: dict[str, Any], words: str):
    check(with_data(tmp_path, source="npz", path=str(npz), **changes), 2, words)


# --- teachers and students ------------------------------------------------------------------------------------------


def saved_teacher(tmp_path: Path, finished: Path) -> Path:
    shutil.copytree(finished / "teacher", tmp_path / "teacher")
    return tmp_path / "teacher"


def with_teacher(tmp_path: Path, npz: Path, teacher: Path, *words: object) -> Said:
    values = tree(npz, tmp_path / "run", teacher={"kind": "saved", "path": str(teacher)})
    return distil(tmp_path, write_yaml(values), *words)


def test_saved_teachers(tmp_path: Path, npz: Path, finished: Path):
    check(with_teacher(tmp_path, npz, tmp_path / "none"), 3, "holds no saved model")
    teacher = saved_teacher(tmp_path, finished)
    weights = teacher / "model.safetensors"
    whole = weights.read_bytes()
    for data in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        weights.write_bytes(data)
        check(with_teacher(tmp_path, npz, teacher), 3, "model.safetensors", "sha256")
    weights.unlink()
    check(with_teacher(tmp_path, npz, teacher), 3, "is missing or unreadable")
    # After each refusal the run can be begun at once: nothing was made yet.
    weights.write_bytes(whole)
    assert with_teacher(tmp_path, npz, teacher).status == 0


def test_a_teacher_of_other_classes(tmp_path: Path, finished: Path):
    x, y = images(0, TRAIN)
    path = arrays(tmp_path / "four.npz", x=x, y=np.arange(TRAIN) % 4)
    check(with_teacher(tmp_path, path, finished / "teacher"), 3, "knows the classes 0, 1, 2", "0, 1, 2, 3")
    named = arrays(tmp_path / "named.npz", x=x, y=y, classes=np.array(["a", "b", "c"]))
    check(with_teacher(tmp_path, named, finished / "teacher"), 3, "knows the classes 0, 1, 2", "a, b, c")


def test_a_teacher_that_knows_nothing_or_says_nothing(tmp_path: Path, npz: Path, finished: Path):
    teacher = saved_teacher(tmp_path, finished)
    tensors = read_tensors(teacher / "model.safetensors")

    def spoiled(change: Callable[[torch.Tensor], torch.Tensor]) -> Said:
        from limbeck.files import seal

        write_tensors(teacher / "model.safetensors", {name: change(value) for name, value in tensors.items()})
        seal(teacher, ["model.safetensors", "config.json"])
        return with_teacher(tmp_path, npz, teacher, "--overwrite")

    check(spoiled(lambda value: value * float("nan")), 3, "is NaN or infinite")
    check(spoiled(torch.zeros_like), 3, "the same answer to all")
    check(spoiled(lambda value: -value), 3, "the teacher is right on")


def test_a_student_that_does_not_fit(tmp_path: Path):
    path = arrays(tmp_path / "rows.npz", x=rows(0, TRAIN)[0], y=rows(0, TRAIN)[1])
    values = tree(path, tmp_path / "run", student={"model": {"name": "convnet"}})
    check(distil(tmp_path, write_yaml(values)), 2, "convnet got examples of shape (6,)")
    values = tree(path, tmp_path / "run", student={"model": {"name": "mlp"}, "preprocess": {"mean": [1, 2]}})
    check(distil(tmp_path, write_yaml(values)), 3, "preprocess has 2 values")


# --- the directory of a run -----------------------------------------------------------------------------------------


def test_out(recipe: Path, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    check(limbeck_says("distill", recipe, "--set", f"out={tmp_path}/file"), 2, "is a file")
    check(limbeck_says("distill", recipe, "--set", f"out={tmp_path}/file/run"), 74, "could not be written")
    check(limbeck_says("distill", recipe, "--set", f"out={tmp_path}/{'x' * 300}"), 74, "too long")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("mine")
    for words in ([], ["--resume"], ["--overwrite"]):
        said = limbeck_says("distill", recipe, "--set", f"out={tmp_path}/home", *words)
        check(said, 2, "does not look like a run of limbeck")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter"]
    assert limbeck_says("distill", recipe).status == 0
    check(limbeck_says("distill", recipe), 2, "is not empty", "--resume", "--overwrite", "--set out=")
    check(limbeck_says("distill", recipe, "--resume", "--set", "distill.alpha=0.9"), 2, "distill.alpha: 0.1 -> 0.9")
    check(
        limbeck_says(
            "distill", recipe, "--overwrite", "--set", f"teacher={{kind: saved, path: {tmp_path}/run/teacher}}"
        ),
        2,
        "--overwrite would delete teacher.path",
    )
    assert (tmp_path / "run" / "record.json").exists()


def test_a_run_that_another_process_writes(recipe: Path, tmp_path: Path):
    with locked(tmp_path / "run"):
        check(limbeck_says("distill", recipe), 3, f"is being written by process {os.getpid()}")


class FailingDisk:
    """An fsync that fails from a certain call on, as on a disk that fills up."""

    def __init__(self, at: int, number: int) -> None:
        self.at, self.number, self.calls = at, number, 0

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls >= self.at:
            raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_at_any_stage(
    recipe: Path, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    # Each time a few more calls succeed: all stages are met, and every time the run goes on where it was.
    disk = FailingDisk(10**9, number)
    monkeypatch.setattr(os, "fsync", disk)
    failures = 0
    for allowed in (1, 3, 8, 13, 18, 23, 28, 33, 38, 43):
        disk.calls, disk.at = 0, allowed
        said = limbeck_says("distill", recipe, *["--resume"] * (failures > 0))
        if said.status == 0:
            break
        check_disk(said, os.strerror(number))
        failures += 1
        assert not list((tmp_path / "run").rglob(".tmp-*"))
    disk.at = 10**9
    assert failures > 4
    assert limbeck_says("distill", recipe, "--resume").status == 0
    assert measured(read_record(tmp_path / "run")) == measured(read_record(finished))


def check_disk(said: Said, words: str) -> None:
    assert said.status == 74, said.err
    assert "Traceback" not in said.err
    assert words in said.err
    assert said.err.count("\n  do: ") == 1


def test_files_that_may_not_grow(recipe: Path, tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        said = limbeck_says("distill", recipe)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_disk(said, "File too large")
    assert "bytes needed" in said.err
    assert limbeck_says("distill", recipe, "--resume").status == 0


# --- runs to look at ------------------------------------------------------------------------------------------------


def test_runs_that_are_none(tmp_path: Path, finished: Path):
    check(limbeck_says("peek", tmp_path), 3, "has no label store")
    check(limbeck_says("peek", tmp_path / "none"), 3, "has no label store")
    check(limbeck_says("report", tmp_path), 3, "record.json does not exist")
    check(limbeck_says("report", finished / "arms" / "distilled" / "seed-0"), 3, "is that of one student")
    check(limbeck_says("peek", finished, "--example", "150"), 2, "example 150 of 150")
    check(limbeck_says("peek", finished, "--example", "-1"), 2, "example -1 of 150")
    check(limbeck_says("peek", finished, "-T", "0"), 2, "temperatures")
    assert limbeck_says("peek", finished, "-T", "warm").status == 2


def test_records_that_are_damaged_or_newer(tmp_path: Path, finished: Path):
    whole = (finished / "record.json").read_bytes()
    path = tmp_path / "record.json"
    for data in (whole[:1000], b"", whole.replace(b'"accuracy": 0', b'"accuracy": 1'), b"[]", b"\xff", b"[" * 100_000):
        path.write_bytes(data)
        check(limbeck_says("report", tmp_path), 3, "record.json")
    newer = {**json.loads(whole), "format": 2}
    write_json(path, newer)
    check(limbeck_says("report", tmp_path), 3, "has format 2", "expected: format 1")
    later = {key: value for key, value in json.loads(whole).items() if key != "sha256"}
    write_json(path, sealed({**later, "news": "of a later version"}))
    assert limbeck_says("report", tmp_path).status == 0


def test_resuming_what_is_damaged(recipe: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert limbeck_says("distill", recipe).status == 0
    shard = next(run.glob("labels/*/shard-*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    check(limbeck_says("distill", recipe, "--resume"), 3, "shard-00000.safetensors")
    shard.write_bytes(whole)
    (run / "recipe.resolved.yaml").write_text("data: [")
    check(limbeck_says("distill", recipe, "--resume"), 2, "recipe.resolved.yaml")


def test_data_that_changed_since(tmp_path: Path):
    npz = save_npz(tmp_path / "x.npz")
    text = write_yaml(tree(npz, tmp_path / "run"))
    assert distil(tmp_path, text).status == 0
    (tmp_path / "run" / "record.json").unlink()
    save_npz(npz, test=TEST - 3)
    check(distil(tmp_path, text, "--resume"), 3, "begun with another measured set")
    save_npz(npz)
    assert distil(tmp_path, text, "--resume").status == 0

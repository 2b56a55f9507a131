"""From a file that a run was tested on to what its student says, by two ways without a common reader."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.finished import Chosen, finished
from limbeck.preparation import Materials
from running import images, limbeck_says, run_tree

pytestmark = pytest.mark.usefixtures("unsynced")


def trained(out, data, student):
    """The directory of a run on data, and what its student says about the test set, [N, C]."""
    fit = {"epochs": 2, "batch_size": 32, "threads": 1}
    run_tree(
        {
            "data": data,
            "teacher": {"kind": "train", "model": student, "fit": {**fit, "epochs": 3}},
            "student": {"model": student},
            "fit": fit,
            "proof": {"seeds": [0, 1]},
            "out": str(out),
        },
        allow_weak=True,
    )
    over = finished(out, Materials())
    saved = over.student(*over.settled(Chosen()))
    with torch.no_grad():
        logits = saved.module.eval()(saved.preprocess(over.data.measured.inputs))
    return out, logits.softmax(dim=1).numpy()


def predicted(run, *files):
    """Probabilities [N, C] by the command line."""
    exported = limbeck_says("export", run)
    assert exported.status == 0, exported.err
    said = limbeck_says("predict", run, *files, "--json")
    assert said.status == 0, said.err
    return np.array([list(one["probabilities"].values()) for one in json.loads(said.out)])


@pytest.fixture
def data(tmp_path):
    """A folder for data."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def write_table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def test_rows(tmp_path, data):
    rng = np.random.default_rng(0)
    for side, count in (("train", 200), ("test", 60)):
        rows = [("id", "hours", "work", "rich")]
        for row in range(count):
            hours = rng.normal(40, 12)
            written = rng.choice([f"{hours:.1f}", f" {hours:.2e}", "?", f"+{hours:.0f}."])
            work = rng.choice(["office", " office ", "field, far", "", *(["moon"] if side == "test" else [])])
            rows.append((row, written, work, rng.choice(["yes", "no"])))
        write_table(data / f"{side}.csv", rows)
    student = {"name": "mlp", "hidden": [8]}
    run, expected = trained(tmp_path / "run", {"source": "rows", "path": str(data)}, student)
    np.testing.assert_allclose(predicted(run, data / "test.csv"), expected, atol=1e-5)


def test_texts(tmp_path, data):
    rng = np.random.default_rng(0)
    said = ["good", "bad  ", 'so "so"', "чай", "line\nbreak"]
    for side, count in (("train", 200), ("test", 60)):
        rows = [("label", "said")]
        for number in range(count):
            words = " ".join(rng.choice(said, rng.integers(1, 5 if side == "train" else 9)))
            rows.append((rng.choice(["a", "b"]), f"{words} {number}"))
        write_table(data / f"{side}.csv", rows)
    source = {"source": "rows", "path": str(data), "roles": {"said": "text"}, "text_bytes": 20}
    run, expected = trained(tmp_path / "run", source, {"name": "textcnn", "width": 8})
    np.testing.assert_allclose(predicted(run, data / "test.csv"), expected, atol=1e-5)


def test_images(tmp_path, data):
    for side, seed, count in (("train", 0, 120), ("test", 1, 45)):
        for number, (pixels, label) in enumerate(zip(*images(seed, count), strict=True)):
            folder = data / side / "abc"[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:03}.png")
    source = {"source": "images", "path": str(data), "size": [10, 7], "colour": "rgb"}
    run, expected = trained(tmp_path / "run", source, {"name": "mlp", "hidden": [8]})
    files = sorted((data / "test").rglob("*.png"))
    np.testing.assert_allclose(predicted(run, *files), expected, atol=1e-5)

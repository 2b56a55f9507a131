"""Every example runs, with a smaller budget than it has."""

import csv
import gzip
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from sklearn.datasets import load_digits

import hub_models
import limbeck
from limbeck.cli import app
from limbeck.recipe import read_recipe
from limbeck.record import read_record
from limbeck.training import Fit
from running import limbeck_says

EXAMPLES = Path(__file__).parent.parent / "examples"
ALIKE = ("fit.threads=1", "teacher.fit.threads=1", "proof.seeds=[0, 1]")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def distill(name, *changes):
    """Run a recipe by the command line; returns its record."""
    options = [word for change in changes for word in ("--set", change)]
    app(["distill", str(EXAMPLES / name), *options], standalone_mode=False)
    return read_record(Path(read_recipe(EXAMPLES / name).out))


def digits(count):
    """Images [N, 8, 8] from 0 to 255, and labels."""
    data = load_digits()
    return (data.images[:count] * 255 / 16).astype(np.uint8), data.target[:count]


def test_every_recipe_can_be_read():
    for path in sorted(EXAMPLES.glob("*.yaml")):
        read_recipe(path)


def test_digits(capsys):
    record = distill("digits.yaml", *ALIKE, "fit.epochs=20", "teacher.fit.epochs=4")
    assert record["verdict"]["word"] in capsys.readouterr().out
    assert set(record["arms"]) == {"distilled", "scratch"}
    for readme in ("README.md", "README.ru.md"):
        text = (EXAMPLES.parent / readme).read_text()
        for path in [*Path("runs/digits").iterdir(), *Path("runs/digits/arms/scratch/seed-0").iterdir()]:
            assert path.name in text or path.name.startswith("."), f"{readme} does not name {path}"


def test_features():
    record = distill("features.yaml", *ALIKE, "fit.epochs=10", "teacher.fit.epochs=4")
    loss = [term["name"] for term in record["arms"]["distilled"][0]["loss"]]
    assert loss == ["student_loss", "distillation_loss", "term0_hint", "term1_rkd-distance"]
    assert "[1 -> 0 (linear)] · hint(student conv1, teacher conv1)" in Path("runs/features/report.md").read_text()


def test_chain():
    record = distill("chain.yaml", "fit.threads=1", "proof.seeds=[0, 1]", "fit.epochs=2")
    assert len(record["teacher"]["members"]) == 2
    assert len(record["assistants"]) == 1
    assert list(record["arms"]) == ["distilled", "scratch", "direct"]
    for readme in ("README.md", "README.ru.md"):
        text = (EXAMPLES.parent / readme).read_text()
        for path in Path("runs/chain").iterdir():
            assert path.name in text or path.name.startswith("."), f"{readme} does not name {path}"


@pytest.mark.parametrize("official", [True, False])
def test_npz(official):
    x, y = digits(500)
    arrays = {"x_train": x[:400], "y_train": y[:400], "x_test": x[400:], "y_test": y[400:]}
    np.savez("mine.npz", **arrays if official else {"x": x, "y": y})
    changes = ("data.path=mine.npz", "fit.epochs=2", "teacher.fit.epochs=4", "teacher.model.hidden=[64]")
    record = distill("npz.yaml", *ALIKE, *changes)
    assert record["data"]["official_test"] == official
    assert record["data"]["measured"] == 100


@pytest.mark.parametrize("layout", ["train/{label}", "{label}"])
def test_images(layout):
    for number, (image, label) in enumerate(zip(*digits(300), strict=True)):
        side = layout if number < 240 else layout.replace("train", "test")
        folder = Path("mine") / side.format(label=label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    changes = (
        "data.path=mine", "data.size=8", "data.colour=grey", "fit.epochs=1", "student.model={name: mlp, hidden: [8]}",
        "teacher.model={name: mlp, hidden: [32]}", "teacher.fit.epochs=15", "fit.augment.shift=1",
        "teacher.fit.augment={}", "proof.seeds=[0, 1]",
    )  # fmt: skip
    record = distill("images.yaml", *ALIKE, *changes)
    assert record["data"]["input_shape"] == [1, 8, 8]
    assert record["data"]["official_test"] == ("train" in layout)


def test_rows(capsys):
    rng = np.random.default_rng(0)
    hours, work = rng.normal(40, 12, 400), rng.choice(["office", "field"], 400)
    lines = [
        f"{h:.1f},{w},{'yes' if h + 20 * (w == 'office') > 50 else 'no'}" for h, w in zip(hours, work, strict=True)
    ]
    Path("mine.csv").write_text("\n".join(["hours,work,rich", *lines]))
    record = distill("rows.yaml", *ALIKE, "data.path=mine.csv", "fit.epochs=2", "teacher.fit.epochs=10")
    assert [column["role"] for column in record["data"]["columns"]] == ["numeric", "categorical"]
    assert "columns: label rich (guessed); numeric hours; categorical work" in capsys.readouterr().out


def texts_and_who_knows_them():
    """The arguments of texts.py: a model of the hub that tells three kinds of sentence, and two tables of them."""
    said = [(f"{hub_models.SENTENCES[place % 3]} {place}", hub_models.NAMES[place % 3]) for place in range(400)]
    model = hub_models.sequence(Path("model"))
    tokens = transformers.AutoTokenizer.from_pretrained("model")([text for text, _ in said[:90]], padding=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(20):
        logits = model(torch.tensor(tokens["input_ids"]), torch.tensor(tokens["attention_mask"])).logits
        torch.nn.functional.cross_entropy(logits, torch.arange(90) % 3).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained("model")
    for name, rows in (("train.csv", said[:300]), ("test.csv", said[300:])):
        with open(name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    return "model", "train.csv", "test.csv"


@pytest.fixture
def results(monkeypatch):
    """What a script's calls of `limbeck.distill` return, each made smaller."""
    results = []

    def smaller(**arguments):
        fit = replace(arguments["fit"], epochs=4)
        assert isinstance(fit, Fit)
        results.append(distil(**{**arguments, "fit": fit, "labelled": 100, "seeds": 2}))
        return results[-1]

    distil = limbeck.distill
    monkeypatch.setattr(limbeck, "distill", smaller, raising=False)
    return results


OTHERS = ("adult.py", "onnx_only.py")
"""Scripts that distil several times, or not at all, with tests of their own."""


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in OTHERS))
def test_script(name, results, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, *(texts_and_who_knows_them() if name == "texts.py" else ())])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert str(results[0].verdict) in capsys.readouterr().out


def people(count, seed, end=""):
    """Rows in the form of UCI Adult, which has blanks after its commas and question marks."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        age, years, hours, gain = rng.integers([17, 1, 10, 0], [80, 17, 80, 3])
        work, married = rng.choice(["Private", "State-gov", "?"]), rng.choice(["Never-married", "Married-civ-spouse"])
        rich = years + hours / 8 + 4 * (married != "Never-married") > 17
        yield (
            f"{age}, {work}, {rng.integers(10**6)}, {years}th, {years}, {married}, Sales, Own-child, White, "
            f"{rng.choice(['Male', 'Female'])}, {gain * 2174}, 0, {hours}, Cuba, {'>50K' if rich else '<=50K'}{end}"
        )


def test_adult(results, monkeypatch, capsys):
    rows = list(people(1500, 0))
    Path("adult.data").write_text("\n".join(rows) + "\n\n")
    remark = ["|1x3 Cross validator"]
    Path("adult.test.gz").write_bytes(gzip.compress("\n".join([*remark, *people(200, 1, "."), rows[0] + "."]).encode()))
    monkeypatch.setattr("sys.argv", ["adult.py", "."])
    runpy.run_path(str(EXAMPLES / "adult.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert len(results) == 4
    for result in results:
        assert str(result.verdict) in said
        assert result.record["data"]["overlap"] == 1
    assert max(result.record["arms"]["distilled"][0]["parameters"] for result in results) <= 5000
    assert results[1].record["teacher"]["gives"] == "votes"


def test_onnx_only(finished, monkeypatch, capsys):
    run = Path(shutil.copytree(finished, "run"))
    assert limbeck_says("export", run).status == 0
    paths = [str(run / "export" / "onnx" / name) for name in ("model.onnx", "golden.npz")]
    monkeypatch.setattr("sys.argv", ["onnx_only.py", *paths])
    runpy.run_path(str(EXAMPLES / "onnx_only.py"), run_name="__main__")
    first, *lines = capsys.readouterr().out.splitlines()
    student = limbeck.load_bundle(run)
    probabilities = student.probabilities(np.load(paths[1])["inputs"])
    assert first.startswith(f"{len(student.classes)} classes")
    assert len(lines) == len(probabilities)
    for row, (line, one) in enumerate(zip(lines, probabilities, strict=True), start=1):
        assert line == f"{row}  {student.classes[one.argmax()]} {one.max():.4f}"

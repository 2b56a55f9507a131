"""What is the first guess (`temperature: auto`, `alpha: auto`) worth, beside a full grid and beside the defaults?

    PYTHONPATH=examples python bench/first_guess.py OUT --mnist DIR --adult DIR --ag-news DIR --cifar FILE

The teacher of each set-up is asked once. 6 temperatures x 4 alphas are judged on validation with seeds 0 and 1; then
the guess, the grid's best and the defaults (T 4, alpha 0.1) are measured on test with seeds 10 to 14, and so is the
student without a teacher. MNIST's DIR has its four IDX files, Adult's the files of examples/adult.py, that of AG News
those of bench/hub_texts.py; FILE is an .npz of CIFAR-100. `--only NAME ...` takes some set-ups; what lies in OUT is not
done again.

`--shares` asks instead, on validation, at which doubts the temperature should be. The third of the guess was fixed on
the set-ups in `SHAPED`, the most of its alpha when all grids had been seen but those in `FRESH`, which were only looked
at afterwards.
"""

import argparse
import csv
import gzip
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adult import COLUMNS, tables, teachers
from torch import Tensor

from limbeck.data import Examples, Idx, Npz, Rows, Splits, key_examples
from limbeck.files import read_tensors, write_tensors
from limbeck.guess import Guess, guess_of
from limbeck.measurement import compare, correct
from limbeck.preparation import Materials, Prepared, prepare, student_preprocess
from limbeck.progress import unwatched
from limbeck.recipe import recipe_from_tree
from limbeck.rundir import Run, open_run
from limbeck.students import new_student
from limbeck.teachers import ModuleTeacher, Signals, ask_all, evenly, where_doubts_reach
from limbeck.teaching import teach
from limbeck.training import ArmName, Distill, configured, fit, join_world, lesson_of

SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
TEMPERATURES, ALPHAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0), (0.0, 0.1, 0.5, 0.9)
DEFAULTS = (4.0, 0.1)
CHOOSING, REPORTING, SHAPING = (0, 1), (10, 11, 12, 13, 14), tuple(range(20, 28))
SHAPED = ("digits", "mnist-1000", "adult")
FRESH = ("digits-688", "mnist-1000-convnet", "adult-forest")

Setting = tuple[float, float]
"""Temperature and alpha."""


@dataclass(frozen=True)
class SetUp:
    """A recipe without its `out`, and what it cannot name."""

    tree: dict[str, Any]
    materials: Materials


def digits(labelled: int | None, epochs: int) -> SetUp:
    """The set-up of examples/digits.yaml with so many labelled images, or all, and no others."""
    teacher = {"model": {"name": "mlp", "hidden": [256, 256], "dropout": 0.2}, "fit": fitted(20, 64, 0.003)}
    return SetUp(
        {
            "data": {"source": "digits", "labelled": labelled, "unlabelled": False, "validation": 300},
            "teacher": {"kind": "train", **teacher},
            "student": {"model": {"name": "mlp", "hidden": [64]}},
            "fit": fitted(epochs, 60, 0.003),
        },
        Materials(),
    )


MLP: dict[str, Any] = {"name": "mlp", "hidden": [32]}


def mnist(
    folder: Path, *, labelled: int, epochs: int, batch_size: int = 50, noise: float = 0.0, student: dict[str, Any] = MLP
) -> SetUp:
    """A convnet taught to a small student, on so many labelled images and no others."""
    splits = Idx(path=str(folder)).load()
    train = noisy(splits.train, noise) if noise else splits.train
    return SetUp(
        {
            "data": {"source": "python", "labelled": labelled, "unlabelled": False, "validation": 10000},
            "teacher": {
                "kind": "train",
                "model": {"name": "convnet", "channels": [32, 64]},
                "fit": fitted(3, 128, 0.001),
            },
            "student": {"model": student},
            "fit": fitted(epochs, batch_size, 0.003),
        },
        Materials(replace(splits, train=train)),
    )


def noisy(examples: Examples, share: float) -> Examples:
    """The same with a share of the labels drawn anew from all classes."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(examples.classes), examples.labels.shape, generator=generator)
    lost = torch.rand(len(examples), generator=generator) < share
    return replace(examples, labels=torch.where(lost, drawn, examples.labels))


def adult(folder: Path, out: Path, labelled: int | None, teacher: str = "boosted") -> SetUp:
    """Trees taught to the small network of examples/adult.py; rows without a label are seen too."""
    splits = Rows(path=str(tables(folder, out / "adult-tables")), columns=COLUMNS, label="income").load()
    return SetUp(
        {
            "data": {"source": "python", "labelled": labelled, "validation": 6000},
            "teacher": {"kind": "python", "what": f"{teacher} trees"},
            "student": {"model": {"name": "mlp", "hidden": [32, 24]}},
            "fit": fitted(10, 256, 0.003),
        },
        Materials(splits, teachers(splits)[teacher]),
    )


def ag_news(folder: Path, out: Path) -> SetUp:
    """A large reader of bytes taught to a small one, on 500 labelled texts and no others."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("train_subset", "test"):
        with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            found = [(row[-1], row[-3]) for row in csv.reader(file) if row[-1] != "description"]
        with open(out / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *found])
    train, test = (str(out / f"{name}.csv") for name in ("train_subset", "test"))
    source = Rows(path=train, test=test, label="label", roles={"text": "text"}, text_bytes=128)
    return SetUp(
        {
            "data": {"source": "python", "labelled": 500, "unlabelled": False, "validation": 3000},
            "teacher": {
                "kind": "train",
                "model": {"name": "textcnn", "width": 32, "channels": [64, 128], "dropout": 0.3},
                "fit": fitted(4, 64, 0.002),
            },
            "student": {"model": {"name": "textcnn", "width": 16, "channels": [32, 32], "dropout": 0.2}},
            "fit": fitted(20, 50, 0.003),
        },
        Materials(source.load()),
    )


def cifar(path: Path) -> SetUp:
    """A convnet that is mostly wrong, taught to a smaller one: 100 classes, 10,000 images at half their size."""
    splits = Npz(path=str(path)).load()
    train, test = splits.train.select(torch.arange(10000)), splits.test.select(torch.arange(5000))
    return SetUp(
        {
            "data": {"source": "python", "validation": 2000},
            "teacher": {
                "kind": "train",
                "model": {"name": "convnet", "channels": [32, 64]},
                "fit": fitted(8, 100, 0.002),
            },
            "student": {"model": {"name": "convnet", "channels": [8, 16]}},
            "fit": fitted(5, 50, 0.003),
        },
        Materials(Splits(halved(train), halved(test), splits.preprocess, official=True)),
    )


def halved(examples: Examples) -> Examples:
    """Images of half the height and width, each pixel the mean of four."""
    inputs = torch.nn.functional.avg_pool2d(examples.inputs.float(), 2).round().to(torch.uint8)
    return key_examples(inputs, examples.labels, examples.classes)


def fitted(epochs: int, batch_size: int, lr: float) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": batch_size, "optimizer": {"name": "adamw", "lr": lr}, "threads": 1}


@dataclass(frozen=True)
class Bench:
    """A set-up whose teacher was asked, and the students that hear it."""

    opened: Run
    data: Prepared
    materials: Materials
    signals: Signals
    teacher: float

    def rights(self, arm: ArmName, setting: Setting, seeds: tuple[int, ...], on: str) -> Tensor:
        """Whether each student is right about each example, [S, N], kept in a file."""
        temperature, alpha = setting
        name = f"{arm}-{temperature:g}-{alpha:g}" if arm == "distilled" else arm
        path = self.opened.directory / f"{on}-{name}-{len(seeds)}.safetensors"
        if not path.exists():
            distill = Distill(alpha="auto", temperature="auto").settled(alpha=alpha, temperature=temperature)
            rows = [self._student(arm, distill, seed, getattr(self.data, on), name) for seed in seeds]
            write_tensors(path, {"rights": torch.stack(rows).to(torch.uint8)})
        return read_tensors(path)["rights"].bool()

    def _student(self, arm: ArmName, distill: Distill, seed: int, examples: Examples, name: str) -> Tensor:
        recipe = self.opened.recipe
        preprocess = student_preprocess(recipe, self.data)
        lesson = lesson_of(arm, distill, self.data.train, self.signals, preprocess, seed=seed)
        student = new_student(recipe, self.data, self.materials, seed)
        place = self.opened.place(self.opened.directory / "fits" / name / f"seed-{seed}", arm=arm, seed=seed)
        fit(student, lesson, recipe.fit, steps=recipe.fit.steps(len(self.data.train)), seed=seed, place=place)
        return correct(ask_all(ModuleTeacher(student, preprocess, self.opened.device), examples), examples.labels)

    def grid(self) -> dict[Setting, float]:
        """Accuracy on validation in percent, by setting."""
        settings = product(TEMPERATURES, ALPHAS)
        return {each: percent(self.rights("distilled", each, CHOOSING, "validation")) for each in settings}


@contextmanager
def asked(name: str, set_up: SetUp, out: Path) -> Iterator[Bench]:
    """The bench of a set-up: data parted, teacher trained and asked."""
    recipe = recipe_from_tree({**set_up.tree, "device": "cpu", "out": str(out / name)}, {}, where=name)
    with (
        open_run(recipe, world=join_world(), resume=True, overwrite=False, watch=unwatched) as run,
        configured(run.recipe.fit),
    ):
        data = prepare(recipe, set_up.materials)
        teaching = teach(run, data, set_up.materials, allow_weak=False)
        right = correct(ask_all(teaching.teacher, data.measured), data.measured.labels)
        yield Bench(run, data, set_up.materials, teaching.signals, percent(right))


def percent(right: Tensor) -> float:
    return 100 * float(right.double().mean())


def temperatures_of(bench: Bench) -> list[float]:
    """At which the doubts are `SHARES`."""
    rows = evenly(len(bench.data.train), 4096)
    logits_NC = bench.signals.fetch(rows, bench.data.train.inputs[rows], torch.zeros_like(rows)).logits
    return [float(f"{where_doubts_reach(logits_NC, share) or math.nan:.3g}") for share in SHARES]


def report_shares(name: str, bench: Bench) -> None:
    """Accuracy on validation at the temperatures where doubts are these shares, alpha as guessed."""
    alpha = guess_of(bench.signals, bench.data).alpha
    cells = [name]
    for temperature in temperatures_of(bench):
        right = bench.rights("distilled", (temperature, alpha), SHAPING, "validation")
        cells.append(f"{percent(right):.2f} (T {temperature:.2g})")
    print("| " + " | ".join(cells) + " |", flush=True)


def report(name: str, bench: Bench) -> None:
    """The grid as a table, then a line for the document."""
    guessed: Guess = guess_of(bench.signals, bench.data)
    grid = bench.grid()
    print(f"\n{name}: {json.dumps(vars(guessed))}")
    print("alpha \\ T", *(f"{temperature:7g}" for temperature in TEMPERATURES))
    for alpha in ALPHAS:
        print(f"{alpha:9g}", *(f"{grid[temperature, alpha]:7.2f}" for temperature in TEMPERATURES))
    means = [np.mean([grid[temperature, alpha] for alpha in ALPHAS[:2]]) for temperature in TEMPERATURES]
    read = np.interp(np.log(temperatures_of(bench)), np.log(TEMPERATURES), means) - max(means)
    print("lost at doubts of", ", ".join(f"{share}: {lost:.2f}" for share, lost in zip(SHARES, read, strict=True)))
    settings = {"guess": (guessed.temperature, guessed.alpha), "best": max(grid, key=grid.__getitem__)}
    settings["defaults"] = DEFAULTS
    rights = {each: bench.rights("distilled", setting, REPORTING, "measured") for each, setting in settings.items()}
    rights["scratch"] = bench.rights("scratch", DEFAULTS, REPORTING, "measured")
    cells = [
        name + "*" * (name not in FRESH) + "*" * (name in SHAPED),
        f"{bench.teacher:.2f}",
        f"{percent(rights['scratch']):.2f}",
    ]
    for each, (temperature, alpha) in settings.items():
        cells.append(f"{percent(rights[each]):.2f} (T {temperature:g}, alpha {alpha:g})")
    for a, b in (("guess", "best"), ("guess", "defaults"), ("guess", "scratch")):
        found = compare(rights[a], rights[b], arm=a, against=b, seeds=REPORTING)
        assert found.difference is not None
        assert found.interval is not None
        low, high = found.interval
        cells.append(f"{100 * found.difference:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})")
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    for name in ("--mnist", "--adult", "--ag-news", "--cifar"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--shares", action="store_true")
    options = parser.parse_args()
    set_ups: dict[str, Callable[[], SetUp]] = {
        "digits": lambda: digits(120, 200),
        "mnist-1000": lambda: mnist(options.mnist, labelled=1000, epochs=40),
        "adult": lambda: adult(options.adult, options.out, None),
        "adult-1000": lambda: adult(options.adult, options.out, 1000),
        "mnist-noisy": lambda: mnist(options.mnist, labelled=5000, epochs=10, noise=0.2),
        "mnist-10000": lambda: mnist(options.mnist, labelled=10000, epochs=10, batch_size=100),
        "ag-news-500": lambda: ag_news(options.ag_news, options.out / "ag-news-tables"),
        "cifar-100": lambda: cifar(options.cifar),
        "digits-688": lambda: digits(None, 40),
        "mnist-1000-convnet": lambda: mnist(
            options.mnist, labelled=1000, epochs=40, student={"name": "convnet", "channels": [8, 16]}
        ),
        "adult-forest": lambda: adult(options.adult, options.out, None, "forest"),
    }
    for name in options.only or set_ups:
        with asked(name, set_ups[name](), options.out) as bench:
            (report_shares if options.shares else report)(name, bench)


if __name__ == "__main__":
    main()

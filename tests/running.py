"""Small runs for the tests of recipe, pipeline, report and command line."""

import io
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

import limbeck
import limbeck.cli
from limbeck.distillation import Result
from limbeck.objectives import Traits
from limbeck.pipeline import Options, run
from limbeck.preparation import Materials
from limbeck.progress import Progress
from limbeck.recipe import recipe_from_tree
from limbeck.signal import Signal
from limbeck.training import AdamW, Fit

CLASSES = 3
TRAIN, TEST = 150, 60


@dataclass(frozen=True)
class Said:
    """What a command line answered."""

    status: int
    out: str
    err: str


def limbeck_says(*words: object) -> Said:
    """Run the command line in this process; a traceback fails the test."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["limbeck", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            limbeck.cli.main()
    except SystemExit as end:
        return Said(
            end.code if isinstance(end.code, int) else int(end.code is not None), out.getvalue(), err.getvalue()
        )
    finally:
        sys.argv = argv
    return Said(0, out.getvalue(), err.getvalue())


def images(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures [N, 8, 8] uint8 of three kinds: a bright band at the top, in the middle, at the bottom."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = rng.integers(0, 120, size=(count, 8, 8))
    for row, label in enumerate(labels):
        pixels[row, 3 * label : 3 * label + 2] += rng.integers(0, 80)
    return pixels.astype(np.uint8), labels.astype(np.int64)


def rows(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 6] float32 and the corner of a triangle each is nearest to, with some noise."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 6)).astype(np.float32)
    return points, (points[:, :3] + 0.1 * rng.normal(size=(count, 3))).argmax(axis=1)


def save_npz(path: Path, train: int = TRAIN, test: int = TEST) -> Path:
    (x_train, y_train), (x_test, y_test) = images(0, train), images(1, test)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def tree(npz: Path, out: Path | str, **changes: Any) -> dict[str, Any]:
    """A recipe that runs in half a second."""
    fit = {"epochs": 2, "batch_size": 32, "threads": 1, "optimizer": {"name": "adamw", "lr": 0.02}}
    return {
        "format": 1,
        "data": {"source": "npz", "path": str(npz)},
        "teacher": {"kind": "train", "model": {"name": "mlp", "hidden": [16]}, "fit": {**fit, "epochs": 4}},
        "student": {"model": {"name": "mlp", "hidden": [8]}},
        "fit": fit,
        "proof": {"seeds": [0, 1]},
        "out": str(out),
        **changes,
    }


def run_tree(values: dict[str, Any], changes: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Run a recipe given as plain values, with dotted changes."""
    return run(recipe_from_tree(values, changes or {}, where="the test"), Materials(), Options(**options))


def true_logits(inputs: Tensor) -> Tensor:
    """A function that teaches `rows` well."""
    return 4 * inputs[:, :3]


def module_teacher() -> nn.Module:
    module = nn.Linear(6, 3, bias=False)
    with torch.no_grad():
        module.weight.copy_(4 * torch.eye(3, 6))
    return module


@dataclass(frozen=True, kw_only=True)
class SquaredLogits:
    """An objective of somebody who has read CONTRIBUTING.md: half the squared distance of logits."""

    name: str = "squared-logits"
    scale: float = 1.0
    traits: ClassVar[Traits] = Traits(needs=("logits",), zero_at_teacher=True, shift_invariant=False)

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        assert signal is not None
        return self.scale * (output.logits - signal.logits).square().sum(dim=1) / 2


def arguments(out: Path, **changes: Any) -> dict[str, Any]:
    """Of a call on rows that trains each student in a moment."""
    settings: dict[str, Any] = {
        "teacher": true_logits,
        "student": lambda: nn.Linear(6, 3),
        "train": rows(0, TRAIN),
        "test": rows(1, TEST),
        "out": out,
        "fit": Fit(epochs=2, batch_size=32, optimizer=AdamW(lr=0.02), threads=1),
        "seeds": 2,
    }
    return {**settings, **changes}


def tell(out: Path, **changes: Any) -> Result:
    """`limbeck.distill` on rows, in a fifth of a second."""
    return limbeck.distill(**arguments(out, **changes))


def students(record: dict[str, Any]) -> dict[str, str]:
    """The sha256 of each student's weights."""
    return {name: file["sha256"] for name, file in record["files"].items() if name.endswith(".safetensors")}


def measured(record: dict[str, Any]) -> dict[str, Any]:
    """What two equal runs have in common, for which the clock is nothing."""
    arms = {
        arm: [{key: value for key, value in fit.items() if key != "seconds"} for fit in fits]
        for arm, fits in record["arms"].items()
    }
    labels = {key: value for key, value in record["labels"].items() if key != "pace"}
    kept = ("verdicts", "data", "teacher", "gap_share", "mcnemar", "files")
    return {"arms": arms, "labels": labels, **{key: record[key] for key in kept}}


class Heard(list[Progress]):
    """A watcher that remembers."""

    def __call__(self, progress: Progress) -> None:
        self.append(progress)


class Interrupting:
    """A watcher that presses Ctrl-C at the sign of life with this number."""

    def __init__(self, at: int, number: signal.Signals = signal.SIGINT) -> None:
        self.at, self.number, self.heard = at, number, 0

    def __call__(self, progress: Progress) -> None:
        self.heard += 1
        if self.heard == self.at:
            signal.raise_signal(self.number)

"""What distillation costs beside plain training, and what limbeck's step costs beside a bare loop.

    python bench/step_cost.py [--repeats 9] [--threads 1] [--clock wall] [--json]

Ratios: an epoch from stored labels against an epoch on labels alone; same student, same data, same reader and step,
epochs taken in turns in one process after a warm one each. Data are random numbers of MNIST's shape: time does not
depend on what is in them.

Own cost: whole fits of a digits student by `limbeck.training.fit`, against a loop that only walks batches lying ready:
forward, loss, backward, optimizer. Time per step is the slope between a short and a long fit, so that what a fit
costs once (its checkpoint, its first step) is not counted.

On a busy machine take `--clock cpu`: with one thread it counts what the wall would show on a quiet one.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.data import SOURCES, Examples, Preprocess, key_examples
from limbeck.models import ConvNet, Mlp, ModelSpec, initialise, layout_of
from limbeck.teachers import Stored
from limbeck.training import Distill, Fit, Learner, Lesson, Place, fit, lesson_of, train_step
from limbeck.training.fit import reseed
from limbeck.training.ledger import Ledger
from limbeck.training.lesson import Reader
from limbeck.training.order import Order

CLASSES = tuple("0123456789")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]
PAIRS: dict[str, ModelSpec] = {
    "Hinton's, mlp 800-800": Mlp(hidden=(800, 800)),
    "classic, convnet 16-32": ConvNet(channels=(16, 32)),
}


class Epochs:
    """A fit that goes on epoch by epoch: the loop of `limbeck.training.fit` without its checkpoints."""

    def __init__(self, spec: ModelSpec, lesson: Lesson, settings: Fit, directory: Path, clock: Clock) -> None:
        shape = tuple(lesson.examples.inputs.shape[1:])
        self.learner = Learner(initialise(spec, shape, len(CLASSES), seed=0))
        self.optimizer = settings.optimizer.build(self.learner.parameters())
        self.lesson, self.settings = lesson, settings
        self.order = Order(len(lesson.examples), settings.batch_size, 0)
        self.place = Place(directory, directory / "metrics.jsonl")
        self.counts = lesson.counts(settings.batch_size)
        self.per_epoch = len(lesson.examples) // settings.batch_size
        self.reader = Reader(lesson, settings, 0, self.place, layout_of(self.learner.student))
        names = [term.name for term in lesson.terms]
        self.ledger = Ledger(self.place, names, self.reader.seconds, 0, 100 * self.per_epoch)
        self.step, self.clock = 0, clock
        self.learner.train()

    def run(self) -> float:
        """The seconds of the next epoch."""
        began = self.clock()
        for step in range(self.step, self.step + self.per_epoch):
            reseed(0, step, 0, self.place.device)
            rate = self.settings.optimizer.lr * self.settings.schedule.factor(step, 100 * self.per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batches = self.reader.batches(*self.order.at(step))
            values_K = train_step(
                self.learner, self.optimizer, batches, self.lesson.terms, self.counts, world=self.place.world
            )
            self.ledger.add(step + 1, values_K, rate)
        self.step += self.per_epoch
        return self.clock() - began


def epoch_ratio(spec: ModelSpec, examples: int, repeats: int, clock: Clock) -> dict[str, Any]:
    """Medians of interleaved epochs of both arms, and their ratio."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (examples, 1, 28, 28), dtype=torch.uint8, generator=generator)
    data = key_examples(inputs, torch.arange(examples) % 10, CLASSES)
    signals = Stored({"logits": torch.randn(examples, 10, generator=generator).half()})
    with tempfile.TemporaryDirectory() as folder:
        preprocess = Preprocess(scale=255.0)
        lessons = {
            arm: lesson_of(arm, Distill(), data, signals, preprocess, seed=0) for arm in ("scratch", "distilled")
        }
        arms = {arm: Epochs(spec, lesson, Fit(), Path(folder), clock) for arm, lesson in lessons.items()}
        seconds: dict[str, list[float]] = {arm: [] for arm in arms}
        for turn in range(repeats + 1):
            for arm in sorted(arms, reverse=bool(turn % 2)):
                elapsed = arms[arm].run()
                if turn:
                    seconds[arm].append(elapsed)
    medians = {arm: statistics.median(values) for arm, values in seconds.items()}
    return {
        "plain_seconds": medians["scratch"],
        "distilled_seconds": medians["distilled"],
        "ratio": medians["distilled"] / medians["scratch"],
        "ratios": [d / p for d, p in zip(seconds["distilled"], seconds["scratch"], strict=True)],
        "repeats": repeats,
        "examples": examples,
    }


def own_cost(repeats: int, steps: int, clock: Clock) -> dict[str, Any]:
    """Microseconds of a step on a digits student: limbeck's fit, a bare loop, and what lies between."""
    splits = SOURCES["digits"]().load()
    data, preprocess = splits.train, splits.preprocess
    signals = Stored({"logits": torch.randn(len(data), 10, generator=torch.Generator().manual_seed(0)).half()})
    spec = Mlp(hidden=(32,))
    result: dict[str, Any] = {"student": "mlp 64-32-10", "batch_size": Fit().batch_size, "steps": steps}
    for arm in ("scratch", "distilled"):
        lesson = lesson_of(arm, Distill(), data, signals, preprocess, seed=0)
        runs: dict[str, Callable[[int], float]] = {
            "bare": lambda n, lesson=lesson: _bare_seconds(spec, lesson, n, clock),
            "limbeck": lambda n, lesson=lesson: _fit_seconds(spec, lesson, n, clock),
        }
        slopes: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(repeats + 1):
            for name, seconds in runs.items():
                slope = (seconds(2 * steps) - seconds(steps)) / steps * 1e6
                if turn:
                    slopes[name].append(slope)
        medians = {name: statistics.median(values) for name, values in slopes.items()}
        result[arm] = {**medians, "own": medians["limbeck"] - medians["bare"]}
    return result


def _fit_seconds(spec: ModelSpec, lesson: Lesson, steps: int, clock: Clock) -> float:
    with tempfile.TemporaryDirectory() as folder:
        student = initialise(spec, tuple(lesson.examples.inputs.shape[1:]), 10, seed=0)
        began = clock()
        fit(student, lesson, Fit(), steps=steps, seed=0, place=Place(Path(folder), Path(folder) / "metrics.jsonl"))
        return clock() - began


def _bare_seconds(spec: ModelSpec, lesson: Lesson, steps: int, clock: Clock) -> float:
    """Forward, loss, backward and optimizer over batches that lie ready: what no loop can do without."""
    settings = Fit()
    student = initialise(spec, tuple(lesson.examples.inputs.shape[1:]), 10, seed=0).train()
    optimizer = settings.optimizer.build(student.parameters())
    batches = _ready_batches(lesson, settings.batch_size)
    began = clock()
    for step in range(steps):
        inputs, labels, logits = batches[step % len(batches)]
        optimizer.zero_grad()
        _bare_loss(student, inputs, labels, logits).backward()
        optimizer.step()
    return clock() - began


def _bare_loss(student: nn.Module, inputs: Tensor, labels: Tensor, logits: Tensor | None) -> Tensor:
    output = student(inputs)
    hard = F.cross_entropy(output, labels)
    if logits is None:
        return hard
    soft = F.kl_div(
        F.log_softmax(output / 4.0, dim=1), F.log_softmax(logits / 4.0, dim=1), log_target=True, reduction="batchmean"
    )
    return 0.1 * hard + 0.9 * 16.0 * soft


def _ready_batches(lesson: Lesson, size: int) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    examples: Examples = lesson.examples
    rows = [part for part in torch.randperm(len(examples)).split(size) if len(part) == size]
    inputs = lesson.preprocess(examples.inputs)
    logits = lesson.signals.tensors["logits"].float() if isinstance(lesson.signals, Stored) else None
    return [(inputs[r], examples.labels[r], None if logits is None else logits[r]) for r in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="epochs of each arm, after a warm one")
    parser.add_argument("--examples", type=int, default=60_000, help="of an epoch")
    parser.add_argument("--steps", type=int, default=2000, help="of the short fit of the own cost")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = CLOCKS[options.clock]
    result: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": options.threads,
        "clock": options.clock,
        "epochs": {name: epoch_ratio(spec, options.examples, options.repeats, clock) for name, spec in PAIRS.items()},
        "own_cost": own_cost(options.repeats, options.steps, clock),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{'pair':24} {'plain':>9} {'distilled':>9} {'ratio':>7}   turn by turn")
    for name, row in result["epochs"].items():
        spread = f"{min(row['ratios']):.3f} to {max(row['ratios']):.3f}"
        print(
            f"{name:24} {row['plain_seconds']:7.3f} s {row['distilled_seconds']:7.3f} s {row['ratio']:7.3f}   {spread}"
        )
    own = result["own_cost"]
    print(f"\nper step, {own['student']}, batch {own['batch_size']}: {'bare':>12} {'limbeck':>9} {'own':>8}")
    for arm in ("scratch", "distilled"):
        row = own[arm]
        print(f"{arm:42} {row['bare']:9.1f} us {row['limbeck']:6.1f} us {row['own']:5.1f} us")


if __name__ == "__main__":
    main()

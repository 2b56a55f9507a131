"""What a fit learns from, and how its rows become batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data import Examples, Preprocess, derive_seed
from limbeck.teachers import Signals
from limbeck.training.ledger import Stopwatch
from limbeck.training.loss import Batch, Counts, Term
from limbeck.training.place import Place
from limbeck.training.settings import Fit


@dataclass(frozen=True)
class Lesson:
    """What one fit learns from: examples, what the teacher said of them, and the terms of the loss."""

    examples: Examples
    signals: Signals | None
    terms: tuple[Term, ...]
    preprocess: Preprocess

    def terms_at(self, step: int, steps: int) -> tuple[Term, ...]:
        """The terms of the loss at `step` (from 0) of `steps`, schedules resolved."""
        return tuple(term.at(step, steps) for term in self.terms)

    def counts(self, batch_size: int) -> Counts:
        """What the sums of a step over `batch_size` examples are divided by."""
        labelled_share = float(self.examples.labelled.double().mean())
        return Counts(batch_size, batch_size * labelled_share)


class Reader:
    """Turns the rows of a step into this rank's micro-batches."""

    def __init__(self, lesson: Lesson, settings: Fit, seed: int, place: Place, layout: torch.memory_format) -> None:
        examples = lesson.examples
        self.inputs, self.labels = examples.inputs.to(place.device), examples.labels.to(place.device)
        self.preprocess, self.world, self.layout = lesson.preprocess, place.world, layout
        self.seconds = {"data": 0.0, "teacher": 0.0}
        self.signals = None if lesson.signals is None else lesson.signals.to(place.device)
        self.augment, self.seed = settings.augment, derive_seed(seed, "views")
        self.stream_ids = examples.stream_ids.to(place.device) if settings.augment.active else None
        self.accumulate = settings.accumulate

    def batches(self, rows: Tensor, epochs: Tensor) -> Iterator[Batch]:
        """The micro-batches of a step's rows [B], each seen in its epoch [B]."""
        parts = zip(
            self.world.part(rows).tensor_split(self.accumulate),
            self.world.part(epochs).tensor_split(self.accumulate),
            strict=True,
        )
        for part_rows, part_epochs in parts:
            with Stopwatch(self.seconds, "data"):
                part_rows, part_epochs = part_rows.to(self.inputs.device), part_epochs.to(self.inputs.device)
                seen = self.inputs[part_rows]
                if self.stream_ids is not None:
                    seen = self.augment(seen, self.stream_ids[part_rows], seed=self.seed, view=part_epochs)
                inputs = self.preprocess(seen)
                if inputs.ndim == 4:
                    inputs = inputs.contiguous(memory_format=self.layout)
            with Stopwatch(self.seconds, "teacher"):
                signal = self.signals.fetch(part_rows, seen, part_epochs) if self.signals is not None else None
            yield Batch(inputs, self.labels[part_rows], signal)

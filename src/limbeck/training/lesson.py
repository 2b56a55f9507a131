"""What a fit learns from, and how its rows become batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data import STORED_VIEWS, AnyPreprocess, Examples, Views, derive_seed
from limbeck.models import arranged
from limbeck.teachers import Signals
from limbeck.training.ledger import Stopwatch
from limbeck.training.loss import Batch, Counts, Term
from limbeck.training.place import Place
from limbeck.training.settings import Fit


@dataclass(frozen=True)
class Lesson:
    """What one fit learns from: examples, what the teacher said of them, and the terms of the loss.

    Args:
        examples: what is seen.
        signals: of the teacher; None where none is heard.
        terms: of the loss.
        preprocess: from stored inputs to what the student takes.
        views: of how many views of each example the signals are, one after the other whatever the epochs; with 1 every
            epoch is a view of its own, and the signals are of the plain example, or of that very view.
    """

    examples: Examples
    signals: Signals | None
    terms: tuple[Term, ...]
    preprocess: AnyPreprocess
    views: int = 1

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
        self.labels, self.device = examples.labels.to(place.device), place.device
        self.preprocess, self.world, self.layout = lesson.preprocess, place.world, layout
        self.seconds = {"data": 0.0, "teacher": 0.0}
        self.signals = None if lesson.signals is None else lesson.signals.to(place.device)
        cycle = lesson.views if lesson.views > 1 else None
        own = derive_seed(seed, "views") if cycle is None else STORED_VIEWS
        self.views = Views(examples, settings.augment, seed=own, cycle=cycle, device=place.device)
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
                part_rows, part_epochs = part_rows.to(self.device), part_epochs.to(self.device)
                seen = self.views.seen(part_rows, part_epochs)
                inputs = arranged(self.preprocess(seen.inputs), self.layout)
            with Stopwatch(self.seconds, "teacher"):
                signal = self.signals.fetch(part_rows, seen.inputs, part_epochs) if self.signals is not None else None
            partners = None if seen.partners is None else self.labels[seen.partners]
            yield Batch(inputs, self.labels[part_rows], signal, partners, seen.shares)

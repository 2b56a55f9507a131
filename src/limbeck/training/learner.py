"""The learner: a student, its taps, and what the terms of its loss learn beside it.

Only the student is delivered. Projectors and variances train with it, are checkpointed with it, and stay behind.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from limbeck.data import derive_seed
from limbeck.errors import RecipeError
from limbeck.models import Taps, arranged, evaluating, layout_of
from limbeck.objectives import TapObjective
from limbeck.signal import Signal
from limbeck.training.lesson import Lesson
from limbeck.training.loss import Batch, Term


class Learner(nn.Module):
    """What an optimizer step moves.

    Args:
        student: any network.
        taps: open on it, where a term looks at features.
        learnt: by the name of the term.
    """

    def __init__(
        self, student: nn.Module, taps: Taps | None = None, learnt: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.student, self._taps, self.learnt = student, taps, nn.ModuleDict(learnt)

    def forward(self, inputs: Tensor) -> Signal:
        """The student's output, logits [N, C] and features by tap, for inputs [N, ...].

        Raises:
            RecipeError: a tap through which no gradient can reach the student.
        """
        logits_NC = self.student(inputs)
        features = self._taps.take() if self._taps is not None else {}
        for tap, values in features.items():
            if torch.is_grad_enabled() and not values.requires_grad:
                raise RecipeError(
                    f"the tap {tap!r} of the student carries no gradient: its term would teach the student nothing",
                    expected="a part that is trained, or comes after one that is",
                    do="tap a later part, unfreeze this one, or checkpoint it with use_reentrant=False",
                )
        return Signal(logits_NC, features)

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Let the student answer somebody else while the block runs: evaluating, its taps closed."""
        with evaluating(self.student), self._taps.closed() if self._taps is not None else nullcontext():
            yield

    def values(self, term: Term, output: Signal, batch: Batch) -> Tensor:
        """The values of a term [N], before its weight.

        What hears labels hears both of a mix, each by its share: it is linear in them (Zhang 2018, arXiv 1710.09412).
        """
        own_N = self._values(term, output, batch, batch.labels)
        if batch.partners is None or "labels" not in term.objective.traits.needs:
            return own_N
        assert batch.shares is not None, "a mix has shares"
        return batch.shares * own_N + (1 - batch.shares) * self._values(term, output, batch, batch.partners)

    def _values(self, term: Term, output: Signal, batch: Batch, labels: Tensor) -> Tensor:
        if term.name not in self.learnt:
            return term.objective(output, batch.signal, labels)
        objective = term.objective
        assert isinstance(objective, TapObjective), "only these learn"
        return objective(output, batch.signal, labels, self.learnt[term.name])


@contextmanager
def learner_of(
    student: nn.Module, lesson: Lesson, *, seed: int, device: torch.device, whose: str = "the student"
) -> Iterator[Learner]:
    """The learner of a lesson, its taps open while the block runs; what is learnt is f(seed, name of the term).

    In errors the network is `whose`.

    Raises:
        RecipeError: a tap that the student lacks, or a term that cannot compare student and teacher.
    """
    student.to(device)
    names = [term.objective.student for term in lesson.terms if isinstance(term.objective, TapObjective)]
    with Taps(student, names, whose) as taps:
        learner = Learner(student, taps)
        _build(learner, lesson, seed, device)
        yield learner


def _build(learner: Learner, lesson: Lesson, seed: int, device: torch.device) -> None:
    """Make what the terms learn, and ask each term for its values once."""
    output, batch = _first_look(learner, lesson, device)
    for term in lesson.terms:
        with _named(term), torch.no_grad():
            learnt = _built(term, output, batch, seed)
            if learnt is not None:
                learner.learnt[term.name] = learnt.to(device)
            learner.values(term, output, batch)


def _first_look(learner: Learner, lesson: Lesson, device: torch.device) -> tuple[Signal, Batch]:
    """What student and teacher say of two examples; modes and statistics stay what they were."""
    rows = torch.arange(2) % len(lesson.examples)
    seen = lesson.examples.inputs[rows]
    signal = None if lesson.signals is None else lesson.signals.fetch(rows, seen, torch.zeros_like(rows)).to(device)
    inputs = arranged(lesson.preprocess(seen.to(device)), layout_of(learner.student))
    # With gradients, so that a tap that carries none is told at once.
    with evaluating(learner.student), torch.enable_grad():
        output = learner(inputs)
    return output, Batch(inputs, lesson.examples.labels[rows].to(device), signal)


def _built(term: Term, output: Signal, batch: Batch, seed: int) -> nn.Module | None:
    objective = term.objective
    if not isinstance(objective, TapObjective) or batch.signal is None:
        return None
    if objective.teacher not in batch.signal.features:
        return None  # its own values will say so, in words
    shapes = (output.features[objective.student].shape[1:], batch.signal.features[objective.teacher].shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, term.name, "learnt"))
        try:
            return objective.build(*(tuple(shape) for shape in shapes))
        except RuntimeError as error:  # of torch, asked for a layer beyond all memory
            raise ValueError(str(error)) from error


@contextmanager
def _named(term: Term) -> Iterator[None]:
    """What an objective cannot do as an error of the recipe, which names the term."""
    try:
        yield
    except ValueError as error:
        raise RecipeError(
            f"{term.name} cannot be formed: {error}",
            expected="a student and a teacher that this objective can compare",
            do="mend its settings (limbeck list objectives), or take another objective",
        ) from error

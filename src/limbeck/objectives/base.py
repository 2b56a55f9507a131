"""What an objective is, and what it promises about itself.

An objective is its own setting and can be called. Most hold the student's logits to the teacher's
(`LogitObjective`), or a tap of the student to a tap of the teacher (`TapObjective`).

Dimension key: N examples, C classes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, get_args

from torch import Tensor, nn

from limbeck.objectives.standardised import standardised
from limbeck.signal import Signal

Need = Literal["labels", "logits", "features", "maps"]
"""Labels; the teacher's logits; a tap of each network: of any shape, or images [N, channels, height, width]."""

Shape = tuple[int, ...]
"""Of one example's features, without the batch."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What an objective declares about itself; `limbeck.testing` tests exactly this.

    Args:
        needs: what the values depend on besides the student. An objective that needs labels is 0 without one.
        coupling: `example` when the value of an example depends on that example alone, `batch` when it depends
            on the others too; only the first may be split into micro-batches.
        zero_at_teacher: value and gradient are 0 where the student says what the teacher says.
        non_negative: no value is below 0, but for rounding.
        shift_invariant: a constant added to all logits of a row, the student's or the teacher's, is nothing.
        smooth: the gradient has no jumps, so that at high temperatures its size settles.
        slack: what the paper's own epsilon leaves of a value or gradient that is promised to be 0.
        paper: where it was published.
        formula: its value for one example.
        cost: how time grows with N examples, C classes and D features, to the first order.
    """

    needs: tuple[Need, ...]
    coupling: Literal["example", "batch"] = "example"
    zero_at_teacher: bool
    non_negative: bool = True
    shift_invariant: bool = True
    smooth: bool = True
    slack: float = 1e-9
    paper: str = ""
    formula: str = ""
    cost: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.needs, str) or not set(self.needs) <= set(get_args(Need)):
            raise ValueError(f"needs is a tuple of {', '.join(get_args(Need))}, not {self.needs!r}")

    @property
    def taps(self) -> bool:
        """Whether it looks at features, the student's and the teacher's."""
        return "features" in self.needs or "maps" in self.needs

    @property
    def hears_teacher(self) -> bool:
        """Whether the teacher has to be asked."""
        return self.taps or "logits" in self.needs


class Objective(Protocol):
    """A frozen, keyword-only dataclass that is its own setting and can be called.

    It never reduces and never divides by the batch: the step does, once (`limbeck.training.step`).
    """

    traits: ClassVar[Traits]

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        ...

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values in nats, one per example.

        Args:
            output: the student's, logits [N, C] and its taps.
            signal: the teacher's for the same examples, a constant; None when no teacher was asked, which only an
                objective that needs labels alone can bear.
            labels: [N], int64, `UNLABELLED` where the true class is not known.

        Returns:
            [N].
        """
        ...


@dataclass(frozen=True, kw_only=True)
class _Promising(ABC):
    """A setting that may promise more or less than its class: its own traits then hide those of the class."""

    name: str

    traits: ClassVar[Traits]

    def __post_init__(self) -> None:
        object.__setattr__(self, "traits", self.promised())

    def promised(self) -> Traits:
        """The traits of this setting, where they are not those of its class."""
        return type(self).traits


@dataclass(frozen=True, kw_only=True)
class LogitObjective(_Promising):
    """An objective on the student's and the teacher's logits; subclasses give `values`.

    Args:
        standardise: bring each row of logits, the student's and the teacher's, to mean 0 and standard deviation 1
            first, so that the student need match their pattern and not their size (Sun 2024, arXiv 2403.01427).
    """

    standardise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.standardise:
            object.__setattr__(self, "traits", replace(self.traits, shift_invariant=True))

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C] and labels [N].

        Raises:
            ValueError: no signal, or shapes that differ.
        """
        student_NC, teacher_NC = self.sides(output.logits, heard(signal, self.name))
        if self.standardise:
            student_NC, teacher_NC = standardised(student_NC), standardised(teacher_NC)
        return self.values(student_NC, teacher_NC, labels)

    def sides(self, student_NC: Tensor, signal: Signal) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's logits that are compared.

        Raises:
            ValueError: the teacher's largest alone, of which this objective makes nothing.
        """
        if signal.top is not None:
            raise ValueError(
                f"{self.name} expected the teacher's logits of all {signal.top.classes} classes, got the "
                f"{signal.logits.shape[1]} largest: keep all (labels.encoding: auto), or take soft-targets"
            )
        return student_NC, signal.logits

    @abstractmethod
    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats; the teacher's logits are made a constant here."""


@dataclass(frozen=True, kw_only=True)
class TapObjective(_Promising):
    """An objective on what passes a tap of the student and a tap of the teacher; subclasses give `values`.

    Args:
        student: the name of a part of the student, as in `named_modules`: its output is taken.
        teacher: likewise of the teacher.
    """

    student: str
    teacher: str

    def build(self, student: Shape, teacher: Shape) -> nn.Module | None:
        """What is learnt for this objective, from torch's global randomness; None if nothing is.

        Args:
            student: the shape of one example at the student's tap.
            teacher: at the teacher's.

        Raises:
            ValueError: shapes that this objective cannot compare.
        """
        return None

    def __call__(
        self, output: Signal, signal: Signal | None, labels: Tensor, learnt: nn.Module | None = None
    ) -> Tensor:
        """Values [N] from the features [N, ...] at the two taps; the labels are not used.

        Args:
            output: the student's, with the tap.
            signal: the teacher's, with the tap.
            labels: [N].
            learnt: what `build` gave.

        Raises:
            ValueError: no signal, a tap that is not there, or shapes that cannot be compared.
        """
        student = _tapped(output, self.student, f"the student of {self.name}")
        teacher = _tapped(heard(signal, self.name), self.teacher, f"the teacher of {self.name}")
        return self.values(student, teacher, learnt)

    @abstractmethod
    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from features [N, ...]; the teacher's are made a constant here."""


def heard(signal: Signal | None, name: str) -> Signal:
    """The teacher's signal, which must be there.

    Raises:
        ValueError: it is not.
    """
    if signal is None:
        raise ValueError(f"{name} expected the teacher's signal, got None: label the examples first")
    return signal


def _tapped(signal: Signal, tap: str, whose: str) -> Tensor:
    if tap not in signal.features:
        known = ", ".join(signal.features) or "none"
        raise ValueError(f"{whose} expected the tap {tap!r}, got taps {known}: tap that part of the network")
    return signal.features[tap]

"""What an objective is, and what it promises about itself.

Dimension key: N examples, C classes.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from limbeck.signal import Signal, raised


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What an objective declares about itself; `limbeck.testing` tests exactly this.

    Args:
        needs: what the values depend on besides the student's logits.
        coupling: `example` when the value of an example depends on that example alone, `batch` when it depends
            on the others too; only the first may be split into micro-batches.
        zero_at_teacher: value and gradient are 0 where the student says what the teacher says.
        non_negative: no value is below 0.
        shift_invariant: a constant added to all logits of a row, the student's or the teacher's, is nothing.
    """

    needs: Literal["labels", "teacher"]
    coupling: Literal["example", "batch"] = "example"
    zero_at_teacher: bool
    non_negative: bool = True
    shift_invariant: bool = True


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
            output: the student's, logits [N, C].
            signal: the teacher's for the same examples, logits [N, C], a constant; None when no teacher was
                asked, which only an objective that needs labels alone can bear.
            labels: [N], int64, `UNLABELLED` where the true class is not known.

        Returns:
            [N].
        """
        ...


def paired_logits(output: Signal, signal: Signal | None, name: str) -> tuple[Tensor, Tensor]:
    """Student's and teacher's logits [N, C], the teacher's a constant, both in at least float32.

    Raises:
        ValueError: no signal, or shapes that differ: a width of 1 would broadcast without a word.
    """
    if signal is None:
        raise ValueError(f"{name} expected the teacher's signal, got None: label the examples first")
    student_NC, teacher_NC = output.logits, signal.logits
    if student_NC.shape != teacher_NC.shape:
        raise ValueError(
            f"{name} expected logits of one shape, got {tuple(student_NC.shape)} from the student and "
            f"{tuple(teacher_NC.shape)} from the teacher: give both the same classes"
        )
    return raised(student_NC), raised(teacher_NC).detach()

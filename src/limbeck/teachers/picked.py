"""A teacher that names its own outputs, asked for the classes of the data.

Dimension key: N examples, C classes of the data.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from limbeck.data import Examples
from limbeck.signal import Signal
from limbeck.teachers.gives import Gives, Logits, columns_of
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.teacher import Teacher, ask, identity_within


class Picked:
    """The data's classes out of a teacher's outputs, in the data's order.

    Logits are picked, so that the softmax over what is left is the teacher's own, given that it is one of these.

    Args:
        teacher: who is asked.
        columns: [C] where each class of the data stands among its outputs.
    """

    def __init__(self, teacher: Teacher, columns: tuple[int, ...]) -> None:
        self.teacher, self.columns = teacher, columns
        self.gives: Gives = Logits()

    @property
    def within(self) -> tuple[Teacher, ...]:
        """See `Teacher.within`."""
        return (self.teacher,)

    @property
    def size(self) -> int | None:
        """See `Teacher.size`."""
        return self.teacher.size

    def without_taps(self) -> "Picked":
        """The same, asked for its logits alone."""
        return Picked(bare(self.teacher), self.columns)

    def identity(self) -> dict[str, Any]:
        """See `Teacher.identity`."""
        return {"kind": "picked", "teacher": identity_within(self.teacher), "columns": list(self.columns)}

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        signal = ask(self.teacher, inputs, keys)
        return replace(signal, logits=signal.logits[:, list(self.columns)])

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return self.teacher.knows(examples)


def bare(teacher: Teacher) -> Teacher:
    """A teacher without the taps that it may have, asked for its logits alone."""
    return teacher.without_taps() if isinstance(teacher, ModuleTeacher | Picked) else teacher


def answering(teacher: Teacher, own: Sequence[str] | None, classes: Sequence[str], what: str) -> Teacher:
    """The teacher in the order of the data's classes.

    Args:
        teacher: who is asked.
        own: the names of its outputs, in its order; None where it names none, and the data's order is taken for its.
        classes: of the data.
        what: the teacher in errors, such as the path of its file.

    Raises:
        DataError: a class of the data that it does not know.
    """
    columns = None if own is None else columns_of(own, classes, what)
    return teacher if columns is None else Picked(teacher, columns)

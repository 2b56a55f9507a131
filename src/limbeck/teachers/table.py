"""Answers computed elsewhere as teacher.

Dimension key: N examples, C classes.
"""

from typing import Any

from torch import Tensor

from limbeck.data import Examples
from limbeck.errors import DataError
from limbeck.files import digest_tensors
from limbeck.signal import Signal
from limbeck.teachers.gives import Gives, Logits, Probabilities, look_like_probabilities
from limbeck.teachers.teacher import Teacher


class TableTeacher:
    """Answers computed elsewhere, one row for each training example; the first of duplicates counts."""

    def __init__(self, rows_NC: Tensor, examples: Examples, gives: Gives | None = None) -> None:
        """Args: `gives` says what the rows are; None tells probabilities from logits."""
        if rows_NC.ndim != 2 or len(rows_NC) != len(examples):
            raise DataError(
                f"the teacher's array has shape {tuple(rows_NC.shape)}",
                expected=f"[{len(examples)}, classes]: a row for each training example, in their order",
                do="compute the teacher's logits on exactly the training inputs",
            )
        self.rows_NC = rows_NC.detach().float().cpu()
        self.keys = examples.keys
        self.row_of: dict[bytes, int] = {}
        for row, key in enumerate(_names(examples.keys)):
            self.row_of.setdefault(key, row)
        self.gives: Gives = gives or (Probabilities() if look_like_probabilities(self.rows_NC) else Logits())

    def identity(self) -> dict[str, Any]:
        """The values themselves with their keys, in the order of the keys."""
        rows = [row for _, row in sorted(self.row_of.items())]
        tensors = {"keys": self.keys[rows], "rows": self.rows_NC[rows]}
        return {"kind": "table", "tensors": digest_tensors(tensors)}

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`; the inputs are not looked at."""
        unknown = [key for key in _names(keys) if key not in self.row_of]
        if unknown:
            raise DataError(
                f"the teacher's array has no row for {len(unknown)} of {len(keys)} examples asked about",
                expected="questions about the training examples it was computed for",
                do="give the array a row for each of these, or hand over the teacher itself",
            )
        return Signal(self.rows_NC[[self.row_of[key] for key in _names(keys)]])

    def knows(self, examples: Examples) -> bool:
        """Whether every example is one of the table's."""
        return all(key in self.row_of for key in _names(examples.keys))

    within: tuple[Teacher, ...] = ()

    @property
    def size(self) -> None:
        """See `Teacher.size`: what computed the answers is not here."""


def _names(keys: Tensor) -> list[bytes]:
    return [row.tobytes() for row in keys.numpy()]

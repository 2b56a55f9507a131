"""A table of answers in a file as teacher: what an API said elsewhere, or the votes of annotators.

Dimension key: N training examples, C classes, B lines of a batch.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.data import Examples, as_words
from limbeck.errors import DataError
from limbeck.files import path_of
from limbeck.teachers.answers_reader import Lines, read_lines
from limbeck.teachers.audience import Audience
from limbeck.teachers.gives import Gives, Logits, Probabilities, Votes, look_like_probabilities, look_like_votes
from limbeck.teachers.table import TableTeacher
from limbeck.teachers.teacher import Teacher

CHUNK = 1 << 16
"""Answers that are looked at together."""
MOST_NAMED = 3
GIVES: dict[str, Gives] = {"logits": Logits(), "probabilities": Probabilities(), "votes": Votes()}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AnswersTeacher:
    """A table of probabilities, logits or votes in a Parquet or CSV file: from annotators, or an API run elsewhere.

    Args:
        path: the file.
        gives: what its numbers are; null tells it from them.
        classes: the names of its columns of classes, in their order; null is what the file says.
    """

    kind: Literal["table"] = "table"
    path: str
    gives: Literal["logits", "probabilities", "votes"] | None = None
    classes: tuple[str, ...] | None = None

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        audience.refuse_taps(f"the table {self.path}")
        path, examples = path_of(self.path, f"{audience.key}.path"), audience.examples
        lines = read_lines(path, audience.classes, self.classes, most=1000 * (len(examples) + 1000))
        if lines.votes:
            rows_NC, answered_N = _Polled(path, examples).of(lines)
        else:
            rows_NC, answered_N = _Answered(path, examples).of(lines)
        _check_complete(path, examples, answered_N)
        index = answered_N.nonzero()[:, 0]
        if len(index) < len(examples):
            rows_NC, examples = rows_NC[index], examples.select(index)
        gives = Votes() if lines.votes else GIVES[self.gives] if self.gives else _guessed(path, rows_NC)
        for some_NC in rows_NC.split(CHUNK):
            gives.logits(some_NC)
        return TableTeacher(rows_NC, examples, gives)


class _Answered:
    """Answers [N, C] of lines that hold one number for each class."""

    def __init__(self, path: Path, examples: Examples) -> None:
        self.path, self.examples, self.places = path, examples, _Places(path, examples)
        self.rows_NC = torch.zeros(len(examples), len(examples.classes))
        self.answered_N = torch.zeros(len(examples), dtype=torch.bool)

    def of(self, lines: Lines) -> tuple[Tensor, Tensor]:
        began = 0
        for batch in lines.batches:
            values_BC = torch.from_numpy(batch.values).float()
            bad = (~values_BC.isfinite()).any(dim=1).nonzero()[:, 0]
            if len(bad):
                raise _refused(self.path, f"a number that is empty, NaN or infinite in line {began + int(bad[0]) + 1}")
            self._fill(self.places.of(batch.where, began, len(values_BC)), values_BC, began)
            began += len(values_BC)
        self.places.check_all_told(lines, began)
        return self.rows_NC, self.answered_N

    def _fill(self, rows_B: Tensor, values_BC: Tensor, began: int) -> None:
        known = rows_B >= 0
        lines = known.nonzero()[:, 0]
        rows, values = rows_B[known], values_BC[known]
        before = self.answered_N[rows]
        self.rows_NC[rows[~before]] = values[~before]
        self.answered_N[rows] = True
        # Also where a batch names a row twice: one of the two was written, and the other must be equal to it.
        other = (self.rows_NC[rows] != values).any(dim=1).nonzero()[:, 0]
        if len(other):
            line, row = began + int(lines[other[0]]) + 1, int(rows[other[0]])
            raise _refused(self.path, f"a second answer to training row {row}, unlike the first, in line {line}")


class _Polled:
    """Counts of votes [N, C] of lines that hold one vote each."""

    def __init__(self, path: Path, examples: Examples) -> None:
        self.path, self.examples, self.places = path, examples, _Places(path, examples)

    def of(self, lines: Lines) -> tuple[Tensor, Tensor]:
        classes = len(self.examples.classes)
        counts = np.zeros(len(self.examples) * classes, dtype=np.float32)
        voted: list[NDArray[np.int32]] = []
        began = 0
        for batch in lines.batches:
            rows_B = self.places.of(batch.where, began, len(batch.labels)).numpy()
            known = rows_B >= 0
            began += len(rows_B)
            if batch.annotators is None:
                np.add.at(counts, rows_B[known] * classes + batch.labels[known], 1)
            else:
                triples = np.stack([rows_B[known], batch.annotators[known], batch.labels[known]], axis=1)
                voted.append(triples.astype(np.int32))
        if voted:
            rows, labels = self._once(np.concatenate(voted))
            np.add.at(counts, rows.astype(np.int64) * classes + labels, 1)
        votes_NC = torch.from_numpy(counts).reshape(-1, classes)
        return votes_NC, votes_NC.sum(dim=1) > 0

    def _once(self, voted: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows and labels of votes, a vote that stands there twice once.

        Raises:
            DataError: one annotator gave one example two labels.
        """
        votes = np.unique(voted, axis=0)
        twice = np.flatnonzero((votes[1:, :2] == votes[:-1, :2]).all(axis=1))
        if len(twice):
            names = self.examples.classes
            first, second = names[votes[twice[0], 2]], names[votes[twice[0] + 1, 2]]
            row = votes[twice[0], 0]
            raise _refused(self.path, f"two votes of one annotator on training row {row}: {first} and {second}")
        return votes[:, 0], votes[:, 2]


class _Places:
    """Which training row a line speaks of."""

    def __init__(self, path: Path, examples: Examples) -> None:
        self.path, self.count = path, len(examples)
        words = as_words(examples.keys)
        self.order = words.argsort(kind="stable")
        self.sorted = words[self.order]

    def of(self, where: NDArray[Any] | None, began: int, count: int) -> Tensor:
        """Rows [B], -1 for the key of no training example; of lines from `began`, where they do not say it."""
        if where is None:
            if began + count > self.count:
                raise _refused(self.path, f"more lines than the {self.count} training examples")
            return torch.arange(began, began + count)
        if where.dtype.kind == "S":
            place = np.searchsorted(self.sorted, where).clip(max=self.count - 1)
            return torch.from_numpy(np.where(self.sorted[place] == where, self.order[place], -1))
        strange = np.flatnonzero((where < 0) | (where >= self.count))
        if len(strange):
            line = began + int(strange[0]) + 1
            raise _refused(self.path, f"the row {where[strange[0]]} in line {line}, of {self.count} training examples")
        return torch.from_numpy(where)

    def check_all_told(self, lines: Lines, count: int) -> None:
        if lines.in_order and count != self.count:
            raise _refused(self.path, f"{count} lines for {self.count} training examples, without a row or key")


def _check_complete(path: Path, examples: Examples, answered_N: Tensor) -> None:
    known_G = torch.zeros(int(examples.groups.max()) + 1, dtype=torch.bool)
    known_G[examples.groups[answered_N]] = True
    lacking = (~known_G[examples.groups]).nonzero()[:, 0]
    if len(lacking):
        some = ", ".join(f"{row} ({bytes(examples.keys[row].tolist()).hex()[:12]})" for row in lacking[:MOST_NAMED])
        raise DataError(
            f"{path} has no answer for {len(lacking)} of {len(examples)} training examples: rows {some}"
            + (" ..." if len(lacking) > MOST_NAMED else ""),
            expected="an answer for every training example, as the source gives them before any is held out",
            do="add these, or leave the examples out of the data",
        )


def _guessed(path: Path, rows_NC: Tensor) -> Gives:
    """What numbers are that the recipe does not declare."""
    looks: tuple[tuple[Gives, bool], ...] = (
        (Probabilities(), all(look_like_probabilities(some_NC) for some_NC in rows_NC.split(CHUNK))),
        (Votes(), all(look_like_votes(some_NC) for some_NC in rows_NC.split(CHUNK))),
    )
    gives: Gives = next((gives for gives, holds in looks if holds), Logits())
    _log.info("the numbers of %s look like %s and are taken for such; teacher.gives declares it", path, gives.name)
    return gives


def _refused(path: Path, came: str) -> DataError:
    return DataError(
        f"{path} has {came}",
        expected="one answer for each training example, by its row from 0, by its key, or in their order",
        do="mend the file; docs/recipe.md has its two layouts",
    )

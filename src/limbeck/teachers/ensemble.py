"""Several teachers that answer as one.

Dimension key: N examples, C classes, K members.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.signal import Signal
from limbeck.teachers.gives import Gives, Logits
from limbeck.teachers.teacher import Teacher, ask, identity_within

Mean = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class Ensemble:
    """Teachers handed over in Python to answer as one; a plain list of them weighs all alike.

    Args:
        members: networks, functions or arrays of answers.
        weights: of each; None weighs all alike.
        mean: of their probabilities or of their logits, see `EnsembleTeacher`.

    Raises:
        ValueError: no members, another number of weights, or weights that are not positive.
    """

    members: Sequence[Any]
    weights: Sequence[float] | None = None
    mean: Mean = "probabilities"

    def __post_init__(self) -> None:
        check_members(self.weights, len(self.members))
        if self.mean not in get_args(Mean):
            raise ValueError(f"mean is of {' or '.join(get_args(Mean))}, not {self.mean!r}")


class EnsembleTeacher:
    """The weighted mean of its members' answers.

    Of their probabilities at temperature 1, as logits log sum_k w_k softmax(z_k) (Hinton, Vinyals and Dean 2015,
    arXiv 1503.02531, section 5), or of their logits, sum_k w_k z_k, the geometric mean of the probabilities.

    Args:
        members: at least one, of the same classes.
        weights: of each, brought to sum 1; None weighs all alike.
        mean: of what.

    Raises:
        ValueError: another number of weights than members, or weights that are not positive.
    """

    def __init__(self, members: Sequence[Teacher], weights: Sequence[float] | None, mean: Mean) -> None:
        check_members(weights, len(members))
        self.members, self.mean = tuple(members), mean
        self.gives: Gives = Logits()
        given_K = torch.ones(len(members)) if weights is None else torch.tensor(list(weights), dtype=torch.float32)
        self.weights_K = given_K / given_K.sum()

    @property
    def within(self) -> tuple[Teacher, ...]:
        """See `Teacher.within`."""
        return self.members

    @property
    def size(self) -> int | None:
        """See `Teacher.size`: of all members, or None where one shows no weights."""
        sizes = [member.size for member in self.members]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def identity(self) -> dict[str, Any]:
        """See `Teacher.identity`."""
        return {
            "kind": "ensemble",
            "members": [identity_within(member) for member in self.members],
            "weights": self.weights_K.tolist(),
            "mean": self.mean,
        }

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        answers_NCK = torch.stack([ask(member, inputs, keys).logits for member in self.members], dim=-1)
        if self.mean == "logits":
            return Signal((answers_NCK * self.weights_K).sum(dim=-1))
        return Signal((answers_NCK.log_softmax(dim=1) + self.weights_K.log()).logsumexp(dim=-1))

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return all(member.knows(examples) for member in self.members)


def check_members(weights: Sequence[float] | None, members: int) -> None:
    """Whether these can be the weights of so many members; None is one weight for all.

    Raises:
        ValueError: they cannot.
    """
    if not members:
        raise ValueError("an ensemble has at least one member, not none")
    if weights is not None and (len(weights) != members or not all(0.0 < weight < math.inf for weight in weights)):
        raise ValueError(f"an ensemble of {members} has {members} weights above 0, not {list(weights)}")

"""What a teacher's numbers are, and the declared rule by which they become logits.

Dimension key: N examples, C classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from limbeck.errors import DataError

PROBABILITY_FLOOR = 1e-4
"""A plain probability of 0 has no logarithm: every probability counts as at least this much."""


class Gives(Protocol):
    """One kind of answer; frozen, and part of the store's fingerprint."""

    name: ClassVar[str]

    @property
    def rule(self) -> str | None:
        """How its numbers become logits, in words; None where they are logits."""
        ...

    def logits(self, answers_NC: Tensor) -> Tensor:
        """Logits [N, C] of finite answers [N, C].

        Raises:
            DataError: answers of another kind.
        """
        ...


@dataclass(frozen=True)
class Logits:
    """Raw logits, taken as they are."""

    name: ClassVar[str] = "logits"
    rule: ClassVar[str | None] = None

    def logits(self, answers_NC: Tensor) -> Tensor:
        """See `Gives.logits`."""
        return answers_NC


@dataclass(frozen=True)
class Probabilities:
    """Probabilities of which nothing else is known: log max(p, floor)."""

    floor: float = PROBABILITY_FLOOR

    name: ClassVar[str] = "probabilities"

    @property
    def rule(self) -> str:
        """See `Gives.rule`."""
        return f"log max(p, {self.floor:g})"

    def logits(self, answers_NC: Tensor) -> Tensor:
        """See `Gives.logits`."""
        if not look_like_probabilities(answers_NC):
            raise _other(answers_NC, "probabilities", "rows of probabilities that sum to 1, or logits throughout")
        return answers_NC.clamp_min(self.floor).log()


@dataclass(frozen=True)
class Votes:
    """Shares of n votes, which have exact zeros: log((n p + 1/2) / (n + C/2)), half a vote more for every class.

    Args:
        count: n, the same for every example, such as the trees of a forest; None where the answers are themselves the
            votes counted, and n the sum of each row.
    """

    count: int | None = None

    name: ClassVar[str] = "votes"

    @property
    def rule(self) -> str:
        """See `Gives.rule`."""
        return "log((n p + 1/2) / (n + C/2))" + ("" if self.count is None else f", n = {self.count}")

    def logits(self, answers_NC: Tensor) -> Tensor:
        """See `Gives.logits`."""
        if self.count is None:
            votes_NC = answers_NC
            if not look_like_votes(votes_NC):
                raise _other(answers_NC, "votes", "whole numbers of votes, at least one a row")
        else:
            if not look_like_probabilities(answers_NC):
                raise _other(answers_NC, f"shares of {self.count} votes", "rows of shares that sum to 1")
            votes_NC = answers_NC * self.count
        return (votes_NC + 0.5).log() - (votes_NC.sum(dim=1, keepdim=True) + 0.5 * votes_NC.shape[1]).log()


def facts_of(gives: Gives) -> dict[str, Any]:
    """For a fingerprint or a record."""
    return {"name": gives.name, **asdict(gives)}  # type: ignore[call-overload]


def look_like_probabilities(answers_NC: Tensor) -> bool:
    """Whether every row is non-negative and sums to 1: logits do so only by a miracle."""
    sums_N = answers_NC.sum(dim=1)
    return bool((answers_NC >= 0).all() and ((sums_N - 1).abs() < 1e-2).all())


def look_like_votes(answers_NC: Tensor) -> bool:
    """Whether every row counts at least one vote, in whole numbers."""
    whole = (answers_NC >= 0).all() and (answers_NC == answers_NC.round()).all()
    return bool(whole and (answers_NC.sum(dim=1) >= 1).all())


def columns_of(own: Sequence[str], classes: Sequence[str], what: str) -> tuple[int, ...] | None:
    """Where the data's classes stand among a teacher's own outputs; None where both are the same.

    Args:
        own: the names of the teacher's outputs, in their order.
        classes: of the data.
        what: whose outputs these are, in errors.

    Raises:
        DataError: a class of the data that the teacher does not know, or one that it has twice.
    """
    if tuple(own) == tuple(classes):
        return None
    places = {name: place for place, name in enumerate(own)}
    lacking = [name for name in classes if name not in places]
    if lacking or len(places) < len(own):
        twice = sorted({name for name in own if list(own).count(name) > 1})
        came = f"lacks {', '.join(lacking[:5])}" if lacking else f"has {', '.join(twice[:5])} twice"
        raise DataError(
            f"{what} knows the classes {', '.join(list(own)[:12])}{' ...' if len(own) > 12 else ''}, and {came}",
            expected=f"every class of the data once, in any order: {', '.join(classes[:12])}",
            do="name its outputs by `classes`, in its order and in the words of the data, or take another teacher",
        )
    return tuple(places[name] for name in classes)


def _other(answers_NC: Tensor, declared: str, expected: str) -> DataError:
    sums_N = answers_NC.sum(dim=1)
    return DataError(
        f"the teacher is to give {declared}, and gave values from {answers_NC.min():.3g} to {answers_NC.max():.3g} "
        f"in rows that sum to {sums_N.min():.3g} to {sums_N.max():.3g}",
        expected=expected,
        do="let the teacher return its logits, or declare what it gives",
    )

"""Schedules of alpha, a temperature or a weight: a value for every share of the steps that is done.

In a recipe one stands where the number would: `alpha: {name: linear, start: 0.9, end: 0.1}`.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """A value that changes over a fit."""

    name: str

    @abstractmethod
    def at(self, share: float) -> float:
        """The value when that share of the steps, from 0 to 1, is done."""

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value there will be."""

    @abstractmethod
    def complement(self) -> Self:
        """The schedule of 1 less the value."""

    def __str__(self) -> str:
        """As a recipe has it."""
        return "{" + ", ".join(f"{key}: {value}" for key, value in asdict(self).items()) + "}"


@dataclass(frozen=True, kw_only=True)
class _Between(Schedule):
    """From `start` to `end`.

    Raises:
        ValueError: an end that is not finite.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        _check_finite(self.start, self.end)

    @property
    def bounds(self) -> tuple[float, float]:
        """See `Schedule.bounds`."""
        return min(self.start, self.end), max(self.start, self.end)

    def complement(self) -> Self:
        """See `Schedule.complement`."""
        return replace(self, start=1.0 - self.start, end=1.0 - self.end)


@dataclass(frozen=True, kw_only=True)
class Linear(_Between):
    """From `start` straight to `end`."""

    name: Literal["linear"] = "linear"

    def at(self, share: float) -> float:
        """See `Schedule.at`."""
        return (1.0 - share) * self.start + share * self.end


@dataclass(frozen=True, kw_only=True)
class HalfCosine(_Between):
    """From `start` to `end` along half a cosine: slow, fast, slow."""

    name: Literal["cosine"] = "cosine"

    def at(self, share: float) -> float:
        """See `Schedule.at`."""
        done = (1.0 - math.cos(math.pi * share)) / 2
        return (1.0 - done) * self.start + done * self.end


@dataclass(frozen=True, kw_only=True)
class Points(Schedule):
    """Straight lines through points; before the first and after the last the value stays.

    Args:
        points: [share of the steps, value], the shares rising from 0 to 1.

    Raises:
        ValueError: no points, shares that do not rise, or values not finite.
    """

    name: Literal["points"] = "points"
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.points]
        rising = all(left < right for left, right in pairwise(shares))  # false of a share that is no number
        if not shares or not rising or not (shares[0] >= 0.0 and shares[-1] <= 1.0):
            raise ValueError(f"points are [share, value] with shares that rise from 0 to 1, not {list(self.points)}")
        _check_finite(*(value for _, value in self.points))

    def at(self, share: float) -> float:
        """See `Schedule.at`."""
        after = bisect_right(self.points, share, key=lambda point: point[0])
        if after in (0, len(self.points)):
            return self.points[min(after, len(self.points) - 1)][1]
        (left, low), (right, high) = self.points[after - 1 : after + 1]
        return Linear(start=low, end=high).at((share - left) / (right - left))

    @property
    def bounds(self) -> tuple[float, float]:
        """See `Schedule.bounds`."""
        values = [value for _, value in self.points]
        return min(values), max(values)

    def complement(self) -> Self:
        """See `Schedule.complement`."""
        return replace(self, points=tuple((share, 1.0 - value) for share, value in self.points))


AnySchedule = Annotated[Linear | HalfCosine | Points, Field(discriminator="name")]
"""What a recipe may put in the place of a number."""


def value_at(value: float | Schedule, share: float) -> float:
    """A number, or the value of a schedule when that share of the steps is done."""
    return value.at(share) if isinstance(value, Schedule) else value


def bounds_of(value: float | Schedule) -> tuple[float, float]:
    """The smallest and the largest that a number or schedule takes."""
    return value.bounds if isinstance(value, Schedule) else (value, value)


def complement_of(value: float | Schedule) -> float | Schedule:
    """1 less a number or schedule."""
    return value.complement() if isinstance(value, Schedule) else 1.0 - value


def _check_finite(*values: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"a schedule goes through finite values, not {list(values)}")

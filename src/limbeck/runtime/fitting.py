"""What shapes and sizes of batch a network in a file bears."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from limbeck.errors import DataError

Values = TypeVar("Values", bound=Any)
"""Tensors or arrays."""
Shape = tuple[int | None, ...]
"""Of one example; None where any size will do."""


def check_shape(path: Path, own: Shape, given: tuple[int, ...]) -> None:
    """Refuse examples of a shape that a file does not take.

    Raises:
        DataError: likewise, in words.
    """
    if _fits(own, given):
        return
    do = "resize or reshape the data to it, or export the network for the data"
    if len(given) == 3 and _fits(own, (*given[1:], given[0])):
        do = "it takes [height, width, channels], limbeck gives [channels, height, width]: export it for these"
    elif len(own) == 1 and own[0] == prod(given):
        do = "it takes flat rows: export it with a Flatten in front"
    raise DataError(
        f"{path} takes examples of shape [{', '.join('any' if size is None else str(size) for size in own)}]",
        expected=f"{list(given)}, as the data are after preprocessing",
        do=do,
    )


def in_batches(
    ask: Callable[[Values], Values],
    inputs: Values,
    *,
    least: int,
    most: int | None,
    join: Callable[[list[Values]], Values],
) -> Values:
    """Answers [N, ...] of a network that bears batches of `least` to `most` only: the last is filled up and cut.

    Args:
        ask: the network.
        inputs: [N, ...].
        least: examples that it takes at once.
        most: examples that it takes at once; None is any number.
        join: makes one of the answers.
    """
    parts = []
    step = most or len(inputs)
    for start in range(0, len(inputs), step):
        part = inputs[start : start + step]
        filled = part if len(part) >= least else part[[min(place, len(part) - 1) for place in range(least)]]
        parts.append(ask(filled)[: len(part)])
    return join(parts)


def _fits(own: Shape, given: tuple[int, ...]) -> bool:
    return len(own) == len(given) and all(size in (None, each) for size, each in zip(own, given, strict=True))

"""What shapes and sizes of batch a network in a file bears."""

from collections.abc import Callable
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from limbeck.errors import DataError

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


def in_batches(ask: Callable[[Tensor], Tensor], inputs: Tensor, *, least: int, most: int | None) -> Tensor:
    """Answers [N, ...] of a network that bears batches of `least` to `most` only: the last is filled up and cut."""
    parts = []
    for part in inputs.split(most or len(inputs)):
        lacking = max(least - len(part), 0)
        filled = torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])]) if lacking else part
        parts.append(ask(filled)[: len(part)])
    return torch.cat(parts)


def _fits(own: Shape, given: tuple[int, ...]) -> bool:
    return len(own) == len(given) and all(size in (None, each) for size, each in zip(own, given, strict=True))

"""What an answer costs: how long it takes."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.models import evaluating

WARM, FEWEST, MOST = 5, 20, 1000
"""Answers that are not timed, and the fewest and the most that are."""
SECONDS = 0.3
"""For which a network is timed."""

UNSTEADY = 2
"""Times the least of a turn above which the most leaves nothing to be said of a ratio."""

Clock = Callable[[], int]
"""Nanoseconds, from whenever."""


@dataclass(frozen=True)
class Times:
    """How long runs took, in seconds, turn by turn; between two turns others had theirs.

    Raises:
        ValueError: a turn without a run, or no turn.
    """

    turns: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not self.turns or not all(self.turns):
            raise ValueError("times have at least one turn, and each turn at least one run")

    @property
    def runs(self) -> tuple[float, ...]:
        """All of them."""
        return tuple(seconds for turn in self.turns for seconds in turn)

    @property
    def medians(self) -> tuple[float, ...]:
        """Of each turn."""
        return tuple(statistics.median(turn) for turn in self.turns)

    @property
    def mean(self) -> float:
        """Of the runs: so long takes each of many."""
        return statistics.fmean(self.runs)

    @property
    def median(self) -> float:
        """Of the runs."""
        return statistics.median(self.runs)

    def summary(self) -> dict[str, Any]:
        """For a record: percentiles, mean and count of the runs, and the median of each turn."""
        p50, p90, p99 = (float(value) for value in np.percentile(self.runs, (50, 90, 99)))
        turns = list(self.medians)
        return {"p50": p50, "p90": p90, "p99": p99, "mean": self.mean, "runs": len(self.runs), "turns": turns}


def ratio(longer: Sequence[float], shorter: Sequence[float]) -> dict[str, float]:
    """How many times as long the one takes as the other: the median over turns, and the lowest and highest of a turn.

    Args:
        longer: a median for each turn.
        shorter: likewise, of the same turns: what disturbs one disturbs both.
    """
    ratios = [one / other for one, other in zip(longer, shorter, strict=True)]
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def unsteady(found: Mapping[str, Any]) -> bool:
    """Whether the turns of a ratio agree so little that it says nothing: others had the machine."""
    return bool(found["high"] > UNSTEADY * found["low"])


def timed(
    run: Callable[[Any], object],
    payloads: Sequence[Any],
    *,
    least: int,
    most: int,
    seconds: float,
    limit: float,
    clock: Clock = time.perf_counter_ns,
) -> tuple[float, ...]:
    """Seconds of each of many runs.

    Args:
        run: what is timed.
        payloads: what it is given, one after another, from the first again after the last.
        least: runs, unless they are too slow.
        most: runs.
        seconds: for which it is timed at least, unless it is too quick.
        limit: seconds after which it ends, whatever it has come to.
        clock: nanoseconds.
    """
    took: list[float] = []
    began = now = clock()
    for payload in islice(cycle(payloads), most):
        before = clock()
        run(payload)
        now = clock()
        took.append((now - before) / 1e9)
        if (now - began) / 1e9 >= (seconds if len(took) >= least else limit):
            break
    return tuple(took)


def latency(network: nn.Module, example: Tensor) -> float:
    """Seconds that a network on the processor takes for one example on one thread: the median of many.

    Args:
        network: in whatever mode; it is asked in evaluation mode.
        example: as the network takes it, [1, ...].
    """
    with evaluating(network), torch.inference_mode(), torch_threads(1):
        for _ in range(WARM):
            network(example)
        took = timed(network, [example], least=FEWEST, most=MOST, seconds=SECONDS, limit=math.inf)
    return statistics.median(took)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch work with so many threads while the block runs, and with as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

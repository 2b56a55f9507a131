"""Times of many, taken in turns: what disturbs the machine for a while disturbs all of them."""

import random
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.benchmark.worker import Run
from limbeck.measurement import Times, timed
from limbeck.measurement.cost import Clock
from limbeck.progress import Progress, Stop, Watch

TURNS = 7
"""How often each has its turn. That one of two equals is the quicker in all of them has a chance of 1 in 64."""
WARM = 20
"""Runs of a turn, at its beginning, that are not timed."""
ENOUGH = 300
"""Timed runs over all turns, unless the budget is spent."""
LASTS = 0.05
"""Seconds of a turn at least."""
MOST = 2000
"""Timed runs of a turn."""
BATCHES = tuple(2**power for power in range(10))
"""Examples at once that are tried: 1 to 512."""
FALLEN = 0.7
"""Share of the best throughput below which no larger batches are tried."""


@dataclass(frozen=True)
class Task:
    """What is timed.

    Args:
        open: a fresh session, which is closed after each turn: with more than one thread a session's threads go on
            looking for work after it has answered, and would disturb the next.
        payloads: what it is given, one after another.
    """

    open: Callable[[], Run]
    payloads: Sequence[Any]


def in_turns(
    tasks: Mapping[Hashable, Task],
    *,
    seconds: float,
    watch: Watch,
    stop: Stop,
    clock: Clock = time.perf_counter_ns,
) -> dict[Hashable, Times]:
    """Times of each task, in turns whose order is shuffled.

    Args:
        tasks: by any name.
        seconds: that each may take in all turns, warming up included.
        watch: told of progress.
        stop: heard between two tasks.
        clock: nanoseconds.
    """
    turns: dict[Hashable, list[tuple[float, ...]]] = {name: [] for name in tasks}
    order, shuffled = list(tasks), random.Random(0)
    for turn in range(TURNS):
        shuffled.shuffle(order)
        for done, name in enumerate(order):
            stop.raise_if_asked("run the same command again")
            watch(Progress("timing", turn * len(order) + done, TURNS * len(order)))
            turns[name].append(_turn(tasks[name], seconds / TURNS, clock))
    watch(Progress("timing", TURNS * len(order), TURNS * len(order)))
    return {name: Times(tuple(each)) for name, each in turns.items()}


def _turn(task: Task, seconds: float, clock: Clock) -> tuple[float, ...]:
    run = task.open()
    warm = timed(run, task.payloads, least=WARM, most=WARM, seconds=0, limit=seconds / 4, clock=clock)
    left = seconds - sum(warm)
    least = -(-ENOUGH // TURNS)
    return timed(run, task.payloads, least=least, most=MOST, seconds=LASTS, limit=left, clock=clock)


def by_batch(
    run: Run, payload_of: Callable[[int], Any], *, seconds: float, clock: Clock = time.perf_counter_ns
) -> dict[int, float]:
    """Examples a second by the number of them at once.

    Larger ones are not tried once the throughput has fallen well below the best, or a run takes longer than its share.

    Args:
        run: answers.
        payload_of: so many examples.
        seconds: for all.
        clock: nanoseconds.
    """
    share = seconds / len(BATCHES)
    found: dict[int, float] = {}
    for batch in BATCHES:
        payload = [payload_of(batch)]
        timed(run, payload, least=3, most=3, seconds=0, limit=share / 4, clock=clock)
        took = Times((timed(run, payload, least=5, most=MOST, seconds=LASTS, limit=share, clock=clock),))
        found[batch] = batch / took.medians[0]
        if found[batch] < FALLEN * max(found.values()) or took.medians[0] > share:
            break
    return found

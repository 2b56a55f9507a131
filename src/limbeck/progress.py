"""How long stages tell their watcher what they do, and how they are asked to stop.

The library never prints: the command line turns `Progress` into a bar or a line.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from limbeck.errors import Interrupted


@dataclass(frozen=True)
class Progress:
    """One sign of life: `done` of `total` units of a stage, with facts such as losses and seconds."""

    stage: str
    done: int
    total: int
    facts: Mapping[str, float] = field(default_factory=dict)


Watch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """The watcher that looks away."""


class Stop:
    """The request to stop, set by a signal and read between steps; a second signal ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def request(self, number: int, frame: FrameType | None = None) -> None:
        """A signal handler: it only sets the flag."""
        if self.number is not None:
            os._exit(128 + number)
        self.number = number

    def raise_if_asked(self, resume: str) -> None:
        """End the stage if a stop was asked for.

        Raises:
            Interrupted: with exit status 130 (Ctrl-C) or 143 (SIGTERM).
        """
        if self.number is not None:
            raise interruption(self.number, resume)


def interruption(number: int, resume: str) -> Interrupted:
    """The end of a stage that this signal asked for, here or in another process of the same fit."""
    return Interrupted(
        f"stopped by {signal.Signals(number).name} after a safe checkpoint",
        expected="to run to the end",
        do=resume,
        exit_status=128 + number,
    )


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a request to stop while the block runs (in the main thread only)."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""How many students fit where one teacher stood: as many as answer as soon as it did, each as often as it could.

The teacher has the machine to itself and answers one request at a time: so many a second (R), 99 of 100 of them within
L. Then n students, each a session of its own, each asked R times a second at even distances, whether or not it has
answered the last; they are served by a process on one thread for each core. n fits if 99 of 100 requests are answered
within L of when they came, waiting included.
"""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from limbeck.benchmark.contenders import Contender
from limbeck.benchmark.fresh import Fresh, fresh
from limbeck.benchmark.machine import available_bytes
from limbeck.benchmark.turns import WARM
from limbeck.benchmark.worker import Served
from limbeck.measurement import timed
from limbeck.progress import Progress, Stop, Watch
from limbeck.record import cores

SHORT, LONG = 2.0, 6.0
"""Seconds of a try, and of the one that confirms the result."""
ALONE = 2.0
"""Seconds for which the teacher answers, and twice as long at most to come to `LEAST` answers."""
LEAST, MOST_RUNS = 200, 10**6
PER_PROCESS = 500
"""Students of one process at most."""
SAMPLE, LEAST_BYTES = 5, 2**16
"""Students of one process by which their memory is measured, and the least that one of them is taken to have."""
GUESSED = 0.8
"""Share of what arithmetic promises that is tried first."""
NEAR = 0.02
"""Two numbers of students within this share of each other are not told apart."""
MEMORY = 0.5
"""Share of the free memory that students may take."""


@dataclass(frozen=True)
class Target:
    """What the teacher did.

    Args:
        rate: requests a second, one at a time.
        p99: seconds within which it answered 99 of 100.
    """

    rate: float
    p99: float


@dataclass(frozen=True)
class Attempt:
    """What came of a number of students.

    Args:
        students: so many.
        requests: that came.
        answered: before those that came last had waited for longer than they may.
        p99: seconds within which 99 of 100 were answered; None if not so many were.
    """

    students: int
    requests: int
    answered: int
    p99: float | None

    def meets(self, target: Target) -> bool:
        """Whether so many students fit."""
        return self.p99 is not None and self.p99 <= target.p99


Try = Callable[[int, float], Attempt]
"""From a number of students and seconds to what came of them."""


def most_students(attempt: Try, target: Target, *, first: int, most: int) -> tuple[Attempt | None, Attempt | None]:
    """The largest number of students that fits, and the smallest that was found not to.

    Args:
        attempt: tries a number of students.
        target: what they must meet.
        first: the number to begin with.
        most: the number to stop at.

    Returns:
        The first is None if not one fits, the second if `most` do.
    """
    tried: dict[int, Attempt] = {}

    def fits(students: int, seconds: float = SHORT, tries: int = 2) -> bool:
        # Once more, if need be: whatever else the machine does only ever spoils a try.
        for _ in range(tries):
            tried[students] = attempt(students, seconds)
            if tried[students].meets(target):
                return True
        return False

    low, high = 0, most + 1  # low fits, high does not
    students = min(max(first, 1), most)
    while students > low and students < high:
        if fits(students):
            low, students = students, min(2 * students, most)
        else:
            high, students = students, students // 2
    while high - low > max(1, int(NEAR * low)):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    step = max(1, int(NEAR * low))
    while low > 0 and not fits(low, LONG, tries=1):
        low, high, step = max(low - step, min(low - 1, 1)), low, 2 * step
    return tried.get(low), tried.get(high)


def stand(teacher: Contender, threads: int, stored: Tensor) -> Target:
    """What a teacher does that has the machine to itself."""
    run = teacher.open(threads)
    payloads = [teacher.see(stored[row : row + 1]) for row in range(len(stored))]
    timed(run, payloads, least=WARM, most=WARM, seconds=0, limit=ALONE)
    took = timed(run, payloads, least=LEAST, most=MOST_RUNS, seconds=ALONE, limit=2 * ALONE)
    return Target(rate=1 / statistics.fmean(took), p99=float(np.percentile(took, 99)))


class Students:
    """Students in fresh processes, as many as there are cores.

    Args:
        kind: how their file is opened.
        file: of the student.
        inputs: what they are asked about, in an .npy file.
        processes: that share them.
    """

    def __init__(self, kind: str, file: Path, inputs: Path, processes: list[Fresh]) -> None:
        self.processes = processes
        free = available_bytes()
        for process in processes:
            process.ask("begin", kind=kind, path=str(file), inputs=str(inputs))
        held = sum(process.answer()["peak_bytes"] for process in processes)
        more = self._open(SAMPLE)
        each = max((more - held) / (len(processes) * (SAMPLE - 1)), LEAST_BYTES)
        room = int((MEMORY * free - held) / each)
        self.most = max(min(PER_PROCESS * len(processes), room), 1)
        self.by_memory = room < PER_PROCESS * len(processes)

    def _open(self, each: int) -> int:
        """Have so many sessions in each process; returns the bytes of all processes."""
        for process in self.processes:
            process.ask("sessions", count=each)
        return sum(process.answer()["bytes"] for process in self.processes)

    def attempt(self, students: int, seconds: float, target: Target) -> Attempt:
        """Ask so many of them, each at the rate of the target."""
        period, drawn = 1 / target.rate, random.Random(students)
        shares = [len(range(number, students, len(self.processes))) for number in range(len(self.processes))]
        self._open(max(shares))
        for process, share in zip(self.processes, shares, strict=True):
            phases = sorted(drawn.uniform(0, period) for _ in range(share))
            process.ask("serve", phases=phases, period=period, seconds=seconds, patience=target.p99)
        return attempt_of(students, [Served(**process.answer()) for process in self.processes])


def attempt_of(students: int, served: Sequence[Served]) -> Attempt:
    """What came of students from what came of each process."""
    answered = sorted(seconds for each in served for seconds in each.took)
    requests = sum(each.asked for each in served)
    # An answer that never came took longer than any that did.
    rank = max(-(-99 * requests // 100) - 1, 0)
    p99 = answered[rank] if rank < len(answered) else None
    return Attempt(students, requests, len(answered), p99)


def best_stand(
    teachers: Sequence[Contender], threads: Sequence[int], stored: Tensor, watch: Watch, stop: Stop
) -> tuple[dict[str, Any], Target]:
    """The runtime and number of threads in which a teacher answers the most, asked for longer than a turn lasts.

    On a machine that does other work too, several threads are quick for a moment and slow in the long run.
    """
    ways = [(who, number) for who in teachers for number in threads]
    stood = []
    for done, (who, number) in enumerate(ways):
        stop.raise_if_asked("run the same command again")
        watch(Progress("the teacher alone", done, len(ways)))
        stood.append(({"runtime": who.runtime, "threads": number}, stand(who, number, stored)))
    return max(stood, key=lambda way: way[1].rate)


def capacity(
    teachers: Sequence[Contender],
    student: Contender,
    *,
    quickness: float,
    stored: Tensor,
    inputs: Path,
    watch: Watch,
    stop: Stop,
) -> dict[str, Any]:
    """How many students fit where one teacher stood, for a record.

    Args:
        teachers: the teacher in each of its runtimes.
        student: which a fresh process can open.
        quickness: seconds that it takes for an answer on one thread, for the first guess.
        stored: real examples.
        inputs: what the student takes of them, in an .npy file.
        watch: told of progress.
        stop: heard between two tries.

    Raises:
        MissingError: the processes cannot run.
    """
    assert student.kind
    assert student.file
    way, target = best_stand(teachers, sorted({1, cores()}), stored, watch, stop)
    with fresh(cores()) as processes:
        students = Students(student.kind, student.file, inputs, processes)

        def attempt(number: int, seconds: float) -> Attempt:
            stop.raise_if_asked("run the same command again")
            watch(Progress("students where the teacher stood", number, students.most))
            return students.attempt(number, seconds, target)

        first = int(GUESSED * len(processes) / (target.rate * quickness))
        best, failed = most_students(attempt, target, first=first, most=students.most)
    return {
        "teacher": {**way, **asdict(target)},
        "student": {"runtime": student.runtime, "processes": len(processes)},
        "fits": best and asdict(best),
        "fails": failed and asdict(failed),
        "limit": {"students": students.most, "by": "memory" if students.by_memory else "processes"},
        "seconds": LONG,
    }

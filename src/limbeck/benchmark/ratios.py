"""Contenders beside each other: ratios within a runtime, int8 beside float32, and what predictions cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.benchmark.contenders import OWN, STUDENT, TEACHER, Contender
from limbeck.measurement import Times, ratio

MILLION, HOUR = 10**6, 3600
INT8 = "-int8"
"""What a runtime of int8 has behind the name of the same one in float32."""


@dataclass(frozen=True)
class Timed:
    """A contender with its times.

    Args:
        who: it is.
        latency: of one example, by the number of threads.
        with_preprocessing: of one example as it is stored, on one thread: its preprocessing included.
        best: how many examples at once and how many threads give the most answers a second.
        batched: times of such a batch.
        tried: examples a second by these, as they were when the best was chosen.
    """

    who: Contender
    latency: dict[int, Times]
    with_preprocessing: Times
    best: tuple[int, int]
    batched: Times
    tried: dict[tuple[int, int], float]

    @property
    def one_by_one(self) -> float:
        """Answers a second to one request after the other, with the better number of threads."""
        return 1 / min(times.mean for times in self.latency.values())

    @property
    def in_batches(self) -> float:
        """Answers a second at its best batch."""
        return self.best[0] / self.batched.mean


def ratios(timed: Sequence[Timed]) -> list[dict[str, Any]]:
    """How many times the student's is the teacher's latency, and how many times the teacher's the student's throughput.

    Both are above 1 where the student is the quicker. They are given within a runtime; a teacher that has none in
    common with the student is held to it across runtimes, preprocessing included.
    """
    found = []
    for teacher in (each for each in timed if each.who.name == TEACHER):
        for student in (each for each in timed if each.who.name == STUDENT):
            pair = {"teacher": teacher.who.runtime, "student": student.who.runtime}
            if teacher.who.runtime == OWN:
                one = ratio(teacher.with_preprocessing.medians, student.with_preprocessing.medians)
                found.append({**pair, "of": "latency with preprocessing", "threads": 1, **one})
            elif teacher.who.runtime == student.who.runtime:
                for threads, times in teacher.latency.items():
                    one = ratio(times.medians, student.latency[threads].medians)
                    found.append({**pair, "of": "latency", "threads": threads, **one})
                one = ratio(_per_example(teacher), _per_example(student))
                found.append({**pair, "of": "throughput", "threads": None, **one})
    return found


def int8_gains(timed: Sequence[Timed]) -> list[dict[str, Any]]:
    """How many times as fast as in float32 a student is in int8, in each runtime that it has both in."""
    by_runtime = {each.who.runtime: each for each in timed if each.who.name == STUDENT}
    found = []
    for runtime, int8 in by_runtime.items():
        float32 = by_runtime.get(runtime.removesuffix(INT8))
        if float32 is None or float32 is int8:
            continue
        for threads, times in float32.latency.items():
            one = ratio(times.medians, int8.latency[threads].medians)
            found.append({"runtime": runtime, "of": "latency", "threads": threads, **one})
        one = ratio(_per_example(float32), _per_example(int8))
        found.append({"runtime": runtime, "of": "throughput", "threads": None, **one})
    return found


def cost(per_second: float, price: float | None) -> float | None:
    """Of a million predictions, where an hour of the machine costs `price`."""
    return None if price is None else price * MILLION / (HOUR * per_second)


def _per_example(each: Timed) -> list[float]:
    return [seconds / each.best[0] for seconds in each.batched.medians]

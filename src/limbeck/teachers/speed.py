"""How fast a teacher is asked, beside what this machine can do."""

import time
from functools import cache

import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.models import multiplications
from limbeck.teachers.module import ModuleTeacher, Precision
from limbeck.teachers.precision import networks_of
from limbeck.teachers.teacher import Teacher

ENOUGH = 5.0
"""Seconds of asking below which the machine's peak is not worth measuring."""

SIDES = (1024, 2048)
"""Of the square matrices whose product shows the peak."""

ROOM = 0.1
"""Seconds spent on each of them."""


class Pace:
    """The labelling line: examples per second, and their share of the machine's peak.

    The share is given once `ENOUGH` seconds were spent, where all that answers is networks. With several of them it
    is of the time that they would take at their peaks.

    Args:
        teacher: who is asked.
        examples: about which.
    """

    def __init__(self, teacher: Teacher, examples: Examples) -> None:
        self.teacher, self.examples = teacher, examples
        self.count, self.seconds = 0, 0.0
        self._at_peak: float | None = None

    def add(self, count: int, seconds: float) -> None:
        """So many further examples were answered in so many seconds."""
        self.count += count
        self.seconds += seconds

    def facts(self) -> dict[str, float]:
        """For progress and the record: `examples_per_second` and, where it is known, such as `bf16_peak_share`."""
        if not self.seconds:
            return {}
        rate = self.count / self.seconds
        if self._at_peak is None and self.seconds >= ENOUGH:
            self._at_peak = self._measured()
        if not self._at_peak:
            return {"examples_per_second": rate}
        precisions = sorted({network.precision for network in networks_of(self.teacher)})
        return {"examples_per_second": rate, f"{'_'.join(precisions)}_peak_share": rate * self._at_peak}

    def _measured(self) -> float:
        """The seconds that one example would take at the machine's peak; 0 where that is unknown."""
        if not _only_networks(self.teacher):
            return 0.0
        some = self.examples.inputs[:1]
        threads = torch.get_num_threads()
        networks = networks_of(self.teacher)
        try:
            return sum(operations(one, some) / peak(one.precision, one.device, threads) for one in networks)
        except Exception:  # what the counter makes of a strange forward is no reason to end a labelling
            return 0.0


def _only_networks(teacher: Teacher) -> bool:
    inner = teacher.within
    return all(_only_networks(one) for one in inner) if inner else isinstance(teacher, ModuleTeacher)


def operations(teacher: ModuleTeacher, inputs: Tensor) -> float:
    """Floating-point operations of one example in the network as it was handed over: twice its multiplications.

    Counted are products of matrices and convolutions, those of attention among them; 0 where none are seen.
    """
    return 2 * (multiplications(teacher.module, teacher.seen(inputs)) or 0) / len(inputs)


@cache
def peak(precision: Precision, device: torch.device, threads: int) -> float:
    """Operations per second of the best product of large square matrices, measured once a process.

    Args:
        precision: of the matrices.
        device: of them.
        threads: of torch, which the peak of a processor depends on; the key of what was measured.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    best = 0.0
    for side in SIDES:
        # On a slow machine one product of the larger would take too long.
        if best and 2 * side**3 / best > ROOM:
            break
        best = max(best, _rate(torch.ones(side, side, dtype=dtype, device=device)))
    return best


def _rate(square: Tensor) -> float:
    """The median over `ROOM` seconds, at least two products, after a first that warms up."""
    seconds: list[float] = []
    product = torch.empty_like(square)  # fresh memory would be measured too
    began = time.perf_counter()
    while len(seconds) < 3 or time.perf_counter() - began < ROOM:
        start = time.perf_counter()
        torch.mm(square, square, out=product)
        product[0, 0].item()  # a GPU is waited for
        seconds.append(time.perf_counter() - start)
    return 2 * len(square) ** 3 / sorted(seconds[1:])[len(seconds[1:]) // 2]

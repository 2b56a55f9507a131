"""What an answer costs."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from limbeck.models import evaluating

WARM, FEWEST, MOST = 5, 20, 1000
"""Answers that are not timed, and the fewest and the most that are."""
SECONDS = 0.3
"""For which a network is timed."""


def latency(network: nn.Module, example: Tensor) -> float:
    """Seconds that a network on the processor takes for one example on one thread: the median of many.

    Args:
        network: in whatever mode; it is asked in evaluation mode.
        example: as the network takes it, [1, ...].
    """
    took: list[float] = []
    with evaluating(network), torch.inference_mode(), _one_thread():
        for _ in range(WARM):
            network(example)
        until = time.perf_counter() + SECONDS
        while len(took) < FEWEST or (time.perf_counter() < until and len(took) < MOST):
            began = time.perf_counter()
            network(example)
            took.append(time.perf_counter() - began)
    return statistics.median(took)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

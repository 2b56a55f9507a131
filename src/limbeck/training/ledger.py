"""The books of a fit: values and times of its steps, `metrics.jsonl`, signs of life."""

import json
import math
import time

import torch
from torch import Tensor, nn

from limbeck.errors import Diverged
from limbeck.files import append_line, cut_lines
from limbeck.progress import Progress
from limbeck.training.place import Place

LOG_LINES = 100
"""Lines of metrics a fit leaves, whatever its length."""


class Ledger:
    """Adds up values and times of steps, and now and then writes a line of `metrics.jsonl`."""

    def __init__(self, place: Place, names: list[str], seconds: dict[str, float], start: int, steps: int) -> None:
        """Args: the names of the terms, the account in which the reader books its time, the first and last step."""
        self.place, self.names, self.steps = place, names, steps
        self.every = max(1, steps // LOG_LINES)
        self.step = self.flushed = start
        self.rate = 0.0
        self.seconds = seconds
        self._begin()
        if place.world.leads:
            cut_lines(place.log, lambda line: not self._mine(line) or line["step"] <= start)

    def _mine(self, line: dict[str, object]) -> bool:
        return all(line.get(key) == value for key, value in self.place.tags.items())

    def _begin(self) -> None:
        self.values_K: Tensor | float = 0.0
        self.seconds.update(data=0.0, teacher=0.0)
        self.began = time.perf_counter()

    def add(self, step: int, values_K: Tensor, rate: float) -> None:
        """Book one step."""
        self.step, self.rate = step, rate
        self.values_K = self.values_K + values_K
        if step - self.flushed >= self.every:
            self.flush()

    def flush(self) -> None:
        """Write the mean of the steps since the last line.

        Raises:
            Diverged: a mean is not finite; no checkpoint of these steps has been saved.
        """
        if self.step == self.flushed:
            return
        assert isinstance(self.values_K, Tensor)
        means = dict(zip(self.names, (self.values_K / (self.step - self.flushed)).tolist(), strict=True))
        if not all(math.isfinite(mean) for mean in means.values()):
            raise self._divergence(f"the losses are {means}")
        wall = time.perf_counter() - self.began
        seconds = {**self.seconds, "student": wall - sum(self.seconds.values())}
        if self.place.world.leads:
            line = {**self.place.tags, "step": self.step, "lr": self.rate, **means, "seconds": seconds}
            append_line(self.place.log, json.dumps(line))
            stage = " ".join(str(tag) for tag in self.place.tags.values())
            facts = {**means, **{f"{name}_seconds": value for name, value in seconds.items()}}
            self.place.watch(Progress(stage, self.step, self.steps, facts))
        self.flushed = self.step
        self._begin()

    def check_weights(self, learner: nn.Module) -> None:
        """Whether the last update left finite weights, which the losses, taken before it, do not tell.

        Raises:
            Diverged: it did not.
        """
        for name, value in learner.state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise self._divergence(f"{name} is no longer finite")

    def _divergence(self, what: str) -> Diverged:
        return Diverged(
            f"training diverged by step {self.step}: {what}",
            expected="finite losses and weights",
            do="lower fit.optimizer.lr or set fit.clip: 1.0",
        )


class Stopwatch:
    """A context manager that adds the seconds of its block to an account."""

    __slots__ = ("account", "began", "what")

    def __init__(self, account: dict[str, float], what: str) -> None:
        self.account, self.what = account, what

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.account[self.what] += time.perf_counter() - self.began

"""The settings of a fit, each its own config: optimizer, learning-rate schedule, and the rest."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from limbeck.data import Augment


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101), fused."""

    name: Literal["adamw"] = "adamw"
    lr: float = 0.001
    weight_decay: float = 0.0001
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        _check_rate(self.lr, self.weight_decay)
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas must be at least 0 and below 1, not {self.betas}")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these settings over the parameters."""
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay, betas=self.betas, fused=True)


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum, fused; weight decay is added to the gradient."""

    name: Literal["sgd"] = "sgd"
    lr: float = 0.05
    weight_decay: float = 0.0005
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check_rate(self.lr, self.weight_decay)
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, not {self.momentum}")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov looks ahead along the momentum, which is 0: give momentum above 0")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these settings over the parameters."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            fused=True,
        )


def _check_rate(lr: float, weight_decay: float) -> None:
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be a positive number, not {lr}")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay must be 0 or more, not {weight_decay}")


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The full learning rate, after a linear warm-up over the `warmup` share of the steps."""

    name: Literal["constant"] = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at `step` (from 0) of `steps`."""
        return _warm(step, steps, self.warmup)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """A half cosine from 1 down to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983) after a linear warm-up."""

    name: Literal["cosine"] = "cosine"
    warmup: float = 0.05

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at `step` (from 0) of `steps`."""
        warm_steps = self.warmup * steps
        if step < warm_steps:
            return _warm(step, steps, self.warmup)
        return _half_cosine((step - warm_steps) / (steps - warm_steps), 1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up from 1/25 to 1 over the `warmup` share, then down to 1/250,000, both as half cosines.

    Smith and Topin 2018, arXiv 1708.07120, with the shape and divisors of PyTorch; momentum stays.
    """

    name: Literal["one-cycle"] = "one-cycle"
    warmup: float = 0.3

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at `step` (from 0) of `steps`."""
        peak = self.warmup * steps - 1
        if step < peak:
            return _half_cosine(step / peak, 1 / 25, 1.0)
        return _half_cosine((step - peak) / (steps - 1 - peak), 1.0, 1 / 250_000)


def _check_warmup(warmup: float) -> None:
    if not 0.0 <= warmup < 1.0:
        raise ValueError(f"warmup is a share of the steps, at least 0 and below 1, not {warmup}")


def _warm(step: int, steps: int, warmup: float) -> float:
    return min(1.0, (step + 1) / (warmup * steps)) if warmup else 1.0


def _half_cosine(share: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


Optimizer = Annotated[AdamW | SGD, Field(discriminator="name")]
RateSchedule = Annotated[Cosine | OneCycle | Constant, Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a model is trained.

    Args:
        epochs: passes over the examples of the distilled arm; its number of steps is every arm's budget.
        batch_size: examples of one optimizer step, over all micro-batches and ranks.
        optimizer: its name and settings.
        schedule: of the learning rate.
        augment: views of the student's images.
        precision: fp32, or bf16 autocast.
        accumulate: micro-batches of one optimizer step.
        clip: the largest norm of the gradient; null for no limit.
        threads: of this process for tensor operations; auto is the cores it may use. The bits of a result depend
            on it, so a resumed run keeps the number.
        checkpoint_seconds: the pause between checkpoints; 0 saves at every step.
        deterministic: refuse operations whose result differs from run to run (some on a GPU).
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Optimizer = field(default_factory=AdamW)
    schedule: RateSchedule = field(default_factory=Cosine)
    augment: Augment = field(default_factory=Augment)
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulate: int = 1
    clip: float | None = None
    threads: int | Literal["auto"] = "auto"
    checkpoint_seconds: float = 60.0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "threads"):
            value = getattr(self, name)
            if value != "auto" and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if self.batch_size < self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} cannot be split into {self.accumulate} micro-batches")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be a positive number or null, not {self.clip}")
        if not self.checkpoint_seconds >= 0:
            raise ValueError(f"checkpoint_seconds must be 0 or more, not {self.checkpoint_seconds}")

    def steps(self, examples: int) -> int:
        """Optimizer steps in which `epochs` passes over that many examples are made."""
        return math.ceil(self.epochs * examples / self.batch_size)

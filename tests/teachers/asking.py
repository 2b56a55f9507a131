"""A few examples and a small teacher that counts how often it is asked."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from limbeck.data import Examples, Preprocess, key_examples
from limbeck.teachers import ModuleTeacher, Teacher, ask_some, look_at_answers

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")
FIRST = torch.tensor(0)
"""The number of the view, where there is one."""


def examples_of(count: int, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Examples:
    """Random images [count, 1, 4, 4], all different, whose labels go round."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return key_examples(inputs, torch.arange(count) % len(classes), classes)


class Net(nn.Module):
    """Dropout, batch norm and a buffer that no state dict holds."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(16, 8), nn.BatchNorm1d(8)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, classes)
        self.register_buffer("shift", torch.zeros(classes), persistent=False)
        self.asked, self.factor = 0, 1.0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.asked += len(inputs)
        hidden = self.drop(self.norm(self.first(inputs.flatten(1))).relu())
        return self.head(hidden) * self.factor + self.shift


def net(seed: int = 0, **options: int) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(**options)


def teacher(
    module: nn.Module | None = None, preprocess: Preprocess | None = None, taps: tuple[str, ...] = ()
) -> ModuleTeacher:
    return ModuleTeacher(module or net(), preprocess or Preprocess(scale=255.0), CPU, taps)


class Sided(Net):
    """A part beside the way to the logits, whose output only a tap shows: `dress` decides what that is."""

    def __init__(self) -> None:
        super().__init__()
        self.side = Side()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.side(inputs.flatten(1))
        return super().forward(inputs)


class Side(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dress = lambda x: x

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.dress(inputs)


def preflight(who: Teacher, examples: Examples, *, allow_weak: bool) -> dict[str, Any]:
    """What a run finds out about a teacher before it goes on with it."""
    return look_at_answers(ask_some(who, examples), allow_weak=allow_weak)


def sided(dress: Callable[[torch.Tensor], torch.Tensor] = lambda x: x) -> Sided:
    """The same weights whatever the dress."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Sided()
    module.side.dress = dress
    return module

"""Recipes to examine, sound but for what is planted."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.data import from_arrays
from limbeck.examination import Examination, Finding, examine
from limbeck.preparation import Materials
from limbeck.recipe import recipe_from_tree

CLASSES = 10
COUNT = 400


def pictures(seed: int, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Noise [count, 4, 4] uint8 and ten classes that go round."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(count, 4, 4)).astype(np.uint8), np.arange(count) % CLASSES


def sound_logits(labels: np.ndarray, right: float = 0.9) -> Tensor:
    """An honest teacher: as often right as it says."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(labels), CLASSES, generator=generator)
    sure = torch.rand(len(labels), generator=generator) < right
    logits[sure, torch.from_numpy(labels)[sure]] += 5.0
    return logits


def examined(
    out: Path, teacher: Any = None, train: Any = None, test: Any = None, student: Any = None, **changes: Any
) -> Examination:
    """What the examination of a recipe finds whose materials come from Python; `changes` have dotted keys as words."""
    train = pictures(0) if train is None else train
    tree = {
        "data": {"source": "python"},
        "teacher": {"kind": "python", "what": "a test"},
        "student": {"model": {"name": "mlp", "hidden": [4]}},
        "distill": {"temperature": 2.0},
        "fit": {"epochs": 1, "batch_size": 50, "threads": 1},
        "proof": {"seeds": [0, 1]},
        "out": str(out),
    }
    recipe = recipe_from_tree(tree, {key.replace("__", "."): value for key, value in changes.items()}, where="the test")
    splits = from_arrays(train, pictures(1, 100) if test is None else test)
    teacher = sound_logits(train[1]) if teacher is None else teacher
    return examine(recipe, Materials(splits, teacher, student))


def of(found: Examination, name: str) -> Finding:
    """The one finding of that name."""
    (finding,) = [finding for finding in found.findings if finding.name == name]
    return finding


def amiss(found: Examination) -> list[str]:
    """What is neither well nor merely noted."""
    return [finding.name for finding in found.findings if finding.severity in ("warning", "problem")]


def bands(seed: int, count: int = COUNT, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Pictures [count, channels, 8, 8] uint8 with a bright band at one of three heights, in the first channel."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(40, 100, (count, channels, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 3
    for row, label in enumerate(labels.tolist()):
        inputs[row, 0, 3 * label : 3 * label + 2] += torch.randint(0, 60, (), generator=generator, dtype=torch.uint8)
    return inputs, labels


class Bands(nn.Module):
    """Says where the band is, in one channel of inputs from 0 to 1; brighter ones, and darker, look alike to it."""

    def __init__(self, channel: int = 0, sharp: float = 60.0) -> None:
        super().__init__()
        self.channel, self.sharp = channel, sharp

    def forward(self, inputs: Tensor) -> Tensor:
        seen = inputs[:, self.channel].clamp(0, 1)
        logits = self.sharp * torch.stack([seen[:, 3 * c : 3 * c + 2].mean(dim=(1, 2)) for c in range(3)], dim=1)
        beside = inputs[:, self.channel, 2].mean(dim=1)  # which has nothing to do with the class
        return logits + torch.stack([0.1 * beside, 0 * beside, 0 * beside], dim=1)

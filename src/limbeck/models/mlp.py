"""The multilayer perceptron."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """Flatten, then Linear and ReLU per hidden layer, then a linear head; takes examples of any shape.

    Two hidden layers of 1200 with dropout, and two of 800 without, are the MNIST pair of Hinton, Vinyals and
    Dean 2015, arXiv 1503.02531, section 3.

    Args:
        hidden: the widths of the hidden layers; empty is a linear model.
        dropout: the share of hidden values set to 0 in training; no layer for it at 0.

    Raises:
        ValueError: a width below 1, or dropout outside [0, 1).
    """

    name: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (800, 800)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden must be widths of at least 1, not {self.hidden}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network for examples of `input_shape`: [N, *input_shape] -> [N, classes]."""
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        width = math.prod(input_shape)
        for number, next_width in enumerate(self.hidden, start=1):
            layers[f"linear{number}"] = nn.Linear(width, next_width)
            layers[f"relu{number}"] = nn.ReLU()
            if self.dropout > 0:
                layers[f"dropout{number}"] = nn.Dropout(self.dropout)
            width = next_width
        layers["head"] = nn.Linear(width, classes)
        return nn.Sequential(layers)

"""The small convolutional network of the classic MNIST pair."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from limbeck.models.base import require_image

LEAST_SIDE = 3
"""Pixels a side: below it the max-pool has nothing left to pool."""


@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """Two 3x3 convolutions of stride 2, LeakyReLU and a 2x2 max-pool of stride 1 between, a linear head.

    Channels (256, 512) and (16, 32) are teacher and student of the Keras example on distillation
    (keras.io/examples/vision/knowledge_distillation). Keras pads "same" by need, at the right and the bottom;
    here a convolution is padded by 1 all round and the pool not at all. Where the side is a multiple of 4,
    as in MNIST, the head sees as many pixels as there, and the parameters are as many.

    Args:
        channels: of the first and of the second convolution.

    Raises:
        ValueError: not two channels, or one below 1.
    """

    name: Literal["convnet"] = "convnet"
    channels: tuple[int, int] = (16, 32)

    def __post_init__(self) -> None:
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise ValueError(f"channels must be two numbers of at least 1, not {self.channels}")

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network for images (channels, height, width): [N, *input_shape] -> [N, classes].

        Raises:
            RecipeError: the examples are not images, or too small.
        """
        require_image(input_shape, name=self.name, least=LEAST_SIDE)
        first, second = self.channels
        network = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(input_shape[0], first, 3, stride=2, padding=1),
                leaky_relu1=nn.LeakyReLU(0.2),
                pool1=nn.MaxPool2d(2, stride=1),
                conv2=nn.Conv2d(first, second, 3, stride=2, padding=1),
                flatten=nn.Flatten(),
            )
        )
        with torch.no_grad():
            width = network(torch.zeros(1, *input_shape)).shape[1]
        network.add_module("head", nn.Linear(width, classes))
        return network

"""A small convolutional network that reads texts byte by byte.

Dimension key: N texts, L bytes, W numbers a byte.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from limbeck.errors import RecipeError

BYTES = 256


@dataclass(frozen=True, kw_only=True)
class TextCnn:
    """Bytes embedded, convolutions with a max-pool of 2 after each, the maximum over all positions, a linear head.

    In the line of Kim 2014, arXiv 1408.5882, on bytes, not words. The zeros that fill a text up are nothing to it,
    however many they are: there are no biases but the head's, and convolutions begin and end outside the text.

    Args:
        width: numbers a byte is embedded in.
        channels: of each convolution.
        kernel: bytes that a convolution sees at once.
        dropout: the share of the maxima set to 0 in training.

    Raises:
        ValueError: a number out of range, or no convolution.
    """

    name: Literal["textcnn"] = "textcnn"
    width: int = 32
    channels: tuple[int, ...] = (64, 128)
    kernel: int = 5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.channels or min(self.width, self.kernel, *self.channels) < 1:
            raise ValueError(
                f"width, channels and kernel must be at least 1, not {self.width}, {self.channels} and {self.kernel}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network for texts of bytes (length,): [N, L] -> [N, classes].

        Raises:
            RecipeError: the examples are no texts.
        """
        if len(input_shape) != 1:
            raise RecipeError(
                f"textcnn got examples of shape {input_shape}",
                expected="texts, stored as UTF-8 bytes of shape (length,)",
                do="take a model of images, or `mlp`, which bears any shape",
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict(embedding=_Bytes(self.width))
        width = self.width
        for number, channels in enumerate(self.channels, start=1):
            layers[f"conv{number}"] = nn.Conv1d(width, channels, self.kernel, padding=self.kernel - 1, bias=False)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"pool{number}"] = nn.MaxPool1d(2, ceil_mode=True)
            width = channels
        layers |= {"maximum": nn.AdaptiveMaxPool1d(1), "flatten": nn.Flatten()}
        if self.dropout > 0:
            layers["dropout"] = nn.Dropout(self.dropout)
        layers["head"] = nn.Linear(width, classes)
        return nn.Sequential(layers)


class _Bytes(nn.Embedding):
    """Bytes [N, L], whole numbers of any type, as [N, W, L]; the byte 0 as zeros."""

    def __init__(self, width: int) -> None:
        super().__init__(BYTES, width, padding_idx=0)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.long()).transpose(1, 2)

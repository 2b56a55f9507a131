"""The residual networks of the CIFAR literature on distillation.

Dimension key: N examples, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from limbeck.models.base import require_image

LEAST_SIDE = 8
"""Pixels a side: the two strides of 2 leave 2x2 of them."""

Widths = tuple[int, int, int, int]
"""Channels of the stem and of the three stages."""

PLAIN: Widths = (16, 16, 32, 64)
WIDE: Widths = (32, 64, 128, 256)

ResNetName = Literal["resnet20", "resnet32", "resnet56", "resnet110", "resnet8x4", "resnet32x4"]

RESNETS: dict[ResNetName, tuple[int, Widths]] = {
    "resnet20": (20, PLAIN),
    "resnet32": (32, PLAIN),
    "resnet56": (56, PLAIN),
    "resnet110": (110, PLAIN),
    "resnet8x4": (8, WIDE),
    "resnet32x4": (32, WIDE),
}
"""Name -> depth (the layers with weights: 6n + 2 for n blocks a stage) and widths."""


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A residual network for small images, of He 2016, arXiv 1512.03385, section 4.2.

    Shortcuts are projected by a 1x1 convolution where the shape changes, as everywhere in the literature on
    distillation (Tian 2020, arXiv 1910.10699), not padded by zeros as in the paper. The parts bear that
    literature's names, so that its published weights load.

    Args:
        name: depth and widths, from `RESNETS`.

    Raises:
        ValueError: a name that is not there.
    """

    name: ResNetName

    def __post_init__(self) -> None:
        if self.name not in RESNETS:
            raise ValueError(f"name must be one of {', '.join(RESNETS)}, not {self.name!r}")

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network for images (channels, height, width): [N, *input_shape] -> [N, classes].

        Raises:
            RecipeError: the examples are not images, or too small.
        """
        require_image(input_shape, name=self.name, least=LEAST_SIDE)
        depth, widths = RESNETS[self.name]
        return _ResNet(input_shape[0], classes, blocks=(depth - 2) // 6, widths=widths)


class _ResNet(nn.Module):
    """Stem, three stages of residual blocks, the mean over all pixels, a linear head."""

    def __init__(self, channels: int, classes: int, *, blocks: int, widths: Widths) -> None:
        super().__init__()
        stem, first, second, third = widths
        self.conv1 = _conv3x3(channels, stem, stride=1)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.layer1 = _stage(stem, first, blocks=blocks, stride=1)
        self.layer2 = _stage(first, second, blocks=blocks, stride=2)
        self.layer3 = _stage(second, third, blocks=blocks, stride=2)
        self.fc = nn.Linear(third, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits [N, classes]."""
        stem_NCHW = self.relu(self.bn1(self.conv1(x_NCHW)))
        features_NCHW = self.layer3(self.layer2(self.layer1(stem_NCHW)))
        logits: Tensor = self.fc(features_NCHW.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """relu(x + f(x)), f two 3x3 convolutions, each with batch norm, the first with its stride."""

    def __init__(self, width: int, next_width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(width, next_width, stride=stride)
        self.bn1 = nn.BatchNorm2d(next_width)
        self.relu = nn.ReLU()
        self.conv2 = _conv3x3(next_width, next_width, stride=1)
        self.bn2 = nn.BatchNorm2d(next_width)
        self.downsample = _shortcut(width, next_width, stride=stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, width, H, W] -> [N, next_width, H / stride, W / stride], halves rounded up."""
        inner_NCHW = self.relu(self.bn1(self.conv1(x_NCHW)))
        output: Tensor = self.relu(self.bn2(self.conv2(inner_NCHW)) + self.downsample(x_NCHW))
        return output


def _stage(width: int, next_width: int, *, blocks: int, stride: int) -> nn.Sequential:
    """Blocks in a row, of which the first changes width and size."""
    first = _Block(width, next_width, stride=stride)
    others = [_Block(next_width, next_width, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *others)


def _shortcut(width: int, next_width: int, *, stride: int) -> nn.Module:
    """What x passes on its way round f: nothing where the shape stays, else a strided 1x1 projection."""
    if stride == 1 and width == next_width:
        return nn.Identity()
    projection = nn.Conv2d(width, next_width, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(next_width))


def _conv3x3(width: int, next_width: int, *, stride: int) -> nn.Conv2d:
    # The batch norm that follows has a bias of its own.
    return nn.Conv2d(width, next_width, 3, stride=stride, padding=1, bias=False)

"""Networks for the conversions: users' modules, the catalogue at small sizes, and a few that must be refused.

Dimension key: N examples, S steps, W width.
"""

import torch
from torch import nn

from limbeck.models import ConvNet, Mlp, ResNet, TextCnn, initialise


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x_NSW):
        return self.head(self.gru(x_NSW)[0][:, -1])


class Depthwise(nn.Sequential):
    """Convolutions of one channel each, with batch norm."""

    def __init__(self, channels=16, classes=4):
        super().__init__(
            nn.Conv2d(3, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, classes),
        )


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.enter = nn.Linear(6, 16)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x_NSW):
        return self.head(self.layers(self.enter(x_NSW)).mean(dim=1))


class Forward(nn.Module):
    """A linear layer in a forward of its own."""

    def __init__(self, forward):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.own = forward

    def forward(self, x):
        return self.own(self.linear, x)


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return make()


def samples(*shape, count=9):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def texts(length, count=9):
    return torch.randint(0, 256, (count, length), generator=torch.Generator().manual_seed(1)).float()


CATALOGUE = {
    "mlp": (Mlp(hidden=(32,), dropout=0.5), samples(1, 8, 8)),
    "convnet": (ConvNet(channels=(4, 8)), samples(1, 12, 12)),
    "resnet20": (ResNet(name="resnet20"), samples(3, 16, 16)),
    "textcnn": (TextCnn(width=8, channels=(8, 16), dropout=0.5), texts(40)),
}
DEEP = {
    name: (ResNet(name=name), samples(3, 16, 16))
    for name in ("resnet8x4", "resnet32", "resnet56", "resnet110", "resnet32x4")
}
"""The same code as that above, at sizes that take seconds."""
USERS = {
    "gru": (Gru, samples(5, 6)),
    "depthwise": (Depthwise, samples(3, 12, 12)),
    "transformer": (Transformer, samples(5, 6)),
}


def network_of(name):
    """A network and examples of what it takes."""
    if name in USERS:
        make, inputs = USERS[name]
        return seeded(make), inputs
    spec, inputs = (CATALOGUE | DEEP)[name]
    return initialise(spec, tuple(inputs.shape[1:]), 10, 0), inputs

"""Multiplications beside those counted by hand."""

import pytest
import torch
from torch import nn

from limbeck.models import ConvNet, Mlp, multiplications

T, D, HIDDEN = 12, 16, 32
"""Tokens, width of each, and of the layer between."""


class Outer(nn.Module):
    """Takes the last step of what a recurrent network gives."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.inner(inputs)[0][:, -1]


class Words(nn.Module):
    """Looks up what is then averaged and weighed."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50, 8), nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(inputs).mean(dim=1))


def test_those_of_layers_and_grouped_convolutions():
    mlp = Mlp(hidden=(32,)).build((1, 8, 8), 10)
    assert multiplications(mlp, torch.zeros(1, 1, 8, 8)) == 64 * 32 + 32 * 10
    convolution = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 64, 4))
    assert multiplications(convolution, torch.zeros(1, 3, 8, 8)) == 64 * 5 * 3 * 9 + 5 * 64 * 4
    grouped = nn.Conv2d(4, 4, 3, groups=4, bias=False)
    assert multiplications(grouped, torch.zeros(1, 4, 5, 5)) == 9 * 4 * 9
    backwards = nn.ConvTranspose2d(4, 6, 3)
    assert multiplications(backwards, torch.zeros(1, 4, 5, 5)) == 25 * 4 * 6 * 9


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 2), (2, 4)])
def test_those_of_a_transformer(layers: int, heads: int):
    projections = T * 4 * D * D  # of queries, keys, values and what comes out
    attention = heads * (T * T * (D // heads)) * 2  # queries by keys, and their weights by values
    between = T * 2 * D * HIDDEN
    expected = layers * (projections + attention + between)
    for nested in (False, heads > 1):  # torch refuses the one with the other
        layer = nn.TransformerEncoderLayer(D, heads, HIDDEN, batch_first=True)
        encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=nested)
        assert multiplications(encoder, torch.zeros(1, T, D)) == expected


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_those_of_recurrent_networks(kind: type[nn.RNNBase], gates: int):
    step = gates * D * (6 + D)
    assert multiplications(Outer(kind(6, D, batch_first=True)), torch.zeros(1, T, 6)) == T * step
    two = gates * D * (6 + D) + gates * D * (D + D)
    assert multiplications(Outer(kind(6, D, 2, batch_first=True)), torch.zeros(1, T, 6)) == T * two
    ways = kind(6, D, batch_first=True, bidirectional=True)
    assert multiplications(Outer(ways), torch.zeros(1, T, 6)) == 2 * T * step


def test_looking_up_multiplies_nothing():
    assert multiplications(Words(), torch.zeros(1, 7, dtype=torch.long)) == 8 * 3


def test_where_none_are_seen_it_is_not_claimed_that_there_are_none():
    assert multiplications(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6)), torch.zeros(1, 6)) is None
    assert multiplications(nn.Flatten(), torch.zeros(1, 6)) == 0


def test_counting_leaves_network_and_torch_as_they_were():
    network = ConvNet(channels=(4, 4)).build((1, 8, 8), 3).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    switches = _switches()
    multiplications(network, torch.zeros(1, 1, 8, 8))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(RuntimeError):
        multiplications(network, torch.zeros(1, 7))
    assert _switches() == switches


def _switches() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    kernels = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()
    return torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled, *kernels

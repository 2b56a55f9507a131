"""A copy of a network that rounds as its int8 file will, to be trained, and the way back to a network to be converted.

Each layer with weights sees its inputs as 256 values over a range that is fixed, and has weights of 255 values for each
output. Batch norm keeps its statistics: it scales an output as a whole, and so comes to the same as if it were folded
into the weights first.

Dimension key: O outputs of a layer.
"""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.func import functional_call

from limbeck.conversion.convert import prepared

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers whose weights files in int8 have in 8 bits; what derives from them may do something else with its weights."""

SHARES = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
"""Of the range that a layer's inputs have: what is tried as its own. One large value makes all others coarse."""

TINY = 1e-12
"""The least step between two values: of what is 0 throughout."""

ROOM = 32 << 20
"""Bytes of the examples by which ranges are found: all go through the network at once."""


class FakeQuantised(nn.Module):
    """A network in training for int8, always in evaluation mode otherwise: no dropout, and batch norm as it was.

    Args:
        network: is copied, and stays as it is.
        samples: real preprocessed examples [N, ...], float32, by which ranges are found.
    """

    def __init__(self, network: nn.Module, samples: Tensor) -> None:
        super().__init__()
        self.network = prepared(network, samples).requires_grad_(True)
        layers: dict[nn.Module, _Layer] = {}
        for name, part in list(self.named_modules(remove_duplicate=False)):
            if type(part) in KINDS:
                self.set_submodule(name, layers.setdefault(part, _Layer(part)))
        with torch.no_grad():
            self.network(samples[: max(1, ROOM // samples[0].nbytes)])
        for layer in layers.values():
            layer.finding = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [N, C], every layer rounded."""
        logits: Tensor = self.network(inputs)
        return logits

    def train(self, mode: bool = True) -> "FakeQuantised":
        """Nothing of it has another mode."""
        return super().train(False)

    def plain(self) -> nn.Module:
        """An ordinary network with the rounded weights, whose layers cut their inputs off where the ranges end.

        Whatever finds ranges by examples then finds these, and its int8 file answers as this network does.
        """
        own = copy.deepcopy(self)
        layers: dict[nn.Module, nn.Module] = {}
        for name, part in list(own.named_modules(remove_duplicate=False)):
            if isinstance(part, _Layer):
                own.set_submodule(name, layers.setdefault(part, part.plain()))
        return own.network.requires_grad_(False).eval()


class _Layer(nn.Module):
    """A layer with weights, rounded: not yet while its range is being found, in whatever places it stands."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.finding = layer, True
        self.register_buffer("range", torch.zeros(2))
        self.range: Tensor

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.finding:
            return self._rounded(inputs, self.range)
        exact: Tensor = self.layer(inputs)
        whole = torch.stack([inputs.min().clamp(max=0.0), inputs.max().clamp(min=0.0)])
        errors = [float((self._rounded(inputs, share * whole) - exact).square().mean()) for share in SHARES]
        (least, most), own = self.range, SHARES[errors.index(min(errors))] * whole
        self.range = torch.stack([torch.minimum(least, own[0]), torch.maximum(most, own[1])])
        return exact

    def _rounded(self, inputs: Tensor, range_: Tensor) -> Tensor:
        least, most = range_.unbind()
        scale = ((most - least) / 255).clamp_min(TINY)
        zero = (-least / scale).round().clamp(0, 255).to(torch.int32)
        seen = torch.fake_quantize_per_tensor_affine(inputs, scale, zero, 0, 255)
        answers: Tensor = functional_call(self.layer, {"weight": self._weight()}, (seen,))
        return answers

    def _weight(self) -> Tensor:
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        scale_O = (weight.detach().abs().flatten(1).amax(dim=1) / 127).clamp_min(TINY)
        zero_O = torch.zeros(len(weight), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale_O, zero_O, 0, -127, 127)

    def plain(self) -> nn.Module:
        """The layer with its rounded weights, after what cuts its inputs off."""
        layer = copy.deepcopy(self.layer)
        layer.weight = nn.Parameter(self._weight().detach().contiguous())
        least, most = self.range.tolist()
        if least == most:
            return layer
        return nn.Sequential(OrderedDict[str, nn.Module](range=nn.Hardtanh(least, most), layer=layer))

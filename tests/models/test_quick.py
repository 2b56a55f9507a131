"""A rewritten network says what its original says, and leaves it alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from limbeck.files import digest_tensors
from limbeck.models import ConvNet, ResNet, Taps, initialise, quickened
from limbeck.models.quick import NARROW


def images(count=8, channels=1, side=28, seed=0):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed)) - 0.3


def made(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for part in module.modules():  # batch norm that does something
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.5, 0.5), part.running_var.uniform_(0.5, 2.0)
                part.weight.data.uniform_(0.5, 2.0), part.bias.data.uniform_(-0.5, 0.5)
        return module.eval()


def both(module, seen):
    """Answers of the original and of the rewritten network, in float32."""
    quick = quickened(module, seen, torch.float32)
    assert quick is not None
    with torch.no_grad():
        return module(seen), quick.network(seen.contiguous(memory_format=torch.channels_last))


class Written(nn.Module):
    """As people write networks: one activation for all, functions beside parts, a skip, a max-pool with padding."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(8)
        self.act, self.padded, self.pool = nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(2)
        self.conv, self.deep = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.last, self.head = nn.Conv2d(12, 6, 3, padding="same"), nn.Linear(6 * 3 * 3, 5)

    def forward(self, x):
        x = self.padded(self.act(self.norm(self.stem(x))))
        x = x + F.relu(self.conv(x))
        x = self.act(self.deep(self.pool(x)))
        return self.head(torch.flatten(self.last(x), 1))


class TwiceUsed(nn.Module):
    """The same convolution at two places, whose answer before the activation is wanted too."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(4 * 8 * 8, 3)

    def forward(self, x):
        bare = self.first(x)
        x = self.again(self.again(self.act(bare))) + bare
        return self.head(x.flatten(1))


@pytest.mark.parametrize(
    ("build", "seen"),
    [
        (lambda: ConvNet(channels=(8, 12)).build((1, 28, 28), 10), images()),
        (lambda: ResNet(name="resnet8x4").build((3, 16, 16), 10), images(channels=3, side=16)),
        (Written, images(side=24)),
        (TwiceUsed, images(side=8)),
    ],
    ids=["convnet", "resnet", "written", "twice-used"],
)
def test_the_answers_are_those_of_the_original(build, seen):
    expected, found = both(made(build), seen)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    side=st.integers(15, 30),
    pool=st.sampled_from([None, (2, 2), (2, 1), (3, 2), ((1, 2), 1)]),
    count=st.integers(1, 4),
)
def test_side_by_side_no_image_sees_its_neighbour(kernel, stride, padding, dilation, groups, side, pool, count):
    sides = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    conv = nn.Conv2d(2, 4, kernel, **sides)
    layers = [conv] if pool is None else [nn.MaxPool2d(*pool), conv]
    module = made(lambda: nn.Sequential(*copy.deepcopy(layers), nn.ReLU()))
    expected, found = both(module, images(count, 2, side))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_narrow_convolution_is_quick_also_for_another_number_of_images():
    module = made(lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1)))
    quick = quickened(module, images(4, side=NARROW), torch.float32)
    for count in (1, 3, 4, 3):
        seen = images(count, side=NARROW, seed=count)
        with torch.no_grad():
            torch.testing.assert_close(quick.network(seen), module(seen), atol=1e-6, rtol=1e-5)


def test_taps_hear_what_they_hear_in_the_original():
    module, seen = made(Written), images(side=24)
    for names in (["stem", "pool"], ["norm"], ["conv", "deep", "last"]):
        quick = quickened(module, seen, torch.float32, names)
        heard = []
        for network in (module, quick.network):
            with torch.no_grad(), Taps(network, names) as taps:
                network(seen)
                heard.append(taps.take())
        for name in names:
            torch.testing.assert_close(heard[1][name], heard[0][name], atol=1e-5, rtol=1e-5)


def test_a_block_can_be_tapped_with_a_part_of_it():
    module = made(lambda: nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.Conv2d(4, 2, 3)))
    quick = quickened(module, images(side=9), torch.float32, ("0", "0.0"))
    with torch.no_grad(), Taps(quick.network, ("0", "0.0")) as taps:
        quick.network(images(side=9))
        heard = taps.take()
    assert torch.equal(heard["0"], heard["0.0"].relu())
    assert (heard["0.0"] < 0).any()


def test_the_original_stays_what_it_was():
    module = made(Written).train()
    before = digest_tensors({**dict(module.named_parameters()), **dict(module.named_buffers())})
    quickened(module, images(side=24), torch.bfloat16)
    assert digest_tensors({**dict(module.named_parameters()), **dict(module.named_buffers())}) == before
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert type(module.stem) is nn.Conv2d


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x) if x.mean() > 0 else -self.conv(x)


class Remembers(Branches):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.conv(x) * self.calls


@pytest.mark.parametrize("build", [Branches, Remembers, lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 3))])
def test_what_cannot_be_rewritten_or_says_otherwise_is_left_alone(build):
    assert quickened(made(build), images(), torch.float32) is None


def test_a_convolution_that_somebody_listens_to_is_left_to_him():
    module = made(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    module[0].register_forward_hook(lambda part, inputs, output: output - 1)
    expected, found = both(module, images(side=6))
    torch.testing.assert_close(found, expected)


def test_wider_networks_see_fewer_examples_at_once():
    sizes = [
        quickened(initialise(ConvNet(channels=(width, 2)), (1, 28, 28), 2, 0), images(), dtype).batch
        for width, dtype in [(4, torch.float32), (256, torch.float32), (256, torch.bfloat16), (4096, torch.float32)]
    ]
    assert sizes == [128, 8, 32, 8]

"""Taps: they hear what passes named parts of a network, change nothing in it, and refuse what would mislead."""

import copy
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from limbeck.errors import RecipeError
from limbeck.models import ConvNet, ResNet, Taps, initialise


class Block(nn.Module):
    """As in torchvision: one in-place ReLU for two places, and a sum in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class Odd(nn.Module):
    """Parts that give tuples, lists and dictionaries, run twice, run never, or fail."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.never = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.recurrent = nn.LSTM(6, 5, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.listing, self.naming, self.nothing = Giving(list), Giving(lambda x: {"x": x[0]}), Giving(lambda x: ())
        self.head = nn.Linear(6, 3)
        self.fails = False

    def forward(self, x):
        hidden = self.twice(self.twice(self.first(x)))
        hidden = hidden + self.attention(hidden[:, None], hidden[:, None], hidden[:, None])[0][:, 0]
        self.recurrent(hidden[:, None])
        for part in (self.listing, self.naming, self.nothing):
            part(hidden)
        if self.fails:
            raise KeyError("the forward failed")
        return self.head(hidden)


class Giving(nn.Module):
    def __init__(self, dress):
        super().__init__()
        self.dress = dress

    def forward(self, x):
        return self.dress((x, x))


def made(factory):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory().eval()


def images(count=4, channels=3):
    return torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def hooks_of(network):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return [(name, kind) for name, part in network.named_modules() for kind in kinds if getattr(part, kind)]


# --- what they hear --------------------------------------------------------------------------------------------------


def test_parts_of_an_unmodified_network_are_heard():
    network, inputs = initialise(ConvNet(channels=(4, 8)), (1, 8, 8), 3, seed=0), images(channels=1)
    with Taps(network, ["conv2", "conv1", "conv2"]) as taps:
        logits = network(inputs)
        features = taps.take()
    assert list(features) == ["conv2", "conv1"], "each once, in the order asked for"
    assert torch.equal(logits, network(inputs))
    assert torch.equal(features["conv1"], network.conv1(inputs))
    before = network.pool1(network.leaky_relu1(network.conv1(inputs)))
    assert torch.equal(features["conv2"], network.conv2(before))


def test_nested_parts_go_by_their_whole_name():
    network = initialise(ResNet(name="resnet8x4"), (3, 8, 8), 3, seed=0)
    names = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    assert any("." in name for name in names)
    with Taps(network, names) as taps:
        network(images())
        assert all(tensor.ndim == 4 and len(tensor) == 4 for tensor in taps.take().values())


def test_each_pass_is_taken_by_itself():
    network, (one, other) = made(lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))), torch.randn(2, 5, 4)
    with Taps(network, ["0"]) as taps:
        for inputs in (one, other):
            network(inputs)
            assert torch.equal(taps.take()["0"], nn.functional.linear(inputs, *network[0].parameters()))
        with pytest.raises(RecipeError, match="did not run"):
            taps.take()


@pytest.mark.parametrize(("name", "shape"), [("recurrent", (5, 1, 5)), ("attention", (5, 1, 6))])
def test_the_first_of_a_tuple_is_what_a_part_gives(name, shape):
    network = made(Odd)
    with Taps(network, [name]) as taps:
        network(torch.randn(5, 4))
        assert taps.take()[name].shape == shape


def test_features_carry_gradient_to_what_came_before_them():
    network = made(Block).train()
    with Taps(network, ["conv2"]) as taps:
        network(images())
        taps.take()["conv2"].square().sum().backward()
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert reached == {"conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "conv2.weight", "conv2.bias"}


def test_a_hook_of_the_users_is_heard_too():
    network = made(lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    network[0].register_forward_hook(lambda part, inputs, output: 2 * output)
    inputs = torch.randn(5, 4)
    with Taps(network, ["0"]) as taps:
        network(inputs)
        assert torch.equal(taps.take()["0"], network[0](inputs))
    assert len(network[0]._forward_hooks) == 1


@pytest.mark.parametrize("name", ["conv1", "bn1", "bn2"])
def test_inference_tensors_are_heard_as_their_part_gave_them(name):
    """They keep no count of what overwrites them."""
    network = made(Block)
    inputs, expected = images(), {}
    part = network.get_submodule(name)
    hook = part.register_forward_hook(lambda part, inputs, output: expected.update(it=output.clone()))
    with torch.inference_mode():
        network(inputs)
        hook.remove()
        assert torch.equal(heard(network, [name], inputs)[name], expected["it"])


def test_no_names_are_no_taps():
    network = made(Odd)
    with Taps(network, []) as taps:
        network(torch.randn(5, 4))
        assert taps.take() == {}


# --- what they leave alone -------------------------------------------------------------------------------------------


def test_nothing_in_the_network_is_changed():
    network = made(Block)
    network.bn1.train()
    plain, inputs = copy.deepcopy(network), images()
    keys, modes = list(network.state_dict()), [part.training for part in network.modules()]
    with Taps(network, ["conv2"]) as taps:
        answers = network(inputs)
        answers.sum().backward()
        taps.take()
    expected = plain(inputs)
    expected.sum().backward()
    assert torch.equal(answers, expected)
    assert [part.training for part in network.modules()] == modes
    assert list(network.state_dict()) == keys
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert torch.equal(mine.grad, theirs.grad)
        assert mine.requires_grad


def test_the_hooks_are_gone_after_the_block():
    network = made(Block)
    with Taps(network, ["conv2", "bn2"]) as taps:
        assert {name for name, _ in hooks_of(network)} >= {"conv2", "bn2"}
        network(images())
    assert hooks_of(network) == []
    network(images())
    with pytest.raises(RecipeError, match="taken from while closed"):
        taps.take()


def test_the_hooks_are_gone_after_an_exception():
    network = made(Odd)
    network.fails = True
    with pytest.raises(KeyError), Taps(network, ["first"]):
        network(torch.randn(5, 4))
    assert hooks_of(network) == []


def test_a_pass_that_failed_is_forgotten_at_the_next():
    network, inputs = made(Odd), torch.randn(5, 4)
    with Taps(network, ["first"]) as taps:
        network.fails = True
        with pytest.raises(KeyError):
            network(torch.randn(5, 4))
        network.fails = False
        network(inputs)
        assert torch.equal(taps.take()["first"], network.first(inputs))


def test_a_network_that_computes_again_in_the_backward_pass_is_heard_once():
    """Gradient checkpointing runs its parts a second time, between two passes."""

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Sequential(nn.Linear(4, 6), nn.GELU()), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(checkpoint(self.body, x, use_reentrant=False))

    network = made(Checkpointed)
    with Taps(network, ["body.0"]) as taps:
        for _ in range(3):
            inputs = torch.randn(5, 4)
            answers = network(inputs)
            features = taps.take()["body.0"]
            torch.testing.assert_close(features, nn.functional.linear(inputs, *network.body[0].parameters()))
            (answers.sum() + features.sum()).backward()


# --- what they refuse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "near"), [("conv_2", "conv2"), ("leakyrelu1", "leaky_relu1"), ("heads", "head")])
def test_an_unknown_name_is_refused_with_the_nearest(name, near):
    network = initialise(ConvNet(), (1, 8, 8), 3, seed=0)
    with pytest.raises(RecipeError, match=f"{name}.*the student.*did you mean '{near}'") as caught:
        Taps(network, [name], "the student")
    assert "conv1, leaky_relu1, pool1, conv2, flatten, head" in caught.value.expected


@pytest.mark.parametrize("name", ["", "zzz"])
def test_a_name_like_no_other_is_refused_without_a_guess(name):
    with pytest.raises(RecipeError, match="is no part of") as caught:
        Taps(made(Odd), [name])
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("twice", "ran twice"),
        ("never", "did not run"),
        ("attention.out_proj", "did not run"),
        ("listing", "gave a list"),
        ("naming", "gave a dict"),
        ("nothing", "gave a tuple"),
    ],
)
def test_a_part_that_gives_no_one_tensor_is_refused_by_name(name, why):
    network = made(Odd)
    with pytest.raises(RecipeError, match=f"'{re.escape(name)}' of the teacher {why}"):
        heard(network, ["first", name], torch.randn(5, 4))
    assert hooks_of(network) == []


def heard(network, names, inputs):
    with Taps(network, names, "the teacher") as taps:
        network(inputs)
        return taps.take()


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("name", ["bn1", "bn2"])
def test_what_a_later_part_overwrote_is_refused_by_name(name, learning):
    network = made(Block)
    with torch.set_grad_enabled(learning), Taps(network, ["conv1", name], "the student") as taps:
        network(images())
        with pytest.raises(RecipeError, match=f"'{name}' of the student gave a tensor that a later part overwrote"):
            taps.take()


def test_the_part_that_overwrites_may_be_tapped():
    network = made(
        lambda: nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), act=nn.ReLU(inplace=True), head=nn.Flatten()))
    )
    with Taps(network, ["act"]) as taps:
        network(images())
        assert torch.equal(taps.take()["act"], network.conv(images()).relu())

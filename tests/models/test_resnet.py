import math

import pytest
import torch
from torch import nn

from limbeck.errors import RecipeError
from limbeck.models import ResNet, parameters

PUBLISHED_MILLIONS = {
    "resnet20": 0.278,
    "resnet32": 0.473,
    "resnet56": 0.862,
    "resnet110": 1.737,
    "resnet8x4": 1.233,
    "resnet32x4": 7.434,
}
"""Parameters for CIFAR-100, as RepDistiller and mdistiller have them."""


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_MILLIONS.items())
def test_as_many_parameters_as_published(name, millions):
    network = ResNet(name=name).build((3, 32, 32), 100)

    assert parameters(network) == pytest.approx(millions * 1e6, abs=600)  # the published digits, rounded or cut


def test_resnet20_parameters_by_hand():
    stem = 3 * 16 * 9 + 2 * 16
    stage1 = 3 * (2 * 16 * 16 * 9 + 4 * 16)
    stage2 = (16 * 32 * 9 + 32 * 32 * 9 + 4 * 32) + (16 * 32 + 2 * 32) + 2 * (2 * 32 * 32 * 9 + 4 * 32)
    stage3 = (32 * 64 * 9 + 64 * 64 * 9 + 4 * 64) + (32 * 64 + 2 * 64) + 2 * (2 * 64 * 64 * 9 + 4 * 64)
    head = 64 * 100 + 100

    assert parameters(ResNet(name="resnet20").build((3, 32, 32), 100)) == stem + stage1 + stage2 + stage3 + head


@pytest.mark.parametrize(("name", "depth"), [("resnet20", 20), ("resnet56", 56), ("resnet8x4", 8)])
def test_depth_counts_the_layers_with_weights_on_the_main_path(name, depth):
    layers = [
        part
        for path, part in ResNet(name=name).build((3, 32, 32), 10).named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear) and "downsample" not in path
    ]

    assert len(layers) == depth


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (3, 9, 17)])
def test_images_of_any_size(shape):
    assert ResNet(name="resnet8x4").build(shape, 10)(torch.zeros(2, *shape)).shape == (2, 10)


def test_each_stage_but_the_first_halves_the_image():
    network = ResNet(name="resnet20").build((3, 32, 32), 10)
    shapes = []
    for stage in (network.layer1, network.layer2, network.layer3):
        stage.register_forward_hook(lambda stage, inputs, output: shapes.append(tuple(output.shape[1:])))

    network(torch.zeros(2, 3, 32, 32))

    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_names_of_the_literature_so_that_published_weights_load():
    names = set(ResNet(name="resnet8x4").build((3, 32, 32), 100).state_dict())

    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.bn2.bias"} <= names
    assert {"layer1.0.downsample.0.weight", "layer3.0.downsample.1.weight", "fc.weight", "fc.bias"} <= names
    plain = ResNet(name="resnet20").build((3, 32, 32), 100).state_dict()
    assert not any(name.startswith("layer1.0.downsample") for name in plain)  # the shape stays: x itself


def test_convolutions_are_initialised_by_the_fan_out():
    weight = ResNet(name="resnet32x4").build((3, 32, 32), 100).get_parameter("layer3.0.conv1.weight")

    assert weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)


def test_small_images_are_refused():
    with pytest.raises(RecipeError, match=r"resnet20 got examples of shape \(1, 7, 8\)"):
        ResNet(name="resnet20").build((1, 7, 8), 10)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"resnet20, .*, not 'resnet18'"):
        ResNet(name="resnet18")

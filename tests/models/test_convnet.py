import pytest
import torch

from limbeck.errors import RecipeError
from limbeck.models import ConvNet, parameters


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32), (1, 9, 14), (1, 3, 3)])
def test_images_of_any_size(shape):
    assert ConvNet().build(shape, 10)(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize(("channels", "expected"), [((256, 512), 1_433_610), ((16, 32), 20_490)])
def test_as_many_parameters_as_the_keras_example_on_mnist(channels, expected):
    first, second = channels
    by_hand = (9 * first + first) + (9 * first * second + second) + (7 * 7 * second * 10 + 10)

    assert parameters(ConvNet(channels=channels).build((1, 28, 28), 10)) == by_hand == expected


def test_parts_in_order():
    network = ConvNet().build((1, 8, 8), 10)

    names = [name for name, _ in network.named_children()]
    assert names == ["conv1", "leaky_relu1", "pool1", "conv2", "flatten", "head"]
    assert network.get_submodule("leaky_relu1")(torch.tensor(-1.0)).item() == pytest.approx(-0.2)


@pytest.mark.parametrize("shape", [(64,), (28, 28), (1, 2, 28)])
def test_what_is_no_image_is_refused_in_words(shape):
    with pytest.raises(RecipeError, match=r"convnet got examples of shape .*\n.*3 x 3 pixels\n.*mlp"):
        ConvNet().build(shape, 10)


@pytest.mark.parametrize("channels", [(16,), (16, 32, 64), (0, 32)])
def test_other_than_two_channels_are_refused(channels):
    with pytest.raises(ValueError, match="channels must be two numbers"):
        ConvNet(channels=channels)

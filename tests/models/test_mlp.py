import pytest
import torch
from torch import nn

from limbeck.models import Mlp, parameters


def test_layers_in_order():
    network = Mlp(hidden=(5, 3), dropout=0.5).build((1, 2, 2), 10)

    names = [name for name, _ in network.named_children()]
    assert names == ["flatten", "linear1", "relu1", "dropout1", "linear2", "relu2", "dropout2", "head"]
    assert network(torch.zeros(7, 1, 2, 2)).shape == (7, 10)


def test_parameters_by_hand():
    network = Mlp(hidden=(800, 800)).build((1, 28, 28), 10)

    assert parameters(network) == (784 * 800 + 800) + (800 * 800 + 800) + (800 * 10 + 10)


def test_without_dropout_there_is_no_layer_for_it():
    network = Mlp(hidden=(4,)).build((3,), 2)

    assert not any(isinstance(part, nn.Dropout) for part in network.modules())


def test_without_hidden_layers_it_is_linear():
    network = Mlp(hidden=()).build((64,), 10)
    a, b = torch.randn(2, 5, 64)

    torch.testing.assert_close(network(a + b) + network(torch.zeros(5, 64)), network(a) + network(b))


@pytest.mark.parametrize("fields", [{"hidden": (8, 0)}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Mlp(**fields)

import copy

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.conversion.convert import running
from limbeck.conversion.fake_quantised import FakeQuantised
from limbeck.conversion.quantised import to_quantised_onnx
from networks import network_of, samples, seeded


def with_outlier(factor):
    """Layers of which one unit is `factor` times as large as the others, and answers as if it were not."""
    network = seeded(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)))
    with torch.no_grad():
        network[0].weight[3] *= factor
        network[0].bias[3] *= factor
        network[2].weight[:, 3] /= factor
    return network.eval()


def ask(network, inputs):
    with torch.no_grad():
        return network(inputs)


def test_inputs_and_weights_lie_where_int8_has_values():
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.5], [0.01, -127.0]]))
    network = FakeQuantised(layer, torch.tensor([[0.0, 255.0], [0.0, 0.0]]))
    # Steps of 1 for inputs, of 1/127 and 1 for the weights of the two outputs: 0.5 is 63.5 steps, to the even 64.
    answers = ask(network, torch.tensor([[3.4, 2.6], [-5.0, 300.0]]))
    expected = [[3 + 3 * 64 / 127, -3 * 127], [255 * 64 / 127, -255 * 127]]
    np.testing.assert_allclose(answers.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["convnet", "depthwise", "textcnn"])
def test_the_int8_file_answers_as_the_copy_does(name):
    network, inputs = network_of(name)
    fake = FakeQuantised(network, inputs)
    assert_alike(fake, inputs)


def assert_alike(fake, inputs):
    converted = to_quantised_onnx(fake.plain(), inputs, {})
    expected = ask(fake, inputs).numpy()
    with running("onnx-int8", converted.data) as answer:
        np.testing.assert_allclose(answer(inputs.numpy()), expected, atol=0.02 * np.ptp(expected))


def test_where_one_value_makes_all_others_coarse_the_range_is_cut_and_the_file_cuts_it_too():
    network, inputs = with_outlier(200.0), samples(6, count=64)
    fake = FakeQuantised(network, inputs)
    largest = float(ask(network[:2], inputs).max())
    second = fake.network.get_submodule("2")
    assert 0 < float(second.range[1]) < 0.5 * largest
    assert_alike(fake, inputs)


def test_the_network_stays_as_it_was():
    network, inputs = network_of("depthwise")
    before, mode = copy.deepcopy(network.state_dict()), network.training
    FakeQuantised(network, inputs).plain()
    assert network.training == mode
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_it_is_trained_without_moving_statistics_or_dropping_anything():
    network = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4)))
    fake = FakeQuantised(network, samples(6)).train()
    before = fake.network[1].running_mean.clone()
    first, again = fake(samples(6)), fake(samples(6))
    assert torch.equal(first, again)
    assert torch.equal(fake.network[1].running_mean, before)
    first.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in fake.parameters())


def test_a_layer_that_stands_in_two_places_stays_one():
    layer = seeded(lambda: nn.Linear(6, 6))
    network = nn.Sequential(layer, nn.Hardtanh(-9, 9), layer, nn.Linear(6, 3))
    with torch.no_grad():
        layer.weight *= 20
    fake = FakeQuantised(network, samples(6))
    assert fake.network[0] is fake.network[2]
    assert fake.network[0].range[1] > 2 > samples(6).max()
    assert len(list(fake.parameters())) == 4
    plain = fake.plain()
    assert plain[0].layer.weight is plain[2].layer.weight

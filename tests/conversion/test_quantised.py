import os
from functools import cache

import numpy as np
import onnx
import onnxruntime
import onnxruntime.quantization
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from limbeck.conversion import quantised
from limbeck.conversion.quantised import saturates, to_quantised_onnx
from limbeck.errors import RecipeError
from networks import CATALOGUE, DEEP, USERS, Depthwise, Forward, network_of, samples, seeded

METADATA = {"classes": '["eins", "zwei"]', "licence": "null"}


@cache
def converted(name):
    return to_quantised_onnx(*network_of(name), METADATA)


def answers(data, inputs):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"inputs": inputs.numpy()})[0]


def agreement(network, data, inputs):
    with torch.no_grad():
        own = network.eval()(inputs).numpy()
    return (answers(data, inputs).argmax(axis=1) == own.argmax(axis=1)).mean()


@pytest.mark.parametrize("name", [*CATALOGUE, *USERS, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEP)])
def test_a_file_answers_much_like_its_network_for_batches_of_any_size(name):
    network, inputs = network_of(name)
    network.eval()

    for size in (1, 2, 3, 7, 64):
        batch = inputs.repeat(8, *[1] * (inputs.ndim - 1))[:size]
        with torch.no_grad():
            expected = network(batch).numpy()
        logits = answers(converted(name).data, batch)
        assert (logits.dtype, logits.shape) == (np.float32, expected.shape)
        np.testing.assert_allclose(logits, expected, atol=0.03 * np.ptp(expected))
    assert 0 < converted(name).facts["difference"] < 0.03


@pytest.mark.parametrize("name", [*CATALOGUE, *USERS])
def test_it_is_one_file_of_standard_operators_with_our_metadata_alone(name):
    model = onnx.load_model_from_string(converted(name).data)

    onnx.checker.check_model(model, full_check=True)
    assert not any(each.external_data or each.data_location for each in model.graph.initializer)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
    assert {node.domain for node in model.graph.node} == {""}
    assert {each.key: each.value for each in model.metadata_props} == METADATA
    assert [each.type.tensor_type.shape.dim[0].dim_param for each in model.graph.input] == ["batch"]


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("mlp", {"Gemm": 2}),
        ("convnet", {"Conv": 2, "Gemm": 1}),
        ("resnet20", {"Conv": 21, "Gemm": 1}),  # 19 of the main path, and 2 of shortcuts
        ("textcnn", {"Gather": 1, "Conv": 2, "Gemm": 1}),
        ("depthwise", {"Conv": 2, "Gemm": 1}),
        ("gru", {"Gemm": 1}),
    ],
)
def test_all_operators_with_weights_take_8_bits(name, operators):
    assert converted(name).facts["quantised"] == operators


def test_weights_have_8_bits_and_a_scale_for_each_channel():
    model = onnx.load_model_from_string(converted("depthwise").data)
    held = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}

    for node in (node for node in model.graph.node if node.op_type == "Conv"):
        weights, scale, zero = (held[name] for name in makers[node.input[1]].input)
        assert weights.dtype == np.int8
        assert len(scale) == len(weights) == 16
        assert not zero.any()
        assert np.abs(weights.astype(int)).reshape(16, -1).max(axis=1).tolist() == [127] * 16
    kinds = {held[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert kinds == {np.dtype(np.uint8)}


def test_logits_are_not_rounded_to_256_steps():
    model = onnx.load_model_from_string(converted("mlp").data)
    (last,) = (node for node in model.graph.node if "logits" in node.output)

    assert last.op_type == "Gemm"
    inputs = samples(1, 8, 8, count=400)
    assert len(np.unique(answers(converted("mlp").data, 9 * inputs))) > 1000


def uneven():
    """Four of its filters are 300 times as large as the others; ReLU6 cuts off what they give, the head ignores it."""
    network = Depthwise()
    with torch.no_grad():
        network[3].weight.mul_(8)
        network[3].weight[:4].mul_(300)
        network[-1].weight[:, :4] = 0
    return network.eval()


def test_filters_of_very_different_size_survive_by_channel_where_they_collapse_by_tensor(monkeypatch):
    inputs = samples(3, 12, 12, count=300) * samples(3, 1, 1, count=300)
    network = seeded(uneven)
    with torch.no_grad():  # so that the first choices vary
        network[-1].bias.sub_(network(inputs).mean(dim=0))
    by_channel = to_quantised_onnx(network, inputs[:100], {})

    quantize = onnxruntime.quantization.quantize_static

    def by_tensor(*arguments, per_channel, **options):
        return quantize(*arguments, per_channel=False, **options)

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", by_tensor)
    assert agreement(network, by_channel.data, inputs[100:]) >= 0.85
    assert agreement(network, to_quantised_onnx(network, inputs[:100], {}).data, inputs[100:]) < 0.5


def test_every_sample_calibrates():
    network = nn.Sequential(nn.Linear(6, 4))
    inputs = samples(6, count=70)
    inputs[69, 0] = 50.0
    model = onnx.load_model_from_string(to_quantised_onnx(network, inputs, {}).data)
    held = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}

    (first,) = (node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "inputs")
    assert held[first.input[1]] == pytest.approx(50.0 / 255)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx2"}, True),
        ("AMD64", set(), True),
        ("x86_64", {"avx512f", "avx512_vnni"}, False),
        ("x86_64", {"avx_vnni"}, False),
        ("aarch64", {"asimddp"}, False),
    ],
)
def test_weights_have_7_bits_where_8_would_saturate(machine, flags, expected, monkeypatch):
    monkeypatch.setattr(quantised, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr("platform.machine", lambda: machine)

    assert saturates() == expected
    if machine == "x86_64":
        made = to_quantised_onnx(nn.Sequential(nn.Linear(6, 4)), samples(6), {})
        weights = next(
            numpy_helper.to_array(each)
            for each in onnx.load_model_from_string(made.data).graph.initializer
            if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 2
        )
        assert np.abs(weights.astype(int)).max() == (64 if expected else 127)
        assert made.facts["calibration"]["reduce_range"] == expected


def test_nothing_is_printed_and_nothing_is_written_where_one_stands(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    to_quantised_onnx(Forward(lambda linear, x: linear(x)), samples(6), {})

    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_a_network_that_takes_one_example_at_a_time_is_calibrated_so():
    made = to_quantised_onnx(Forward(lambda linear, x: torch.stack([linear(row) for row in x])), samples(6), {})

    assert made.facts["batch"] == 1
    assert (made.facts["calibration"]["method"], made.facts["calibration"]["examples"]) == ("MinMax", 9)


def test_a_network_without_weights_to_quantise_is_refused_in_words():
    with pytest.raises(RecipeError, match="cannot be quantised: it has no Conv"):
        to_quantised_onnx(Forward(lambda linear, x: x[:, :4] * linear.bias), samples(6), {})

import io
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from limbeck.conversion.onnx import strip, to_onnx
from limbeck.errors import RecipeError
from limbeck.models import MODELS
from networks import CATALOGUE, DEEP, USERS, Forward, network_of, samples

METADATA = {"classes": '["eins", "zwei"]', "licence": "null"}


def session(converted):
    return onnxruntime.InferenceSession(converted.data, providers=["CPUExecutionProvider"])


def answers(converted, inputs):
    return session(converted).run(["logits"], {"inputs": inputs.numpy()})[0]


@pytest.fixture(scope="module")
def depthwise():
    network, inputs = network_of("depthwise")
    return to_onnx(network, inputs, METADATA)


def test_the_catalogue_is_covered():
    assert {*CATALOGUE, *DEEP} == set(MODELS)


@pytest.mark.parametrize("name", [*CATALOGUE, *USERS, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEP)])
def test_a_file_answers_like_its_network_for_batches_of_any_size(name):
    network, inputs = network_of(name)
    converted = to_onnx(network, inputs, METADATA)

    network.eval()
    for size in (1, 2, 3, 7, 64):
        batch = inputs.repeat(8, *[1] * (inputs.ndim - 1))[:size]
        with torch.no_grad():
            expected = network(batch).numpy()
        logits = answers(converted, batch)
        assert logits.dtype == np.float32
        assert logits.shape == expected.shape
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.ptp(expected))
    assert converted.facts["batch"] == "dynamic"
    assert converted.facts["difference"] <= 1e-4


def test_it_is_one_file_of_standard_operators_that_the_checker_passes(depthwise):
    model = onnx.load_model_from_string(depthwise.data)

    onnx.checker.check_model(model, full_check=True)
    assert not any(each.external_data or each.data_location for each in model.graph.initializer)
    assert [each.domain for each in model.opset_import] == [""]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def test_the_metadata_is_inside_and_nothing_else_is(depthwise):
    model = onnx.load_model_from_string(depthwise.data)

    assert {each.key: each.value for each in model.metadata_props} == METADATA
    assert session(depthwise).get_modelmeta().custom_metadata_map == METADATA
    parts = [model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]
    assert not any(each.metadata_props or each.doc_string for each in parts)


def test_no_path_and_no_line_of_source_is_in_the_bytes(depthwise):
    here = Path(__file__)
    for path in (Path.home(), Path(torch.__file__).parent, here.parent, Path.cwd()):
        assert str(path).encode() not in depthwise.data
    for trace in (b"site-packages", b".py", b"forward", b"torch.nn", b"Depthwise"):
        assert trace not in depthwise.data


def test_the_batch_is_named_and_open(depthwise):
    (given,), (answered,) = session(depthwise).get_inputs(), session(depthwise).get_outputs()

    assert (given.name, given.type, given.shape) == ("inputs", "tensor(float)", ["batch", 3, 12, 12])
    assert (answered.name, answered.type, answered.shape) == ("logits", "tensor(float)", ["batch", 4])


@pytest.mark.parametrize("opset", [18, 20, 21])
def test_the_opset_is_the_one_asked_for(opset):
    converted = to_onnx(Forward(lambda linear, x: linear(x)), samples(6), {}, opset=opset)

    assert [each.version for each in onnx.load_model_from_string(converted.data).opset_import] == [opset]
    assert converted.facts["opset"] == opset


def test_an_opset_that_torch_silently_replaces_is_an_error():
    with pytest.raises(RecipeError, match="where opset 17 was asked for"):
        to_onnx(Forward(lambda linear, x: nn.functional.mish(linear(x))), samples(6), {}, opset=17)


def test_nothing_is_printed_and_nothing_is_written_where_one_stands(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    to_onnx(Forward(lambda linear, x: linear(x)), samples(6), {})

    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_the_network_stays_as_it_was():
    network, inputs = network_of("mlp")
    before = io.BytesIO()
    torch.save(network.state_dict(), before)

    to_onnx(network.train(), inputs, {})

    after = io.BytesIO()
    torch.save(network.state_dict(), after)
    assert after.getvalue() == before.getvalue()
    assert all(part.training for part in network.modules())
    assert all(each.requires_grad for each in network.parameters())


def test_weights_make_nearly_all_of_a_large_file():
    network = nn.Linear(600, 500)
    converted = to_onnx(network, samples(600), METADATA)

    weights = 4 * (600 * 500 + 500)
    assert weights < len(converted.data) < 1.01 * weights


def test_notes_are_stripped_from_branches_too():
    inner = helper.make_graph([helper.make_node("Neg", ["x"], ["y"], doc_string="File /home")], "inner", [], [])
    inner.node[0].metadata_props.add(key="trace", value="File /home")
    outer = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    value = helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, ["s7"])
    model = helper.make_model(helper.make_graph([outer], "outer", [value], [value]))
    strip(model)

    assert b"/home" not in model.SerializeToString()
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


# --- a batch that is not open ----------------------------------------------------------------------------------------


def test_a_network_that_walks_its_batch_is_written_for_one_example_and_says_what_barred_more():
    network = Forward(lambda linear, x: torch.stack([linear(row) for row in x]))
    converted = to_onnx(network, samples(6), {})

    assert session(converted).get_inputs()[0].shape == [1, 6]
    assert converted.facts["batch"] == 1
    assert converted.facts["why_not_dynamic"] == "its code takes a batch of one size alone (aten.tensor_split)"


def test_a_batch_fixed_by_a_shape_in_the_code_is_named():
    with pytest.raises(RecipeError, match=r"one size alone \(aten\.(view|reshape)\)"):
        to_onnx(Forward(lambda linear, x: linear(x).reshape(2, 4)), samples(6), {})


# --- networks that cannot be delivered -------------------------------------------------------------------------------


def counting(linear, x):
    linear.bias.data.add_(1)
    return linear(x)


REFUSED = {
    "a tuple": (lambda linear, x: (linear(x),), "tuple"),
    "numbers without classes": (lambda linear, x: linear(x)[:, 0], r"shape \[2\]"),
    "whole numbers": (lambda linear, x: linear(x).long(), "int64"),
    "double precision": (lambda linear, x: linear(x).double(), "float64"),
    "not finite": (lambda linear, x: linear(x) / 0, "not finite"),
    "at random": (lambda linear, x: nn.functional.dropout(linear(x)), "otherwise the second time"),
    "another shape": (lambda linear, x: linear(x[:, :3]), r"fails .*\[2, 6\]"),
    "no operator": (lambda linear, x: linear(x) + torch.linalg.svd(linear(x))[2][:1], "aten._linalg_svd"),
    "a choice by numbers": (lambda linear, x: linear(x) if x.sum() > 0 else -linear(x), "a number that it computed"),
    "rows left out": (lambda linear, x: linear(x[x.sum(dim=1) > 0]), "number of its answers"),
    "no rows for one": (lambda linear, x: linear(x).squeeze(), "number of its answers|makes float32"),
    "its own weights": (counting, "second time"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_delivered_is_refused_in_words(name):
    forward, why = REFUSED[name]
    with pytest.raises(RecipeError, match=why) as raised:
        to_onnx(Forward(forward), samples(6), {})
    assert "Traceback" not in str(raised.value)
    assert "\x1b" not in str(raised.value)


def test_more_weights_than_one_file_holds_are_refused_before_they_are_copied():
    network = nn.Linear(6, 4)
    network.register_buffer("large", torch.zeros(1).expand(400_000_000))
    with pytest.raises(RecipeError, match="1,600,000,112 bytes of weights"):
        to_onnx(network, samples(6), {})


# --- networks in states of their own ---------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()))


class Buffered(nn.Module):
    """With buffers of float64 and int64."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("scale", torch.full((6,), 0.5, dtype=torch.float64))
        self.register_buffer("order", torch.arange(5, -1, -1))

    def forward(self, x):
        return self.linear(x[:, self.order] * self.scale.to(x.dtype))


@pytest.mark.parametrize("make", [Tied, Buffered])
def test_tied_weights_and_buffers_of_other_types_come_along(make):
    network, inputs = make(), samples(6)
    converted = to_onnx(network, inputs, {})

    np.testing.assert_allclose(answers(converted, inputs), network(inputs).detach().numpy(), atol=1e-6)


def test_weights_that_are_tied_are_written_once():
    network = Tied()
    network.first = nn.Linear(6, 6)
    network.second.weight = network.first.weight
    names = [each.name for each in onnx.load_model_from_string(to_onnx(network, samples(6), {}).data).graph.initializer]

    assert len([name for name in names if name.endswith("weight")]) == 2


def test_a_network_in_double_precision_is_written_in_single():
    network, inputs = nn.Linear(6, 4).double(), samples(6)
    converted = to_onnx(network, inputs, {})

    np.testing.assert_allclose(answers(converted, inputs), network(inputs.double()).detach().numpy(), atol=1e-6)
    assert network.weight.dtype == torch.float64

"""The file of a bundle answers as its network does, whatever runs it, and opens no other file."""

import io
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from limbeck.errors import DataError, MissingError
from limbeck.runtime import Session, runner


def model(*, location=None, op="MatMul", domain=""):
    """logits = inputs @ w, of [N, 3] to [N, 2]; w in the file, or at a location."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], np.arange(6.0))
    if location is not None:
        weights.ClearField("float_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", str(location)
    graph = helper.make_graph(
        [helper.make_node(op, ["inputs", "w"], ["logits"], domain=domain)],
        "graph",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_onnx_file_answers_what_its_operators_compute(tmp_path, count):
    onnx.save(model(), tmp_path / "model.onnx")
    inputs = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    answers = runner("onnx", tmp_path / "model.onnx", 1)(inputs)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, inputs @ np.arange(6.0).reshape(3, 2), rtol=1e-5)


def test_a_program_of_torch_answers_as_its_network_and_leaves_the_threads_alone(tmp_path):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    batch = torch.export.Dim("batch")
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.zeros(2, 3),), dynamic_shapes=({0: batch},)), buffer)
    (tmp_path / "model.pt2").write_bytes(buffer.getvalue())
    inputs = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    threads = torch.get_num_threads()
    answers = runner("torch-export", tmp_path / "model.pt2", threads + 1)(inputs)
    assert torch.get_num_threads() == threads
    with torch.no_grad():
        np.testing.assert_allclose(answers, network(torch.from_numpy(inputs)).numpy(), rtol=1e-6)


@pytest.mark.parametrize("way", ["name", "absolute", "above"])
def test_a_model_that_names_another_file_does_not_have_it_opened(tmp_path, monkeypatch, way):
    secret = tmp_path / "folder" / "secret.bin"
    secret.parent.mkdir()
    secret.write_bytes(np.ones(6, np.float32).tobytes())
    monkeypatch.chdir(secret.parent)
    where = {"name": "secret.bin", "absolute": secret, "above": "../folder/secret.bin"}[way]
    path = secret.parent / "model.onnx"
    path.write_bytes(model(location=where).SerializeToString())
    with pytest.raises(DataError, match="cannot be run by ONNX Runtime"):
        Session(path, threads=1)


@pytest.mark.parametrize(("op", "domain"), [("Strange", "of.strangers"), ("EPContext", "com.microsoft")])
def test_operators_of_strangers_are_refused(tmp_path, op, domain):
    path = tmp_path / "model.onnx"
    path.write_bytes(model(op=op, domain=domain).SerializeToString())
    with pytest.raises(DataError, match="cannot be run by ONNX Runtime"):
        Session(path, threads=1)


def test_without_onnxruntime_the_command_is_named(tmp_path, monkeypatch):
    onnx.save(model(), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingError, match="pip install onnxruntime"):
        runner("onnx", tmp_path / "model.onnx", 1)

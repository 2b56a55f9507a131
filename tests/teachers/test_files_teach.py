"""A run whose teacher lies in a file of any kind hears what it heard from the folder that the file was made of."""

import shutil

import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from limbeck.teachers import load_model
from running import run_tree, students, tree

pytestmark = pytest.mark.usefixtures("unsynced")


def weights(module, folder, path):
    shutil.copy(folder / "model.safetensors", path)
    return {"kind": "weights", "model": {"name": "mlp", "hidden": [16]}}


def program(module, folder, path):
    sizes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(module, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=sizes), path)
    return {"kind": "program"}


def onnx(module, folder, path):
    state = module.state_dict()
    tensors = [numpy_helper.from_array(value.numpy(), name) for name, value in state.items()]
    hidden, head = (name.removesuffix(".weight") for name in state if name.endswith(".weight"))
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", f"{hidden}.weight", f"{hidden}.bias"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", f"{head}.weight", f"{head}.bias"], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "graph", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return {"kind": "onnx", "gives": "logits"}


@pytest.mark.parametrize(("made", "ending"), [(weights, "safetensors"), (program, "pt2"), (onnx, "onnx")])
def test_a_run_hears_the_same_from_a_file(tmp_path, npz, finished, made, ending):
    folder, path = finished / "teacher", tmp_path / f"teacher.{ending}"
    spec = made(load_model(folder).module, folder, path)
    heard = run_tree(tree(npz, tmp_path / "a", teacher={"kind": "saved", "path": str(folder)}))
    mine = run_tree(tree(npz, tmp_path / "b", teacher={**spec, "path": str(path)}))
    assert mine["teacher"]["parameters"] == 64 * 16 + 16 + 16 * 3 + 3
    for arm, fits in heard["arms"].items():
        for one, other in zip(mine["arms"][arm], fits, strict=True):
            assert one["nll"] == pytest.approx(other["nll"], rel=1e-3)
    if made is weights:
        assert students(mine) == students(heard)

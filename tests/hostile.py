"""Files that a stranger might send: each builder writes one into a folder, and says with what words it is refused.

What would run code makes the file `canary` in that folder.
"""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save

Hostile = tuple[Path, str]
Builder = Callable[[Path], Hostile]


class Canary:
    """A pickle that makes a file when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder / "canary"),)


# --- safetensors -----------------------------------------------------------------------------------------------------


def safetensors(path: Path, header: object, body: bytes = b"", length: int | None = None) -> Path:
    """The format by hand: the header's length, the header, the tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def weights_that_are_a_pickle(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "it is a pickle"


def weights_that_are_a_torch_file(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    torch.save({"w": Canary(folder)}, path)
    return path, "it is a zip archive"


def weights_named_pt(folder: Path) -> Hostile:
    path = folder / "w.pt"
    torch.save({"w": Canary(folder)}, path)
    return path, "weights_only=True"


def weights_named_pth_in_capitals(folder: Path) -> Hostile:
    path = folder / "w.PTH"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "is a pickle by its name"


def weights_named_bin(folder: Path) -> Hostile:
    path = folder / "pytorch_model.bin"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "is a pickle by its name"


def weights_whose_header_is_longer_than_the_file(folder: Path) -> Hostile:
    return safetensors(folder / "w.safetensors", {}, length=2**62), "its header would have 4,611,686,018,427,387,904"


def weights_whose_header_is_a_bomb(folder: Path) -> Hostile:
    many = b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(400_000)) + b"}"
    return safetensors(folder / "w.safetensors", many), "its header would have"


def weights_whose_header_is_nested(folder: Path) -> Hostile:
    return safetensors(folder / "w.safetensors", b"[" * 100_000), "its header is no JSON"


def weights_that_declare_an_absurd_size(folder: Path) -> Hostile:
    path = safetensors(folder / "w.safetensors", {"w": entry([2**40], 0, 2**42)}, bytes(16))
    return path, "not a readable safetensors file"


def weights_whose_shape_overflows(folder: Path) -> Hostile:
    path = safetensors(folder / "w.safetensors", {"w": entry([2**32, 2**32, 4], 0, 16)}, bytes(16))
    return path, "not a readable safetensors file"


def weights_that_overlap(folder: Path) -> Hostile:
    header = {"a": entry([4], 0, 16), "b": entry([4], 8, 24)}
    return safetensors(folder / "w.safetensors", header, bytes(24)), "not a readable safetensors file"


def weights_with_a_hole(folder: Path) -> Hostile:
    header = {"a": entry([1], 0, 4), "b": entry([1], 8, 12)}
    return safetensors(folder / "w.safetensors", header, bytes(12)), "not a readable safetensors file"


def weights_of_an_unknown_type(folder: Path) -> Hostile:
    header = {"w": entry([4], 0, 16, "PYOBJECT")}
    return safetensors(folder / "w.safetensors", header, bytes(16)), "not a readable safetensors file"


def weights_that_are_cut_short(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.write_bytes(save({"w": torch.ones(100)})[:-7])
    return path, "not a readable safetensors file"


def weights_that_are_empty(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.touch()
    return path, "has 0 bytes"


def weights_that_are_a_pipe(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    os.mkfifo(path)
    return path, "a device or a pipe"


def weights_that_never_end(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.symlink_to("/dev/zero")
    return path, "a device or a pipe"


WEIGHTS: tuple[Builder, ...] = (
    weights_that_are_a_pickle,
    weights_that_are_a_torch_file,
    weights_named_pt,
    weights_named_pth_in_capitals,
    weights_named_bin,
    weights_whose_header_is_longer_than_the_file,
    weights_whose_header_is_a_bomb,
    weights_whose_header_is_nested,
    weights_that_declare_an_absurd_size,
    weights_whose_shape_overflows,
    weights_that_overlap,
    weights_with_a_hole,
    weights_of_an_unknown_type,
    weights_that_are_cut_short,
    weights_that_are_empty,
    weights_that_are_a_pipe,
    weights_that_never_end,
)


# --- ONNX ------------------------------------------------------------------------------------------------------------


def onnx_graph(nodes: list[Any], tensors: list[Any], **options: Any) -> Any:
    """A graph from x [N, 1, 4, 4] to y [N, 3]."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    return helper.make_graph(nodes, "graph", [x], [y], tensors, **options)


def onnx_linear(extra: list[Any] | None = None, last: str = "y") -> tuple[list[Any], list[Any]]:
    """Nodes and tensors of y = flatten(x) w; `extra` nodes come after."""
    weights = numpy_helper.from_array(np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], [last])]
    return nodes + (extra or []), [weights]


def onnx_file(folder: Path, nodes: list[Any], tensors: list[Any], domains: tuple[str, ...] = (), **more: Any) -> Path:
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(onnx_graph(nodes, tensors), opset_imports=opsets, ir_version=10, **more)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def outside(name: str, location: str, numbers: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[numbers], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def onnx_with_data_up_the_tree(folder: Path) -> Hostile:
    nodes, tensors = onnx_linear([helper.make_node("Add", ["z", "e"], ["y"])], last="z")
    return onnx_file(folder, nodes, [*tensors, outside("e", "../../../etc/passwd", 3)]), "outside itself, in '../"


def onnx_with_data_at_an_absolute_path(folder: Path) -> Hostile:
    nodes, tensors = onnx_linear([helper.make_node("Add", ["z", "e"], ["y"])], last="z")
    return onnx_file(folder, nodes, [*tensors, outside("e", "/etc/passwd", 3)]), "keeps e outside itself"


def onnx_with_data_through_a_link(folder: Path) -> Hostile:
    (folder / "beside.bin").symlink_to("/etc/passwd")
    nodes, tensors = onnx_linear([helper.make_node("Add", ["z", "e"], ["y"])], last="z")
    return onnx_file(folder, nodes, [*tensors, outside("e", "beside.bin", 3)]), "keeps e outside itself"


def onnx_with_data_outside_in_an_attribute(folder: Path) -> Hostile:
    constant = helper.make_node("Constant", [], ["e"], value=outside("hidden", "/etc/passwd", 3))
    nodes, tensors = onnx_linear([constant, helper.make_node("Add", ["z", "e"], ["y"])], last="z")
    return onnx_file(folder, nodes, tensors), "keeps hidden outside itself"


def onnx_with_data_outside_in_a_branch(folder: Path) -> Hostile:
    constant = helper.make_node("Constant", [], ["b"], value=outside("deep", "/etc/passwd", 3))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, [3])])
    condition = numpy_helper.from_array(np.array(True), "c")
    choice = helper.make_node("If", ["c"], ["e"], then_branch=branch, else_branch=branch)
    nodes, tensors = onnx_linear([choice, helper.make_node("Add", ["z", "e"], ["y"])], last="z")
    return onnx_file(folder, nodes, [*tensors, condition]), "keeps deep outside itself"


def onnx_with_data_outside_in_a_function(folder: Path) -> Hostile:
    constant = helper.make_node("Constant", [], ["e"], value=outside("inner", "/etc/passwd", 3))
    add = helper.make_node("Add", ["i", "e"], ["o"])
    function = helper.make_function("own", "Shift", ["i"], ["o"], [constant, add], [helper.make_opsetid("", 20)])
    nodes, tensors = onnx_linear([helper.make_node("Shift", ["z"], ["y"], domain="own")], last="z")
    return onnx_file(folder, nodes, tensors, ("own",), functions=[function]), "keeps inner outside itself"


def onnx_with_data_outside_in_a_sparse_tensor(folder: Path) -> Hostile:
    places = numpy_helper.from_array(np.arange(3), "p")
    sparse = helper.make_sparse_tensor(outside("sparse", "/etc/passwd", 3), places, [3])
    constant = helper.make_node("Constant", [], ["e"], sparse_value=sparse)
    nodes, tensors = onnx_linear([constant, helper.make_node("Add", ["z", "e"], ["y"])], last="z")
    return onnx_file(folder, nodes, tensors), "keeps sparse outside itself"


def onnx_with_a_strangers_operator(folder: Path) -> Hostile:
    nodes, tensors = onnx_linear([helper.make_node("PyOp", ["z"], ["y"], domain="ai.onnx.contrib")], last="z")
    return onnx_file(folder, nodes, tensors, ("ai.onnx.contrib",)), "the operator ai.onnx.contrib.PyOp"


def onnx_that_reads_a_context(folder: Path) -> Hostile:
    node = helper.make_node(
        "EPContext", ["z"], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="/etc/passwd", main_context=1
    )
    nodes, tensors = onnx_linear([node], last="z")
    return onnx_file(folder, nodes, tensors, ("com.microsoft",)), "the operator com.microsoft.EPContext"


def onnx_that_draws_at_random(folder: Path) -> Hostile:
    noise = helper.make_node("RandomNormalLike", ["z"], ["r"])
    nodes, tensors = onnx_linear([noise, helper.make_node("Add", ["z", "r"], ["y"])], last="z")
    return onnx_file(folder, nodes, tensors), "RandomNormalLike, which draws at random"


def onnx_that_makes_an_absurd_size(folder: Path) -> Hostile:
    size = numpy_helper.from_array(np.array([2**40]), "s")
    bomb = helper.make_node("ConstantOfShape", ["s"], ["b"])
    total = helper.make_node("ReduceSum", ["b"], ["t"], keepdims=0)
    nodes, tensors = onnx_linear([bomb, total, helper.make_node("Add", ["z", "t"], ["y"])], last="z")
    return onnx_file(folder, nodes, [*tensors, size]), "a value of 1,099,511,627,776 numbers"


def onnx_whose_tensor_lacks_its_numbers(folder: Path) -> Hostile:
    empty = TensorProto(name="e", data_type=TensorProto.FLOAT, dims=[2**40], raw_data=b"1234")
    nodes, tensors = onnx_linear([helper.make_node("Add", ["z", "e"], ["y"])], last="z")
    return onnx_file(folder, nodes, [*tensors, empty]), "not a readable ONNX model"


def onnx_that_is_a_pickle(folder: Path) -> Hostile:
    path = folder / "m.onnx"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "it is a pickle"


def onnx_that_is_cut_short(folder: Path) -> Hostile:
    path = onnx_file(folder, *onnx_linear())
    path.write_bytes(path.read_bytes()[:-40])
    return path, "not a readable ONNX model"


def onnx_that_is_text(folder: Path) -> Hostile:
    path = folder / "m.onnx"
    path.write_text("<html>404</html>" * 100)
    return path, "not a readable ONNX model"


def onnx_in_the_format_of_the_runtime(folder: Path) -> Hostile:
    path = folder / "m.onnx"
    path.write_bytes(b"\x18\x00\x00\x00ORTM" + bytes(200))
    return path, "not a readable ONNX model"


def onnx_that_is_nested(folder: Path) -> Hostile:
    data = b""
    for field in (11, 1, 5, 6) * 400:  # a subgraph in an attribute in a node ...
        if len(data) > 20_000:
            break
        length, sizes = len(data), b""
        while length > 127:
            sizes, length = sizes + bytes([length & 127 | 128]), length >> 7
        data = bytes([field << 3 | 2]) + sizes + bytes([length]) + data
    path = folder / "m.onnx"
    path.write_bytes(data)
    return path, "not a readable ONNX model"


ONNX: tuple[Builder, ...] = (
    onnx_with_data_up_the_tree,
    onnx_with_data_at_an_absolute_path,
    onnx_with_data_through_a_link,
    onnx_with_data_outside_in_an_attribute,
    onnx_with_data_outside_in_a_branch,
    onnx_with_data_outside_in_a_function,
    onnx_with_data_outside_in_a_sparse_tensor,
    onnx_with_a_strangers_operator,
    onnx_that_reads_a_context,
    onnx_that_draws_at_random,
    onnx_that_makes_an_absurd_size,
    onnx_whose_tensor_lacks_its_numbers,
    onnx_that_is_a_pickle,
    onnx_that_is_cut_short,
    onnx_that_is_text,
    onnx_in_the_format_of_the_runtime,
    onnx_that_is_nested,
)

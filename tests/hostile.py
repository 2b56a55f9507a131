"""Files that a stranger might send: each builder writes one into a folder, and says with what words it is refused.

What would run code makes the file `canary` in that folder.
"""

import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import nn

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


def onnx_whose_name_is_no_text(folder: Path) -> Hostile:
    path = onnx_file(folder, *onnx_linear())
    path.write_bytes(path.read_bytes().replace(b"\n\x01x", b"\n\x01\xff"))
    return path, "codec can't decode"


ONNX: tuple[Builder, ...] = (
    onnx_whose_name_is_no_text,
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


# --- programs of torch.export ----------------------------------------------------------------------------------------


class Shift(nn.Module):
    """A linear layer, a buffer, a constant, and a size that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)
        self.register_buffer("shift", torch.zeros(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.view(x.shape[0] * 1, 16)) + self.shift


@cache
def program_entries() -> dict[str, bytes]:
    """The entries of a good program, below its root."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Shift().eval()
    sizes = ({0: torch.export.Dim("batch")},)
    file = BytesIO()
    torch.export.save(torch.export.export(module, (torch.zeros(2, 1, 4, 4),), dynamic_shapes=sizes), file)
    with zipfile.ZipFile(file) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


Entries = dict[str, bytes]
MODEL, WEIGHTS_CONFIG = "models/model.json", "data/weights/model_weights_config.json"
CONSTANTS_CONFIG = "data/constants/model_constants_config.json"


def program_file(folder: Path, change: Callable[[Entries], None], method: int = zipfile.ZIP_STORED) -> Path:
    """A good program, changed."""
    entries = dict(program_entries())
    change(entries)
    path = folder / "m.pt2"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(f"m/{name}", data)
    return path


def changed(entries: Entries, name: str, change: Callable[[Any], None]) -> None:
    tree = json.loads(entries[name])
    change(tree)
    entries[name] = json.dumps(tree).encode()


def graph_of(model: Any) -> Any:
    return model["graph_module"]["graph"]


def program_graph(folder: Path, change: Callable[[Any], None]) -> Path:
    """A good program whose graph was changed."""
    return program_file(folder, lambda entries: changed(entries, MODEL, lambda model: change(graph_of(model))))


def calling(folder: Path, target: str, *arguments: tuple[str, dict[str, Any]]) -> Path:
    """A good program that first calls something else."""
    inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments]
    node = {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": "t"}}], "metadata": {}, "name": "t"}
    return program_graph(folder, lambda graph: graph["nodes"].insert(0, node))


def code(folder: Path) -> str:
    """An expression that makes the canary."""
    return f"__import__('os').mkdir({str(folder / 'canary')!r})"


def pickled(folder: Path) -> bytes:
    file = BytesIO()
    torch.save(Canary(folder), file)
    return file.getvalue()


def program_with_a_pickled_weight(folder: Path) -> Hostile:
    def change(entries: Entries) -> None:
        entries["data/weights/weight_0"] = pickled(folder)
        changed(entries, WEIGHTS_CONFIG, lambda tree: tree["config"]["linear.weight"].update(use_pickle=True))

    return program_file(folder, change), "keeps 'linear.weight' as a pickle"


def program_with_a_pickled_constant(folder: Path) -> Hostile:
    def change(entries: Entries) -> None:
        entries["data/constants/tensor_0"] = pickled(folder)
        changed(entries, CONSTANTS_CONFIG, lambda tree: tree["config"]["shift"].update(use_pickle=True))

    return program_file(folder, change), "keeps 'shift' as a pickle"


def program_with_an_opaque_object(folder: Path) -> Hostile:
    def change(entries: Entries) -> None:
        entries["data/constants/opaque_obj_0"] = pickle.dumps(Canary(folder))
        payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        changed(entries, CONSTANTS_CONFIG, lambda tree: tree["config"].update(evil=payload))

    return program_file(folder, change), "keeps 'evil' as a pickle or an object"


def program_with_a_script_object(folder: Path) -> Hostile:
    def change(entries: Entries) -> None:
        entries["data/constants/custom_obj_0"] = pickle.dumps(Canary(folder))
        payload = {"path_name": "custom_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
        changed(entries, CONSTANTS_CONFIG, lambda tree: tree["config"].update(evil=payload))

    return program_file(folder, change), "keeps 'evil' as a pickle or an object"


def program_whose_batch_is_code(folder: Path) -> Hostile:
    def change(graph: Any) -> None:
        graph["tensor_values"]["x"]["sizes"][0] = {"as_expr": {"expr_str": code(folder), "hint": None}}

    return program_graph(folder, change), 'takes batches of "__import__'


def program_that_reads_a_file(folder: Path) -> Hostile:
    path = calling(
        folder,
        "torch.ops.aten.from_file.default",
        ("filename", {"as_string": "/etc/passwd"}),
        ("shared", {"as_bool": False}),
        ("size", {"as_int": 1}),
    )
    return path, "calls 'torch.ops.aten.from_file.default'"


def program_that_calls_the_system(folder: Path) -> Hostile:
    return calling(folder, "os.mkdir", ("path", {"as_string": str(folder / "canary")})), "calls 'os.mkdir'"


def program_that_evaluates(folder: Path) -> Hostile:
    return calling(folder, "builtins.eval", ("source", {"as_string": code(folder)})), "calls 'builtins.eval'"


def program_that_loads_a_library(folder: Path) -> Hostile:
    path = calling(folder, "torch.ops.load_library", ("path", {"as_string": str(folder / "evil.so")}))
    return path, "calls 'torch.ops.load_library'"


def program_that_saves(folder: Path) -> Hostile:
    path = calling(folder, "torch.ops.aten.save.default", ("path", {"as_string": str(folder / "canary")}))
    return path, "calls 'torch.ops.aten.save.default'"


def program_that_gets_attributes(folder: Path) -> Hostile:
    return calling(folder, "_operator.attrgetter", ("name", {"as_string": "__globals__"})), "calls '_operator.attrg"


def program_whose_operator_is_a_dunder(folder: Path) -> Hostile:
    path = calling(folder, "torch.ops.aten.__class__.__init__", ("self", {"as_string": "x"}))
    return path, "calls 'torch.ops.aten.__class__.__init__'"


def program_of_another_namespace(folder: Path) -> Hostile:
    return calling(folder, "torch.ops.prims.fill.default"), "calls 'torch.ops.prims.fill.default'"


def program_with_control_flow(folder: Path) -> Hostile:
    return calling(folder, "torch.ops.higher_order.cond"), "calls 'torch.ops.higher_order.cond'"


def program_that_draws_at_random(folder: Path) -> Hostile:
    return calling(folder, "torch.ops.aten.rand.default", ("size", {"as_ints": [3]})), "calls 'torch.ops.aten.rand.def"


def program_that_reads_memory_it_did_not_write(folder: Path) -> Hostile:
    return calling(folder, "torch.ops.aten.empty.memory_format", ("size", {"as_ints": [3]})), "calls 'torch.ops.aten.em"


def program_that_is_given_a_graph(folder: Path) -> Hostile:
    argument = {"as_graph": {"name": "g", "graph": {}}}
    return calling(folder, "torch.ops.aten.relu.default", ("self", argument)), "is given a as_graph"


def program_that_is_given_an_operator(folder: Path) -> Hostile:
    argument = {"as_operator": "builtins.eval"}
    return calling(folder, "torch.ops.aten.relu.default", ("self", argument)), "is given a as_operator"


def program_that_makes_an_absurd_size(folder: Path) -> Hostile:
    arguments = ("size", {"as_ints": [2**20, 2**20]}), ("fill_value", {"as_float": 1.0})
    return calling(folder, "torch.ops.aten.full.default", *arguments), "a value of more than"


def program_whose_sizes_grow_without_end(folder: Path) -> Hostile:
    def change(graph: Any) -> None:
        name = graph["nodes"][0]["name"]
        for number in range(60):
            inputs = [{"name": side, "arg": {"as_sym_int": {"as_name": name}}, "kind": 1} for side in "ab"]
            name = f"grown_{number}"
            output = {"as_sym_int": {"as_name": name}}
            node = {"target": "_operator.mul", "inputs": inputs, "outputs": [output], "metadata": {}, "name": name}
            graph["nodes"].insert(number + 1, node)

    return program_graph(folder, change), "a size grew beyond all bounds"


def program_that_multiplies_text(folder: Path) -> Hostile:
    path = calling(folder, "_operator.mul", ("a", {"as_string": "x" * 1000}), ("b", {"as_int": 2**33}))
    return path, "arithmetic on what is no number"


def program_that_parts_without_end(folder: Path) -> Hostile:
    arguments = ("self", {"as_tensor": {"name": "p_linear_bias"}}), ("sections", {"as_int": 2**33})
    return calling(folder, "torch.ops.aten.tensor_split.sections", *arguments), "parted into up to 8,589,934,592"


def program_that_changes_its_weights(folder: Path) -> Hostile:
    arguments = ("self", {"as_tensor": {"name": "p_linear_bias"}}), ("other", {"as_float": 1.0})
    return calling(folder, "torch.ops.aten.add_.Tensor", *arguments), "it changes its own weights"


def program_with_compiled_code(folder: Path) -> Hostile:
    name = "data/aotinductor/model/evil.so"
    return program_file(folder, lambda entries: entries.update({name: b"\x7fELF"})), "holds compiled code"


def program_with_a_library_beside_it(folder: Path) -> Hostile:
    return program_file(folder, lambda entries: entries.update({"extra/evil.so": b"\x7fELF"})), "holds compiled code"


def program_with_an_entry_up_the_tree(folder: Path) -> Hostile:
    return program_file(folder, lambda entries: entries.update({"../../canary": b"x"})), "an entry named 'm/../../can"


def program_whose_weight_lies_elsewhere(folder: Path) -> Hostile:
    def change(entries: Entries) -> None:
        elsewhere = {"path_name": "../../../etc/passwd"}
        changed(entries, WEIGHTS_CONFIG, lambda tree: tree["config"]["linear.bias"].update(elsewhere))

    return program_file(folder, change), "keeps 'linear.bias' as a pickle or an object"


def program_with_an_entry_twice(folder: Path) -> Hostile:
    path = program_file(folder, lambda entries: None)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(f"m/{MODEL}", b"{}")
    return path, "twice"


def program_that_is_a_bomb(folder: Path) -> Hostile:
    bomb = {"data/weights/weight_9": bytes(2**27)}
    return program_file(folder, lambda entries: entries.update(bomb), zipfile.ZIP_DEFLATED), "to hold more than the"


def program_that_is_deflated(folder: Path) -> Hostile:
    noise = {"extra/noise": os.urandom(2**17)}
    return program_file(folder, lambda entries: entries.update(noise), zipfile.ZIP_DEFLATED), "more than the file"


def program_whose_tensor_is_absurd(folder: Path) -> Hostile:
    sizes, strides = [{"as_int": 2**40}, {"as_int": 16}], [{"as_int": 0}, {"as_int": 0}]

    def change(tree: Any) -> None:
        tree["config"]["linear.weight"]["tensor_meta"].update(sizes=sizes, strides=strides)

    return program_file(folder, lambda entries: changed(entries, WEIGHTS_CONFIG, change)), "its tensor 'linear.weight'"


def program_whose_tensor_begins_beyond_its_end(folder: Path) -> Hostile:
    def change(tree: Any) -> None:
        tree["config"]["linear.bias"]["tensor_meta"]["storage_offset"] = {"as_int": 4096}

    return program_file(folder, lambda entries: changed(entries, WEIGHTS_CONFIG, change)), "its tensor 'linear.bias'"


def program_whose_tensor_walks_backwards(folder: Path) -> Hostile:
    def change(tree: Any) -> None:
        tree["config"]["linear.bias"]["tensor_meta"]["strides"] = [{"as_int": -1}]

    return program_file(folder, lambda entries: changed(entries, WEIGHTS_CONFIG, change)), "its tensor 'linear.bias'"


def program_of_a_later_form(folder: Path) -> Hostile:
    def change(model: Any) -> None:
        model["schema_version"]["major"] = 99

    return program_file(folder, lambda entries: changed(entries, MODEL, change)), "in form 99"


def program_that_is_no_json(folder: Path) -> Hostile:
    return program_file(folder, lambda entries: entries.update({MODEL: b"[" * 100_000})), "not as torch writes it"


def program_that_is_a_torch_file(folder: Path) -> Hostile:
    path = folder / "m.pt2"
    torch.save(Canary(folder), path)
    return path, "holds 0 programs"


def program_that_is_a_pickle(folder: Path) -> Hostile:
    path = folder / "m.pt2"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "it is a pickle"


def program_that_is_cut_short(folder: Path) -> Hostile:
    path = program_file(folder, lambda entries: None)
    path.write_bytes(path.read_bytes()[:-300])
    return path, "not a readable program"


PROGRAMS: tuple[Builder, ...] = (
    program_with_a_pickled_weight,
    program_with_a_pickled_constant,
    program_with_an_opaque_object,
    program_with_a_script_object,
    program_whose_batch_is_code,
    program_that_reads_a_file,
    program_that_calls_the_system,
    program_that_evaluates,
    program_that_loads_a_library,
    program_that_saves,
    program_that_gets_attributes,
    program_whose_operator_is_a_dunder,
    program_of_another_namespace,
    program_with_control_flow,
    program_that_draws_at_random,
    program_that_reads_memory_it_did_not_write,
    program_that_is_given_a_graph,
    program_that_is_given_an_operator,
    program_that_makes_an_absurd_size,
    program_whose_sizes_grow_without_end,
    program_that_multiplies_text,
    program_that_parts_without_end,
    program_that_changes_its_weights,
    program_with_compiled_code,
    program_with_a_library_beside_it,
    program_with_an_entry_up_the_tree,
    program_whose_weight_lies_elsewhere,
    program_with_an_entry_twice,
    program_that_is_a_bomb,
    program_that_is_deflated,
    program_whose_tensor_is_absurd,
    program_whose_tensor_begins_beyond_its_end,
    program_whose_tensor_walks_backwards,
    program_of_a_later_form,
    program_that_is_no_json,
    program_that_is_a_torch_file,
    program_that_is_a_pickle,
    program_that_is_cut_short,
)


# Programs whose hostile part limbeck does not look at: they are opened, and answer, and nothing is run.


def program_with_pickled_example_inputs(folder: Path) -> Path:
    return program_file(folder, lambda entries: entries.update({"data/sample_inputs/model.pt": pickled(folder)}))


def program_with_guards_in_python(folder: Path) -> Path:
    return program_file(
        folder, lambda entries: changed(entries, MODEL, lambda model: model.update(guards_code=[code(folder)]))
    )


def program_whose_symbols_are_code(folder: Path) -> Path:
    def change(graph: Any) -> None:
        for value in graph["sym_int_values"].values():
            value["as_expr"] = {"expr_str": code(folder), "hint": None}
        graph["tensor_values"]["view"]["sizes"][0] = {"as_expr": {"expr_str": code(folder), "hint": None}}

    return program_graph(folder, change)


def program_whose_names_are_source(folder: Path) -> Path:
    def change(entries: Entries) -> None:
        # In Python source of the graph this would be an argument with a default.
        entries[MODEL] = entries[MODEL].replace(b'{"name": "x"}', json.dumps({"name": f"x={code(folder)}"}).encode())
        changed(entries, MODEL, lambda model: rename(graph_of(model)["tensor_values"]))

    def rename(values: Any) -> None:
        values[f"x={code(folder)}"] = values.pop("x")

    return program_file(folder, change)


def program_whose_call_specs_are_code(folder: Path) -> Path:
    def change(model: Any) -> None:
        for each in model["graph_module"]["module_call_graph"]:
            if each["signature"]:
                each["signature"].update(in_spec=code(folder), out_spec=code(folder))

    return program_file(folder, lambda entries: changed(entries, MODEL, change))


UNREAD: tuple[Callable[[Path], Path], ...] = (
    program_with_pickled_example_inputs,
    program_with_guards_in_python,
    program_whose_symbols_are_code,
    program_whose_names_are_source,
    program_whose_call_specs_are_code,
)


# --- a folder of the Hugging Face hub ---------------------------------------------------------------------------------


def hub_folder(folder: Path, config: object = None, weights: bool = True) -> Path:
    """A folder that looks like a model; nothing in it is ever built."""
    settings = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(settings | config if isinstance(config, dict) else settings))
    if weights:
        safetensors(folder / "model.safetensors", {"w": entry([1], 0, 4)}, bytes(4))
    return folder


def canary_code(folder: Path) -> None:
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(folder / 'canary')!r})\nclass Evil: pass\n")


def hub_with_code_of_its_own(folder: Path) -> Hostile:
    canary_code(folder)
    auto = {"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}
    return hub_folder(folder, {"model_type": "evil", "auto_map": auto}), "has auto_map, which would have further code"


def hub_that_trusts_itself(folder: Path) -> Hostile:
    return hub_folder(folder, {"trust_remote_code": True}), "has trust_remote_code"


def hub_with_code_deep_inside(folder: Path) -> Hostile:
    canary_code(folder)
    inner = {"text_config": [{"auto_map": {"AutoModel": "evil.Evil"}}]}
    return hub_folder(folder, inner), "has auto_map"


def hub_with_a_strangers_attention(folder: Path) -> Hostile:
    return hub_folder(folder, {"attn_implementation": "evil/kernel"}), "has attn_implementation 'evil/kernel'"


def hub_with_a_hidden_attention(folder: Path) -> Hostile:
    return hub_folder(folder, {"_attn_implementation_internal": "evil/kernel"}), "has _attn_implementation_internal"


def hub_with_a_quantiser(folder: Path) -> Hostile:
    return hub_folder(folder, {"quantization_config": {"quant_method": "evil"}}), "has quantization_config"


def hub_of_a_billion_labels(folder: Path) -> Hostile:
    return hub_folder(folder, {"num_labels": 10**9}), "has num_labels 1000000000, above 131,072"


def hub_of_a_million_layers(folder: Path) -> Hostile:
    return hub_folder(folder, {"depths": [2, 10**6]}), "has depths [2, 1000000], above 4,096"


def hub_of_pickles(folder: Path) -> Hostile:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(folder)))
    return hub_folder(folder, weights=False), "has its weights in pytorch_model.bin, a pickle"


def hub_of_a_renamed_pickle(folder: Path) -> Hostile:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Canary(folder)))
    return hub_folder(folder, weights=False), "it is a pickle"


def hub_with_an_adapter(folder: Path) -> Hostile:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/model"}))
    return hub_folder(folder), "holds an adapter"


def hub_whose_config_is_a_bomb(folder: Path) -> Hostile:
    hub_folder(folder)
    os.truncate(folder / "config.json", 100 * 2**20)
    return folder, "has 104,857,600 bytes"


def hub_whose_config_is_nested(folder: Path) -> Hostile:
    hub_folder(folder)
    (folder / "config.json").write_text("[" * 1_000_000)
    return folder, "is no readable JSON"


def hub_whose_config_is_a_list(folder: Path) -> Hostile:
    hub_folder(folder)
    (folder / "config.json").write_text("[1]")
    return folder, "holds one list"


def hub_whose_config_is_elsewhere(folder: Path) -> Hostile:
    inside = folder / "model"
    inside.mkdir()
    hub_folder(inside)
    (inside / "config.json").rename(folder / "secret.json")
    (inside / "config.json").symlink_to("../secret.json")
    return inside, "is a link out of the folder"


def hub_whose_weights_are_elsewhere(folder: Path) -> Hostile:
    inside = folder / "model"
    inside.mkdir()
    hub_folder(inside)
    (inside / "model.safetensors").rename(folder / "secret.safetensors")
    (inside / "model.safetensors").symlink_to(folder / "secret.safetensors")
    return inside, "is a link out of the folder"


def hub_whose_weights_never_end(folder: Path) -> Hostile:
    (folder / "model.safetensors").symlink_to("/dev/zero")
    return hub_folder(folder, weights=False), "a device or a pipe"


def hub_index(folder: Path, *names: object) -> Path:
    index = {"metadata": {}, "weight_map": {f"w{n}": name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return hub_folder(folder, weights=False)


def hub_whose_index_leads_up_the_tree(folder: Path) -> Hostile:
    return hub_index(folder, "../../../etc/passwd"), "names the file '../../../etc/passwd'"


def hub_whose_index_is_absolute(folder: Path) -> Hostile:
    return hub_index(folder, "/etc/passwd.safetensors"), "names the file '/etc/passwd.safetensors'"


def hub_whose_index_names_a_pickle(folder: Path) -> Hostile:
    (folder / "part.bin").write_bytes(pickle.dumps(Canary(folder)))
    return hub_index(folder, "part.bin"), "names the file 'part.bin'"


def hub_whose_index_names_nothing(folder: Path) -> Hostile:
    return hub_index(folder), "names no files"


HUB: tuple[Builder, ...] = (
    hub_with_code_of_its_own,
    hub_that_trusts_itself,
    hub_with_code_deep_inside,
    hub_with_a_strangers_attention,
    hub_with_a_hidden_attention,
    hub_with_a_quantiser,
    hub_of_a_billion_labels,
    hub_of_a_million_layers,
    hub_of_pickles,
    hub_of_a_renamed_pickle,
    hub_with_an_adapter,
    hub_whose_config_is_a_bomb,
    hub_whose_config_is_nested,
    hub_whose_config_is_a_list,
    hub_whose_config_is_elsewhere,
    hub_whose_weights_are_elsewhere,
    hub_whose_weights_never_end,
    hub_whose_index_leads_up_the_tree,
    hub_whose_index_is_absolute,
    hub_whose_index_names_a_pickle,
    hub_whose_index_names_nothing,
)

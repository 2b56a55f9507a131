"""An ONNX file read strictly: one file, known operators, nothing drawn at random, no absurd sizes."""

from collections.abc import Iterator
from itertools import chain
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.errors import DataError, first_line
from limbeck.foreign import foreign_file, looks_like, refuse_pickle
from limbeck.runtime.session import MOST_BYTES

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

MOST_NUMBERS = 2**32
"""Of one value for one example; a few bytes can declare any size."""
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
READERS = ("EPContext",)
"""Operators of these domains that read a further file."""
DRAWING = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
_WHAT = "an ONNX model in one file"


def read_model(path: Path) -> "ModelProto":
    """The model in a file, checked.

    Raises:
        DataError: no such file, damaged, with data outside it, operators of strangers, or answers drawn at random.
    """
    import onnx

    refuse_pickle(path)
    foreign_file(path, what=_WHAT, most=MOST_BYTES)
    if sign := looks_like(path):
        raise _refused(path, f"it is {sign}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # of protobuf, which has no class of its own for all of them
        raise _refused(path, first_line(error)) from None
    if not model.graph.node:
        raise _refused(path, "it has no operators")
    functions = {(function.domain, function.name) for function in model.functions}
    for graph in _graphs(model):
        for tensor in _tensors(graph):
            _check_inside(path, tensor)
        for node in graph.node:
            _check_operator(path, node, functions)
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # of onnx, which raises what it likes
        raise _refused(path, first_line(error)) from None
    _check_sizes(path, inferred)
    return model


def _graphs(model: "ModelProto") -> Iterator[Any]:
    """The graph, the functions, and the graphs within."""
    training = chain.from_iterable((info.initialization, info.algorithm) for info in model.training_info)
    waiting: list[GraphProto | FunctionProto] = [model.graph, *model.functions, *training]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in _attributes(graph):
            waiting += [attribute.g] if attribute.HasField("g") else []
            waiting += attribute.graphs


def _attributes(graph: Any) -> Iterator[Any]:
    yield from chain.from_iterable(node.attribute for node in graph.node)
    yield from getattr(graph, "attribute_proto", ())  # of a function: its defaults


def _tensors(graph: Any) -> "Iterator[TensorProto]":
    yield from getattr(graph, "initializer", ())
    sparse = list(getattr(graph, "sparse_initializer", ()))
    for attribute in _attributes(graph):
        yield attribute.t
        yield from attribute.tensors
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _check_inside(path: Path, tensor: "TensorProto") -> None:
    if tensor.data_location or tensor.external_data:
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "another file")
        raise DataError(
            f"{path} keeps {tensor.name or 'a tensor'} outside itself, in {where!r}",
            expected=f"{_WHAT}; limbeck opens no file that another one names",
            do="save it as one file: onnx.save(onnx.load(path), new_path, save_as_external_data=False)",
        )


def _check_operator(path: Path, node: "NodeProto", functions: set[tuple[str, str]]) -> None:
    name = f"{node.domain}.{node.op_type}".lstrip(".")
    if (node.domain, node.op_type) not in functions and (node.domain not in DOMAINS or node.op_type in READERS):
        raise DataError(
            f"{path} uses the operator {name}",
            expected="operators of ONNX, of its machine-learning part and of ONNX Runtime that read no file",
            do="export the model without custom operators",
        )
    training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    if node.op_type in DRAWING or training or (node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]):
        raise DataError(
            f"{path} uses {name}" + (" as in training" if node.op_type not in DRAWING else ", which draws at random"),
            expected="a model that answers one example always alike",
            do="export it in evaluation mode: model.eval() first",
        )


def _check_sizes(path: Path, model: "ModelProto") -> None:
    graph = model.graph
    for value in chain(graph.value_info, graph.input, graph.output):
        numbers = prod(max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim)
        if numbers > MOST_NUMBERS:
            raise DataError(
                f"{path} makes {value.name}, a value of {numbers:,} numbers",
                expected=f"values of at most {MOST_NUMBERS:,} numbers",
                do="look at who made this file: a few bytes can ask for any size",
            )


def _refused(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not a readable ONNX model ({why})", expected=_WHAT, do="download or export it again")

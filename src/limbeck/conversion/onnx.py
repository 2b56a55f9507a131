"""A network as one ONNX file: standard operators, nothing of the machine that it was made on."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from limbeck.conversion.convert import Format, convert
from limbeck.conversion.converted import Converted

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

INPUT, OUTPUT, BATCH = "inputs", "logits", "batch"
OPSET = 20


def to_onnx(network: nn.Module, samples: Tensor, metadata: Mapping[str, str], *, opset: int = OPSET) -> Converted:
    """The network as an ONNX file, run by ONNX Runtime beside it.

    Args:
        network: is copied, and stays as it is.
        samples: real preprocessed examples [N, ...], float32, N >= 2.
        metadata: kept inside the file.
        opset: of the standard operators.

    Raises:
        RecipeError: a network that cannot be converted, an opset that torch does not write.
    """

    def write(program: ExportedProgram) -> bytes:
        model = exported(program, opset)
        describe(model, metadata)
        data: bytes = model.SerializeToString()
        return data

    converted = convert(network, samples, Format("onnx", "torch.onnx", write))
    return Converted(converted.data, {"opset": opset, **converted.facts})


def exported(program: ExportedProgram, opset: int) -> "ModelProto":
    """The program as a model that says nothing of where it was made.

    Raises:
        ValueError: not what was asked for.
    """
    import onnx

    made = torch.onnx.export(
        program,
        (),
        dynamo=True,
        verbose=False,
        opset_version=opset,
        external_data=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
    )
    assert made is not None
    model = made.model_proto
    strip(model)
    check_tensors(model, program)
    own = {each.domain or "opset": each.version for each in model.opset_import}
    # torch writes another opset without an error where it cannot write the one asked for.
    if own != {"opset": opset}:
        raise ValueError(f"the exporter wrote {own} where opset {opset} was asked for")
    onnx.checker.check_model(model)
    return model


def check_tensors(model: "ModelProto", program: ExportedProgram) -> None:
    """Hold a model to one input and one output of float32, and to the program's batch, which the exporter may fix.

    Raises:
        ValueError: something else.
    """
    from onnx import TensorProto

    (given,) = (node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    batch = given.shape[0] if isinstance(given.shape[0], int) else BATCH
    for values, name in ((model.graph.input, INPUT), (model.graph.output, OUTPUT)):
        kinds = [(each.name, each.type.tensor_type.elem_type, rows_of(each)) for each in values]
        if kinds != [(name, TensorProto.FLOAT, batch)]:
            raise ValueError(f"the exporter wrote {kinds} for {name} of float32, {batch}")


def rows_of(value: "ValueInfoProto") -> Any:
    """The size of the batch of an input or output, or its name."""
    (first, *_) = value.type.tensor_type.shape.dim
    return first.dim_param or first.dim_value


def strip(model: "ModelProto") -> None:
    """Take out notes of nodes and values: they hold paths and lines of source."""
    graph = model.graph
    for within in (graph, *_within(graph)):
        for each in (within, *within.node, *within.initializer, *within.input, *within.output):
            del each.metadata_props[:]
            each.doc_string = ""
        # Shapes in between are inferred by whoever reads the file; these speak of torch's symbols.
        del within.value_info[:]
    del model.metadata_props[:]
    model.doc_string = ""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if symbol and size.dim_param == symbol:
                size.dim_param = BATCH


def _within(graph: "GraphProto") -> Iterator["GraphProto"]:
    """The graphs in the operators of one: branches and bodies of loops."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield inner
                yield from _within(inner)


def describe(model: "ModelProto", metadata: Mapping[str, str]) -> None:
    """Put the metadata into a model."""
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)

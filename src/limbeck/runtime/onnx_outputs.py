"""What an ONNX model of a stranger calls its outputs, and how much in it was learnt."""

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_LEARNT = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "UINT8")
"""Kinds of constants that hold weights; whole numbers of more bits are shapes and indices."""


def without_dictionaries(model: "ModelProto", output: str | None) -> tuple[str, ...] | None:
    """Let dictionaries {class: probability}, as converters of scikit-learn make them, pass as the numbers they hold.

    Returns:
        The names of the classes, where there is one such output and it has names.
    """
    from onnx import TensorProto, helper

    outputs = {value.name: value for value in model.graph.output}
    names = []
    for node in model.graph.node:
        if node.op_type != "ZipMap" or node.output[0] not in outputs or output not in (None, node.output[0]):
            continue
        labels = _labels(node)
        names.append(labels)
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]
        numbers = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", len(labels)])
        outputs[node.output[0]].type.CopyFrom(numbers)
    if names and not any(opset.domain in ("", "ai.onnx") for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 13))
    own = names[0] if len(names) == 1 else ()
    # Numbers from 0 are places, not names.
    return own if own and own != tuple(map(str, range(len(own)))) else None


def _labels(node: "NodeProto") -> tuple[str, ...]:
    found = {attribute.name: attribute for attribute in node.attribute}
    if "classlabels_strings" in found:
        return tuple(label.decode(errors="replace") for label in found["classlabels_strings"].strings)
    return tuple(map(str, found["classlabels_int64s"].ints)) if "classlabels_int64s" in found else ()


def parameters_of(model: "ModelProto") -> int | None:
    """The numbers among its constants that were learnt."""
    from onnx import TensorProto

    kinds = {getattr(TensorProto, name) for name in _LEARNT}
    return sum(prod(each.dims) for each in model.graph.initializer if each.data_type in kinds) or None

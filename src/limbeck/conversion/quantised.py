"""A network as one ONNX file in int8: weights by channel, values in between by the ranges that examples show.

Dimension key: N examples.
"""

import math
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.conversion.convert import cause, compared, prepared, running, unfit
from limbeck.conversion.converted import Converted
from limbeck.conversion.onnx import INPUT, describe, strip, to_onnx
from limbeck.files import write_bytes
from limbeck.quiet import quietly
from limbeck.record import cpu_flags

if TYPE_CHECKING:
    from onnx import ModelProto

WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
"""What is worth 8 bits. Sums, normalisations and softmax stay as they are: quantised they double a transformer's KL and
win next to no time (docs/log.md)."""
CUT_OFF = ("Relu", "Clip")
"""What is nothing but the end of a range once the value before it is quantised."""
BATCH = 32
"""Examples that calibration shows at once."""


class _Examples:
    """What calibration is shown, as ONNX Runtime asks for it."""

    def __init__(self, samples: Tensor, size: int) -> None:
        self._parts: Iterator[Tensor] = iter(samples.split(size))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        part = next(self._parts, None)
        return None if part is None else {INPUT: part.numpy()}


def to_quantised_onnx(network: nn.Module, samples: Tensor, metadata: Mapping[str, str]) -> Converted:
    """The network as an ONNX file in int8, calibrated on the samples, run by ONNX Runtime.

    How well it agrees with the network is for the caller to measure: nothing bounds the `difference` among its facts.

    Args:
        network: is copied, and stays as it is.
        samples: real training examples as the network takes them, [N, ...], float32, N >= 2.
        metadata: kept inside the file.

    Raises:
        RecipeError: a network that cannot be converted, or has nothing to quantise.
    """
    began = time.perf_counter()
    single = to_onnx(network, samples, metadata)
    size = BATCH if single.facts["batch"] == "dynamic" else single.facts["batch"]
    reduced = saturates()
    try:
        with quietly("onnxruntime.quantization"):
            model = _quantised(single.data, _Examples(samples, size), reduced)
        with_weights = _in_8_bits(model)
        if not with_weights:
            raise ValueError(f"it has no {', '.join(WITH_WEIGHTS)} with weights")
        _finish(model, metadata)
        data = model.SerializeToString()
        with running("onnx-int8", data) as answer:
            difference = compared(answer, prepared(network, samples), samples, math.inf)
    except Exception as error:  # of onnx and its runtime, which raise what they like
        raise unfit(f"cannot be quantised: {cause(error)}") from error
    facts = {
        **single.facts,
        "calibration": {
            "method": "MinMax",
            "examples": len(samples),
            "weights": "int8 by channel",
            "activations": "uint8 by tensor",
            "reduce_range": reduced,
        },
        "quantised": dict(with_weights),
        "difference": difference,
        "seconds": round(time.perf_counter() - began, 2),
    }
    return Converted(data, facts)


def saturates() -> bool:
    """Whether this processor adds products of 8 bits in 16: without VNNI an x86 does, and weights get 7 bits."""
    return platform.machine().lower() in ("x86_64", "amd64") and not any("vnni" in flag for flag in cpu_flags())


def _quantised(data: bytes, examples: _Examples, reduced: bool) -> "ModelProto":
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as directory:
        single, folded, done = (str(Path(directory) / name) for name in ("single", "folded", "done"))
        write_bytes(Path(single), data)
        quant_pre_process(single, folded, skip_symbolic_shape=True)
        quantize_static(
            folded,
            done,
            examples,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*WITH_WEIGHTS, *CUT_OFF],
            nodes_to_exclude=_choices(onnx.load(folded)),
            per_channel=True,
            reduce_range=reduced,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(done)


def _choices(model: "ModelProto") -> list[str]:
    """Names of the Gathers that take from what was computed, not from a table of weights."""
    held = {each.name for each in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "Gather" and node.input[0] not in held]


def _in_8_bits(model: "ModelProto") -> Counter[str]:
    """How many operators of each kind take quantised values."""
    restored = {each.output[0] for each in model.graph.node if each.op_type == "DequantizeLinear"}
    return Counter(
        node.op_type for node in model.graph.node if node.op_type in WITH_WEIGHTS and restored & {*node.input}
    )


def _finish(model: "ModelProto", metadata: Mapping[str, str]) -> None:
    """Logits in full, nothing unused, and our notes in the place of the quantiser's."""
    from onnx import checker

    _bare_logits(model)
    used = {name for node in model.graph.node for name in node.input}
    for each in [each for each in model.graph.initializer if each.name not in used]:
        model.graph.initializer.remove(each)
    domains = {node.domain for node in model.graph.node}
    for opset in [each for each in model.opset_import if each.domain not in domains]:
        model.opset_import.remove(opset)
    strip(model)
    describe(model, metadata)
    checker.check_model(model)


def _bare_logits(model: "ModelProto") -> None:
    """Take out the last quantisation, which makes logits coarse and cuts off those beyond the calibration's."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    logits = graph.output[0].name
    restoring = makers[logits]
    rounding = makers.get(restoring.input[0])
    if restoring.op_type != "DequantizeLinear" or rounding is None or rounding.op_type != "QuantizeLinear":
        return
    exact = rounding.input[0]
    graph.node.remove(restoring)
    graph.node.remove(rounding)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [logits if name == exact else name for name in names]

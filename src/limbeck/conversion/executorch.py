"""A network as ExecuTorch's .pte file, for phones and cameras: lowered to XNNPACK, in float32 or in int8.

Dimension key: N examples, C classes.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from limbeck.conversion.convert import TOLERANCE, cause, compared, prepared, running
from limbeck.conversion.converted import Converted
from limbeck.errors import RecipeError
from limbeck.extras import package
from limbeck.quiet import quietly
from limbeck.runtime.executorch_file import METADATA

MOST, ROOM = 64, 8 << 20
"""A file is for batches of up to so many examples, and of so many bytes: it sets memory aside for the largest."""

ROUNDING = 0.05
"""By how much of their range the logits of an int8 file may differ from what its own arithmetic gives in torch: a
number that is rounded the other way moves what comes after it."""

_POOLS = (torch.ops.aten.adaptive_max_pool1d.default, torch.ops.aten.adaptive_max_pool2d.default)


@dataclass(frozen=True)
class _Lowered:
    """The bytes of a file, and what it is to answer like."""

    data: bytes
    reference: Callable[[Tensor], Tensor]


def to_executorch(network: nn.Module, samples: Tensor, metadata: Mapping[str, str]) -> Converted:
    """The network as a .pte file in float32, run by ExecuTorch beside it.

    Args:
        network: is copied, and stays as it is.
        samples: real preprocessed examples [N, ...], float32, N >= 2.
        metadata: kept inside the file: its method `limbeck` gives it as JSON.

    Raises:
        MissingError: ExecuTorch is not installed.
        RecipeError: a network that it cannot take.
    """
    return _converted(network, samples, metadata, quantised=False)


def to_quantised_executorch(network: nn.Module, samples: Tensor, metadata: Mapping[str, str]) -> Converted:
    """The network as a .pte file in int8: weights by channel, activations by scales that the samples decide.

    It answers as this arithmetic does in torch; how well that agrees with the network is for the caller to measure.
    Otherwise as `to_executorch`.
    """
    return _converted(network, samples, metadata, quantised=True)


def _converted(network: nn.Module, samples: Tensor, metadata: Mapping[str, str], *, quantised: bool) -> Converted:
    began = time.perf_counter()
    with quietly("ExecuTorch"):
        facts: dict[str, Any] = {"delegate": "XNNPACK", **_versions()}
    if quantised:
        facts["calibration"] = {"examples": len(samples), "weights": "int8 by channel", "activations": "int8 by tensor"}
    # XNNPACK arranges memory itself, and fails on weights whose channels lie last.
    ours = prepared(network, samples).requires_grad_(False).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    text = json.dumps(dict(metadata))
    hindrances: list[str] = []
    for most in dict.fromkeys((max(1, min(MOST, ROOM // samples[0].nbytes)), 1)):
        try:
            with quietly("ExecuTorch"):
                lowered = _lowered(ours, samples, most, text, quantised)
                with running("executorch", lowered.data) as answer:
                    compared(answer, lowered.reference, samples, ROUNDING if quantised else TOLERANCE)
                    difference = compared(answer, ours, samples, math.inf)
        except Exception as error:  # of torch, torchao and ExecuTorch, which raise what they like
            hindrances.append(cause(error))
            continue
        facts |= {"batch": "dynamic" if most > 1 else 1, "largest_batch": most, "difference": difference}
        if hindrances:
            facts["why_not_dynamic"] = hindrances[0]
        return Converted(lowered.data, {**facts, "seconds": round(time.perf_counter() - began, 2)})
    raise RecipeError(
        f"the network cannot be written as a .pte file: {'; '.join(dict.fromkeys(hindrances))}",
        expected="operators that ExecuTorch knows, by which it answers as torch does",
        do="put plainer layers in their place, or export to another format",
    )


def _versions() -> dict[str, str]:
    """Of the libraries that write the file.

    Raises:
        MissingError: they cannot be imported.
    """
    for name in ("executorch.exir", "torchao.quantization.pt2e"):
        package(name, "executorch")
    return {name: version(name) for name in ("executorch", "torchao")}


def _lowered(network: nn.Module, samples: Tensor, most: int, text: str, quantised: bool) -> _Lowered:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    # The sizes that a network is traced with may bound its batch: only the largest bounds nothing.
    examples = samples[torch.arange(most) % len(samples)]
    program = _exported(network, examples)
    reference = network
    if quantised:
        reference = _quantised(program, samples, most)
        program = _exported(reference, examples)
    manager = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods={METADATA: text}
    )
    data = bytes(manager.to_executorch().buffer)
    return _Lowered(data, lambda inputs: torch.cat([reference(part) for part in inputs.split(most)]))


def _exported(network: nn.Module, examples: Tensor) -> ExportedProgram:
    shapes = ({0: Dim("batch", min=1, max=len(examples))},) if len(examples) > 1 else None
    program = torch.export.export(network, (examples,), dynamic_shapes=shapes)
    module = program.module()
    return _exported(module, examples) if _with_plain_maxima(module) else program


def _with_plain_maxima(module: Any) -> bool:
    """Put a maximum where a pool leaves one value, for which ExecuTorch has no operator; whether there was any."""
    pools = [node for node in module.graph.nodes if node.target in _POOLS and all(size == 1 for size in node.args[1])]
    for pool in pools:
        values, sizes = pool.args
        with module.graph.inserting_before(pool):
            dims = list(range(-len(sizes), 0))
            maxima = module.graph.call_function(torch.ops.aten.amax.default, (values, dims, True))
        for half in list(pool.users):  # nobody asks for the other one, the places
            half.replace_all_uses_with(maxima)
            module.graph.erase_node(half)
        module.graph.erase_node(pool)
    module.recompile()
    return bool(pools)


def _quantised(program: ExportedProgram, samples: Tensor, most: int) -> nn.Module:
    """The network with weights in int8, and quantisers whose scales the samples have decided."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    observed = prepare_pt2e(program.module(), quantizer)
    for batch in samples.split(most):
        observed(batch)
    converted: nn.Module = convert_pt2e(observed)
    return converted

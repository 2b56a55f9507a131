"""A network as a program of torch.export that limbeck's own reader runs."""

import io
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from limbeck.conversion.convert import Format, convert
from limbeck.conversion.converted import Converted

METADATA = "limbeck.json"
"""The extra file inside the archive."""
_KEPT = ("val", "tensor_meta")
"""Notes of a node that its reader needs; the others hold paths, lines of source and names of classes."""


def to_torch_export(network: nn.Module, samples: Tensor, metadata: Mapping[str, str]) -> Converted:
    """The network as a .pt2 file, read by `limbeck.runtime.program` and run beside it.

    Args:
        network: is copied, and stays as it is.
        samples: real preprocessed examples [N, ...], float32, N >= 2.
        metadata: kept inside the file.

    Raises:
        RecipeError: a network that cannot be converted.
    """

    def write(program: ExportedProgram) -> bytes:
        return _saved(program, json.dumps(dict(metadata), ensure_ascii=False))

    return convert(network, samples, Format("torch-export", "torch.export", write))


def _saved(program: ExportedProgram, metadata: str) -> bytes:
    for node in program.graph.nodes:
        node.meta = {key: node.meta[key] for key in _KEPT if key in node.meta}
    # Else the file carries the samples, as a pickle.
    program.example_inputs = None
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: metadata})
    return buffer.getvalue()

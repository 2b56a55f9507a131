"""Bundles of small networks for the tests of what answers from them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limbeck.bundle import (
    CARD,
    CONFIG,
    GOLDEN,
    LABELS,
    MODEL_FILES,
    PARITY,
    Description,
    Golden,
    sealed_file,
)
from limbeck.conversion.converted import Converted
from limbeck.conversion.onnx import to_onnx
from limbeck.data import AnyPreprocess
from limbeck.files import commit_directory, encode, write_bytes
from limbeck.runtime import runner


def deliver(
    place: Path,
    network: nn.Module,
    stored: Tensor,
    preprocess: AnyPreprocess,
    inputs: Mapping[str, Any],
    classes: tuple[str, ...],
    *,
    kind: str = "onnx",
    convert: Callable[..., Converted] = to_onnx,
) -> Path:
    """A bundle of a network in a directory, its golden examples the stored inputs."""
    network.eval()
    seen = preprocess(stored).contiguous()
    description = Description(
        classes=classes,
        inputs=inputs,
        input_shape=tuple(stored.shape[1:]),
        input_dtype=str(stored.dtype).removeprefix("torch."),
        preprocess=asdict(preprocess),
        network_shape=tuple(seen.shape[1:]),
        teacher="a bigger one",
        licence="MIT",
        student="0" * 64,
        limbeck="0.1.0",
    )
    data = sealed_file(convert(network, seen, description.metadata()).data)
    write_bytes(place / MODEL_FILES[kind], data)
    logits = runner(kind, place / MODEL_FILES[kind], 1)(seen.numpy())
    contents = {
        MODEL_FILES[kind]: data,
        CONFIG: encode({"format": 1, "kind": kind, "description": description.tree()}),
        LABELS: encode(dict(enumerate(classes))),
        GOLDEN: Golden(stored.numpy(), seen.numpy(), logits).encode(),
        PARITY: encode({}),
        CARD: b"# A student\n",
    }
    commit_directory(place, contents)
    return place

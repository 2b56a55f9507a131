"""How long each model of the catalogue takes to convert, how large its files are, and how fast int8 answers.

    OMP_NUM_THREADS=1 python bench/exports.py [--phones] [--only NAME ...]

Usual sizes: MNIST's images for mlp and convnet, CIFAR-100's for the residual networks, texts of 256 bytes. Weights as
initialised and random inputs: times do not depend on what is in them. 256 examples calibrate int8. Seconds are those of
a processor, with the check of the file beside the network, and for int8 with the file in float32 that it is made of.
The first conversion of a process also imports the exporter, so one of a single layer goes before. The latency is the
median of one thread, one example, the files in turns. `--phones` adds ExecuTorch's files.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.conversion.converted import Converted
from limbeck.conversion.executorch import to_executorch, to_quantised_executorch
from limbeck.conversion.onnx import to_onnx
from limbeck.conversion.quantised import to_quantised_onnx
from limbeck.conversion.torch_export import to_torch_export
from limbeck.models import MODELS, ConvNet, Mlp, ModelSpec, ResNet, TextCnn, initialise, parameters
from limbeck.runtime.runner import runner

FORMATS: dict[str, Callable[..., Converted]] = {
    "onnx": to_onnx,
    "onnx-int8": to_quantised_onnx,
    "torch-export": to_torch_export,
}
PHONES: dict[str, Callable[..., Converted]] = {
    "executorch": to_executorch,
    "executorch-int8": to_quantised_executorch,
}
EXAMPLES, TURNS, RUNS = 256, 15, 40


def sized(name: str) -> tuple[ModelSpec, tuple[int, ...], int]:
    """A model of the catalogue, the shape of its examples, and its classes."""
    if name == "mlp":
        return Mlp(), (1, 28, 28), 10
    if name == "convnet":
        return ConvNet(), (1, 28, 28), 10
    if name == "textcnn":
        return TextCnn(), (256,), 10
    return ResNet(name=name), (3, 32, 32), 100


def examples(shape: tuple[int, ...]) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(EXAMPLES, *shape) if len(shape) > 1 else torch.randint(0, 256, (EXAMPLES, *shape)).float()


def latencies(files: dict[str, Converted], inputs: np.ndarray) -> dict[str, float]:
    """Medians in microseconds, by the kind of file."""
    taken: dict[str, list[float]] = {kind: [] for kind in files}
    with TemporaryDirectory() as directory:
        asked = {}
        for kind, file in files.items():
            path = Path(directory) / f"{kind}.onnx"
            path.write_bytes(file.data)
            asked[kind] = runner(kind, path, 1)
        for turn in range(TURNS + 1):
            for kind, ask in asked.items():
                for _ in range(RUNS):
                    began = time.perf_counter()
                    ask(inputs)
                    if turn:
                        taken[kind].append(time.perf_counter() - began)
    return {kind: 1e6 * statistics.median(values) for kind, values in taken.items()}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--only", nargs="+", default=list(MODELS), choices=list(MODELS))
    arguments.add_argument("--phones", action="store_true")
    given = arguments.parse_args()
    formats = FORMATS | PHONES if given.phones else FORMATS
    run = [kind for kind in formats if kind != "torch-export"]
    torch.set_num_threads(1)
    for convert in formats.values():
        convert(nn.Linear(6, 4), torch.rand(4, 6), {})
    columns = [f"{kind}, s | kB" for kind in formats] + [f"{kind} differs | us" for kind in run]
    print(f"| model | parameters | {' | '.join(columns)} |")
    print("|---" * (2 + 2 * len(columns)) + "|")
    for name in given.only:
        spec, shape, classes = sized(name)
        network, inputs = initialise(spec, shape, classes, 0), examples(shape)
        made, seconds = {}, {}
        for kind, convert in formats.items():
            began = time.process_time()
            made[kind] = convert(network, inputs, {})
            seconds[kind] = time.process_time() - began
        us = latencies({kind: made[kind] for kind in run}, inputs[:1].numpy())
        cells = [f"{seconds[kind]:.1f} | {len(each.data) / 1000:,.0f}" for kind, each in made.items()]
        cells += [f"{made[kind].facts['difference']:.1g} | {us[kind]:,.0f}" for kind in run]
        print(f"| {name} | {parameters(network):,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

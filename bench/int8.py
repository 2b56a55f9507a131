"""What int8 in ONNX costs in agreement and wins in time, by what of a network is quantised.

    OMP_NUM_THREADS=1 python bench/int8.py

Small networks trained on scikit-learn's digits (1,200 to learn from, 256 of them to calibrate on, 597 to measure on), a
reader of bytes on texts of random words, 2,000 and 1,000. KL is that of the answers in float32 from those in int8, in
nats, mean over the examples measured; latency that of one thread and one example, median, the files in turns.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime.quantization
import torch
import torch.nn.functional as F
from exports import latencies
from sklearn.datasets import load_digits
from torch import Tensor, nn

from limbeck.conversion import quantised
from limbeck.conversion.converted import Converted
from limbeck.conversion.onnx import to_onnx
from limbeck.models import ConvNet, Mlp, ResNet, TextCnn, initialise
from limbeck.runtime.session import Session

QUANTIZE = onnxruntime.quantization.quantize_static


def changed(**changes: Any) -> Callable[..., None]:
    """ONNX Runtime's quantiser with other settings than ours."""
    return lambda *arguments, **settings: QUANTIZE(*arguments, **{**settings, **changes})


def by(**changes: Any) -> list[Any]:
    return [patch.object(onnxruntime.quantization, "quantize_static", changed(**changes))]


VARIANTS: dict[str, list[Any]] = {
    "ours": [],
    "sums too": [patch.object(quantised, "CUT_OFF", ("Relu", "Clip", "Add"))],
    "all that can be": by(op_types_to_quantize=None, nodes_to_exclude=[]),
    "logits rounded too": [patch.object(quantised, "_bare_logits", lambda model: None)],
    "by tensor": by(per_channel=False),
    "7 bits": by(reduce_range=True),
    "entropy": by(calibrate_method=onnxruntime.quantization.CalibrationMethod.Entropy),
    "percentile": by(calibrate_method=onnxruntime.quantization.CalibrationMethod.Percentile),
}


class Transformer(nn.Module):
    """Two layers over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.enter, self.head = nn.Linear(16, 32), nn.Linear(32, 10)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.places = nn.Parameter(0.1 * torch.randn(16, 32))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.enter(x[:, 0]) + self.places).mean(dim=1))


def depthwise() -> nn.Module:
    def block(channels: int, groups: int, kernel: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, 32, kernel, padding=kernel // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(32), nn.ReLU6()]

    layers = [*block(1, 1, 3), *block(32, 32, 3), *block(32, 1, 1), *block(32, 32, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    small = torch.tensor(images[order].reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    return F.interpolate(small, size=(16, 16), mode="bilinear"), torch.tensor(labels[order])


def texts(length: int = 64, count: int = 3000) -> tuple[Tensor, Tensor]:
    """Random words, which each of 6 classes uses as often as it likes."""
    random = np.random.default_rng(0)
    words = [bytes(random.integers(97, 123, random.integers(3, 8))) for _ in range(300)]
    habits, labels = random.dirichlet(np.full(300, 0.3), size=6), random.integers(0, 6, count)
    said = [b" ".join(random.choice(words, p=habits[label], size=10))[:length].ljust(length, b"\0") for label in labels]
    return torch.tensor([list(text) for text in said]).float(), torch.tensor(labels)


def trained(network: nn.Module, inputs: Tensor, labels: Tensor, steps: int) -> nn.Module:
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    for _ in range(steps):
        batch = torch.randint(0, len(inputs), (64,))
        optimizer.zero_grad()
        F.cross_entropy(network(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    return network.eval()


def answers(file: Converted, inputs: Tensor) -> Tensor:
    return torch.from_numpy(Session(Path("model.onnx"), threads=1, data=file.data)(inputs.numpy()))


def measure(name: str, network: nn.Module, inputs: Tensor, labels: Tensor, learnt: int, steps: int) -> None:
    trained(network, inputs[:learnt], labels[:learnt], steps)
    files = {"onnx": to_onnx(network, inputs, {})}
    for variant, patches in VARIANTS.items():
        with ExitStack() as stack:
            for each in patches:
                stack.enter_context(each)
            files[variant] = quantised.to_quantised_onnx(network, inputs[: min(learnt, 256)], {})
    us = latencies(files, inputs[:1].numpy())
    own = answers(files["onnx"], inputs[learnt:]).double()
    for variant, file in files.items():
        logits = answers(file, inputs[learnt:]).double()
        kl = F.kl_div(logits.log_softmax(1), own.log_softmax(1), reduction="batchmean", log_target=True)
        agree = (logits.argmax(1) == own.argmax(1)).double().mean()
        right = (logits.argmax(1) == labels[learnt:]).double().mean()
        print(
            f"| {name} | {variant} | {100 * right:.1f} | {100 * agree:.1f} | {kl:.1e} "
            f"| {len(file.data) / 1000:.0f} | {us[variant]:.0f} |",
            flush=True,
        )


def main() -> None:
    torch.set_num_threads(1)
    images, read = digits(), texts()
    print("| network | quantised | accuracy | agreement | KL | kB | us |\n|---|---|---|---|---|---|---|")
    for name, spec, steps in (
        ("mlp", Mlp(), 400),
        ("convnet", ConvNet(), 400),
        ("resnet20", ResNet(name="resnet20"), 150),
    ):
        measure(name, initialise(spec, (1, 16, 16), 10, 0), *images, learnt=1200, steps=steps)
    measure("textcnn", initialise(TextCnn(), (64,), 6, 0), *read, learnt=2000, steps=400)
    torch.manual_seed(0)
    measure("depthwise", depthwise(), *images, learnt=1200, steps=800)
    torch.manual_seed(0)
    measure("transformer", Transformer(), *images, learnt=1200, steps=400)


if __name__ == "__main__":
    main()

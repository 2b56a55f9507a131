"""The formats of a bundle: how each is made, and how near to the student it must be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from limbeck.conversion.converted import Converted
from limbeck.conversion.executorch import to_executorch, to_quantised_executorch
from limbeck.conversion.onnx import to_onnx
from limbeck.conversion.quantised import to_quantised_onnx
from limbeck.conversion.torch_export import to_torch_export
from limbeck.errors import RecipeError
from limbeck.export.gate import EXACT, Gate

Convert = Callable[[nn.Module, Tensor, Mapping[str, str]], Converted]


@dataclass(frozen=True)
class Format:
    """One way to deliver a student.

    Args:
        convert: makes the file of a network, real examples [N, ...] as it takes them, and what is told of it.
        summary: in a few words.
        quantised: of int8, the format that it is a quantised form of: the gate is then what its user allows.
    """

    convert: Convert
    summary: str
    quantised: str | None = None

    def gate(self, tolerance: Gate) -> Gate:
        """What its files must meet, where quantised ones must meet `tolerance`."""
        return tolerance if self.quantised else EXACT


FORMATS: dict[str, Format] = {
    "onnx": Format(to_onnx, "ONNX, float32: servers, browsers, phones."),
    "onnx-int8": Format(to_quantised_onnx, "ONNX, int8: smaller, and on some machines faster.", quantised="onnx"),
    "torch-export": Format(to_torch_export, "torch.export, float32: for programs of PyTorch."),
    "executorch": Format(to_executorch, "ExecuTorch with XNNPACK, float32: phones and cameras."),
    "executorch-int8": Format(to_quantised_executorch, "ExecuTorch with XNNPACK, int8.", quantised="executorch"),
}


def formats_of(names: str) -> tuple[str, ...]:
    """The formats in a list with commas, each once, in its order.

    Raises:
        RecipeError: an unknown one, or none.
    """
    asked = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in asked if name not in FORMATS]
    if unknown or not asked:
        raise RecipeError(
            f"--to {names!r}" + (f" names {', '.join(unknown)}" if unknown else ""),
            expected=f"one or more of {', '.join(FORMATS)}, with commas between",
            do="mend --to",
        )
    return asked

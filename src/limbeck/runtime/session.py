"""A network in ONNX Runtime.

Dimension key: N examples, C outputs.
"""

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import DataError, first_line
from limbeck.files import describe
from limbeck.runtime.fitting import Shape, check_shape, in_batches
from limbeck.runtime.onnx_model import read_model

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from onnxruntime import InferenceSession

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}

_LEARNT = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "UINT8")
"""Kinds of constants that hold weights; whole numbers of more bits are shapes and indices."""


class Session:
    """One file on the CPU, with as many threads as torch has when it is opened.

    Args:
        path: of a model with one floating-point input, whose first dimension is the batch.
        output: which of its outputs is asked for; None is the only one, or the only one that is [N, C] numbers.

    Raises:
        DataError: a file that cannot be trusted, read or asked.
    """

    def __init__(self, path: Path, output: str | None = None) -> None:
        model = read_model(path)
        self.path = path
        self.sha256 = describe(path)["sha256"]
        self.classes = _without_dictionaries(model, output)
        """The names that the file gives its outputs, if any."""
        self.parameters = _parameters(model)
        self._session = _opened(path, model)
        self.input, self.batch, self.shape, self._dtype = self._input()
        self.output = self._output(output)

    def _input(self) -> tuple[str, int | None, Shape, type[np.generic]]:
        """Its name, the size of its batch and of an example, None where any will do, and its type."""
        inputs = self._session.get_inputs()
        first = inputs[0] if len(inputs) == 1 else None
        if first is None or first.type not in _TYPES or not first.shape:
            raise self._unusable(
                f"takes {', '.join(f'{each.name} {each.shape} of {each.type}' for each in inputs) or 'nothing'}",
                "one floating-point input [N, ...]",
                "export the network with one float32 input; preprocessing that needs more belongs to limbeck",
            )
        batch, *shape = (size if isinstance(size, int) else None for size in first.shape)
        return first.name, batch, tuple(shape), _TYPES[first.type]

    def _output(self, wanted: str | None) -> str:
        outputs = {each.name: each for each in self._session.get_outputs()}
        rows = [name for name, each in outputs.items() if each.type in _TYPES and len(each.shape or ()) in (0, 2)]
        choice = [wanted] if wanted else [*outputs] if len(outputs) == 1 else rows
        if len(choice) == 1 and choice[0] in rows:
            return choice[0]
        listed = ", ".join(f"{name} {each.shape} of {each.type}" for name, each in outputs.items())
        raise self._unusable(
            f"gives {listed}" + (f", and {wanted!r} was asked for" if wanted else ""),
            "one output of numbers [N, classes]",
            "name one of them by `output`, or export the network with its logits alone",
        )

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse examples of a shape that the file does not take.

        Raises:
            DataError: likewise, in words.
        """
        check_shape(self.path, self.shape, shape)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Answers [N, C], float32, for preprocessed inputs [N, ...].

        Raises:
            DataError: the runtime fails.
        """
        return in_batches(self._run, inputs, least=self.batch or 1, most=self.batch)

    def _run(self, inputs: Tensor) -> Tensor:
        array = np.ascontiguousarray(inputs.cpu().numpy(), dtype=self._dtype)
        try:
            (answers,) = self._session.run([self.output], {self.input: array})
        except Exception as error:  # ONNX Runtime's have no class in common
            raise DataError(
                f"{self.path} failed on a batch of shape {list(array.shape)}: {first_line(error)}",
                expected="answers [N, classes]",
                do="look at the model with that batch, or export it again",
            ) from None
        if len(answers) != len(inputs):
            raise DataError(
                f"{self.path} answered {len(inputs)} examples with shape {list(answers.shape)}",
                expected="one row an example",
                do="export it with a dynamic batch, its first dimension",
            )
        return torch.from_numpy(np.array(answers, dtype=np.float32))

    def _unusable(self, came: str, expected: str, do: str) -> DataError:
        return DataError(f"{self.path} {came}", expected=expected, do=do)


def _opened(path: Path, model: "ModelProto") -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for each in (*session.get_inputs(), *session.get_outputs()):
            _ = each.name, each.shape  # a name may be no text
        return session
    except Exception as error:  # ONNX Runtime's have no class in common
        raise DataError(
            f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__}: {first_line(error)}",
            expected="a model that this version runs on a CPU",
            do="export it again with an older opset, or install a newer onnxruntime",
        ) from None


def _without_dictionaries(model: "ModelProto", output: str | None) -> tuple[str, ...] | None:
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


def _parameters(model: "ModelProto") -> int | None:
    """The numbers among its constants that were learnt."""
    from onnx import TensorProto

    kinds = {getattr(TensorProto, name) for name in _LEARNT}
    return sum(prod(each.dims) for each in model.graph.initializer if each.data_type in kinds) or None

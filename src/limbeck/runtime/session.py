"""A network in ONNX Runtime.

Dimension key: N examples, C outputs.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError, MissingError, first_line
from limbeck.foreign import foreign_file
from limbeck.runtime.fitting import Shape, check_shape, in_batches

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MOST_BYTES = 2**31 - 1
"""Of a file without external data: protobuf's own limit."""

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}


class Session:
    """One file on the CPU.

    It opens no other file that the model names and knows no operators but ONNX Runtime's own.

    Args:
        path: of a model with one floating-point input, whose first dimension is the batch.
        threads: that one batch is computed with.
        output: which of its outputs is asked for; None is the only one, or the only one that is [N, C] numbers.
        data: the model, where it was read before; None reads the path.

    Raises:
        DataError: a file that cannot be read or asked.
        MissingError: there is no ONNX Runtime.
    """

    def __init__(self, path: Path, *, threads: int, output: str | None = None, data: bytes | None = None) -> None:
        self.path = path
        self._session = _opened(path, _read(path) if data is None else data, threads)
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

    @property
    def metadata(self) -> dict[str, str]:
        """What is written in the file beside the network."""
        written: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return written

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Answers [N, C] for preprocessed inputs [N, ...].

        Raises:
            DataError: the runtime fails.
        """
        return in_batches(self._run, inputs, least=self.batch or 1, most=self.batch, join=np.concatenate)

    def _run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        array = np.ascontiguousarray(inputs, dtype=self._dtype)
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
        return np.array(answers, dtype=np.float32)

    def _unusable(self, came: str, expected: str, do: str) -> DataError:
        return DataError(f"{self.path} {came}", expected=expected, do=do)


def _read(path: Path) -> bytes:
    foreign_file(path, what="an ONNX model in one file", most=MOST_BYTES)
    return path.read_bytes()


def _opened(path: Path, data: bytes, threads: int) -> "InferenceSession":
    try:
        import onnxruntime
    except ImportError:
        raise MissingError(
            f"{path} is to be run, and onnxruntime is not installed",
            expected="onnxruntime",
            do="pip install onnxruntime",
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Tensors outside the file would be looked for here, where nothing can lie.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for each in (*session.get_inputs(), *session.get_outputs()):
            _ = each.name, each.shape  # a name may be no text
        return session
    except Exception as error:  # ONNX Runtime's have no class in common
        raise DataError(
            f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__}: {first_line(error)}",
            expected="a model that this version runs on a CPU",
            do="export it again with an older opset, or install a newer onnxruntime",
        ) from None

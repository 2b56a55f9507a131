"""A network in ExecuTorch, run here as a phone would run it.

Dimension key: N examples, C outputs.
"""

import json
import weakref
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError, first_line
from limbeck.extras import package
from limbeck.foreign import foreign_file
from limbeck.quiet import quietly
from limbeck.runtime.fitting import check_shape, in_batches

METADATA = "limbeck"
"""The method of a file that gives what is written in it beside the network: one JSON text."""

MOST_BYTES = 2**31 - 1
"""Of a file; a student has far fewer."""

_FLOAT = 6
"""float32, as ExecuTorch numbers the types of tensors."""


class ExecuTorchFile:
    """One .pte file on the CPU.

    ExecuTorch has one pool of threads for the whole process, and what is loaded holds on to it: where files with unlike
    numbers of threads take turns, each is loaded anew.

    Args:
        path: of a file with one float32 input, whose first dimension is the batch.
        threads: that one batch is computed with.

    Raises:
        MissingError: ExecuTorch is not installed.
        DataError: a file that cannot be read or asked.
    """

    _pool: ClassVar[int | None] = None
    _opened: ClassVar["weakref.WeakSet[ExecuTorchFile]"] = weakref.WeakSet()

    def __init__(self, path: Path, *, threads: int) -> None:
        foreign_file(path, what="a .pte file of ExecuTorch", most=MOST_BYTES)
        self.path, self.threads = path, threads
        self._data = path.read_bytes()
        with quietly("ExecuTorch"):
            self._method: Any = self._loaded()
            meta = self._method.metadata
            first = meta.input_tensor_meta(0) if meta.num_inputs() == 1 else None
            if first is None or first.dtype() != _FLOAT or not first.sizes():
                raise self._unusable("takes something else than float32 numbers [N, ...]")
            self.most, *shape = first.sizes()
        self.shape = tuple(shape)

    @property
    def metadata(self) -> dict[str, str]:
        """What is written in the file beside the network."""
        with quietly("ExecuTorch"):
            program = _runtime().load_program(self._data)
            found = program.load_method(METADATA).execute([]) if METADATA in program.method_names else ["{}"]
        written: dict[str, str] = json.loads(found[0])
        return written

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse examples of a shape that the file does not take.

        Raises:
            DataError: likewise, in words.
        """
        check_shape(self.path, self.shape, shape)

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Answers [N, C] for preprocessed inputs [N, ...].

        Raises:
            DataError: examples of another shape, or ExecuTorch fails.
        """
        # It would take fewer numbers for a smaller batch, whatever their shape.
        self.check_shape(inputs.shape[1:])
        if self._method is None:
            with quietly("ExecuTorch"):
                self._method = self._loaded()
        return in_batches(self._run, inputs, least=1, most=self.most, join=np.concatenate)

    def _run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        import torch

        array = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
        try:
            (answers,) = self._method.execute([array])
            rows: NDArray[np.float32] = answers.numpy()
        except Exception as error:  # ExecuTorch's have no class in common
            raise self._unusable(f"failed on a batch of shape {list(array.shape)}: {first_line(error)}") from None
        if rows.ndim != 2 or len(rows) != len(array) or rows.dtype != np.float32:
            raise self._unusable(f"answered {len(array)} examples with {rows.dtype} numbers of shape {rows.shape}")
        return rows

    def _loaded(self) -> Any:
        """The method that answers, once the pool has the threads that it is to hold on to."""
        runtime = _runtime()
        if ExecuTorchFile._pool != self.threads:
            _set_threads(self.threads)
        try:
            method = runtime.load_program(self._data).load_method("forward")
        except Exception as error:  # ExecuTorch's have no class in common
            raise self._unusable(f"cannot be loaded: {first_line(error)}") from None
        ExecuTorchFile._opened.add(self)
        return method

    def _unusable(self, came: str) -> DataError:
        return DataError(
            f"{self.path} {came}",
            expected="a .pte file as limbeck export writes it, of this version of ExecuTorch",
            do="export the student again",
        )


def _set_threads(threads: int) -> None:
    """Make the pool anew; what was loaded with the old one would crash the process, and is let go."""
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

    for each in ExecuTorchFile._opened:
        each._method = None
    _unsafe_reset_threadpool(threads)
    ExecuTorchFile._pool = threads


def _runtime() -> Any:
    return package("executorch.runtime", "executorch").Runtime.get()

"""The file of a bundle as a function of arrays, whatever runs it.

Dimension key: N examples, C classes.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import MissingError
from limbeck.runtime.session import Session

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Logits [N, C] for inputs [N, ...] as the network takes them."""


def runner(kind: str, path: Path, threads: int) -> Runner:
    """The network in a file.

    Args:
        kind: the format of the bundle that it is of.
        path: of the file.
        threads: that one batch is computed with.

    Raises:
        DataError: a file that cannot be run.
        MissingError: its runtime is not installed.
    """
    if kind == "torch-export":
        return _program(path, threads)
    if kind.startswith("executorch"):
        from limbeck.runtime.executorch_file import ExecuTorchFile

        return ExecuTorchFile(path, threads=threads)
    return Session(path, threads=threads)


def _program(path: Path, threads: int) -> Runner:
    try:
        import torch
    except ImportError:
        raise MissingError(
            f"{path} is a program of torch, which is not installed",
            expected="torch, or a bundle of the format onnx",
            do="pip install torch, or export the student with --to onnx",
        ) from None
    from limbeck.runtime.program import read_program

    program = read_program(path)

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                answers: NDArray[np.float32] = program(torch.from_numpy(inputs)).float().numpy()
                return answers
        finally:
            torch.set_num_threads(before)

    return run

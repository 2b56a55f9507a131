"""A fresh process that opens files and answers: what a server or an application would be. `python -m` of this file.

It is told what to do by lines of JSON on stdin and answers each by one on stdout. It imports no torch unless the file
that it opens needs it.

Dimension key: N examples.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[[Any], Any]
"""From what a network takes, [N, ...], to its answers."""

TORCH = "torch"
"""The kind of a saved model in a folder, beside the formats of bundles."""

WARM = 5
"""Answers of a new session before it is asked in earnest."""


def opened(kind: str, path: Path, threads: int) -> Run:
    """A file or a folder, ready to answer.

    Args:
        kind: a format of bundles, or `TORCH`.
        path: of the network's file, or of the saved model.
        threads: that it may use.
    """
    if kind != TORCH:
        from limbeck.runtime.runner import runner

        return runner(kind, path, threads)
    import torch

    from limbeck.benchmark.network import run_of
    from limbeck.teachers import load_model

    torch.set_num_threads(threads)
    return run_of(load_model(path).module)


@dataclass(frozen=True)
class Served:
    """What came of requests.

    Args:
        took: seconds from when each answered request came, waiting included.
        asked: requests that came, answered or not.
    """

    took: list[float]
    asked: int


def serve(
    runs: Sequence[Run],
    payloads: Sequence[NDArray[np.float32]],
    phases: Sequence[float],
    *,
    period: float,
    seconds: float,
    patience: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Served:
    """Answer requests that come whether or not the last is answered, one for each session in every period.

    Args:
        runs: a session for each phase.
        payloads: what is asked, one after another.
        phases: when in its period each session is asked, in seconds, rising.
        period: seconds between two requests to one session.
        seconds: for which requests come.
        patience: seconds for which they are answered after that.
        clock: seconds.
    """
    took: list[float] = []
    asked = 0
    began = clock()
    end = began + seconds
    for cycle in range(int(seconds / period) + 1):
        for phase, run in zip(phases, runs, strict=True):
            due = began + cycle * period + phase
            if due >= end:
                break
            asked += 1
            now = clock()
            if now >= end + patience:
                continue
            # Waiting in a loop: this process has a core to itself, and sleep wakes too late for a small network.
            while now < due:
                now = clock()
            run(payloads[asked % len(payloads)])
            took.append(clock() - due)
    return Served(took, asked)


def peak_bytes() -> int:
    """The most memory that this process has had so far.

    Not by `getrusage` where Linux says better: its number goes over from the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class _Worker:
    """The sessions of this process, and what it is asked to do with them."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.payloads: list[NDArray[np.float32]] = []

    def begin(self, kind: str, path: str, inputs: str) -> dict[str, Any]:
        """Import what the file needs, open it and answer once: everything that a cold start is made of."""
        inputs_N = np.load(inputs, allow_pickle=False)
        self.payloads = [inputs_N[row : row + 1] for row in range(len(inputs_N))]
        _import_for(kind)
        bare = peak_bytes()
        began = time.perf_counter()
        self.runs = [opened(kind, Path(path), 1)]
        self.runs[0](self.payloads[0])
        took = time.perf_counter() - began
        self.kind, self.path = kind, Path(path)
        return {"seconds": took, "bare_bytes": bare, "peak_bytes": peak_bytes()}

    def sessions(self, count: int) -> dict[str, Any]:
        """Have at least so many sessions of the file, each warm."""
        while len(self.runs) < count:
            run = opened(self.kind, self.path, 1)
            for payload in self.payloads[:WARM]:
                run(payload)
            self.runs.append(run)
        return {"bytes": peak_bytes()}

    def serve(self, phases: list[float], period: float, seconds: float, patience: float) -> dict[str, Any]:
        """See `serve`."""
        runs = self.runs[: len(phases)]
        return asdict(serve(runs, self.payloads, phases, period=period, seconds=seconds, patience=patience))


def _import_for(kind: str) -> None:
    """What opening a file would import, so that the clock does not count it."""
    if kind == TORCH:
        import limbeck.benchmark.network
        import limbeck.teachers  # noqa: F401
    elif kind.startswith("onnx"):
        import onnxruntime  # noqa: F401
    elif kind.startswith("executorch"):
        import executorch.runtime  # noqa: F401
    else:
        import torch  # noqa: F401


def main() -> None:
    """Do what each line says until there are no more."""
    worker = _Worker()
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries that print must not spoil the answers
    for line in sys.stdin:
        name, arguments = json.loads(line)
        answers.write(json.dumps(getattr(worker, name)(**arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

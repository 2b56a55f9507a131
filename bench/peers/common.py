"""What all peers share, so that they differ in nothing else: the data, the settings, the form of a result.

Runs in every peer's environment: numpy and safetensors alone.
"""

import argparse
import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 128
TEMPERATURE = 10.0
ALPHA = 0.1
LEARNING_RATE = 0.001
TEACHER, STUDENT = (256, 512), (16, 32)


def arguments(description: str) -> argparse.Namespace:
    """The command line of a peer."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="the folder with the four IDX files of MNIST")
    parser.add_argument("teacher", type=Path, help="the folder of the trained teacher, as limbeck saves it")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def load(folder: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Training images [60000, 28, 28] uint8 and labels, test images and labels."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    x, y, x_test, y_test = (_read(folder / f"{name}-ubyte") for name in names)
    return x.reshape(-1, 28, 28), y, x_test.reshape(-1, 28, 28), y_test


def _read(path: Path) -> NDArray[Any]:
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])


class Clock:
    """Seconds on the wall and of the processor since it was made; laps are what epochs took on the wall."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.laps: list[tuple[float, float]] = []
        self._last = self.wall, self.cpu

    def lap(self, *_: Any) -> None:
        """The end of an epoch; takes and ignores what callbacks are called with."""
        now = time.perf_counter(), time.process_time()
        self.laps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now

    def stop(self) -> dict[str, Any]:
        """The fields of a result that speak of time."""
        return {
            "seconds": time.perf_counter() - self.wall,
            "cpu_seconds": time.process_time() - self.cpu,
            "laps": self.laps,
        }


def report(peer: str, *, times: dict[str, Any], correct: int, epochs: int, **more: Any) -> None:
    """One line of JSON: the whole result of a peer."""
    print(json.dumps({"peer": peer, **times, "errors": 10_000 - correct, "epochs": epochs, **more}))

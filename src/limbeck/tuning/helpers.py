"""Further processes on this machine that work on the same search, for as long as the one that started them."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from limbeck.files import disk_errors
from limbeck.progress import Stop
from limbeck.rundir import RESOLVED

_log = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds that helpers have to save what they are at, before they are killed."""
POLL = 0.2
"""Seconds between two looks at whether the process is still there that a helper was started by."""


@contextmanager
def helpers(count: int, run: Path, threads: int, log: Path) -> Iterator[None]:
    """Let so many processes work on the search of a run while the block runs; then they are asked to stop.

    Each is `limbeck tune` on the recipe of the run, in a session of its own: Ctrl-C reaches it through its parent only.
    What one says goes to the log; what its death leaves undone, others take up.
    """
    with disk_errors(log), open(log, "ab") as said:
        started = [_start(run, threads, said) for _ in range(count)]
    try:
        yield
    finally:
        if any(process.poll() for process in started):
            _log.warning("a helper has failed, and others did its work; what it said is in %s", log)
        _end(started)


def _start(run: Path, threads: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
    words = ["tune", str(run / RESOLVED), "--set", f"out={run}", "--resume", "--helps", str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-m", "limbeck", *words],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    for process in started:
        process.send_signal(signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    for process in started:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def stop_with(parent: int, stop: Stop) -> None:
    """Ask this process to stop once the one that started it is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        if stop.number is None:
            stop.request(signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()

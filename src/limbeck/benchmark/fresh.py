"""Fresh processes of `limbeck.benchmark.worker`, as this one talks to them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from limbeck.errors import MissingError

PATIENCE = 10.0
"""Seconds that a process has to end once it has nothing more to read."""


class Fresh:
    """A process on one thread that opens files and answers."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed by end()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "limbeck.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,  # Ctrl-C reaches it through this process only
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def ask(self, name: str, **arguments: Any) -> None:
        """Tell it to do something; `answer` is what comes of it."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def answer(self) -> dict[str, Any]:
        """What came of the last thing that it was told to do.

        Raises:
            MissingError: it has ended, for want of memory most likely.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        said: dict[str, Any] = json.loads(line)
        return said

    def end(self) -> None:
        """Let it end."""
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._said.close()

    def _gone(self) -> MissingError:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").splitlines()
        said = [line for line in lines if line[:1].strip()]  # what begins a line is no detail of another
        why = f": {said[-1][:200]}" if said else f" with status {self._process.wait(PATIENCE)}"
        return MissingError(
            f"a process that was to answer requests has ended{why}",
            expected="memory and permission to run some processes beside this one",
            do="close other programs, or look into the kernel's log for a process that was killed",
        )


@contextmanager
def fresh(count: int) -> Iterator[list[Fresh]]:
    """So many processes while the block runs."""
    with ExitStack() as ends:
        processes = []
        for _ in range(count):
            processes.append(Fresh())
            ends.callback(processes[-1].end)
        yield processes


def cold(kind: str, file: Path, inputs: Path) -> dict[str, Any]:
    """What it costs a fresh process to open a file and answer for the first time: seconds, bytes."""
    with fresh(1) as (process,):
        process.ask("begin", kind=kind, path=str(file), inputs=str(inputs))
        return process.answer()

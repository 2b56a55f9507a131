"""Records: the JSON that a stage writes, and the facts about this machine that go into each.

Readers ignore keys they do not know and refuse a newer format.
"""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from limbeck.files import FORMAT, read_json, sealed, unsealed, write_json

RECORD = "record.json"
BENCH = "bench.json"
"""In the directory of a run: what its teacher, student and exports cost on one machine."""
SEARCH, LANDSCAPE = "search.json", "landscape.json"
"""In the directory of a search: what its processes agree on, by which it is known, and all that it found."""


def write_record(directory: Path, record: dict[str, Any]) -> None:
    """Commit `record.json`, sealed by its own checksum."""
    write_json(directory / RECORD, sealed({"format": FORMAT, **record}))


def read_record(directory: Path) -> dict[str, Any]:
    """The record in `directory`.

    Raises:
        DataError: missing, not JSON, edited, or of a newer format.
    """
    return unsealed(read_json(directory / RECORD), directory / RECORD)


def write_bench(directory: Path, bench: dict[str, Any]) -> dict[str, Any]:
    """Commit `bench.json`, sealed likewise; returns what is in it."""
    write_json(directory / BENCH, sealed({"format": FORMAT, **bench}))
    return read_bench(directory)


def read_bench(directory: Path) -> dict[str, Any]:
    """The `bench.json` in `directory`.

    Raises:
        DataError: missing, not JSON, edited, or of a newer format.
    """
    return unsealed(read_json(directory / BENCH), directory / BENCH)


def environment() -> dict[str, Any]:
    """Versions, commit and hardware, as every record states them."""
    import torch  # records are read, and this machine is looked at, where there is none

    commit, dirty = _commit()
    return {
        "limbeck": version("limbeck"),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags() -> frozenset[str]:
    """What its processor can do, as Linux spells it; nothing where no Linux runs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    named = (line.split(":", 1)[1] for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(named, "").split())


def memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def _commit() -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout this package runs from; None when it was installed from a wheel.

    git is asked once a process, whose code does not change: a search begins many runs.
    """
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

"""`limbeck doctor`."""

import os
import shutil
from typing import Annotated, Any

import typer

from limbeck.cli.output import print_json


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what limbeck finds on this machine: versions, devices, cores, memory, disk, variables.

    Examples:
        limbeck doctor

        limbeck doctor --json
    """
    findings = examine()
    if as_json:
        print_json(findings)
        return
    for name, value in findings.items():
        print(f"{name:<14} {_words(value)}")


def examine() -> dict[str, Any]:
    """What a run's environment.json says, and what else a run needs to know before it begins."""
    import torch

    from limbeck.record import environment

    disk = shutil.disk_usage(".")
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NO_COLOR", "LIMBECK_DEBUG", "WORLD_SIZE")
    return {
        **environment(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk_free": disk.free,
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none set"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool) and value > 10**6:
        return f"{value / 2**30:.1f} GiB"
    return "unknown" if value is None else str(value)

"""`limbeck doctor` and `limbeck doctor RECIPE.yaml`."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.cli.output import print_json
from limbeck.cli.settings import Settings, changes_of
from limbeck.errors import RecipeError

if TYPE_CHECKING:
    from limbeck.estimate import Estimate, Part
    from limbeck.examination import Examination


def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe to examine; without one, this machine.")] = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Examine a recipe before it is run, or say what limbeck finds on this machine.

    With a recipe: its data, teacher, students and label store are looked at, nothing is trained or written, and what
    the run will take is measured. The exit status is 0 unless a problem is found.

    Examples:
        limbeck doctor

        limbeck doctor examples/digits.yaml

        limbeck doctor examples/hinton.yaml --set data.path=DIR --json
    """
    changes = changes_of(settings)
    if recipe is not None:
        _about_recipe(recipe, changes, as_json)
        return
    if changes:
        raise RecipeError(
            f"--set {next(iter(changes))} came without a recipe",
            expected="limbeck doctor RECIPE.yaml --set KEY=VALUE",
            do="name the recipe, or leave --set out",
        )
    findings = examine_machine()
    if as_json:
        print_json(findings)
        return
    for name, value in findings.items():
        print(f"{name:<14} {_words(value)}")


def _about_recipe(recipe: Path, changes: dict[str, Any], as_json: bool) -> None:
    from limbeck.examination import examine
    from limbeck.preparation import Materials
    from limbeck.recipe import read_recipe

    found = examine(read_recipe(recipe, changes), Materials())
    if as_json:
        reckoned = None if found.estimate is None else asdict(found.estimate)
        print_json({"findings": [asdict(finding) for finding in found.findings], "estimate": reckoned})
    else:
        print("\n".join(_lines(found)))
    if found.status:
        sys.exit(found.status)


def _lines(found: "Examination") -> list[str]:
    """A line for each finding and one more where something is to be done, then what the run takes."""
    width = max(len(finding.name) for finding in found.findings)
    lines = []
    for finding in found.findings:
        lines.append(f"{finding.severity:<8} {finding.name:<{width}}  {finding.says}")
        lines += [f"{'':<8} {'':<{width}}  do: {finding.do}"] * bool(finding.do)
    return lines if found.estimate is None else [*lines, "", *_takes(found.estimate, width)]


def _takes(reckoned: "Estimate", width: int) -> list[str]:
    from limbeck.estimate import in_words, total

    def line(name: str, parts: "tuple[Part, ...]", words: Callable[[float], str], there: str) -> str:
        whole = total(parts)
        # What makes no difference to the total is left out, unless it has something to say.
        named = [f"{p.name} {p.says or words(p.amount)}" for p in parts if p.says or p.amount > whole / 100]
        return f"{name:<8} {'':<{width}}  about {words(whole)}{there}: {', '.join(named)}"

    free = "" if reckoned.disk_free is None else f" of {_bytes(reckoned.disk_free)} free"
    lines = [
        line("time", reckoned.seconds, in_words, ""),
        line("disk", reckoned.disk, _bytes, free),
        line("memory", reckoned.memory, _bytes, f" of {_bytes(reckoned.memory_there)}"),
    ]
    if reckoned.gpu is not None:
        used, there = reckoned.gpu
        lines.append(f"{'GPU':<8} {'':<{width}}  about {_bytes(used)} of {_bytes(there)}")
    return lines


def _bytes(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def examine_machine() -> dict[str, Any]:
    """What a run's environment.json says, and what else a run needs to know before it begins."""
    import torch

    from limbeck.record import environment, memory_bytes

    disk = shutil.disk_usage(".")
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NO_COLOR", "LIMBECK_DEBUG", "WORLD_SIZE")
    return {
        **environment(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "memory_bytes": memory_bytes(),
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

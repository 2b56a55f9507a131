"""Whatever a stranger sends is refused in one sentence; nothing in it runs, nothing outside is read, no memory fills.

All of it is opened in one process of its own, which hostile_checks.py watches.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
LEAST, FLIPPED, MOST_GROWN = 150, 500, 512 * 1024
"""Files at the least; damaged files at the least; KiB by which all of them together may raise the peak."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, str(TESTS / "hostile_checks.py"), str(tmp_path_factory.mktemp("hostile"))]
    own = os.pathsep.join(map(str, (TESTS, TESTS / "teachers", os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": own}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def faults(said: dict[str, Any]) -> list[str]:
    if "came" not in said:
        return [said.get("traceback", "it was opened")]
    found = [] if said["status"] in (2, 3) else [f"status {said['status']}"]
    found += [
        f"{part} is {said[part]!r}" for part in ("came", "expected", "do") if not said[part] or "\n" in said[part]
    ]
    if said["words"] not in said["came"] + said["do"]:
        found.append(f"{said['words']!r} is not in {said['came']!r}")
    return found + ["the canary"] * said["canary"]


def test_every_hostile_file_is_refused_in_one_sentence(told: dict[str, Any]):
    wrong = {name: faults(said) for name, said in told["said"].items()}
    assert not {name: found for name, found in wrong.items() if found}
    assert len(told["said"]) >= LEAST


def test_nothing_runs_and_nothing_outside_is_read(told: dict[str, Any]):
    every = [*told["said"].values(), *told["damaged"]]
    # A path that a recipe itself names is looked at; a file that names one is not followed.
    assert not [said for said in every if said["seen"] and not said.get("path")]
    assert not [said for said in every if any("passwd" not in event for event in said["seen"])]
    assert not [said for said in every if "root:" in said.get("came", "")]


def test_the_memory_of_all_together_is_bounded(told: dict[str, Any]):
    assert told["grown"] < MOST_GROWN


def test_damaged_files_are_opened_or_refused_and_never_a_traceback(told: dict[str, Any]):
    assert len(told["damaged"]) >= FLIPPED
    assert not [said for said in told["damaged"] if "traceback" in said]
    assert sum("came" in said for said in told["damaged"]) > FLIPPED / 3

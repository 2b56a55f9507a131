import json
import os
from pathlib import Path
from typing import Any

import pytest

from limbeck.recipe_text import write_yaml
from limbeck.report import write_report
from running import run_tree, save_npz, tree


@pytest.fixture(scope="session")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of images in a file."""
    return save_npz(tmp_path_factory.mktemp("data") / "bands.npz")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, npz: Path) -> Path:
    """The directory of a small run that is done; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    write_report(out, run_tree(tree(npz, out)))
    return out


@pytest.fixture
def record(finished: Path) -> dict[str, Any]:
    """A copy of its record."""
    return json.loads((finished / "record.json").read_bytes())


@pytest.fixture
def recipe(tmp_path: Path, npz: Path) -> Path:
    """A recipe file that runs in half a second, into `tmp_path / "run"`."""
    path = tmp_path / "recipe.yaml"
    path.write_text(write_yaml(tree(npz, tmp_path / "run")))
    return path


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of a run has to survive a power cut: fsync is most of a small run's time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)

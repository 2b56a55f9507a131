"""The checks in timm_checks.py, in a process of their own, and what is said without the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from asking import examples_of

from limbeck.data import Preprocess
from limbeck.errors import MissingError, RecipeError
from limbeck.recipe import recipe_from_tree
from limbeck.teachers import Audience, TimmTeacher

HERE = Path(__file__).parent
ASIDE = Path(sys.prefix) / "vision"


def test_networks_of_timm_teach():
    paths = [str(ASIDE), str(HERE), str(HERE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "pytest", "-p", "vision_shim", "-n", "0", "-q", str(HERE / "timm_checks.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parent.parent)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_without_the_package_the_way_to_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingError, match=r"pip install 'limbeck\[vision\]'"):
        TimmTeacher(name="test_resnet").open(Audience(examples_of(6), Preprocess(scale=255.0)))


def test_a_branch_is_no_revision():
    with pytest.raises(RecipeError, match=r"teacher\.revision is 'main'"):
        TimmTeacher(name="test_resnet", revision="main").open(Audience(examples_of(6), Preprocess(scale=255.0)))


def test_a_recipe_names_such_a_teacher():
    tree = {
        "data": {"source": "digits"},
        "teacher": {"kind": "timm", "name": "resnet50.a1_in1k", "path": "w.safetensors"},
        "student": {"model": {"name": "mlp"}},
    }
    spec = recipe_from_tree(tree, {}, where="here").teacher
    assert spec == TimmTeacher(name="resnet50.a1_in1k", path="w.safetensors")

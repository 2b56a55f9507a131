"""Where only onnxruntime, pillow and typer are installed, with what they need, a bundle answers all the same."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import limbeck

ONNXRUNTIME = ["onnxruntime", "flatbuffers", "google", "packaging", "numpy", "numpy.libs"]
PILLOW = ["PIL", "pillow.libs"]
RICH = ["rich", "pygments", "markdown_it", "mdurl"]
PYDANTIC = ["pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions.py"]
TYPER = ["typer", "click", "shellingham", "annotated_doc", *RICH, *PYDANTIC]
"""Of the site's packages; typer needs pydantic, limbeck does not here."""
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "onnx_only.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of links to what may be imported."""
    place = tmp_path_factory.mktemp("site")
    packages = Path(importlib.util.find_spec("numpy").origin).parent.parent
    for name in [*ONNXRUNTIME, *PILLOW, *TYPER]:
        if (packages / name).exists():
            os.symlink(packages / name, place / name)
    os.symlink(Path(limbeck.__file__).parent, place / "limbeck")
    return place


def run(site, how, *words):
    """A script or module in a process of its own, which sees that folder and the standard library."""
    code = (
        f"import runpy, sys; sys.path.append({str(site)!r}); sys.argv[0] = 'limbeck'; {how}; "
        "bad = {'torch', 'onnx', 'sklearn', 'safetensors', 'scipy'} & {name.split('.')[0] for name in "
        "sys.modules}; assert not bad, bad"
    )
    command = [sys.executable, "-I", "-S", "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def predict(site, *words):
    # As `python -m limbeck` does, whose last line ends the process where all is well.
    how = "from limbeck.cli import app; app(standalone_mode=False)"
    return run(site, how, "predict", *words)


def test_torch_is_not_to_be_had_there(site):
    for name in ("torch", "onnx", "sklearn", "safetensors"):
        assert "ModuleNotFoundError" in run(site, f"import {name}").stderr


def test_predict_answers(site, bundle, pixels, tmp_path):
    expected = limbeck.load_bundle(bundle).probabilities(pixels.numpy(), 2.0)
    for place in (bundle, bundle / "model.onnx"):
        done = predict(site, place, bundle / "golden.npz", "--temperature", "2", "--json", "--threads", "1")
        assert done.returncode == 0, done.stderr
        came = [list(one["probabilities"].values()) for one in json.loads(done.stdout)]
        np.testing.assert_allclose(came, expected, atol=1e-6)


def test_the_verb_as_a_module_says_what_is_wrong(site, bundle):
    done = run(site, "runpy.run_module('limbeck', run_name='__main__')", "predict", bundle, "nothing.png")
    assert done.returncode == 3
    assert done.stderr.startswith("limbeck: nothing.png does not exist")


def test_another_format_names_what_it_needs(site, program):
    done = run(site, "runpy.run_module('limbeck', run_name='__main__')", "predict", program, "x.npz")
    assert done.returncode == 4
    assert "pip install torch" in done.stderr


def test_the_example_needs_neither_limbeck_nor_torch(site, bundle, pixels):
    how = f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__'); assert 'limbeck' not in sys.modules"
    done = run(site, how, bundle / "model.onnx", bundle / "golden.npz")
    assert done.returncode == 0, done.stderr
    student = limbeck.load_bundle(bundle)
    first, *lines = done.stdout.splitlines()
    assert first == "3 classes, licence MIT, taught by a bigger one"
    assert lines == [
        f"{row}  {student.classes[one.argmax()]} {one.max():.4f}"
        for row, one in enumerate(student.probabilities(pixels.numpy()), start=1)
    ]

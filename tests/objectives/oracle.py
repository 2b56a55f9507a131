"""Values and gradients of published implementations, and how near to them is near enough.

tests/oracles/index.json says where each comes from; `about.tolerances` there is what `assert_near` asserts.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import float32, float64

ORACLES = Path(__file__).parents[1] / "oracles"
INDEX = json.loads((ORACLES / "index.json").read_text())["objectives"]
TENSORS = {name: load_file(ORACLES / f"{name}.safetensors") for name in INDEX}
DTYPES = {"float64": float64, "float32": float32}


def cases(*names):
    """(name, case, dtype) of every case of these oracles, in both dtypes, to parametrise over."""
    return [
        pytest.param(name, case, dtype, id=f"{name}-{case}-{facts['tag']}-{dtype}")
        for name in names
        for case, facts in INDEX[name]["cases"].items()
        for dtype in DTYPES
    ]


def read(name, case):
    """The tensors of a case by their keys, and its facts: tag, params, value_from, float32_error_of_reference."""
    prefix = f"{case}."
    found = {key[len(prefix) :]: t for key, t in TENSORS[name].items() if key.startswith(prefix)}
    return found, INDEX[name]["cases"][case]


def leaf(values, dtype):
    """An input of an oracle as a leaf of the graph."""
    return values.to(DTYPES[dtype], copy=True).requires_grad_()


def assert_near(loss, gradients, tensors, facts, dtype):
    """The loss, and each gradient by the name of its input, within `about.tolerances` of the index.

    Where the published code is not finite in float32, its error counts as 0.
    """
    errors = {key: value or 0.0 for key, value in facts["float32_error_of_reference"].items()}
    scale = max(1.0, facts["params"].get("temperature", 1.0)) ** 2
    wanted = tensors["loss"]
    allowed = 1e-9 * wanted.abs() + 1e-12
    if dtype == "float32":
        allowed = 2 * errors["loss_abs"] + 1e-6 * scale * (1 + wanted.abs())
    assert loss.dtype == DTYPES[dtype]
    assert (loss.detach().double() - wanted).abs() <= allowed
    for name, gradient in gradients.items():
        wanted = tensors[f"grad_{name}"]
        allowed = 1e-9 * wanted.abs().max() + 1e-12
        if dtype == "float32":
            allowed = 2 * errors["grad_abs"] + 1e-5 * wanted.abs().max() + 1e-7
        assert gradient.dtype == DTYPES[dtype]
        assert (gradient.double() - wanted).abs().max() <= allowed, f"the gradient of {name}"


def assert_same_values(values, wanted, dtype):
    """Unreduced values, which are promised in float64."""
    if dtype == "float64":
        assert ((values.detach() - wanted).abs() <= 1e-9 * wanted.abs() + 1e-12).all()

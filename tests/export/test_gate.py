"""The gate: what passes, what does not, and in what words."""

from dataclasses import replace

import pytest
import torch

from limbeck.data import key_examples
from limbeck.errors import RecipeError
from limbeck.export import tolerance
from limbeck.export.gate import EXACT, QUANTISED, failures, few, refusal
from limbeck.measurement import parity

LOGITS = torch.eye(10).repeat(20, 1) * 8
LABELS = torch.arange(10).repeat(20)
EXAMPLES = key_examples(torch.arange(200.0)[:, None], LABELS, ("a", "b\nc", *"cdefghij"))


def turned(rows: int) -> torch.Tensor:
    """The logits with another first choice in so many rows of 200."""
    other = LOGITS.clone()
    other[:rows] = other[:rows].roll(1, dims=1)
    return other


@pytest.mark.parametrize(("rows", "passes"), [(0, True), (1, True), (2, False), (3, False)])
def test_int8_may_lose_half_a_point(rows: int, passes: bool):
    found = parity(LOGITS, turned(rows), LABELS)
    gate = replace(QUANTISED, most_divergence=1.0)
    assert (not failures(gate, found)) is passes
    assert (not failures(tolerance(0.98, 1.5), replace(found, divergence=0.0))) is True


@pytest.mark.parametrize(("count", "rows", "passes"), [(24, 1, True), (24, 2, False), (100, 1, True), (100, 2, False)])
def test_one_example_is_never_the_reason(count: int, rows: int, passes: bool):
    found = replace(parity(LOGITS[:count], turned(rows)[:count], LABELS[:count]), divergence=0.0)
    assert (not failures(QUANTISED, found)) is passes
    assert (not failures(tolerance(1.0, 0.0), found)) is False


def test_float32_may_lose_nothing():
    found = parity(LOGITS, LOGITS + 1e-5, LABELS)
    assert failures(EXACT, found) == ()
    nudged = LOGITS.clone()
    nudged[3, 2] += 0.01
    (why,) = failures(replace(EXACT, most_divergence=1.0), parity(LOGITS, nudged, LABELS))
    assert why.startswith("a logit differs by 0.01")


def test_every_condition_is_told():
    broken = turned(40)
    broken[50, 0] = torch.nan
    told = failures(EXACT, parity(LOGITS, broken, LABELS))
    assert [words.split()[0] for words in told] == ["1", "agreement", "divergence", "accuracy", "a"]


def test_a_refusal_names_the_worst_examples():
    found = parity(LOGITS, turned(2), LABELS)
    error = refusal("onnx-int8", found, ("agreement 99 %",), EXAMPLES, "test")
    assert error.exit_status == 5
    key = bytes(EXAMPLES.keys[0].tolist()).hex()[:12]
    assert f"example 0 with key {key} (a became b c, truly a)" in str(error)
    assert "onnx-int8 was not delivered" in str(error)
    assert "int8 is not recommended for this student" in str(error)
    assert "report this as a bug" in str(refusal("onnx", found, ("x",), EXAMPLES, "test"))
    broken = LOGITS.clone()
    broken[7] = torch.nan
    told = refusal("onnx", parity(LOGITS, broken, LABELS), ("x",), EXAMPLES, "test")
    assert "example 7" in str(told)
    assert "(h became no number, truly h)" in str(told)


@pytest.mark.parametrize(("count", "told"), [(60, True), (99, True), (100, False), (200, False)])
def test_too_few_examples_are_told(count: int, told: bool):
    found = parity(LOGITS[:count], LOGITS[:count], LABELS[:count])
    assert bool(few(QUANTISED, found)) is told


@pytest.mark.parametrize("options", [(1.5, None), (-0.1, None), (None, -1.0), (None, 101.0), (float("nan"), None)])
def test_a_tolerance_that_is_none_is_refused(options: tuple[float | None, float | None]):
    with pytest.raises(RecipeError, match=r"the (least agreement|most drop) is"):
        tolerance(*options)

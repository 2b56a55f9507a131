"""Values and gradients of published implementations; tests/oracles/index.json says of which and how near."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from limbeck.objectives import CrossEntropy, SoftTargets
from limbeck.signal import Signal
from limbeck.training.step import Batch, Counts, Term, add_gradients

ORACLES = Path(__file__).parents[1] / "oracles"
INDEX = json.loads((ORACLES / "index.json").read_text())["objectives"]
TENSORS = {name: load_file(ORACLES / f"{name}.safetensors") for name in INDEX}
DTYPES = {"float64": torch.float64, "float32": torch.float32}


def cases(*names):
    return [
        pytest.param(name, case, dtype, id=f"{name}-{case}-{facts['tag']}-{dtype}")
        for name in names
        for case, facts in INDEX[name]["cases"].items()
        for dtype in DTYPES
    ]


def read(name, case):
    prefix = f"{case}."
    found = {key[len(prefix) :]: t for key, t in TENSORS[name].items() if key.startswith(prefix)}
    return found, INDEX[name]["cases"][case]


def assert_near(loss, gradient, tensors, facts, dtype):
    """`about.tolerances` of the index. Where the published code is not finite, its error counts as 0."""
    wanted_loss, wanted_gradient = tensors["loss"], tensors["grad_student"]
    largest = wanted_gradient.abs().max()
    if dtype == "float64":
        loss_allowed, gradient_allowed = 1e-9 * wanted_loss.abs() + 1e-12, 1e-9 * largest + 1e-12
    else:
        error = {key: value or 0.0 for key, value in facts["float32_error_of_reference"].items()}
        scale = max(1.0, facts["params"]["temperature"]) ** 2
        loss_allowed = 2 * error["loss_abs"] + 1e-6 * scale * (1 + wanted_loss.abs())
        gradient_allowed = 2 * error["grad_abs"] + 1e-5 * largest + 1e-7
    assert loss.dtype == gradient.dtype == DTYPES[dtype]
    assert (loss.double() - wanted_loss).abs() <= loss_allowed
    assert (gradient.double() - wanted_gradient).abs().max() <= gradient_allowed


@pytest.mark.parametrize(("name", "case", "dtype"), cases("kd", "reverse_kl"))
def test_soft_targets_are_those_of_the_published_implementations(name, case, dtype):
    tensors, facts = read(name, case)
    objective = SoftTargets(
        temperature=facts["params"]["temperature"],
        divergence={"kd": "forward-kl", "reverse_kl": "reverse-kl"}[name],
    )
    student = tensors["student"].to(DTYPES[dtype], copy=True).requires_grad_()
    labels = torch.zeros(len(student), dtype=torch.int64)

    values = objective(Signal(student), Signal(tensors["teacher"].to(DTYPES[dtype])), labels)
    loss = values.sum() / len(student)
    loss.backward()

    assert_near(loss.detach(), student.grad, tensors, facts, dtype)
    if dtype == "float64":
        torch.testing.assert_close(values.detach(), tensors["per_example"], rtol=1e-9, atol=1e-12)


class FreeLogits(nn.Module):
    """A student whose parameters are its logits."""

    def __init__(self, logits_NC):
        super().__init__()
        self.logits_NC = nn.Parameter(logits_NC)

    def forward(self, rows_N):
        return self.logits_NC[rows_N]


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize(("name", "case", "dtype"), cases("hard_soft_mix"))
def test_the_step_is_that_of_the_published_implementations(name, case, dtype, batches):
    tensors, facts = read(name, case)
    params = facts["params"]
    student = FreeLogits(tensors["student"].to(DTYPES[dtype], copy=True))
    teacher = tensors["teacher"].to(DTYPES[dtype])
    terms = [
        Term("student_loss", params["hard_weight"], CrossEntropy()),
        Term("distillation_loss", params["soft_weight"], SoftTargets(temperature=params["temperature"])),
    ]
    count = len(teacher)

    values_K = sum(
        add_gradients(
            student,
            Batch(rows, tensors["labels"][rows], Signal(teacher[rows])),
            terms,
            Counts(examples=count, labelled=count),
        )
        for rows in torch.arange(count).tensor_split(batches)
    )

    loss = params["hard_weight"] * values_K[0] + params["soft_weight"] * values_K[1]
    assert_near(loss, student.logits_NC.grad, tensors, facts, dtype)
    if dtype == "float64":
        wanted = torch.stack([tensors["hard"], tensors["soft"]])
        torch.testing.assert_close(values_K, wanted, rtol=1e-9, atol=1e-12)


def test_the_cases_cover_the_degenerate_ones():
    tags = {facts["tag"] for entry in INDEX.values() for facts in entry["cases"].values()}
    assert tags >= {
        "batch_of_one",
        "two_classes",
        "extreme80",
        "equal",
        "shifted",
        "onehot",
        "neginf",
        "ragged",
    }

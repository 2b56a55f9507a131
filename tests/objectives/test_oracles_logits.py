"""Values and gradients of published implementations; tests/oracles/index.json says of which and how near."""

import pytest
import torch
from oracle import DTYPES, INDEX, assert_near, assert_same_values, cases, leaf, read
from torch import nn

from limbeck.functional import dkd, nkd
from limbeck.objectives import DIST, DKD, NKD, TTM, UNLABELLED, CrossEntropy, LogitMSE, SoftTargets
from limbeck.signal import Signal
from limbeck.training.learner import Learner
from limbeck.training.loss import Batch, Counts, Term
from limbeck.training.step import add_gradients

OBJECTIVES = {
    "kd": lambda params: SoftTargets(temperature=params["temperature"]),
    "reverse_kl": lambda params: SoftTargets(temperature=params["temperature"], divergence="reverse-kl"),
    "jsd": lambda params: SoftTargets(divergence="jsd", **params),
    "total_variation": lambda params: SoftTargets(temperature=params["temperature"], divergence="total-variation"),
    "logit_standardisation": lambda params: SoftTargets(temperature=params["temperature"], standardise=True),
    "dkd": lambda params: DKD(
        temperature=params["temperature"], target_weight=params["alpha"], non_target_weight=params["beta"]
    ),
    "dist": lambda params: DIST(
        temperature=params["temperature"], inter_weight=params["beta"], intra_weight=params["gamma"]
    ),
    "nkd": lambda params: NKD(temperature=params["temperature"], non_target_weight=params["gamma"]),
    "ttm": lambda params: TTM(**params),
    "logit_mse": lambda params: LogitMSE(),
}
"""Of each oracle, the objective that its parameters ask for."""


def run(objective, tensors, dtype):
    """Values, and the gradient of their mean at the student's logits."""
    student = leaf(tensors["student"], dtype)
    labels = tensors.get("labels", torch.full((len(student),), UNLABELLED))
    values = objective(Signal(student), Signal(tensors["teacher"].to(DTYPES[dtype])), labels)
    (values.sum() / len(student)).backward()
    return values.detach(), student.grad


@pytest.mark.parametrize(("name", "case", "dtype"), cases(*OBJECTIVES))
def test_it_is_that_of_the_published_implementations(name, case, dtype):
    tensors, facts = read(name, case)
    values, gradient = run(OBJECTIVES[name](facts["params"]), tensors, dtype)
    assert_near(values.sum() / len(values), {"student": gradient}, tensors, facts, dtype)
    if name != "dist":
        assert_same_values(values, tensors["per_example"], dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("dist"))
def test_each_example_has_its_own_part_and_the_batchs(name, case, dtype):
    tensors, facts = read(name, case)
    params = facts["params"]
    values, _ = run(OBJECTIVES[name](params), tensors, dtype)
    parts = params["beta"] * tensors["inter_per_example"] + params["gamma"] * tensors["intra_per_class"].mean()
    assert_same_values(values, params["temperature"] ** 2 * parts, dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("dkd", "nkd"))
def test_both_parts_are_those_of_the_published_implementations(name, case, dtype):
    tensors, facts = read(name, case)
    temperature = facts["params"]["temperature"]
    inputs = tensors["student"].to(DTYPES[dtype]), tensors["teacher"].to(DTYPES[dtype]), tensors["labels"]
    if name == "dkd":
        parts = [dkd(*inputs, temperature=temperature, target_weight=w, non_target_weight=1 - w) for w in (1, 0)]
        wanted = [tensors["tckd"], tensors["nckd"]]
    else:
        parts = [nkd(*inputs, temperature=temperature, non_target_weight=w) for w in (0, 1)]
        wanted = [tensors["target_term"], tensors["target_term"] + tensors["non_target_term"]]
    for part, of_the_oracle in zip(parts, wanted, strict=True):
        assert_same_values(part, of_the_oracle, dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("logit_mse"))
def test_centred_logits_are_compared_less_their_means(name, case, dtype):
    tensors, _ = read(name, case)
    values, _ = run(LogitMSE(centred=True), tensors, dtype)
    assert_same_values(values, tensors["per_example_centred"], dtype)


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
            Learner(student),
            Batch(rows, tensors["labels"][rows], Signal(teacher[rows])),
            terms,
            Counts(examples=count, labelled=count),
        )
        for rows in torch.arange(count).tensor_split(batches)
    )

    loss = params["hard_weight"] * values_K[0] + params["soft_weight"] * values_K[1]
    assert_near(loss, {"student": student.logits_NC.grad}, tensors, facts, dtype)
    assert_same_values(values_K, torch.stack([tensors["hard"], tensors["soft"]]), dtype)


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

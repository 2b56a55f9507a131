"""A student that does not bear int8 learns to, and stays the student that it was."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from limbeck.conversion.convert import running
from limbeck.conversion.quantised import to_quantised_onnx
from limbeck.export.quantisation_aware import TEACHER, Both, quantisation_aware, teacher_answers
from limbeck.export.subject import Subject, subject_of
from limbeck.finished import Chosen, finished
from limbeck.measurement import parity
from limbeck.preparation import Materials
from limbeck.progress import unwatched
from limbeck.teachers import ask
from running import run_tree

pytestmark = pytest.mark.usefixtures("unsynced")

LEAST_AGREEMENT = 0.99


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A student of real digits that bears int8 well."""
    out = tmp_path_factory.mktemp("digits") / "run"
    fit = {"epochs": 100, "threads": 1, "optimizer": {"name": "adamw", "lr": 0.005}}
    run_tree(
        {
            "format": 1,
            "data": {"source": "digits"},
            "teacher": {"kind": "train", "model": {"name": "mlp", "hidden": [128]}, "fit": fit},
            "student": {"model": {"name": "mlp", "hidden": [64, 32]}},
            "fit": fit,
            "proof": {"seeds": [0], "arms": ["distilled"]},
            "out": str(out),
        }
    )
    return subject_of(finished(out, Materials()), Chosen(), None)


@pytest.fixture(scope="module")
def broken(fine: Subject) -> Subject:
    """The same student with a unit a hundred times as large as its neighbours in each layer: the same function."""
    network = copy.deepcopy(fine.network)
    with torch.no_grad():
        for first, second, unit in ((network.linear1, network.linear2, 0), (network.linear2, network.head, 3)):
            first.weight[unit] *= 100
            first.bias[unit] *= 100
            second.weight[:, unit] /= 100
    return replace(fine, network=network)


def in_int8(subject: Subject, network: nn.Module) -> Tensor:
    """What the int8 file of a network says about the measured examples."""
    with running("onnx-int8", to_quantised_onnx(network, subject.calibration, {}).data) as answer:
        return torch.from_numpy(answer(subject.preprocess(subject.run.data.measured.inputs).numpy()))


@pytest.fixture(scope="module")
def mended(broken: Subject) -> nn.Module:
    return quantisation_aware(broken, unwatched)


def test_a_student_that_int8_breaks_is_mended(fine: Subject, broken: Subject, mended: nn.Module):
    labels = fine.run.data.measured.labels
    torch.testing.assert_close(broken.of_measured, fine.of_measured, atol=1e-3, rtol=1e-3)
    before, after = (parity(broken.of_measured, in_int8(broken, each), labels) for each in (broken.network, mended))
    assert before.agreement < LEAST_AGREEMENT - 0.02
    assert after.agreement >= LEAST_AGREEMENT
    assert after.divergence < before.divergence / 10
    assert after.drop is not None
    assert after.drop <= 0.005


def test_the_student_stays_as_it_was(broken: Subject, mended: nn.Module):
    again = broken.logits(broken.run.data.measured)
    assert torch.equal(again, broken.of_measured)
    assert not any(p.requires_grad for p in mended.parameters())


def test_the_same_comes_out_each_time(broken: Subject, mended: nn.Module):
    again = quantisation_aware(broken, unwatched)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, mended.state_dict()[name])


def test_the_teacher_is_heard_as_it_is_stored_by_students_that_heard_it(fine: Subject):
    examples = fine.run.data.train.select(torch.tensor([5, 2, 900]))
    found = teacher_answers(fine, examples)
    assert found is not None
    torch.testing.assert_close(
        found, ask(fine.run.teacher, examples.inputs, examples.keys).logits, atol=0.02, rtol=0.01
    )
    assert teacher_answers(replace(fine, arm="scratch"), examples) is None


def test_a_student_that_has_not_learnt_what_the_teacher_says_does_not_hear_it(fine: Subject):
    network = copy.deepcopy(fine.network)
    with torch.no_grad():
        network.head.bias[0] += 50
    assert teacher_answers(replace(fine, network=network), fine.run.data.train) is None
    assert teacher_answers(fine, fine.run.data.train) is not None


def test_both_are_heard_by_the_mean_of_their_probabilities(fine: Subject):
    examples = fine.run.data.train
    rows = torch.tensor([3, 1])
    teacher = torch.randn(len(examples), 10, generator=torch.Generator().manual_seed(0))
    both = Both(fine.network, fine.preprocess, teacher, 3.0)
    heard = both.fetch(rows, examples.inputs[rows], torch.zeros(2)).logits
    own = fine.logits(examples.select(rows))
    expected = (1 - TEACHER) * (own / 3).softmax(dim=1) + TEACHER * (teacher[rows] / 3).softmax(dim=1)
    torch.testing.assert_close((heard / 3).softmax(dim=1), expected)


def test_nothing_is_left_in_the_run(broken: Subject, mended: nn.Module):
    directory = Path(broken.run.directory)
    assert "quantisation-aware" not in (directory / "metrics.jsonl").read_text()
    assert not list(directory.rglob("*quantisation*"))

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from limbeck.measurement import ECE_BINS, Metrics, calibration_error, correct, evaluate
from limbeck.objectives import UNLABELLED


def test_by_hand():
    # Probabilities (3/4, 1/4), (1/4, 3/4), (1/2, 1/2): right, wrong, not labelled.
    logits = torch.tensor([[3.0, 1.0], [1.0, 3.0], [1.0, 1.0]]).log()
    labels = torch.tensor([0, 0, UNLABELLED])
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])

    metrics = evaluate(logits, labels, teacher)

    assert metrics.accuracy == 0.5
    assert metrics.errors == 1
    assert metrics.examples == 2
    assert metrics.nll == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert metrics.ece == pytest.approx(0.75 - 0.5)  # one bin: confidence 3/4, half of them right
    assert metrics.agreement == pytest.approx(2 / 3)  # the unlabelled row counts here


def test_nll_as_scikit_learn_has_it():
    logits = 3 * torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 7
    probabilities = logits.double().softmax(dim=-1).numpy()

    assert evaluate(logits, labels, None).nll == pytest.approx(
        log_loss(labels, probabilities, labels=range(7)), rel=1e-12
    )


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 15) | st.floats(0.1, 15), st.booleans()), min_size=1, max_size=60),
)
def test_ece_as_equation_3_reads(examples):
    # Whole numbers of bins among them: an edge belongs to the bin below it.
    confidence = [fifteenths / 15 for fifteenths, _ in examples]
    right = [answer for _, answer in examples]

    ours = calibration_error(torch.tensor(confidence, dtype=torch.float64), torch.tensor(right))

    assert ours == pytest.approx(_ece_by_loops(confidence, right), abs=1e-12)


def _ece_by_loops(confidence, right):
    total = 0.0
    for b in range(1, ECE_BINS + 1):
        lowest = b == 1
        inside = [i for i, c in enumerate(confidence) if ((b - 1) / ECE_BINS < c or lowest) and c <= b / ECE_BINS]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            mean_confidence = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total


def test_without_labels_only_agreement_is_measured():
    logits = torch.eye(3)

    assert evaluate(logits, torch.full((3,), UNLABELLED), logits) == Metrics(
        accuracy=None, nll=None, ece=None, errors=None, examples=0, agreement=1.0
    )


def test_without_a_teacher_there_is_no_agreement():
    assert evaluate(torch.eye(3), torch.arange(3), None).agreement is None


def test_without_examples_nothing_is_measured():
    metrics = evaluate(torch.empty(0, 3), torch.empty(0, dtype=torch.int64), torch.empty(0, 3))

    assert metrics == Metrics(accuracy=None, nll=None, ece=None, errors=None, examples=0, agreement=None)


def test_what_is_not_finite_is_none_and_nan_is_wrong():
    # argmax takes NaN for the largest value, so class 0 would come out right here.
    logits = torch.tensor([[math.nan, 0.0], [1.0, 0.0]])

    metrics = evaluate(logits, torch.tensor([0, 0]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

    assert (metrics.accuracy, metrics.errors, metrics.agreement) == (0.5, 1, 0.5)
    assert (metrics.nll, metrics.ece) == (None, None)


def test_an_excluded_true_class_has_no_finite_nll():
    assert evaluate(torch.tensor([[0.0, -math.inf]]), torch.tensor([1]), None).nll is None


def test_correct_is_false_without_a_label():
    assert correct(torch.eye(3), torch.tensor([0, 2, UNLABELLED])).tolist() == [True, False, False]


def test_a_label_of_width_one_does_not_broadcast():
    with pytest.raises(ValueError, match=r"\(3, 3\) and \(3, 1\): give one label per example"):
        correct(torch.eye(3), torch.arange(3)[:, None])


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\) from the network and \(3, 2\) from the teacher"):
        evaluate(torch.eye(3), torch.arange(3), torch.zeros(3, 2))

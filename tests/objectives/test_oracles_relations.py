"""Values and gradients of published implementations of relation objectives, as in test_oracles_logits.py."""

import pytest
import torch
from oracle import DTYPES, INDEX, assert_near, assert_same_values, cases, leaf, read

from limbeck.objectives import PKT, RKDAngle, RKDDistance, SimilarityPreserving
from limbeck.signal import Signal

TAPS = {"student": "early", "teacher": "late"}
OBJECTIVES = {
    "rkd_distance": RKDDistance(**TAPS),
    "rkd_angle": RKDAngle(**TAPS),
    "pkt": PKT(**TAPS),
    "similarity_preserving": SimilarityPreserving(**TAPS),
}


@pytest.mark.parametrize(("name", "case", "dtype"), cases(*OBJECTIVES))
def test_relations_are_those_of_the_published_implementations(name, case, dtype):
    tensors, facts = read(name, case)
    student = leaf(tensors["student"], dtype)
    labels = torch.zeros(len(student), dtype=torch.int64)
    logits = torch.zeros(len(student), 2)

    signal = Signal(logits, {"late": tensors["teacher"].to(DTYPES[dtype])})
    values = OBJECTIVES[name](Signal(logits, {"early": student}), signal, labels)
    loss = values.sum() / len(student)
    loss.backward()

    assert_near(loss, {"student": student.grad}, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)


def test_the_cases_cover_the_degenerate_ones():
    tags = {facts["tag"] for name in OBJECTIVES for facts in INDEX[name]["cases"].values()}
    assert tags >= {"batch_of_one", "two_examples", "relu", "equal", "maps", "large_offset", "duplicates", "rotated"}

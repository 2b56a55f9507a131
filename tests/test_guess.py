"""The first guess at temperature and alpha."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.guess import guess
from limbeck.teachers import doubts


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.floats(0.5, 20.0), st.floats(0.1, 10.0), st.integers(0, 99))
def test_the_temperature_scales_with_the_logits(classes, spread, factor, seed):
    logits = spread * torch.randn(50, classes, generator=torch.Generator().manual_seed(seed))
    found, scaled = guess(logits), guess(factor * logits + 3.0)
    assert scaled.temperature == pytest.approx(factor * found.temperature, rel=0.01)
    assert doubts(logits, found.temperature) == pytest.approx(0.5, abs=0.01)


def test_of_even_answers_the_usual_temperature_is_as_good_as_any():
    assert guess(torch.zeros(4, 3)).temperature == 4.0

"""Any logits at all, and objectives asked with them."""

import torch
from hypothesis import strategies as st

from limbeck.objectives import UNLABELLED
from limbeck.signal import Signal

any_temperature = st.floats(0.05, 100.0)


@st.composite
def logit_pairs(draw, most=30.0, dtype=torch.float64, least_classes=2):
    shape = (draw(st.integers(1, 9)), draw(st.integers(least_classes, 12)))
    scale = draw(st.floats(1e-3, most))
    noise = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    student, teacher = scale * (2 * torch.rand(2, *shape, generator=noise, dtype=torch.float64) - 1)
    return student.to(dtype), teacher.to(dtype)


def labels_for(logits):
    return torch.arange(len(logits)) % logits.shape[1]


def run(objective, student, teacher, labels=None):
    """Values, and the gradient of their sum at the student's logits."""
    labels = torch.full((len(student),), UNLABELLED) if labels is None else labels
    return run_plain(lambda leaf: objective(Signal(leaf), Signal(teacher), labels), student)


def run_plain(function, student):
    leaf = student.detach().clone().requires_grad_()
    values = function(leaf)
    values.sum().backward()
    return values.detach(), leaf.grad


def assert_close(got, wanted, tolerance=1e-9):
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)

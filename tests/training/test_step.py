"""One optimizer step: what it returns, what it moves, and what it leaves alone."""

import math

import pytest
import torch
from torch import nn

from limbeck.objectives import UNLABELLED, CrossEntropy, HardTargets, SoftTargets
from limbeck.signal import Signal
from limbeck.testing import STEP_PROMISES
from limbeck.training.learner import Learner
from limbeck.training.loss import Batch, Counts, Term
from limbeck.training.step import add_gradients, train_step
from limbeck.training.world import World

TERMS = (
    Term("student_loss", 0.25, CrossEntropy()),
    Term("distillation_loss", 0.75, SoftTargets(temperature=4.0)),
)


class FreeLogits(nn.Module):
    """A student whose parameters are its logits."""

    def __init__(self, logits_NC):
        super().__init__()
        self.logits_NC = nn.Parameter(torch.tensor(logits_NC, dtype=torch.float64))

    def forward(self, rows_N):
        return self.logits_NC[rows_N]


def mlp(dtype=torch.float64):
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 5)).to(dtype)


def lesson(count=12, dtype=torch.float64):
    draw = torch.Generator().manual_seed(3)
    inputs, teacher = torch.randn(count, 6, generator=draw), 3 * torch.randn(count, 5, generator=draw)
    labels = torch.randint(5, (count,), generator=draw)
    labels[::3] = UNLABELLED
    return inputs.to(dtype), labels, teacher.to(dtype)


def batches(sizes, dtype=torch.float64):
    parts = (torch.split(x, list(sizes)) for x in lesson(sum(sizes), dtype))
    return [Batch(inputs, labels, Signal(teacher)) for inputs, labels, teacher in zip(*parts, strict=True)]


def step(student, micro_batches, terms=TERMS, counts=None, *, lr=1.0, **options):
    counts = counts or Counts(examples=12, labelled=8.0)
    optimizer = torch.optim.SGD(student.parameters(), lr=lr)
    return train_step(Learner(student), optimizer, micro_batches, terms, counts, world=World(), **options)


def parameters(student):
    return nn.utils.parameters_to_vector(student.parameters()).detach().clone()


def gradients(student):
    return torch.cat([p.grad.reshape(-1) for p in student.parameters()])


@pytest.mark.parametrize("promise", STEP_PROMISES, ids=lambda promise: promise.name)
def test_it_keeps_its_promises(promise):
    promise(add_gradients)


def test_values_and_moves_are_those_worked_out_on_paper():
    """Student (1/2, 1/2) and (1/4, 3/4), teacher (1/2, 1/2) twice; the first example is labelled 0."""
    student = FreeLogits([[0.0, 0.0], [0.0, math.log(3.0)]])
    batch = Batch(torch.arange(2), torch.tensor([0, UNLABELLED]), Signal(torch.zeros(2, 2, dtype=torch.float64)))
    terms = (
        Term("student_loss", 0.5, CrossEntropy()),
        Term("distillation_loss", 0.25, SoftTargets(temperature=1.0)),
    )

    values_K = step(student, [batch], terms, Counts(examples=2, labelled=1.0))

    # -log(1/2) / 1, and (0 + 1/2 log 2 + 1/2 log 2/3) / 2; neither holds its weight.
    wanted = torch.tensor([math.log(2.0), 0.25 * math.log(4.0 / 3.0)], dtype=torch.float64)
    torch.testing.assert_close(values_K, wanted)
    # 0.5 (q - y) / 1 = (-1/4, 1/4), and 0.25 (q - p) / 2 = (-1/32, 1/32); a step of rate 1 goes against them.
    moved = torch.tensor([[0.25, -0.25], [1 / 32, math.log(3.0) - 1 / 32]], dtype=torch.float64)
    torch.testing.assert_close(student.logits_NC.detach(), moved)


@pytest.mark.parametrize("sizes", [(6, 6), (1, 5, 4, 2), (1,) * 12, (12, 0)], ids=str)
def test_micro_batches_end_in_the_weights_of_one_batch(sizes):
    whole, split = mlp(), mlp()
    wanted = step(whole, batches((12,)))
    got = step(split, iter(batches(sizes)))
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parameters(split), parameters(whole), rtol=1e-12, atol=1e-12)


def test_an_old_gradient_does_not_leak_into_the_step():
    fresh, used = mlp(), mlp()
    for parameter in used.parameters():
        parameter.grad = torch.full_like(parameter, 5.0)
    step(fresh, batches((12,)))
    step(used, batches((12,)))
    assert torch.equal(parameters(used), parameters(fresh))


def test_a_clip_bounds_the_whole_steps_gradient():
    student = mlp()
    before = parameters(student)
    step(student, batches((6, 6)), clip=0.01)
    assert float((parameters(student) - before).norm()) == pytest.approx(0.01, rel=1e-3)

    plain, clipped = mlp(), mlp()
    step(plain, batches((12,)))
    step(clipped, batches((12,)), clip=1e6)
    assert torch.equal(parameters(clipped), parameters(plain))


def test_a_clip_keeps_the_direction_and_the_values():
    plain, clipped = mlp(), mlp()
    values = step(plain, batches((12,)), lr=0.0)
    clipped_values = step(clipped, batches((12,)), lr=0.0, clip=0.01)
    assert torch.equal(values, clipped_values)
    cosine = torch.cosine_similarity(gradients(plain), gradients(clipped), dim=0)
    assert float(cosine) == pytest.approx(1.0)


def test_bf16_leaves_finite_float32_gradients_near_those_of_float32():
    single, half = mlp(torch.float32), mlp(torch.float32)
    wanted = step(single, batches((12,), torch.float32), lr=0.0)
    got = step(half, batches((12,), torch.float32), lr=0.0, bf16=True)
    assert got.dtype == gradients(half).dtype == torch.float32
    assert gradients(half).isfinite().all()
    torch.testing.assert_close(got, wanted, rtol=2e-2, atol=2e-2)
    assert float((gradients(half) - gradients(single)).norm() / gradients(single).norm()) < 0.05
    assert not torch.equal(gradients(half), gradients(single)), "autocast was not on"


def test_a_student_that_answers_in_bf16_is_raised():
    student = nn.Linear(6, 5, dtype=torch.bfloat16)
    inputs, labels, teacher = lesson(dtype=torch.float32)
    batch = Batch(inputs.bfloat16(), labels, Signal(teacher.bfloat16()))
    values = step(student, [batch], lr=0.0)
    assert values.dtype == torch.float32
    assert gradients(student).isfinite().all()


def test_without_labels_the_student_loss_moves_nothing():
    student = mlp()
    before = parameters(student)
    inputs, labels, teacher = lesson()
    batch = Batch(inputs, torch.full_like(labels, UNLABELLED), Signal(teacher))
    values = step(student, [batch], TERMS[:1])
    assert values.tolist() == [0.0]
    assert torch.equal(parameters(student), before)


def test_without_labels_the_distillation_loss_moves_what_it_moves_with_them():
    with_labels, without = mlp(), mlp()
    inputs, labels, teacher = lesson()
    step(with_labels, [Batch(inputs, labels, Signal(teacher))], TERMS[1:])
    step(without, [Batch(inputs, torch.full_like(labels, UNLABELLED), Signal(teacher))], TERMS[1:])
    assert torch.equal(parameters(with_labels), parameters(without))


def test_at_the_teacher_the_distillation_loss_moves_nothing():
    student = FreeLogits([[1.0, -2.0, 0.5], [3.0, 0.0, 0.0]])
    before = parameters(student)
    batch = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64), Signal(before.view(2, 3)))
    values = step(student, [batch], TERMS[1:], Counts(examples=2, labelled=2))
    torch.testing.assert_close(values, torch.zeros_like(values))
    torch.testing.assert_close(parameters(student), before)


def test_a_weight_of_zero_reports_its_value_and_moves_nothing():
    student, other = mlp(), mlp()
    zero = Term("distillation_loss", 0.0, SoftTargets(temperature=4.0))
    values = step(student, batches((12,)), (TERMS[0], zero))
    alone = step(other, batches((12,)), TERMS[:1])
    assert values[0] == alone[0]
    assert values[1] > 0
    torch.testing.assert_close(parameters(student), parameters(other), rtol=1e-12, atol=1e-12)


def test_weights_are_linear_and_need_not_sum_to_one():
    def moved(*weights):
        student = mlp()
        step(student, batches((12,)), [Term(t.name, w, t.objective) for t, w in zip(TERMS, weights, strict=True)])
        return parameters(student) - parameters(mlp())

    torch.testing.assert_close(moved(3.0, 0.5), 3 * moved(1.0, 0.0) + 0.5 * moved(0.0, 1.0))


def test_a_student_learns_from_labels_without_a_teacher():
    inputs, labels, _ = lesson()
    student = mlp()
    first = step(student, [Batch(inputs, labels, None)], TERMS[:1], lr=0.1)
    for _ in range(50):
        last = step(student, [Batch(inputs, labels, None)], TERMS[:1], lr=0.1)
    assert last < 0.5 * first


def test_each_term_is_divided_by_the_count_it_speaks_of():
    counts = Counts(examples=12, labelled=3.0)
    assert counts.of(Term("a", 1.0, CrossEntropy())) == 3.0
    assert counts.of(Term("b", 1.0, SoftTargets())) == 12
    assert counts.of(Term("c", 1.0, HardTargets())) == 12


def test_the_expected_labelled_count_makes_epochs_add_up():
    """Over steps with 0, 1 and 5 labels, the mean step is the gradient of the mean over the labelled."""
    inputs, _, teacher = lesson(18)
    labels = torch.full((18,), UNLABELLED)
    labels[[6, 12, 13, 14, 16, 17]] = torch.tensor([0, 1, 2, 3, 4, 0])
    expected = Counts(examples=6, labelled=2.0)
    student, whole = mlp(), mlp()
    for rows in torch.arange(18).split(6):
        add_gradients(Learner(student), Batch(inputs[rows], labels[rows], Signal(teacher[rows])), TERMS, expected)
    add_gradients(Learner(whole), Batch(inputs, labels, Signal(teacher)), TERMS, Counts(examples=18, labelled=6.0))
    torch.testing.assert_close(gradients(student) / 3, gradients(whole), rtol=1e-12, atol=1e-12)

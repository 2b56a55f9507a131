"""Feature objectives beside values and gradients of published implementations (`oracle`)."""

import pytest
import torch
from oracle import DTYPES, assert_near, assert_same_values, cases, leaf, read
from torch import nn

from limbeck.objectives import HCL, VID, AttentionTransfer, ChannelWise, Feature, Hint
from limbeck.objectives.features.vid import vid
from limbeck.signal import Signal

TAPS = {"student": "early", "teacher": "late"}


def asked(objective, student, teacher, learnt=None):
    """The values [N] of the objective, its features given as taps."""
    logits = torch.zeros(len(student), 2)
    output, signal = Signal(logits, {"early": student}), Signal(logits, {"late": teacher.to(student.dtype)})
    return objective(output, signal, torch.zeros(len(student), dtype=torch.int64), learnt)


def mean(values):
    """The loss of the oracles, its gradients taken."""
    loss = values.sum() / len(values)
    loss.backward()
    return loss


def of_weight(weight, dtype):
    """A linear map of the channels, [out, in, 1, 1] for maps and [out, in] for vectors."""
    wide, width = weight.shape[1::-1]
    layer = nn.Conv2d(wide, width, 1, bias=False) if weight.ndim == 4 else nn.Linear(wide, width, bias=False)
    layer.weight = nn.Parameter(weight.to(DTYPES[dtype], copy=True))
    return layer


@pytest.mark.parametrize(("name", "case", "dtype"), cases("hint"))
@pytest.mark.parametrize("objective", [Hint(**TAPS), Feature(**TAPS)], ids=["hint", "feature"])
def test_hint_and_its_projector(name, case, dtype, objective):
    tensors, facts = read(name, case)
    student, weight = leaf(tensors["student"], dtype), tensors["projector"]
    projector = of_weight(weight if student.ndim == 4 else weight.flatten(1), dtype)
    built = objective.build(tuple(student.shape[1:]), tuple(tensors["teacher"].shape[1:]))
    if weight.shape[0] != weight.shape[1]:
        assert str(built) == str(projector)
        built.to(DTYPES[dtype]).load_state_dict(projector.state_dict())
        projector = built

    values = asked(objective, student, tensors["teacher"], projector)

    loss = mean(values)
    gradients = {"student": student.grad, "projector": projector.weight.grad.reshape(weight.shape)}
    assert_near(loss, gradients, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("cosine"))
def test_cosine(name, case, dtype):
    """Of tokens those that are not masked count, each as an example."""
    tensors, facts = read(name, case)
    student, teacher = leaf(tensors["student"], dtype), tensors["teacher"]
    valid = tensors["mask"].bool() if "mask" in tensors else torch.ones(student.shape[:-1], dtype=torch.bool)
    wanted = tensors["per_token"] if "mask" in tensors else tensors["per_example"]

    values = asked(Feature(**TAPS, distance="cosine"), student[valid], teacher[valid])

    assert_near(mean(values), {"student": student.grad}, tensors, facts, dtype)
    assert_same_values(values, wanted[valid], dtype)


def test_cosine_of_tokens_is_the_mean_over_them():
    tensors, _ = read("cosine", "case03")
    student, teacher = tensors["student"].double(), tensors["teacher"].double()
    values = asked(Feature(**TAPS, distance="cosine"), student, teacher)
    mask = tensors["mask"].bool()
    each = 1 - nn.functional.cosine_similarity(student, teacher, dim=2)
    assert_same_values(each[mask], tensors["per_token"][mask], "float64")
    assert_same_values(values, each.mean(dim=1), "float64")


@pytest.mark.parametrize(("name", "case", "dtype"), cases("attention_transfer"))
def test_attention_transfer(name, case, dtype):
    tensors, facts = read(name, case)
    student = leaf(tensors["student"], dtype)

    values = asked(AttentionTransfer(**TAPS, power=facts["params"]["p"]), student, tensors["teacher"])

    assert_near(mean(values), {"student": student.grad}, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)
    if dtype == "float64":
        # The paper prints the norm of the difference, whose mean square is taken here.
        positions = min(tensors["student"].shape[2], tensors["teacher"].shape[2]) ** 2
        norms = (positions * values.detach()).sqrt()
        assert_same_values(norms.mean(), tensors["loss_paper_norm"], dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("vid"))
def test_vid_and_all_that_it_learns(name, case, dtype):
    tensors, facts = read(name, case)
    student = leaf(tensors["student"], dtype)
    learnt = VID(**TAPS).build(tuple(student.shape[1:]), tuple(tensors["teacher"].shape[1:])).to(DTYPES[dtype])
    weights = {"w1": "network.0.weight", "w2": "network.2.weight", "w3": "network.4.weight", "log_scale": "log_scale"}
    learnt.load_state_dict({theirs: tensors[name] for name, theirs in weights.items()})

    values = asked(VID(**TAPS), student, tensors["teacher"], learnt)

    loss, parameters = mean(values), dict(learnt.named_parameters())
    gradients = {name: parameters[theirs].grad for name, theirs in weights.items()}
    assert_near(loss, {"student": student.grad, **gradients}, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("vid_core"))
def test_vid_without_its_network(name, case, dtype):
    tensors, facts = read(name, case)
    student, log_scale = leaf(tensors["student"], dtype), leaf(tensors["log_scale"], dtype)

    values = vid(student, tensors["teacher"].to(DTYPES[dtype]), log_scale)

    loss = mean(values)
    assert_near(loss, {"student": student.grad, "log_scale": log_scale.grad}, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("channel_wise"))
def test_channel_wise(name, case, dtype):
    tensors, facts = read(name, case)
    student = leaf(tensors["student"], dtype)

    values = asked(ChannelWise(**TAPS, **facts["params"]), student, tensors["teacher"])

    assert_near(mean(values), {"student": student.grad}, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)


@pytest.mark.parametrize(("name", "case", "dtype"), cases("review_hcl"))
def test_hcl_of_every_stage_adds_up(name, case, dtype):
    tensors, facts = read(name, case)
    stages = range(facts["params"]["stages"])
    students = [leaf(tensors[f"student{stage}"], dtype) for stage in stages]

    values = sum(asked(HCL(**TAPS), students[stage], tensors[f"teacher{stage}"]) for stage in stages)

    loss = mean(values)
    assert_near(loss, {f"student{stage}": students[stage].grad for stage in stages}, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)

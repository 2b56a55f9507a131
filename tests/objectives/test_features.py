"""What holds for feature objectives on any input: closed forms, invariances, sizes; and what is refused."""

import math
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from limbeck.objectives import HCL, VID, AttentionTransfer, ChannelWise, Feature, Hint
from limbeck.objectives.features.attention_transfer import attention_transfer
from limbeck.objectives.features.channel_wise import channel_wise
from limbeck.objectives.features.feature import feature
from limbeck.objectives.features.hcl import hcl
from limbeck.objectives.features.hint import hint
from limbeck.objectives.features.vid import vid
from limbeck.objectives.logits.soft_targets import kd
from limbeck.signal import Signal

TAPS = {"student": "early", "teacher": "late"}
EVERY = [
    Hint(**TAPS),
    *(Feature(**TAPS, distance=distance) for distance in ("l2", "l1", "cosine")),
    *(AttentionTransfer(**TAPS, power=power) for power in (2, 4, 6)),
    VID(**TAPS),
    ChannelWise(**TAPS),
    HCL(**TAPS),
]
OF_MAPS = [objective for objective in EVERY if "maps" in objective.traits.needs]
OF_ANY = [objective for objective in EVERY if "features" in objective.traits.needs]


def asked(objective, student, teacher, learnt=None):
    logits = torch.zeros(len(student), 2)
    output, signal = Signal(logits, {"early": student}), Signal(logits, {"late": teacher})
    return objective(output, signal, torch.zeros(len(student), dtype=torch.int64), learnt)


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def pairs_of_maps(draw, least=1, most=7):
    """Two maps of one shape, of any size from 1 x 1."""
    shape = [draw(st.integers(1, 4)) for _ in "NC"] + [draw(st.integers(least, most)) for _ in "HW"]
    seed, scale = draw(st.integers(0, 2**32)), draw(st.floats(1e-2, 30.0))
    return scale * noise(seed, *shape), scale * noise(seed + 1, *shape)


any_power = st.sampled_from([2, 4, 6])


def close(got, wanted, rtol=1e-9, atol=1e-9):
    torch.testing.assert_close(got, wanted, rtol=rtol, atol=atol)


# ------------------------------------------------------------------------------------- closed forms


@settings(deadline=None)
@given(pairs_of_maps())
def test_the_gradient_of_a_hint_is_the_projected_difference(pair):
    """2 P^T (P s - t) / (C H W)."""
    student, teacher = pair[0].requires_grad_(), pair[1]
    projector = nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False).double()
    hint(student, teacher, projector).sum().backward()
    error = projector(student.detach()) - teacher
    wanted = 2 * F.conv_transpose2d(error, projector.weight.detach()) / teacher[0].numel()
    close(student.grad, wanted)


@settings(deadline=None)
@given(pairs_of_maps())
def test_a_feature_is_a_hint_unless_told_otherwise(pair):
    close(feature(*pair), hint(*pair), 0, 0)
    close(feature(*pair, distance="l1"), (pair[0] - pair[1]).abs().mean(dim=(1, 2, 3)))


@settings(deadline=None)
@given(pairs_of_maps(), st.floats(0.01, 100))
def test_cosine_sees_the_direction_at_each_position_alone(pair, scale):
    # Away from 0, where a direction is rounding.
    student, teacher = (torch.cat([torch.ones_like(maps[:, :1]), maps], dim=1) for maps in pair)
    values = feature(student, teacher, distance="cosine")
    close(values, 1 - F.cosine_similarity(student, teacher).mean(dim=(1, 2)))
    sizes = scale * (1 + noise(0, len(student), 1, *student.shape[2:]).abs())
    close(feature(sizes * student, teacher, distance="cosine"), values)
    close(feature(-student, teacher, distance="cosine"), 2 - values)


@settings(deadline=None)
@given(pairs_of_maps(), any_power, st.sampled_from([-100.0, -0.03, 0.5, 7.0]))
def test_attention_sees_neither_size_nor_sign_nor_order_of_the_channels(pair, power, scale):
    student, teacher = pair
    values = attention_transfer(student, teacher, power=power)
    close(attention_transfer(scale * student, teacher, power=power), values)
    close(attention_transfer(student, scale * teacher, power=power), values)
    close(attention_transfer(student.flip(1), teacher, power=power), values)
    close(attention_transfer(torch.cat([student, -student], dim=1), teacher, power=power), values)
    assert (values <= 2 / student[0, 0].numel() + 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "function",
    [partial(feature, distance="cosine"), *(partial(attention_transfer, power=power) for power in (2, 4, 6))],
)
def test_a_direction_is_one_however_small_the_features(function, dtype):
    student, teacher = noise(0, 4, 3, 5, 5).to(dtype).requires_grad_(), noise(1, 4, 3, 5, 5).to(dtype)
    wanted = function(student, teacher)
    (gradient,) = torch.autograd.grad(wanted.sum(), student)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    for scale in (1e-12, 1e-6, 1e6):
        small = (scale * student.detach()).requires_grad_()
        values = function(small, scale * teacher)
        close(values, wanted, tolerance, tolerance)
        close(scale * torch.autograd.grad(values.sum(), small)[0], gradient, tolerance, tolerance)


def test_what_is_nothing_in_both_has_no_angle_between():
    """Position 0 is dead in both, 1 in the student alone, 2 in the teacher alone."""
    student, teacher = noise(0, 2, 3, 2, 2), noise(1, 2, 3, 2, 2)
    for features, dead in ((student, [0, 1]), (teacher, [0, 2])):
        features.flatten(2)[:, :, dead] = 0
    student.requires_grad_()
    values = feature(student, teacher, distance="cosine")
    last = 1 - F.cosine_similarity(student.detach(), teacher).flatten(1)[:, 3]
    close(values, (2 + last) / 4)
    values.sum().backward()
    assert not student.grad.flatten(2)[:, :, :3].any()
    assert feature(teacher, teacher, distance="cosine").abs().max() < 1e-15


def test_only_the_absolute_difference_has_a_kink():
    assert [Feature(**TAPS, distance=distance).traits.smooth for distance in ("l2", "l1", "cosine")] == [
        True,
        False,
        True,
    ]
    assert Feature(**TAPS).traits is Feature.traits


@settings(deadline=None)
@given(pairs_of_maps(), st.floats(-30, 30))
def test_the_gradient_of_vid_is_the_error_over_the_variance(pair, log_scale):
    mean, teacher = pair[0].requires_grad_(), pair[1]
    log_scales = (log_scale + noise(1, mean.shape[1])).requires_grad_()
    vid(mean, teacher, log_scales).sum().backward()
    variance = (log_scales.detach().exp().log1p() + 1e-5)[:, None, None]
    close(mean.grad, (mean.detach() - teacher) / (variance * mean[0].numel()), atol=1e-9 * float(mean.grad.abs().max()))
    close(vid(teacher, teacher, log_scales.detach()), 0.5 * variance.log().mean().expand(len(teacher)))


@settings(deadline=None)
@given(pairs_of_maps())
def test_a_variance_is_learnt_where_it_is_the_mean_square_of_the_error(pair):
    mean, teacher = pair
    errors = (mean - teacher).square().mean(dim=(0, 2, 3))
    assume(errors.min() > 1e-3)
    # log(exp(x) - 1), where softplus is x, without its overflow.
    log_scales = errors - 1e-5 + (-(1e-5 - errors).expm1()).log()
    log_scales.requires_grad_()
    vid(mean, teacher, log_scales).sum().backward()
    assert log_scales.grad.abs().max() < 1e-6


def test_the_scale_of_a_variance_may_be_any_number():
    features = noise(0, 3, 4)
    for dtype in (torch.float32, torch.float64):
        for extreme in (-1000.0, 100.0, 1000.0):
            log_scale = torch.full((4,), extreme, dtype=dtype, requires_grad=True)
            values = vid(features.to(dtype), -features.to(dtype), log_scale)
            values.sum().backward()
            assert values.isfinite().all()
            assert log_scale.grad.isfinite().all()


@settings(deadline=None)
@given(pairs_of_maps(least=2), st.floats(0.3, 50))
def test_channel_wise_is_kd_with_positions_for_classes(pair, temperature):
    student, teacher = pair
    values = kd(student.flatten(2), teacher.flatten(2), temperature=temperature).mean(dim=1)
    close(channel_wise(student, teacher, temperature=temperature), values, atol=1e-9 * (1 + temperature**2))
    shifts = noise(2, *student.shape[:2], 1, 1)
    close(channel_wise(student + shifts, teacher, temperature=temperature), values, atol=1e-9 * (1 + temperature**2))


@settings(deadline=None)
@given(pairs_of_maps(), st.floats(-5, 5))
def test_hcl_of_a_constant_difference_is_its_square(pair, difference):
    student, _ = pair
    close(hcl(student, student + difference), torch.full((len(student),), difference**2, dtype=torch.float64))


@settings(deadline=None)
@given(pairs_of_maps(least=5))
def test_hcl_above_four_weighs_eight_four_two_one(pair):
    stages = [hint(*(F.adaptive_avg_pool2d(maps, level) for maps in pair)) for level in (4, 2, 1)]
    close(hcl(*pair), (8 * hint(*pair) + 4 * stages[0] + 2 * stages[1] + stages[2]) / 15)


@settings(deadline=None)
@given(pairs_of_maps(most=1))
def test_of_one_position_there_is_no_attention_and_no_hierarchy(pair):
    student, teacher = pair
    nothing = torch.zeros(len(student), dtype=torch.float64)
    close(attention_transfer(student, teacher), nothing, 0, 0)
    close(channel_wise(student, teacher), nothing, 0, 0)
    close(hcl(student, teacher), hint(student, teacher))


# -------------------------------------------------------------------------------- sizes and channels


@pytest.mark.parametrize("objective", EVERY)
@pytest.mark.parametrize(
    ("student", "teacher", "common"),
    [((8, 8), (4, 4), (4, 4)), ((3, 3), (7, 7), (3, 3)), ((8, 4), (4, 8), (4, 4)), ((5, 5), (5, 3), (5, 3))],
)
def test_the_larger_map_is_pooled_to_the_smaller(objective, student, teacher, common):
    maps = noise(0, 3, 4, *student), noise(1, 3, 4, *teacher)
    learnt = objective.build((4, *student), (4, *teacher))
    if learnt is not None:
        learnt.double()
    pooled = [F.adaptive_avg_pool2d(each, common) for each in maps]
    close(asked(objective, *maps, learnt), asked(objective, *pooled, learnt))


@pytest.mark.parametrize("objective", [Hint(**TAPS), Feature(**TAPS), ChannelWise(**TAPS), HCL(**TAPS)])
def test_a_projector_is_made_where_the_channels_differ(objective):
    """As torch makes it, from torch's seed."""
    assert objective.build((4, 8, 8), (4, 2, 2)) is None
    torch.manual_seed(3)
    built = objective.build((4, 8, 8), (6, 2, 2))
    torch.manual_seed(3)
    close(built.weight, nn.Conv2d(4, 6, 1, bias=False).weight, 0, 0)
    assert [*built.state_dict()] == ["weight"]


def test_pooling_and_projecting_commute():
    student, teacher = noise(0, 2, 4, 6, 6), noise(1, 2, 5, 3, 3)
    projector = Hint(**TAPS).build((4, 6, 6), (5, 3, 3)).double()
    wanted = hint(projector(student), teacher)
    close(hint(student, teacher, projector), wanted)


@pytest.mark.parametrize("objective", OF_ANY)
@pytest.mark.parametrize("shapes", [((6,), (4,)), ((5, 6), (5, 4))], ids=["vectors", "tokens"])
def test_vectors_and_tokens_have_linear_maps(objective, shapes):
    student, teacher = noise(0, 3, *shapes[0]), noise(1, 3, *shapes[1])
    learnt = objective.build(*shapes).double()
    layers = [module for module in learnt.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert all(isinstance(layer, nn.Linear) and layer.bias is None for layer in layers)
    values = asked(objective, student, teacher, learnt)
    # A token is a vector: of one token both are the same.
    if len(shapes[0]) == 1:
        close(asked(objective, student[:, None], teacher[:, None], learnt), values)
    else:
        each = [asked(objective, student[:, token], teacher[:, token], learnt) for token in range(5)]
        close(values, torch.stack(each).mean(dim=0))


def test_vid_learns_three_layers_at_the_teachers_width_and_a_variance_of_five():
    learnt = VID(**TAPS).build((3, 8, 8), (6, 4, 4))
    shapes = {name: tuple(parameter.shape) for name, parameter in learnt.named_parameters()}
    assert shapes == {
        "log_scale": (6,),
        "network.0.weight": (6, 3, 1, 1),
        "network.2.weight": (6, 6, 1, 1),
        "network.4.weight": (6, 6, 1, 1),
    }
    close(F.softplus(learnt.log_scale) + 1e-5, torch.full((6,), 5.0), 0, 1e-6)


# ------------------------------------------------------------------------------------ hard numbers


@pytest.mark.parametrize("objective", EVERY)
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_dead_and_lonely_features_are_borne(objective, size, dtype):
    """Of one example, of one position, all +-10,000 or all 0, in any precision."""
    large = 1e4 * noise(0, 1, 3, size, size).sign()
    learnt = objective.build((3, size, size), (3, size, size))
    for student, teacher in ((large, -large), (large, 0 * large), (0 * large, large), (0 * large, 0 * large)):
        leaf = student.to(dtype).requires_grad_()
        values = asked(objective, leaf, teacher.to(dtype), learnt)
        values.sum().backward()
        assert values.dtype == torch.float32
        assert values.isfinite().all()
        assert leaf.grad.isfinite().all()


def test_where_there_is_nothing_the_gradient_is_nothing():
    """Bare norms would give NaN, and norms of at least 1e-8 a gradient that half precision cannot hold."""
    dead, teacher = torch.zeros(2, 3, 4, 4, requires_grad=True), noise(0, 2, 3, 4, 4).float()
    attention_transfer(dead, teacher).sum().backward()
    assert not dead.grad.any()
    feature(dead, teacher, distance="cosine").sum().backward()
    assert not dead.grad.any()


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("objective", EVERY)
def test_features_of_two_kinds_are_refused_before_training_and_in_it(objective):
    said = (
        rf"{objective.name} expected both to give .*got \(3, 4, 4\) from the student and \(3,\) from the teacher: tap"
    )
    with pytest.raises(ValueError, match=said):
        objective.build((3, 4, 4), (3,))
    learnt = objective.build((3, 4, 4), (3, 4, 4))
    with pytest.raises(ValueError, match=said):
        asked(objective, noise(0, 2, 3, 4, 4), noise(1, 2, 3), learnt)
    with pytest.raises(ValueError, match="of the same examples"):
        asked(objective, noise(0, 2, 3, 4, 4), noise(1, 1, 3, 4, 4), learnt)


@pytest.mark.parametrize("objective", OF_MAPS)
def test_what_is_no_map_is_refused_by_those_that_need_one(objective):
    with pytest.raises(ValueError, match=rf"{objective.name} expected both to give maps \[C, H, W\], got \(5, 8\)"):
        objective.build((5, 8), (5, 8))


@pytest.mark.parametrize("objective", OF_ANY)
def test_other_numbers_of_tokens_are_refused(objective):
    with pytest.raises(ValueError, match=rf"{objective.name} expected as many tokens .*\(5, 8\) .*\(7, 8\)"):
        objective.build((5, 8), (7, 8))


@pytest.mark.parametrize("objective", [Hint(**TAPS), Feature(**TAPS), ChannelWise(**TAPS), HCL(**TAPS)])
def test_other_channels_without_a_projector_are_refused(objective):
    with pytest.raises(ValueError, match=f"{objective.name} expected as many channels from both"):
        asked(objective, noise(0, 2, 3, 4, 4), noise(1, 2, 1, 4, 4))


def test_vid_without_what_it_learns_is_refused():
    maps = noise(0, 2, 3, 4, 4)
    with pytest.raises(ValueError, match="vid expected what its build makes, got NoneType"):
        asked(VID(**TAPS), maps, maps)
    with pytest.raises(ValueError, match=r"vid expected log_scale \[C\] .* got \(1,\)"):
        vid(maps, maps, torch.zeros(1))


@pytest.mark.parametrize("power", [0, 1, 3, 8, 2.5])
def test_a_power_that_is_not_even_or_too_large_is_refused(power):
    with pytest.raises(ValueError, match=f"power must be one of 2, 4, 6, not {power}"):
        AttentionTransfer(**TAPS, power=power)
    with pytest.raises(ValueError, match=f"power must be one of 2, 4, 6, not {power}"):
        attention_transfer(noise(0, 2, 3, 4, 4), noise(1, 2, 3, 4, 4), power=power)


def test_a_distance_that_is_none_is_refused():
    with pytest.raises(ValueError, match="distance must be one of l2, l1, cosine, not 'l3'"):
        Feature(**TAPS, distance="l3")
    with pytest.raises(ValueError, match="distance must be one of l2, l1, cosine, not 'l3'"):
        feature(noise(0, 2, 3), noise(1, 2, 3), distance="l3")


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e200, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    said = re.escape(f"temperature must be a positive number, 0.001 to 1e+06, not {temperature}")
    with pytest.raises(ValueError, match=said):
        ChannelWise(**TAPS, temperature=temperature)
    with pytest.raises(ValueError, match=said):
        channel_wise(noise(0, 2, 3, 4, 4), noise(1, 2, 3, 4, 4), temperature=temperature)

"""Schedules: where they begin, where they end, between which values they stay, and what is no schedule."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from limbeck.training import HalfCosine, Linear, Points
from limbeck.training.schedules import AnySchedule, bounds_of, complement_of, value_at

SHARES = st.floats(0.0, 1.0)
VALUES = st.floats(-1e6, 1e6)


@st.composite
def points(draw, values=VALUES):
    shares = sorted(draw(st.lists(SHARES, min_size=1, max_size=5, unique=True)))
    return Points(points=tuple((share, draw(values)) for share in shares))


def schedules(values=VALUES):
    between = [st.builds(kind, start=values, end=values) for kind in (Linear, HalfCosine)]
    return st.one_of(*between, points(values))


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Linear(start=0.9, end=0.1), [0.9, 0.7, 0.5, 0.3, 0.1]),
        (Linear(start=1.0, end=5.0), [1.0, 2.0, 3.0, 4.0, 5.0]),
        (HalfCosine(start=0.0, end=1.0), [0.0, (1 - math.sqrt(0.5)) / 2, 0.5, (1 + math.sqrt(0.5)) / 2, 1.0]),
        (HalfCosine(start=8.0, end=2.0), [8.0, 2 + 6 * (1 + math.sqrt(0.5)) / 2, 5.0, 8 - 6 * 0.8535533905932737, 2.0]),
        (Points(points=((0.0, 1.0), (0.5, 3.0), (1.0, 0.0))), [1.0, 2.0, 3.0, 1.5, 0.0]),
        (Points(points=((0.25, 4.0), (0.75, 8.0))), [4.0, 4.0, 6.0, 8.0, 8.0]),
        (Points(points=((0.3, 7.0),)), [7.0] * 5),
    ],
)
def test_the_values_are_those_of_the_line_that_was_asked_for(schedule, values):
    assert [schedule.at(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(values, abs=1e-15)


@given(st.sampled_from([Linear, HalfCosine]), VALUES, VALUES)
def test_the_ends_are_exact(kind, start, end):
    schedule = kind(start=start, end=end)
    assert (schedule.at(0.0), schedule.at(1.0)) == (start, end)


@given(points())
def test_each_point_is_met_exactly(schedule):
    assert [schedule.at(share) for share, _ in schedule.points] == [value for _, value in schedule.points]


def least_gap(schedule):
    """What rounding may add to a value."""
    return 1e-12 * max(map(abs, schedule.bounds), default=0.0)


@given(schedules(), SHARES)
def test_a_value_stays_within_the_bounds(schedule, share):
    low, high = schedule.bounds
    gap = least_gap(schedule)
    assert low - gap <= schedule.at(share) <= high + gap


@given(schedules())
def test_the_bounds_are_reached(schedule):
    shares = [share for share, _ in schedule.points] if isinstance(schedule, Points) else [0.0, 1.0]
    values = [schedule.at(share) for share in shares]
    assert (min(values), max(values)) == schedule.bounds


@given(schedules(st.floats(-1e3, 1e3)), SHARES)
def test_the_complement_adds_to_one(schedule, share):
    assert schedule.at(share) + schedule.complement().at(share) == pytest.approx(1.0, abs=1e-9)
    assert type(schedule.complement()) is type(schedule)
    low, high = schedule.complement().bounds
    assert (low, high) == pytest.approx((1 - schedule.bounds[1], 1 - schedule.bounds[0]), abs=1e-12)


@given(schedules(st.floats(0.0, 1.0)), SHARES)
def test_the_complement_of_a_share_is_a_share(schedule, share):
    assert -1e-12 <= schedule.complement().at(share) <= 1 + 1e-12
    assert all(0.0 <= bound <= 1.0 for bound in schedule.complement().bounds)


@given(schedules(st.floats(-1.7e308, 1.7e308)), SHARES)
@example(Points(points=((0.0, -1e308), (1.0, 1e308))), 0.5)
def test_no_value_on_the_way_overflows(schedule, share):
    assert math.isfinite(schedule.at(share))


def test_a_number_stands_for_itself():
    assert value_at(0.3, 0.7) == 0.3
    assert bounds_of(0.3) == (0.3, 0.3)
    assert complement_of(0.25) == 0.75
    schedule = Linear(start=0.0, end=1.0)
    assert value_at(schedule, 0.7) == pytest.approx(0.7)
    assert bounds_of(schedule) == (0.0, 1.0)
    assert complement_of(schedule) == Linear(start=1.0, end=0.0)


@pytest.mark.parametrize("kind", [Linear, HalfCosine])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_end_that_is_not_finite_is_refused(kind, bad):
    for ends in ({"start": bad, "end": 1.0}, {"start": 1.0, "end": bad}):
        with pytest.raises(ValueError, match="finite"):
            kind(**ends)


@pytest.mark.parametrize(
    "points",
    [
        (),
        ((0.0, 1.0), (0.0, 2.0)),
        ((0.5, 1.0), (0.25, 2.0)),
        ((-0.1, 1.0), (1.0, 2.0)),
        ((0.0, 1.0), (1.1, 2.0)),
        ((0.0, 1.0), (math.inf, 2.0)),
        ((math.nan, 1.0),),
        ((0.0, math.nan), (1.0, 2.0)),
        ((0.0, 1.0), (1.0, math.inf)),
    ],
)
def test_points_that_make_no_line_are_refused(points):
    with pytest.raises(ValueError, match=r"points|finite"):
        Points(points=points)


def test_a_share_that_is_no_number_is_refused_wherever_it_lies_in_memory():
    for share in [float("nan") for _ in range(200)]:  # its hash is its address
        with pytest.raises(ValueError, match="rise"):
            Points(points=((0.0, 1.0), (share, 2.0), (1.0, 3.0)))


@pytest.mark.parametrize(
    ("tree", "schedule"),
    [
        ({"name": "linear", "start": 0.9, "end": 0.1}, Linear(start=0.9, end=0.1)),
        ({"name": "cosine", "start": 8, "end": 1}, HalfCosine(start=8.0, end=1.0)),
        ({"name": "points", "points": [[0, 1], [1, 2]]}, Points(points=((0.0, 1.0), (1.0, 2.0)))),
    ],
)
def test_a_recipe_names_its_schedule(tree, schedule):
    assert TypeAdapter(float | AnySchedule).validate_python(tree) == schedule


@pytest.mark.parametrize("tree", [{"name": "step", "start": 1, "end": 0}, {"name": "linear", "start": 1}, {}, "linear"])
def test_a_recipe_cannot_name_what_is_none(tree):
    with pytest.raises(ValidationError):
        TypeAdapter(float | AnySchedule).validate_python(tree)

import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from limbeck.measurement import Times, latency, ratio, timed, torch_threads

SECONDS = st.floats(1e-6, 10.0)
TURNS = st.lists(st.lists(SECONDS, min_size=1, max_size=20).map(tuple), min_size=1, max_size=5).map(tuple)


class Ticking:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def run(self, milliseconds: int) -> None:
        self.now += milliseconds * 10**6


@given(TURNS)
def test_percentiles_rise_and_lie_among_the_runs(turns):
    found = Times(turns).summary()
    runs = [seconds for turn in turns for seconds in turn]
    assert min(runs) <= found["p50"] <= found["p90"] <= found["p99"] <= max(runs)
    assert found["p50"] == pytest.approx(statistics.median(runs))
    assert found["runs"] == len(runs)
    assert found["turns"] == [statistics.median(turn) for turn in turns]
    assert found["mean"] * len(runs) == pytest.approx(sum(runs))


def test_the_ninety_ninth_of_a_hundred_and_one_is_the_last_but_one():
    assert Times((tuple(float(n) for n in range(101)),)).summary()["p99"] == 99.0


@pytest.mark.parametrize("turns", [(), ((),), ((0.1,), ())])
def test_times_without_runs_are_none(turns):
    with pytest.raises(ValueError, match="at least one"):
        Times(turns)


def test_a_ratio_is_that_of_the_same_turn():
    """The machine was ten times as slow in the second turn: no matter to a ratio."""
    assert ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == {"ratio": 2.0, "low": 2.0, "high": 3.0}


@given(TURNS.filter(lambda turns: len(turns) > 1), st.floats(0.1, 10))
def test_a_ratio_lies_between_its_ends_and_turns_round(turns, factor):
    medians = list(Times(turns).medians)
    found = ratio([factor * each for each in medians], medians[::-1])
    back = ratio(medians[::-1], [factor * each for each in medians])
    assert found["low"] <= found["ratio"] <= found["high"]
    assert back["low"] == pytest.approx(1 / found["high"])
    assert back["high"] == pytest.approx(1 / found["low"])


def test_runs_are_timed_one_by_one_and_payloads_come_round():
    clock, given_to = Ticking(), []

    def run(payload):
        given_to.append(payload)
        clock.run(payload)

    took = timed(run, [1, 2, 3], least=4, most=9, seconds=0, limit=99, clock=clock)
    assert took == pytest.approx((0.001, 0.002, 0.003, 0.001))
    assert given_to == [1, 2, 3, 1]


@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        ({"least": 3, "most": 50, "seconds": 0.1, "limit": 9}, 10),  # quick ones go on for the seconds
        ({"least": 30, "most": 50, "seconds": 0.1, "limit": 9}, 30),  # but come to the least
        ({"least": 30, "most": 50, "seconds": 0.1, "limit": 0.2}, 20),  # unless they are too slow
        ({"least": 3, "most": 5, "seconds": 0.1, "limit": 9}, 5),  # and are no more than the most
    ],
)
def test_when_timing_ends(settings, runs):
    clock = Ticking()
    assert len(timed(clock.run, [10], clock=clock, **settings)) == runs


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_larger_network_takes_longer():
    small, large = (nn.Sequential(nn.Flatten(), nn.Linear(64, n), nn.Linear(n, 10)) for n in (8, 8192))
    example = torch.from_numpy(np.ones((1, 1, 8, 8), dtype=np.float32))
    assert 0 < latency(small, example) < latency(large, example)

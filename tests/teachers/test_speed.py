"""The labelling line: what it says, and when it measures the machine."""

import pytest
import torch
from asking import CPU, examples_of
from torch import nn

from limbeck.data import Preprocess
from limbeck.teachers import CallableTeacher, EnsembleTeacher, ModuleTeacher, Pace, speed


def linear():
    return ModuleTeacher(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), Preprocess(), CPU)


@pytest.fixture
def machine(monkeypatch):
    """1,000 operations a second in fp32, 4,000 in bf16; the list of what was asked of it."""
    asked = []

    def peak(precision, device, threads):
        asked.append(precision)
        return 4000.0 if precision == "bf16" else 1000.0

    monkeypatch.setattr(speed, "peak", peak)
    return asked


def test_operations_are_twice_the_multiplications():
    conv = nn.Sequential(nn.Conv2d(1, 5, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(20, 3))
    asked = ModuleTeacher(conv, Preprocess(), CPU)
    assert speed.operations(asked, torch.zeros(4, 1, 4, 4)) == 2 * (5 * 9 * 4 + 20 * 3)


def test_a_pace_is_the_mean_of_all_that_was_asked(machine):
    pace = Pace(linear(), examples_of(6))
    assert pace.facts() == {}
    pace.add(10, 1.0)
    pace.add(20, 2.0)
    assert pace.facts() == {"examples_per_second": 10.0}
    assert machine == []


def test_after_enough_seconds_the_share_of_the_peak_is_given_and_measured_once(machine):
    pace = Pace(linear(), examples_of(6))
    pace.add(60, 6.0)
    # 96 operations an example, 10 examples a second.
    assert pace.facts() == {"examples_per_second": 10.0, "fp32_peak_share": pytest.approx(0.96)}
    pace.add(60, 18.0)
    assert pace.facts() == {"examples_per_second": 5.0, "fp32_peak_share": pytest.approx(0.48)}
    assert machine == ["fp32"]


def test_each_network_of_an_ensemble_counts_at_the_peak_of_its_precision(machine):
    one, other = linear(), linear()
    other.precision = "bf16"
    pace = Pace(EnsembleTeacher([one, other], None, "logits"), examples_of(6))
    pace.add(60, 6.0)
    assert pace.facts()["bf16_fp32_peak_share"] == pytest.approx(10 * (96 / 1000 + 96 / 4000))


def test_of_a_teacher_that_is_no_network_only_the_rate_is_known(machine):
    function = CallableTeacher(lambda inputs: inputs.flatten(1)[:, :3], Preprocess())
    for asked in (function, EnsembleTeacher([linear(), function], None, "logits")):
        pace = Pace(asked, examples_of(6))
        pace.add(60, 6.0)
        assert pace.facts() == {"examples_per_second": 10.0}
    assert machine == []


@pytest.mark.parametrize(("rate", "sides"), [(1e12, [1024, 2048]), (1e10, [1024])])
def test_a_peak_is_measured_once_a_process_and_on_a_slow_machine_with_small_matrices(monkeypatch, rate, sides):
    speed.peak.cache_clear()
    measured = []
    monkeypatch.setattr(speed, "_rate", lambda square: measured.append(len(square)) or rate + len(square))
    assert [speed.peak("fp32", CPU, 1), speed.peak("fp32", CPU, 1)] == [rate + sides[-1]] * 2
    assert measured == sides
    speed.peak.cache_clear()


def test_a_rate_is_operations_by_the_median_of_the_times_after_the_first(monkeypatch):
    moments = iter([0, 0, 9, 0, 1, 0, 2, 0, 0, 4, 1])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(moments))
    # Products of 9, 1, 2 and 4 seconds; after three the clock is asked whether it is enough.
    assert speed._rate(torch.ones(10, 10)) == 2 * 1000 / 2


class Strange(nn.Module):
    def forward(self, inputs):
        raise RuntimeError("not outside of a labelling")


def test_a_network_that_cannot_be_counted_is_no_reason_to_stop(machine):
    pace = Pace(ModuleTeacher(Strange(), Preprocess(), CPU), examples_of(6))
    pace.add(60, 6.0)
    assert pace.facts() == {"examples_per_second": 10.0}

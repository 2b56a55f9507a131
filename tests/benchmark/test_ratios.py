"""Ratios and costs on made-up times."""

import pytest

from limbeck.benchmark.contenders import Contender
from limbeck.benchmark.ratios import Timed, cost, int8_gains, ratios
from limbeck.measurement import Times


def made(name: str, runtime: str, milliseconds: float, *, batch: int = 64, batch_ms: float = 10.0, turns: int = 7):
    """A contender that takes so long with one thread, half with two, and twice with preprocessing."""

    def times(ms: float) -> Times:
        return Times(((ms / 1000,) * 5,) * turns)

    who = Contender(name=name, runtime=runtime, open=lambda threads: print, see=lambda stored: stored.numpy())
    return Timed(
        who=who,
        latency={1: times(milliseconds), 2: times(milliseconds / 2)},
        with_preprocessing=times(2 * milliseconds),
        best=(batch, 2),
        batched=times(batch_ms),
        tried={(batch, 2): 1.0},
    )


def test_ratios_are_within_a_runtime():
    timed = [
        made("teacher", "torch", 30.0, batch_ms=100),
        made("teacher", "onnx", 20.0),
        made("student", "torch", 3.0),
        made("student", "onnx", 1.0, batch=128),
        made("student", "onnx-int8", 2.0),
    ]
    found = {(each["teacher"], each["student"], each["of"], each["threads"]): each["ratio"] for each in ratios(timed)}
    assert found == {
        ("torch", "torch", "latency", 1): pytest.approx(10),
        ("torch", "torch", "latency", 2): pytest.approx(10),
        ("torch", "torch", "throughput", None): pytest.approx(10),
        ("onnx", "onnx", "latency", 1): pytest.approx(20),
        ("onnx", "onnx", "latency", 2): pytest.approx(20),
        ("onnx", "onnx", "throughput", None): pytest.approx(2),
    }


def test_a_teacher_of_another_kind_is_compared_with_preprocessing_and_said_so():
    timed = [made("teacher", "its own library", 30.0), made("student", "onnx", 1.0)]
    (found,) = ratios(timed)
    assert found["teacher"] != found["student"]
    assert found["of"] == "latency with preprocessing"
    assert found["ratio"] == pytest.approx(30)


def test_int8_is_held_to_the_same_runtime_in_float32():
    timed = [
        made("teacher", "onnx", 20.0),
        made("student", "torch", 3.0),
        made("student", "onnx", 1.0),
        made("student", "onnx-int8", 2.0, batch_ms=5),
        made("student", "executorch-int8", 2.0),  # without a float32 beside it
    ]
    found = {(each["runtime"], each["of"], each["threads"]): each["ratio"] for each in int8_gains(timed)}
    assert found == {
        ("onnx-int8", "latency", 1): pytest.approx(0.5),
        ("onnx-int8", "latency", 2): pytest.approx(0.5),
        ("onnx-int8", "throughput", None): pytest.approx(2.0),
    }


def test_rates_are_those_of_the_better_number_of_threads():
    one = made("student", "onnx", 2.0, batch=50, batch_ms=10)
    assert one.one_by_one == pytest.approx(1000)
    assert one.in_batches == pytest.approx(5000)


def test_a_million_costs_what_its_hours_cost():
    # 1,000 a second: 1,000 s, 1000/3600 of an hour.
    assert cost(1000.0, 3.6) == pytest.approx(1.0)
    assert cost(1000.0, None) is None

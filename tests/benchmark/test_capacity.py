"""The number of students, on machines that are made up."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limbeck.benchmark import capacity
from limbeck.benchmark.capacity import LONG, NEAR, Attempt, Target, attempt_of, most_students
from limbeck.benchmark.contenders import Contender
from limbeck.benchmark.worker import Served
from limbeck.progress import Stop, unwatched

TARGET = Target(rate=100.0, p99=0.02)


class Machine:
    """One on which so many students fit, and that remembers what was tried."""

    def __init__(self, fits: int, *, fits_long: int | None = None) -> None:
        self.fits, self.fits_long, self.tried = fits, fits if fits_long is None else fits_long, []

    def attempt(self, students: int, seconds: float) -> Attempt:
        self.tried.append((students, seconds))
        fits = self.fits_long if seconds == LONG else self.fits
        return Attempt(students, 1000, 1000, 0.01 if students <= fits else 0.03)


@given(st.integers(1, 5000), st.integers(0, 6000))
@settings(deadline=None)
def test_the_number_is_found_wherever_the_search_begins(fits, first):
    machine = Machine(fits)
    best, failed = most_students(machine.attempt, TARGET, first=first, most=10**5)
    assert best.students <= fits < failed.students
    assert failed.students - best.students <= max(1, NEAR * best.students)
    assert machine.tried[-1] == (best.students, LONG)
    assert len(machine.tried) <= 70


def test_a_good_guess_takes_few_tries():
    machine = Machine(100)
    most_students(machine.attempt, TARGET, first=90, most=1000)
    assert len(machine.tried) <= 15


def test_not_one_fits():
    best, failed = most_students(Machine(0).attempt, TARGET, first=40, most=1000)
    assert best is None
    assert failed.students == 1


@pytest.mark.parametrize("first", [1, 30, 500])
def test_as_many_fit_as_may_be_tried(first):
    best, failed = most_students(Machine(10**6).attempt, TARGET, first=first, most=64)
    assert best.students == 64
    assert failed is None


def test_what_a_longer_try_does_not_confirm_is_not_claimed():
    machine = Machine(100, fits_long=97)
    best, failed = most_students(machine.attempt, TARGET, first=90, most=1000)
    assert best.students <= 97
    assert machine.tried[-1] == (best.students, LONG)
    assert failed.students > best.students


def test_a_try_that_something_else_spoilt_is_made_again():
    class Disturbed(Machine):
        def attempt(self, students: int, seconds: float) -> Attempt:
            first = (students, seconds) not in self.tried
            found = super().attempt(students, seconds)
            return replace(found, p99=9.0) if first and seconds != LONG else found

    best, _ = most_students(Disturbed(100).attempt, TARGET, first=90, most=1000)
    assert 98 <= best.students <= 100


def test_where_nothing_is_confirmed_one_is_the_last_that_is_tried():
    machine = Machine(50, fits_long=0)
    best, failed = most_students(machine.attempt, TARGET, first=40, most=1000)
    assert best is None
    assert failed.students == 1


def test_meeting_a_target_is_answering_in_time():
    assert Attempt(3, 1000, 1000, 0.02).meets(TARGET)
    assert not Attempt(3, 1000, 1000, 0.0201).meets(TARGET)
    assert not Attempt(3, 1000, 900, None).meets(TARGET)


def test_the_teacher_stands_in_its_quickest_way(monkeypatch: pytest.MonkeyPatch):
    rates = {("onnx", 1): 400.0, ("onnx", 2): 70.0, ("torch", 1): 90.0, ("torch", 2): 110.0}
    monkeypatch.setattr(capacity, "stand", lambda who, threads, stored: Target(rates[who.runtime, threads], 0.01))
    who = [
        Contender(name="teacher", runtime=name, open=lambda n: print, see=Tensor.numpy) for name in ("torch", "onnx")
    ]
    way, target = capacity.best_stand(who, (1, 2), torch.zeros(2, 1), unwatched, Stop())
    assert way == {"runtime": "onnx", "threads": 1}
    assert target.rate == 400


def test_an_answer_that_never_came_took_longer_than_any_that_did():
    one = Served(took=[0.001] * 60, asked=60)
    assert attempt_of(2, [one, Served(took=[0.002] * 40, asked=40)]).p99 == 0.002
    assert attempt_of(2, [one, Served(took=[0.002] * 39 + [9.0], asked=40)]).p99 == 0.002
    assert attempt_of(2, [one, Served(took=[0.002] * 39, asked=40)]) == Attempt(2, 100, 99, 0.002)
    assert attempt_of(2, [one, Served(took=[0.002] * 38, asked=40)]).p99 is None

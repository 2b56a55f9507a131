import pytest

from limbeck.benchmark.turns import BATCHES, ENOUGH, TURNS, WARM, Task, by_batch, in_turns
from limbeck.errors import Interrupted
from limbeck.progress import Stop, unwatched
from running import Heard


class Machine:
    """A machine on which time passes as its tasks say, and that remembers what it ran."""

    def __init__(self) -> None:
        self.now, self.ran, self.open = 0, [], 0

    def clock(self) -> int:
        return self.now

    def task(self, name: str, milliseconds: float, payloads=(0,)) -> Task:
        def opened():
            self.open += 1
            self.ran.append(name)

            def run(payload):
                self.now += round(milliseconds * 10**6)

            return run

        return Task(opened, payloads)


def test_each_has_its_turn_in_every_turn_in_a_fresh_session_and_another_order():
    machine = Machine()
    tasks = {name: machine.task(name, 1) for name in "abcd"}
    in_turns(tasks, seconds=100, watch=unwatched, stop=Stop(), clock=machine.clock)
    turns = [machine.ran[4 * turn : 4 * turn + 4] for turn in range(TURNS)]
    assert all(sorted(turn) == list("abcd") for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1
    assert machine.open == 4 * TURNS


def test_times_are_those_of_the_task_and_enough():
    machine = Machine()
    tasks = {"slow": machine.task("slow", 3), "quick": machine.task("quick", 0.5)}
    found = in_turns(tasks, seconds=100, watch=unwatched, stop=Stop(), clock=machine.clock)
    assert found["slow"].median == pytest.approx(0.003)
    assert found["quick"].median == pytest.approx(0.0005)
    assert len(found["slow"].turns) == TURNS
    assert ENOUGH <= len(found["slow"].runs) < ENOUGH + TURNS
    assert len(found["quick"].runs) == TURNS * 100  # for the 0.05 s that a turn lasts


def test_the_first_runs_are_not_timed():
    machine = Machine()
    runs = iter([1.0] * WARM + [0.001] * 10**6)

    def opened():
        def run(payload):
            machine.now += round(next(runs) * 10**9)

        return run

    found = in_turns({"a": Task(opened, [0])}, seconds=10**4, watch=unwatched, stop=Stop(), clock=machine.clock)
    assert max(found["a"].runs) == pytest.approx(0.001)


def test_a_budget_ends_slow_ones_before_they_are_enough():
    machine = Machine()
    found = in_turns({"a": machine.task("a", 100)}, seconds=7, watch=unwatched, stop=Stop(), clock=machine.clock)
    assert 0 < len(found["a"].runs) < ENOUGH
    assert machine.now / 1e9 <= 7 + 2 * 0.1 * TURNS  # a run that has begun is let end
    one = in_turns({"a": machine.task("a", 9000)}, seconds=1, watch=unwatched, stop=Stop(), clock=machine.clock)
    assert len(one["a"].runs) == TURNS


def test_a_stop_is_heard_and_progress_told():
    machine, heard, stop = Machine(), Heard(), Stop()
    tasks = {"a": machine.task("a", 1)}
    in_turns(tasks, seconds=9, watch=heard, stop=stop, clock=machine.clock)
    assert heard[-1].done == heard[-1].total == TURNS
    stop.request(2)
    with pytest.raises(Interrupted):
        in_turns(tasks, seconds=9, watch=heard, stop=stop, clock=machine.clock)


def by_cost(fixed: float, each: float, *, seconds: float = 100.0) -> dict[int, float]:
    machine = Machine()

    def run(batch):
        machine.now += round((fixed + each * batch) * 10**9)

    return by_batch(run, lambda batch: batch, seconds=seconds, clock=machine.clock)


def test_batches_are_tried_up_to_the_largest_where_they_help():
    found = by_cost(0.001, 0.0001)
    assert tuple(found) == BATCHES
    assert found[512] == pytest.approx(512 / (0.001 + 0.0512), rel=1e-6)
    assert max(found, key=found.get) == 512


def test_larger_batches_are_not_tried_where_they_harm_or_last_too_long():
    machine = Machine()

    def run(batch):
        machine.now += round(0.001 * batch ** (2 if batch > 4 else 0.5) * 10**9)

    assert tuple(by_batch(run, lambda batch: batch, seconds=100, clock=machine.clock)) == (1, 2, 4, 8)
    assert tuple(by_cost(0.0, 0.3, seconds=10)) == (1, 2, 4)

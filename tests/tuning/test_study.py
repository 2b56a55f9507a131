"""The study: every trial once, whoever dies, and the same choices whenever it is asked."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from limbeck.errors import RecipeError
from limbeck.progress import Stop
from limbeck.tuning.claims import FileClaims
from limbeck.tuning.database import storage_at
from limbeck.tuning.results import TrialResult
from limbeck.tuning.sampler import goes_on, rungs_of
from limbeck.tuning.study import Begun, Search, study_of, url_in

STEPS = 90
FIRST = (("no teacher", {}), ("own", {"temperature": 4.0}), ("known", {"temperature": 2.0}))


class OneTemperature:
    """A space of one parameter."""

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        return {"temperature": float(f"{trial.suggest_float('temperature', 1, 20, log=True):.3g}")}

    def queued(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        return dict(setting)


@cache
def memory(directory: Path) -> optuna.storages.InMemoryStorage:
    """A storage as lasting as a file, and quicker."""
    return optuna.storages.InMemoryStorage()


def search_in(directory: Path, trials: int = 20, seed: int = 0, *, on_disk: bool = False) -> Search:
    claims = FileClaims(directory / "trials", Stop())
    with claims.alone():
        study = study_of(storage_at(url_in(directory, None)) if on_disk else memory(directory), "one", seed)
    search = Search(study, claims, OneTemperature(), FIRST)  # type: ignore[arg-type]
    search.want(trials)
    return search


def worth(setting: Mapping[str, Any]) -> float:
    """Best at temperature 4."""
    return 0.9 - 0.05 * abs(math.log(setting["temperature"] / 4)) if setting else 0.8


def run(search: Search, begun: Begun) -> TrialResult:
    """What a trial does, without the training."""
    curve, state, value = [], "complete", worth(begun.setting)
    for rung in rungs_of(STEPS):
        curve.append((rung, value - 1 / rung))
        if not search.report(begun, rung, curve[-1][1]):
            state, value = "pruned", curve[-1][1]
            break
    result = TrialResult(
        number=begun.number, state=state, origin=begun.origin, setting=begun.setting, value=value,
        curve=tuple(curve), steps=STEPS, seconds=0.0, student="mlp",
    )  # fmt: skip
    search.tell(begun, result)
    return result


def finish(search: Search) -> tuple[TrialResult, ...]:
    while not search.done:
        with search.next_trial() as begun:
            assert begun is not None
            run(search, begun)
    return search.standing().results


def test_all_trials_are_run_once_and_the_first_are_those_that_were_named(tmp_path: Path):
    results = finish(search_in(tmp_path, trials=12))
    assert [result.number for result in results] == list(range(12))
    assert [(result.origin, dict(result.setting)) for result in results[:3]] == list(FIRST)
    assert {result.origin for result in results[3:]} == {"searched"}


def test_a_sequential_search_makes_the_same_choices_again(tmp_path: Path):
    assert finish(search_in(tmp_path / "a")) == finish(search_in(tmp_path / "b", on_disk=True))
    assert finish(search_in(tmp_path / "c", seed=1)) != finish(search_in(tmp_path / "a"))


def test_a_search_opened_anew_for_each_trial_makes_the_same_choices(tmp_path: Path):
    whole = finish(search_in(tmp_path / "a"))
    while not (search := search_in(tmp_path / "b")).done:
        with search.next_trial() as begun:
            run(search, begun)
    assert search.standing().results == whole


def test_a_trial_whose_process_died_is_begun_again_where_it_had_come_to(tmp_path: Path):
    whole = finish(search_in(tmp_path / "a"))
    search = search_in(tmp_path / "b")
    for number in range(7):
        with search.next_trial() as begun:
            if number in (2, 4):  # dies before, and after, its first rung was noted
                if number == 4:
                    search.report(begun, rungs_of(STEPS)[0], worth(begun.setting) - 1 / rungs_of(STEPS)[0])
                continue
            run(search, begun)
    assert finish(search) == whole
    states = [trial.state for trial in search.study.get_trials(deepcopy=False)]
    assert TrialState.RUNNING not in states
    assert states.count(TrialState.FAIL) == 2


def test_a_trial_under_way_elsewhere_is_not_taken(tmp_path: Path):
    one, other = search_in(tmp_path, trials=3), search_in(tmp_path, trials=3)
    with one.next_trial() as first, other.next_trial() as second, one.next_trial() as third:
        assert [begun.number for begun in (first, second, third)] == [0, 1, 2]
        with other.next_trial() as none:
            assert none is None
        assert one.standing().running == 3
        assert not other.done


def test_a_trial_that_was_begun_again_counts_where_that_was(tmp_path: Path):
    """A server that loses a connection takes the process behind it for dead."""
    lost, other = search_in(tmp_path), search_in(tmp_path)
    other.claims = FileClaims(tmp_path / "of another machine", Stop())
    with lost.next_trial() as before:
        assert before is not None
        with other.next_trial() as again:
            assert again is not None
            assert (again.number, again.setting) == (before.number, before.setting)
            counts = run(other, again)
        run(lost, before)
    assert lost.standing().results == other.standing().results == (counts,)


def test_raised_trials_go_on_from_where_the_search_ended(tmp_path: Path):
    short, whole = finish(search_in(tmp_path / "a", trials=9)), finish(search_in(tmp_path / "b", trials=15))
    assert finish(search_in(tmp_path / "a", trials=15)) == whole
    assert whole[:9] == short


def test_what_is_chosen_is_chosen_once_and_ends_the_search(tmp_path: Path):
    search, other = search_in(tmp_path, trials=4), search_in(tmp_path, trials=4)
    finish(search)
    other.want(6)
    assert not search.settle_on(1, len(search.standing().results)), "more trials were asked for meanwhile"
    finish(search)
    assert search.settle_on(2, len(search.standing().results))
    assert other.settle_on(3, 6)
    assert search.choice == other.choice == 2
    search_in(tmp_path, trials=5)
    with pytest.raises(RecipeError, match="ended after 6"):
        search_in(tmp_path, trials=7)


def test_a_failed_trial_counts_and_is_never_begun_again(tmp_path: Path):
    search = search_in(tmp_path, trials=2)
    with search.next_trial() as begun:
        run(search, begun)
    with search.next_trial() as begun:
        failed = TrialResult(
            number=1, state="failed", origin="own", setting=begun.setting, value=None, curve=(), steps=0, seconds=0.0,
            student="mlp", reason="training diverged by step 1",
        )  # fmt: skip
        search.tell(begun, failed)
    assert search.done
    assert search.standing().results[1] == failed
    assert search.standing().count("failed") == 1


def test_a_death_between_the_last_two_words_is_no_death_of_the_trial(tmp_path: Path):
    search = search_in(tmp_path, trials=2)
    with search.next_trial() as begun:
        run(search, begun)
    with search.next_trial() as begun:
        search._close = lambda *_: None  # type: ignore[method-assign]
        result = run(search, begun)
    again = search_in(tmp_path, trials=2)
    with again.next_trial() as none:
        assert none is None
    assert again.standing().results[1] == result
    assert len(again.study.get_trials()) == 2


@pytest.mark.parametrize(
    ("others", "passes"),
    [([], True), ([0.8], True), ([0.95], False), ([0.8, 0.95], True), ([0.8, 0.95, 0.96], False), ([0.9] * 3, True)],
)
def test_the_better_half_of_those_that_came_to_a_rung_go_on(others, passes):
    study = optuna.create_study(direction="maximize")
    for number, value in enumerate(others, start=1):
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.PRUNED,
                user_attrs={"number": number, "setting": {}, "result": {}},
                intermediate_values={10: value},
            )
        )
    assert goes_on(study.get_trials(), 99, 10, 0.9, None) is passes
    assert goes_on(study.get_trials(), 99, 10, 0.9, "another student")


def test_the_one_without_a_teacher_is_no_rival_and_is_never_pruned(tmp_path: Path):
    search = search_in(tmp_path, trials=3)
    with search.next_trial() as nobody, search.next_trial() as own:
        assert search.report(own, 10, 0.9)
        assert search.report(nobody, 10, 0.1)
        assert search.report(nobody, 30, 0.99)
        assert goes_on(search.study.get_trials(), own.number, 30, 0.9, None)


SIEGE = Path(__file__).with_name("siege.py")


def test_nothing_is_lost_or_done_twice_under_fire(tmp_path: Path):
    told = subprocess.run(
        [sys.executable, str(SIEGE), str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert told.returncode == 0, told.stderr[-3000:]
    found = json.loads(told.stdout)
    assert found["kills"] >= 30
    assert found["numbers"] == list(range(200))
    assert found["told_twice"] == []
    assert found["left"] == 0
    assert found["best"] == pytest.approx(0.9, abs=0.005)

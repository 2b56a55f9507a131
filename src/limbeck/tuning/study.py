"""The study: the trials of one search in a database, shared by all processes that work on it.

A process that begins a trial claims its number and holds the claim until it has told what came of it. So a trial whose
claim is free and of which nothing was told belongs to a process that died: it is begun again, where it had come to.
No clock decides that. Adding a trial and telling of one are done by one process at a time, since SQLite lets two take
the same trial from a queue.

    begun --its process tells--> complete, pruned or failed
    begun --its process dies---> begun again, under the same number
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from limbeck.data import derive_seed
from limbeck.errors import RecipeError
from limbeck.tuning.claims import Claims
from limbeck.tuning.database import url_of
from limbeck.tuning.results import Origin, State, TrialResult
from limbeck.tuning.sampler import NUMBER, RESULT, SETTING, Sampler, given_up, goes_on
from limbeck.tuning.space import Space

ORIGIN = "origin"
"""Under which a trial of Optuna keeps where its setting came from."""
WANTED, CHOICE = "trials", "choice"
"""Under which the study keeps how many trials there are to be, and which was chosen in the end."""

STUDY = "study.db"
"""The file of a search on one machine."""

_log = logging.getLogger(__name__)

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Begun:
    """A trial that this process has claimed.

    Args:
        number: from 0; 0 is the student that hears no teacher.
        setting: what is tried.
        origin: where it came from.
        curve: (step, value) that an earlier process measured before it died.
        again: whether there was such a process.
        trial: of Optuna.
    """

    number: int
    setting: Mapping[str, Any]
    origin: Origin
    curve: tuple[tuple[int, float], ...]
    again: bool
    trial: optuna.Trial

    @property
    def name(self) -> str:
        """Of its claim and of its directory."""
        return _name(self.number)


@dataclass(frozen=True)
class Standing:
    """How far a search has come.

    Args:
        results: what came of the trials that are finished, by their numbers.
        running: how many are under way.
    """

    results: tuple[TrialResult, ...]
    running: int

    def count(self, state: State) -> int:
        """Of the trials that ended so."""
        return sum(result.state == state for result in self.results)


class Search:
    """The trials of one study.

    Args:
        study: of Optuna.
        claims: by which processes agree.
        space: of settings.
        first: the settings that are tried before any is chosen, each with its origin; of trial 0 first.
        guess: the setting of the first guess; None if it lies outside of the space.
    """

    def __init__(
        self,
        study: Study,
        claims: Claims,
        space: Space,
        first: tuple[tuple[Origin, Mapping[str, Any]], ...],
        guess: Mapping[str, Any] | None = None,
    ) -> None:
        self.study, self.claims, self.space, self.first, self.guess = study, claims, space, first, guess

    @property
    def trials(self) -> int:
        """How many there are to be; whoever resumes a search may raise it."""
        return int(self.study.user_attrs.get(WANTED, 0))

    @property
    def choice(self) -> int | None:
        """The number of the trial that was chosen; none is begun after that."""
        chosen = self.study.user_attrs.get(CHOICE)
        return None if chosen is None else int(chosen)

    def want(self, trials: int) -> None:
        """Let there be at least so many trials.

        Raises:
            RecipeError: the choice has been made, and students of the proof may have seen the test set.
        """
        with self.claims.alone():
            if trials <= self.trials:
                return
            if self.choice is not None:
                raise RecipeError(
                    f"tune.trials is {trials}, and the search ended after {self.trials}",
                    expected="a search that has not chosen: a second choice would know the first one's score on test",
                    do="leave tune.trials as it was, or set another out",
                )
            self.study.set_user_attr(WANTED, trials)

    def settle_on(self, number: int, finished: int) -> bool:
        """Choose a trial, unless one is chosen or more trials were asked for meanwhile; whether one is chosen."""
        with self.claims.alone():
            if self.choice is None and finished >= self.trials:
                self.study.set_user_attr(CHOICE, number)
            return self.choice is not None

    @contextmanager
    def next_trial(self) -> Iterator[Begun | None]:
        """A trial that this process is to run, claimed while the block runs; None where none is to be begun now."""
        with ExitStack() as held:
            begun = None
            with self.claims.alone():
                trials = self._without_dead(self._look())
                number = self._next_number(trials)
                # The number first: a process that its server took for dead may still be at it.
                if number is not None and held.enter_context(self.claims.claimed(_name(number))):
                    begun = self._begin(number, trials)
            yield begun

    def _without_dead(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The trials, those of processes that died back in the queue: each before it is marked as given up."""
        queued = {trial.user_attrs[NUMBER] for trial in trials if trial.state == TrialState.WAITING}
        died = [trial for trial in trials if trial.state == TrialState.RUNNING and self._is_free(trial)]
        for trial in died:
            if RESULT in trial.user_attrs:  # it died between its last two words
                self._close(trial.number, _result(trial))
                continue
            if trial.user_attrs[NUMBER] not in queued:
                self.study.add_trial(_again(trial))
            self.study.tell(trial.number, state=TrialState.FAIL)
        return self._look() if died else trials

    def _is_free(self, trial: FrozenTrial) -> bool:
        with self.claims.claimed(_name(trial.user_attrs[NUMBER])) as free:
            return free

    def _next_number(self, trials: list[FrozenTrial]) -> int | None:
        """Of the trial that is to be begun next: again, or for the first time."""
        waiting = [trial.user_attrs[NUMBER] for trial in trials if trial.state == TrialState.WAITING]
        if waiting:
            return int(waiting[0])
        number = len({trial.user_attrs[NUMBER] for trial in trials})
        return number if number < self.trials and self.choice is None else None

    def _begin(self, number: int, trials: list[FrozenTrial]) -> Begun:
        """Begin the trial of that number, or begin it again with what was measured of it."""
        before = [trial for trial in trials if trial.state == TrialState.WAITING]
        if not before:
            origin, params = self._queued(number)
            self.study.enqueue_trial(params, user_attrs={NUMBER: number, ORIGIN: origin})
        trial = self.study.ask()
        setting = trial.user_attrs.get(SETTING)
        if setting is None:
            setting = {} if number == 0 else self.space.suggest(trial)
            trial.set_user_attr(SETTING, setting)
        curve = tuple(sorted(before[0].intermediate_values.items())) if before else ()
        return Begun(number, setting, trial.user_attrs[ORIGIN], curve, bool(before), trial)

    def _queued(self, number: int) -> tuple[Origin, dict[str, Any]]:
        """Where the setting of a new trial comes from, and what of it is fixed beforehand."""
        if number >= len(self.first):
            return "searched", {}
        origin, setting = self.first[number]
        return origin, self.space.queued(setting)

    def report(self, begun: Begun, rung: int, value: float) -> bool:
        """Note the value of a trial at a rung; returns whether it goes on."""
        if rung not in dict(begun.curve):
            try:
                begun.trial.report(value, rung)
            except UpdateFinishedTrialError:  # it was begun again elsewhere, as `tell` will say
                return False
        return begun.number == 0 or goes_on(self._look(), begun.number, rung, value, begun.setting.get("student"))

    def tell(self, begun: Begun, result: TrialResult) -> None:
        """Note what came of a trial, unless another process was given it while this one was thought dead."""
        with self.claims.alone():
            try:
                begun.trial.set_user_attr(RESULT, asdict(result))
            except UpdateFinishedTrialError:
                _log.warning("trial %s was begun again elsewhere: what came of it here does not count", begun.name)
            else:
                self._close(begun.trial.number, result)

    def _close(self, number: int, result: TrialResult) -> None:
        """End a trial, by Optuna's number of it, with its result."""
        value = result.value if result.state == "complete" else None
        self.study.tell(number, value, _STATES[result.state])

    def standing(self) -> Standing:
        """How far the search has come."""
        trials = self._look()
        ended = sorted((_result(one) for one in trials if one.state.is_finished()), key=lambda result: result.number)
        return Standing(tuple(ended), sum(trial.state == TrialState.RUNNING for trial in trials))

    @property
    def done(self) -> bool:
        """Whether it is known of every trial what came of it."""
        return len(self.standing().results) >= self.trials

    def _look(self) -> list[FrozenTrial]:
        """All trials in Optuna's order but those that were given up; every look asks the database."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if not given_up(trial)]


def url_in(directory: Path, storage: str | None) -> str:
    """Of the database of a search: the one that the recipe names, or a file of SQLite in its directory."""
    return storage or url_of(directory / STUDY)


def study_of(storage: optuna.storages.BaseStorage, name: str, seed: int) -> Study:
    """The study of that name, begun if it is not there yet.

    Args:
        storage: of Optuna.
        name: of the study.
        seed: of the search.
    """
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would print that a study was created
    try:
        return optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=Sampler(derive_seed(seed, "search")),
            direction="maximize",
            load_if_exists=True,
        )
    finally:
        optuna.logging.set_verbosity(said)


def _again(trial: FrozenTrial) -> FrozenTrial:
    """A trial that died, as it waits to be begun again, with what was measured of it."""
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def _name(number: int) -> str:
    return f"{number:04d}"


def _result(trial: FrozenTrial) -> TrialResult:
    told = dict(trial.user_attrs[RESULT])
    return TrialResult(**{**told, "curve": tuple((step, value) for step, value in told["curve"])})

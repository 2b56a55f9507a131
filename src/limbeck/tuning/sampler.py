"""How the next setting is chosen, and which trials go on: both are functions of the trials there are.

Nothing is remembered in between, so a search that was killed and begun again makes the choices it would have made.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from limbeck.data import derive_seed

NUMBER, SETTING, RESULT = "number", "setting", "result"
"""Under which a trial of Optuna keeps our number and its setting, which one begun again has too, and its result."""
RUNGS = (1 / 2, 3 / 4)
"""Shares of the steps after which a trial may be pruned. Earlier the order of settings is not that of the end, but
nearly its reverse: what teaches best at last teaches slowly at first (docs/log.md, `bench/pruning.py`)."""
RANDOM = 10
"""Trials before which settings are drawn at random."""


class Sampler(BaseSampler):
    """Optuna's tree-structured Parzen estimator (Bergstra 2011), with a seed for each trial instead of a state.

    Multivariate and by groups of parameters that occur together (Falkner 2018, arXiv 1807.01774), so that settings of
    one objective alone are learnt from its trials.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._of_trial: TPESampler | None = None

    @property
    def _tpe(self) -> TPESampler:
        assert self._of_trial is not None, "before_trial comes first"
        return self._of_trial

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See `BaseSampler.before_trial`."""
        seed = derive_seed(self.seed, trial.user_attrs[NUMBER], "trial") % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group` may change its interface
            self._of_trial = TPESampler(seed=seed, n_startup_trials=RANDOM, group=True)
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See `BaseSampler.infer_relative_search_space`."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler.sample_relative`."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See `BaseSampler.sample_independent`."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


def rungs_of(steps: int) -> tuple[int, ...]:
    """After which steps of a fit its student is measured on the way."""
    return tuple(sorted({int(share * steps) for share in RUNGS} - {0, steps}))


def goes_on(trials: Iterable[FrozenTrial], number: int, rung: int, value: float, student: str | None) -> bool:
    """Whether a trial is in the better half of those of its student that came to this rung so far.

    Students of other sizes are no rivals: small ones would all be pruned, and nothing known of what they cost.
    Asynchronous successive halving (Li 2020, arXiv 1810.05934). Optuna's own marks each trial that it looked at, and
    would count one that was killed and begun again twice.

    Args:
        trials: of the study, without those that were given up.
        number: of the trial.
        rung: to which it has come.
        value: that it has there.
        student: of its setting; None where students are not searched.
    """
    rivals = [
        trial.intermediate_values[rung]
        for trial in trials
        if rung in trial.intermediate_values
        and trial.user_attrs[NUMBER] not in (0, number)  # the one without a teacher is no rival
        and trial.user_attrs[SETTING].get("student") == student
    ]
    ahead = sum(rival > value for rival in rivals)
    return ahead < (len(rivals) + 2) // 2


def given_up(trial: FrozenTrial) -> bool:
    """Whether a trial of Optuna ended with its process; another one stands for ours."""
    return trial.state == TrialState.FAIL and RESULT not in trial.user_attrs

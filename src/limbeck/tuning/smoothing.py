"""What the accuracy of a setting is as far as all trials together can tell.

With one noisy value for each setting the highest is the luckiest; its neighbours tell luck from merit.

Dimension key: N trials or settings, F features of a setting, each from 0 to 1.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from limbeck.tuning.results import TrialResult, Value

AnySetting = Mapping[str, Value]
"""By parameter what it is, of whatever mapping."""
Facts = Mapping[str, Mapping[str, Any]]
"""A search space as plain values: by parameter its range {"low", "high", "log"} or its {"choices"}."""
Floats = NDArray[np.float64]

FEWEST = 4
"""Complete trials below which there is nothing to smooth."""
_TAIL = 5.0
"""A value further below the best than so many times the distance to the median of the complete is taken for as bad as
that: a smooth surface cannot follow a cliff, and what lies at its foot is of no interest."""
_LENGTHS = (0.4, 5.0)
"""In shares of a range: accuracy bends no faster along one, and one that makes no difference is as good as left out."""


class Smooth:
    """Accuracy over the settings of a search: the posterior of a Gaussian process.

    The kernel is Matérn's (nu 5/2), with a length for each feature, and white noise, all fitted by maximum likelihood.
    One more feature says how far a fit had come, so that a pruned trial, and what a complete one was worth at the step
    where others were pruned, count for as much as early values foretell late ones here.

    Args:
        results: trials of `informing`; at least `FEWEST` of them complete.
        space: of each parameter its range {"low", "high", "log"} or its {"choices"}.

    Attributes:
        foot: what lies lower counts as this.
    """

    def __init__(self, results: Sequence[TrialResult], space: Facts) -> None:
        self._space = space
        setting_N, ahead_N, value_N, variance_N = _observed(results)
        finals = [accuracy(result) for result in results if result.state == "complete"]
        depth = max(finals) - float(np.median(finals))
        self.foot = max(max(finals) - _TAIL * depth, float(np.min(value_N))) if depth > 0 else float(np.min(value_N))
        value_N = np.maximum(value_N, self.foot)
        self._centre, self._scale = float(np.mean(value_N)), max(float(np.std(value_N)), 1e-4)
        # Rounded, so that a shift of all values leaves the same bits.
        target_N = np.round((value_N - self._centre) / self._scale, 9)
        features_NF = self._features(setting_N, ahead_N)
        lengths = Matern(np.ones(features_NF.shape[1]), _LENGTHS, nu=2.5)
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * lengths + WhiteKernel(0.1, (1e-3, 10.0))
        self._process = GaussianProcessRegressor(kernel, alpha=variance_N / self._scale**2 + 1e-9)
        with warnings.catch_warnings():
            # A length at its upper bound is a parameter that makes no difference: an answer, no failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(features_NF, target_N)

    def at(self, settings: Sequence[AnySetting]) -> tuple[Floats, Floats]:
        """Mean [N] and standard deviation [N] of the accuracy of settings, without the noise of a single training."""
        mean_N, sd_N = self._process.predict(self._features(settings, np.zeros(len(settings))), return_std=True)
        noise = self._process.kernel_.k2.noise_level  # scikit-learn counts the white noise in
        return mean_N * self._scale + self._centre, np.sqrt(np.maximum(sd_N**2 - noise, 0.0)) * self._scale

    def _features(self, settings: Sequence[AnySetting], ahead_N: Floats) -> Floats:
        return np.column_stack([np.array([_features(setting, self._space) for setting in settings]), ahead_N])


def informing(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials that say something of settings, by number: not the one without a teacher, none without a value."""
    kept = [r for r in results if is_candidate(r) or (r.state == "pruned" and r.curve and r.origin != "no teacher")]
    return sorted(kept, key=lambda result: result.number)


def is_candidate(result: TrialResult) -> bool:
    """Whether a trial can be the best: complete, and with a teacher."""
    return result.state == "complete" and result.origin != "no teacher"


def smoothed(results: Sequence[TrialResult], space: Facts) -> Smooth | None:
    """The surface through the trials; None if too few are complete."""
    known = informing(results)
    return Smooth(known, space) if sum(r.state == "complete" for r in known) >= FEWEST else None


def place(value: float, facts: Mapping[str, Any]) -> float:
    """Where a value lies in its range, from 0 to 1, on the scale that it is searched on."""
    low, high = facts["low"], facts["high"]
    if facts["log"]:
        return float(np.log(value / low) / np.log(high / low))
    return float((value - low) / (high - low))


def value_at(share: float, facts: Mapping[str, Any]) -> float:
    """The value at a place in the range; the inverse of `place`."""
    low, high = facts["low"], facts["high"]
    return float(low * (high / low) ** share if facts["log"] else low + (high - low) * share)


def _features(setting: AnySetting, space: Facts) -> list[float]:
    """A number for each range and one for each alternative; a parameter that is absent stands in the middle."""
    row: list[float] = []
    for name, facts in space.items():
        value: Any = setting.get(name)
        if "choices" in facts:
            row += [0.5 if value is None else float(value == choice) for choice in facts["choices"]]
        else:
            row.append(0.5 if value is None else place(value, facts))
    return row


def _observed(results: Sequence[TrialResult]) -> tuple[list[AnySetting], Floats, Floats, Floats]:
    """Settings, how much of the fit was ahead (0 at its end, 1 at a ninth), values, their variances; N of each.

    A value before the end is raised by what the complete trials still gained from that step on the average, and the
    variance of that gain is noise of its own.
    """
    complete = [result for result in results if result.state == "complete"]
    ended = {result.curve[-1][0] for result in results if result.state == "pruned"}
    gains = {step: [accuracy(r) - _at_step(r, step) for r in complete] for step in ended}
    whole = max(result.steps for result in complete)
    rows: list[tuple[AnySetting, float, float, float]] = [(r.setting, 0.0, accuracy(r), 0.0) for r in complete]
    for result in results:
        for step, value in result.curve:
            if step in gains:
                ahead, gain = float(np.log(whole / step) / np.log(9)), float(np.mean(gains[step]))
                rows.append((result.setting, ahead, value + gain, float(np.var(gains[step], ddof=1))))
    settings, ahead_N, value_N, variance_N = zip(*rows, strict=True)
    return list(settings), np.array(ahead_N), np.array(value_N), np.array(variance_N)


def _at_step(result: TrialResult, step: int) -> float:
    steps, values = zip(*result.curve, strict=True)
    return float(np.interp(step, steps, values))


def accuracy(result: TrialResult) -> float:
    """The value of a complete trial, which always has one."""
    assert result.value is not None
    return result.value

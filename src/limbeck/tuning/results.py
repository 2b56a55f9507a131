"""What came of a trial, whoever ran it: the one form in which choice, landscape and report know it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["complete", "pruned", "failed"]
Origin = Literal["no teacher", "own", "first guess", "known", "searched"]
Value = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One setting that was tried.

    Args:
        number: of the trial, from 0; no two have the same.
        state: complete, pruned (stopped early) or failed.
        origin: where the setting came from; "no teacher" is the student on its labels alone, and has no setting.
        setting: the value of each parameter that was searched; one that the rest of it leaves no room for is absent.
        value: accuracy on validation, a share; of a pruned trial the last of its curve; None if there is none.
        curve: (step, accuracy on validation), in the order of the steps.
        steps: optimizer steps that were taken, of one student.
        seconds: wall time.
        student: the name of its model among the alternatives.
        reason: why it failed; None if it did not.
    """

    number: int
    state: State
    origin: Origin
    setting: Mapping[str, Value]
    value: float | None
    curve: tuple[tuple[int, float], ...]
    steps: int
    seconds: float
    student: str
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form in landscape.json, of JSON's types only."""
        return asdict(self) | {"setting": dict(self.setting), "curve": [list(point) for point in self.curve]}

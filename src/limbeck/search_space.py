"""What a search looks among, as a recipe declares it: ranges and alternatives, and how much it may cost."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field

from limbeck.models import MODELS, ModelSpec
from limbeck.objectives import CATALOGUE

Range: TypeAlias = tuple[float, float]
Scalar: TypeAlias = bool | int | float | str
Alternative: TypeAlias = str | dict[str, Scalar | tuple[Scalar, ...]]

if TYPE_CHECKING:
    SizedModel: TypeAlias = ModelSpec
else:
    SizedModel = Annotated[Union[*dict.fromkeys(MODELS.values())], Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How the best settings are looked for, by `limbeck tune`.

    Args:
        temperature: the range of the objective's temperature, searched on a logarithmic scale; null leaves it as it is.
        alpha: the range of alpha; null leaves the weights as they are.
        lr: the range of the learning rate, on a logarithmic scale; null leaves it as it is.
        objective: alternatives to the recipe's, each a name or a mapping with its settings, in which two numbers in a
            list are a range and other lists are choices; none leaves it as it is.
        student: alternatives to the recipe's model; none leaves it as it is.
        most_parameters: that a student may have; null for any.
        most_latency: milliseconds that a student may take for one example on one thread of this machine; null for any.
        trials: how many settings are tried.
        seeds: students that are trained for each trial; the mean of their accuracies counts.
        seed: of the search itself, and of its students.
        prune: stop trials early whose validation curve lags behind.
        jobs: trials side by side on this machine; auto is as many as its cores, or 1 on a GPU.
        storage: the URL of a database through which machines share the search; null is a file in `out`.
    """

    temperature: Range | None = (1.0, 20.0)
    alpha: Range | None = (0.0, 1.0)
    lr: Range | None = None
    objective: tuple[Alternative, ...] = ()
    student: tuple[SizedModel, ...] = ()
    most_parameters: int | None = None
    most_latency: float | None = None
    trials: int = 40
    seeds: int = 1
    seed: int = 0
    prune: bool = True
    jobs: int | Literal["auto"] = "auto"
    storage: str | None = None

    def __post_init__(self) -> None:
        for name in ("temperature", "alpha", "lr"):
            _check_range(name, getattr(self, name), above_zero=name != "alpha")
        if self.alpha is not None and not (self.alpha[0] >= 0 and self.alpha[1] <= 1):
            raise ValueError(f"alpha is a share, from 0 to 1, not {list(self.alpha)}")
        for name in ("most_parameters", "most_latency", "trials", "seeds", "jobs"):
            value = getattr(self, name)
            if value not in (None, "auto") and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        for alternative in self.objective:
            _check_alternative(alternative)
        names = [name_of(alternative) for alternative in self.objective]
        if len(set(names)) < len(names):
            raise ValueError(f"objective names one twice, {names}: give its settings as ranges or choices")
        if len(set(self.student)) < len(self.student):
            raise ValueError("student names one model twice")


def name_of(alternative: Alternative) -> str:
    """Which objective of the catalogue an alternative is."""
    return alternative if isinstance(alternative, str) else str(alternative.get("name"))


def settings_of(alternative: Alternative) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """What an alternative says of its objective besides the name."""
    if isinstance(alternative, str):
        return {}
    return {key: value for key, value in alternative.items() if key != "name"}


def is_range(value: Any) -> bool:
    """Whether a setting of an alternative is a range of numbers; two whole numbers are one too."""
    return isinstance(value, tuple) and len(value) == 2 and all(_is_number(end) for end in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(name: str, ends: Range | None, *, above_zero: bool) -> None:
    if ends is None:
        return
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{name} is a range [low, high] of two finite numbers, the first smaller, not {[low, high]}")
    if above_zero and low <= 0:
        raise ValueError(f"{name} is searched on a logarithmic scale, so its range begins above 0, not at {low:g}")


def _check_alternative(alternative: Alternative) -> None:
    """Whether an objective exists, hears logits, and bears every end of its ranges and every choice."""
    name, settings = name_of(alternative), settings_of(alternative)
    kind: Any = CATALOGUE.get(name)
    if kind is None:
        raise ValueError(f"objective {name!r} is not one of {', '.join(CATALOGUE)}")
    known = [f.name for f in fields(kind) if f.name != "name"]
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{name} has no setting {key}, but {', '.join(known) or 'none'}")
        if is_range(value):
            _check_range(f"{name}.{key}", value, above_zero=key == "temperature")  # type: ignore[arg-type]
    for values in product(*map(_ends, settings.values())):
        made = kind(**dict(zip(settings, values, strict=True)))
        if "logits" not in made.traits.needs:
            raise ValueError(f"{name} hears no logits, so it cannot be the distillation loss")


def _ends(value: Any) -> Iterable[Any]:
    return value if isinstance(value, tuple) else (value,)

"""What a search looks among, as a recipe declares it: ranges and alternatives, and how much it may cost."""

import math
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union, get_args, get_type_hints
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator, Field

from limbeck.errors import RecipeError
from limbeck.models import MODELS, ModelSpec
from limbeck.objectives import CATALOGUE
from limbeck.objectives.checks import check_temperature
from limbeck.recipe_text import build, hint, shown

Scalar: TypeAlias = bool | int | float | str | None


def _as_range(value: Any) -> Any:
    """The two ends of a range; pydantic looks at each."""
    if isinstance(value, list) and len(value) == 2:
        return tuple(value)
    raise ValueError(
        f"a range is two numbers, [low, high], not {shown(value)}; one value alone belongs to distill or fit"
    )


if TYPE_CHECKING:
    Range: TypeAlias = tuple[float, float]
    AsWritten: TypeAlias = str | dict[str, Scalar | tuple[Scalar, ...]]
    SizedModel: TypeAlias = ModelSpec
else:
    Range = Annotated[tuple[float, float], BeforeValidator(_as_range)]
    AsWritten = Any  # what is wrong with one is said below, in words that pydantic has not
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
        trials: how many settings are tried, the student without a teacher among them.
        seeds: students that are trained for each trial; the mean of their accuracies counts.
        seed: of the search itself, and of its students.
        prune: stop trials early whose validation curve lags behind.
        jobs: trials side by side on this machine; auto is as many as its cores, or 1 on a GPU.
        storage: the URL of a database through which machines share the search; null is a file in `out`.
    """

    temperature: Range | None = (0.5, 20.0)
    alpha: Range | None = (0.0, 1.0)
    lr: Range | None = None
    objective: tuple[AsWritten, ...] = ()
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
        for end in self.temperature or ():
            check_temperature(end)
        if self.alpha is not None and not (self.alpha[0] >= 0 and self.alpha[1] <= 1):
            raise ValueError(f"alpha is a share, from 0 to 1, not {list(self.alpha)}")
        self._check_counts()
        object.__setattr__(self, "objective", tuple(map(_checked, self.objective)))
        names = [one if isinstance(one, str) else one["name"] for one in self.objective]
        if len(set(names)) < len(names):
            raise ValueError(f"objective names one twice, {names}: give its settings as ranges or choices")
        if len(set(self.student)) < len(self.student):
            raise ValueError("student names one model twice")
        if self.storage is not None:
            _check_url(self.storage)

    def _check_counts(self) -> None:
        for name in ("most_parameters", "most_latency", "trials", "seeds", "jobs"):
            value = getattr(self, name)
            if value not in (None, "auto") and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if self.trials < 2:
            raise ValueError(f"trials must be 2 or more, since the first hears no teacher, not {self.trials}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


def _is_range(values: Any) -> bool:
    """Whether a list is a range; two whole numbers are one too."""
    return len(values) == 2 and all(isinstance(end, int | float) and not isinstance(end, bool) for end in values)


def _check_range(name: str, ends: Range | None, *, above_zero: bool) -> None:
    if ends is None:
        return
    pair = isinstance(ends, tuple | list) and len(ends) == 2
    if not (pair and all(math.isfinite(end) for end in ends) and ends[0] < ends[1]):
        raise ValueError(
            f"{name} is a range [low, high] of two finite numbers, the first smaller, not "
            f"{shown(list(ends) if pair else ends)}"
        )
    low = ends[0]
    if above_zero and low <= 0:
        raise ValueError(f"{name} is searched on a logarithmic scale, so its range begins above 0, not at {low:g}")


def _checked(alternative: Any) -> AsWritten:
    """An alternative whose objective exists, hears logits, and bears every end of its ranges and every choice."""
    name = alternative.get("name") if isinstance(alternative, dict) else alternative
    if not isinstance(name, str):
        raise ValueError(f"an objective is a name, or a mapping with name and settings, not {shown(alternative)}")
    heard = [other for other, kind in CATALOGUE.items() if "logits" in kind.traits.needs]
    if name not in heard:
        raise ValueError(
            f"objective {shown(name)}{hint(name, heard)} is none of those that hear logits: {', '.join(heard)}"
        )
    if isinstance(alternative, str):
        return alternative
    settings = {key: _tried(f"{name}.{key}", value) for key, value in alternative.items() if key != "name"}
    for values in product(*(value if isinstance(value, tuple) else (value,) for value in settings.values())):
        try:
            build(CATALOGUE[name], dict(zip(settings, values, strict=True)), where=name)
        except RecipeError as error:
            raise ValueError(error.came) from None
    return {"name": name, **settings}


def _tried(name: str, value: Any) -> Scalar | tuple[Scalar, ...]:
    """A setting of an alternative, whose lists are ranges or choices."""
    if not isinstance(value, list | tuple):
        return value  # type: ignore[no-any-return]
    values = tuple(value)
    if _is_range(values):
        _check_range(name, values, above_zero=name.endswith(".temperature"))
    elif not values or None in values or any(values.count(one) > 1 for one in values):
        raise ValueError(f"{name} is a list of choices, each once and none of them null, not {shown(value)}")
    return values


_URLS = "postgresql://user@host/base, mysql://user@host/base or sqlite:///file"


def _check_url(url: str) -> None:
    """Whether a URL names a database, and no secret."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"storage is no URL: {error}") from None
    known, scheme = ("postgresql", "mysql", "sqlite"), parts.scheme.split("+")[0]
    if scheme not in known:
        which = f"begins with {scheme}{hint(scheme, known)}" if scheme else f"is {shown(url)}"
        raise ValueError(f"storage {which}: a URL such as {_URLS}")
    if parts.path.strip("/") in ("", ":memory:"):  # the latter is one that no other process sees
        raise ValueError(f"storage names no database: a URL such as {_URLS}")
    if parts.password is not None or {"password", "passwd"} & parse_qs(parts.query).keys():
        raise ValueError(
            "storage holds a password, and recipes and records are read by others: leave it out, and give PostgreSQL "
            "PGPASSWORD or ~/.pgpass, MySQL ?read_default_file=~/.my.cnf"
        )


# --- what is searched ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Numbers between two ends, both among them; spread evenly over their logarithms where `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value lies in it."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def near(self, value: float) -> float:
        """A number of it as it is tried: whole, or of three significant digits, but for the ends themselves."""
        tried = round(value) if self.whole else float(f"{value:.3g}")
        return min(max(tried, self.low), self.high)

    @property
    def middle(self) -> float:
        """Halfway between the ends, in logarithms where `log`."""
        return self.near(math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A few values."""

    values: tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values

    def near(self, value: Scalar) -> Scalar:
        """Itself."""
        return value

    @property
    def middle(self) -> Scalar:
        """The first."""
        return self.values[0]


Domain: TypeAlias = Interval | Choices


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """An objective that is tried.

    Args:
        name: in the catalogue.
        fixed: its mapping in a recipe, without what is searched.
        searched: its settings that are searched: their names in a setting of the search, and what they may be.
    """

    name: str
    fixed: dict[str, Any]
    searched: dict[str, tuple[str, Domain]]


def alternatives(tune: Tune, own: Any) -> tuple[Alternative, ...]:
    """The objectives that a search tries: those of `tune`, or the recipe's own.

    Args:
        tune: what the recipe says.
        own: its objective.
    """
    if tune.objective:
        return tuple(_alternative(tune, {"name": one} if isinstance(one, str) else one) for one in tune.objective)
    searched = _temperature(tune, type(own))
    fixed = {key: value for key, value in asdict(own).items() if key not in searched}
    return (Alternative(name=own.name, fixed=fixed, searched=searched),)


def _alternative(tune: Tune, written: dict[str, Any]) -> Alternative:
    name = str(written["name"])
    lists = {key: value for key, value in written.items() if isinstance(value, tuple)}
    several = {key: value for key, value in lists.items() if len(value) > 1}
    searched = {key: (f"{name}.{key}", _domain(name, key, value)) for key, value in several.items()}
    if "temperature" not in written:
        searched |= _temperature(tune, CATALOGUE[name])
    fixed = {key: value[0] if key in lists else value for key, value in written.items() if key not in several}
    return Alternative(name=name, fixed=fixed, searched=searched)


def _temperature(tune: Tune, kind: Any) -> dict[str, tuple[str, Domain]]:
    """The range of the temperature, where it is searched and a kind of objective has one."""
    if tune.temperature is None or "temperature" not in {f.name for f in fields(kind)}:
        return {}
    low, high = tune.temperature
    return {"temperature": ("temperature", Interval(low=low, high=high, log=True))}


def _domain(name: str, key: str, values: tuple[Any, ...]) -> Domain:
    hinted = get_type_hints(CATALOGUE[name])[key]
    kinds = {hinted, *get_args(hinted)}
    if _is_range(values):
        whole = int in kinds and float not in kinds
        return Interval(low=values[0], high=values[1], log=key == "temperature", whole=whole)
    return Choices(values=tuple(map(float, values)) if float in kinds else values)

"""A recipe: the settings of a run, a tree of frozen values, read from and written to YAML without loss.

The same classes serve Python, files and `--set`; unknown keys are refused. Recipes name things from catalogues, they
never program. Two conveniences of the file form are undone on reading: the fields of a source stand beside those of
`data`, and a number under `distill.temperature` (or `distill.distillation_temp`) is the objective's temperature.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field

from limbeck.data import SOURCES, Preprocess, Source
from limbeck.errors import RecipeError
from limbeck.models import MODELS, AnyModel, ModelSpec
from limbeck.objectives import CATALOGUE
from limbeck.recipe_text import ALIASES, build, read_yaml
from limbeck.search_space import Tune, alternatives
from limbeck.teachers import TEACHERS, Encoding, Labels, TeacherSpec
from limbeck.teachers.ensemble import Mean, check_members
from limbeck.training import DEAF, ArmName, Distill, Fit


@dataclass(frozen=True, kw_only=True)
class GivenData:
    """Data handed over in Python; a file cannot name it."""

    source: Literal["python"] = "python"


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A model handed over in Python, by its name there; a file cannot make it."""

    name: Literal["python"] = "python"
    what: str


if TYPE_CHECKING:
    AnySource = Source | GivenData
    StudentModel = ModelSpec | GivenModel
else:
    # The unions that pydantic chooses from by name are the catalogues themselves.
    AnySource = Annotated[Union[*SOURCES.values(), GivenData], Field(discriminator="source")]
    StudentModel = Annotated[Union[*dict.fromkeys(MODELS.values()), GivenModel], Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is learnt from.

    Args:
        source: where the examples come from; in a file its fields stand beside the others.
        labelled: how many training labels the students see, chosen by content, every class by its share; null is
            all. A teacher of kind `train` sees all.
        unlabelled: whether students that hear the teacher also see the training examples without a label.
        validation: how many training examples are held out, disjoint by key, to choose settings on.
        drop_overlap: leave out of the test set what is in the training set too; otherwise it is counted.
    """

    source: AnySource
    labelled: int | None = None
    unlabelled: bool = True
    validation: int = 0
    drop_overlap: bool = False

    def __post_init__(self) -> None:
        if self.labelled is not None and self.labelled < 1:
            raise ValueError(f"labelled must be 1 or more, or null for all, not {self.labelled}")
        if self.validation < 0:
            raise ValueError(f"validation must be 0 or more, not {self.validation}")


@dataclass(frozen=True, kw_only=True)
class TrainedTeacher:
    """A teacher that the run trains first, on all training labels."""

    kind: Literal["train"] = "train"
    model: AnyModel
    preprocess: Preprocess | None = None
    fit: Fit = field(default_factory=Fit)


@dataclass(frozen=True, kw_only=True)
class GivenTeacher:
    """A teacher handed over in Python, by its name there; a file cannot make it."""

    kind: Literal["python"] = "python"
    what: str


if TYPE_CHECKING:
    OneTeacher = TrainedTeacher | TeacherSpec
else:
    OneTeacher = Annotated[Union[TrainedTeacher, *TEACHERS.values()], Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class TeacherEnsemble:
    """Several teachers that answer as one.

    Args:
        members: each a teacher of any other kind; of those that are trained, each from a seed of its own.
        weights: of each member; null weighs all alike.
        mean: of the members' probabilities at temperature 1, or of their logits.
    """

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[OneTeacher, ...]
    weights: tuple[float, ...] | None = None
    mean: Mean = "probabilities"

    def __post_init__(self) -> None:
        check_members(self.weights, len(self.members))


if TYPE_CHECKING:
    AnyTeacher = TrainedTeacher | TeacherSpec | TeacherEnsemble | GivenTeacher
else:
    AnyTeacher = Annotated[
        Union[TrainedTeacher, *TEACHERS.values(), TeacherEnsemble, GivenTeacher], Field(discriminator="kind")
    ]


@dataclass(frozen=True, kw_only=True)
class Student:
    """The model that learns.

    Args:
        model: its architecture.
        preprocess: the source's unless given.
        assistants: models between teacher and student, each taught by the one before it.
        generations: how often the student's architecture is trained in a row, each time taught by the last; the
            verdict speaks of the last generation. Where Python hands over an instance, all begin with its weights.
    """

    model: StudentModel
    preprocess: Preprocess | None = None
    assistants: tuple[AnyModel, ...] = ()
    generations: int = 1

    def __post_init__(self) -> None:
        if self.generations < 1:
            raise ValueError(f"generations must be 1 or more, not {self.generations}")

    @property
    def chain(self) -> tuple[StudentModel, ...]:
        """All that is trained between the teacher and the students of the arms."""
        return (*self.assistants, *(self.model,) * (self.generations - 1))


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How the gain is proved.

    Args:
        seeds: one student of each arm is trained from each.
        arms: what is compared.
        metric: what the verdict speaks of.
        on: the split that is measured; with `validation` the test set is not read at all.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    arms: tuple[ArmName, ...] = ("distilled", "scratch")
    metric: Literal["accuracy"] = "accuracy"
    on: Literal["test", "validation"] = "test"

    def __post_init__(self) -> None:
        for name, values in (("seeds", self.seeds), ("arms", self.arms)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must name each of its members once and at least one, not {list(values)}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds must be 0 or more, not {min(self.seeds)}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run. `device` is auto, cpu, cuda or cuda:N; `out` is the directory of the run."""

    format: Literal[1] = 1
    data: Data
    teacher: AnyTeacher
    student: Student
    labels: Labels = field(default_factory=Labels)
    distill: Distill = field(default_factory=Distill)
    fit: Fit = field(default_factory=Fit)
    proof: Proof = field(default_factory=Proof)
    tune: Tune | None = None
    device: str = "auto"
    out: str = "runs/first"

    def __post_init__(self) -> None:
        if self.proof.on == "validation" and not self.data.validation:
            raise ValueError("proof.on is validation, so data.validation must say how many examples to hold out")
        if self.distill.views == "live" and "shuffled-teacher" in self.proof.arms:
            raise ValueError(
                "shuffled-teacher permutes stored signals: set distill.views to a number, or leave the arm out"
            )
        self._check_views()
        if self.fit.augment.active and self.distill.teacher_taps and self.distill.views == 1:
            raise ValueError(
                "with fit.augment the student sees views, and stored features are those of the plain example: "
                "set distill.views: live or more than 1, or leave out fit.augment or the terms on features"
            )
        if self.labels.k is not None and self.distill.temperature is not None:
            what = "auto" if self.distill.temperature == "auto" else "a schedule"
            raise ValueError(
                "labels.encoding top-k keeps the teacher's tail at fixed temperatures, and distill.temperature is "
                f"{what}: set labels.encoding: auto, or one temperature"
            )
        if "direct" in self.proof.arms and not self.student.chain:
            raise ValueError("the arm direct leaves out assistants and generations, and there are none: leave it out")
        if isinstance(self.teacher, TeacherEnsemble) and self.distill.teacher_taps:
            raise ValueError("an ensemble has no parts to tap: take one teacher, or leave out the terms on features")
        if self.tune is not None:
            self._check_tune(self.tune)

    def _check_tune(self, tune: Tune) -> None:
        if self.student.chain:
            raise ValueError(
                "each trial of a search would have to train assistants and generations of its own: leave out "
                "student.assistants and student.generations, or tune"
            )
        tried = alternatives(tune, self.distill.objective)
        if self.labels.k is not None and (tune.objective or any("temperature" in one.searched for one in tried)):
            raise ValueError(
                "labels.encoding top-k keeps the teacher's tail at the temperatures of distill, and tune tries others: "
                "set labels.encoding: auto, or tune.temperature: null and no tune.objective"
            )
        several = len(tried) > 1 or len(tune.student) > 1 or any(one.searched for one in tried)
        if not (several or tune.alpha or tune.lr):
            raise ValueError("tune has nothing to vary: give it a range, or alternatives")

    def _check_views(self) -> None:
        views, augment = self.distill.views, self.fit.augment
        if self.distill.stored_views > 1 and not augment.active:
            raise ValueError(f"distill.views is {views}, and fit.augment makes no views: set views: 1, or fit.augment")
        if views == 1 and augment.mixes and (self.student.chain or not set(self.proof.arms) <= set(DEAF)):
            raise ValueError(
                "with mixup and cutmix the student sees mixes, and the stored answer is that about a plain example: "
                "set distill.views: live or more than 1, or leave the mixes out"
            )


def encoding_of(recipe: Recipe) -> Encoding:
    """How the answers of the run's teachers are kept."""
    return Encoding(recipe.labels, recipe.distill.temperatures)


def read_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file, with `changes` of dotted keys, as `--set` gives them.

    Raises:
        RecipeError: no such file, not YAML, unknown keys or values that do not fit.
    """
    return recipe_from_tree(read_yaml(path), changes or {}, where=str(path))


def recipe_from_tree(tree: Any, changes: Mapping[str, Any], *, where: str) -> Recipe:
    """The recipe in a tree of plain values, in the form of a file.

    Raises:
        RecipeError: unknown keys or values that do not fit; `where` is named.
    """
    if not isinstance(tree, dict):
        raise RecipeError(
            f"{where} is empty" if tree is None else f"{where} holds one {type(tree).__name__}",
            expected="a mapping with the keys data, teacher, student ...",
            do="begin with one of the recipes in examples/",
        )
    tree = _copied(tree)
    for key, value in changes.items():
        _set(tree, key, _copied(value))
    _lift_temperature(tree.get("distill"))
    _nest_source(tree)
    return build(Recipe, tree, where=where)


def tree_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe in the form of a file, every field filled in."""
    tree: dict[str, Any] = _plain(asdict(recipe))
    source = tree["data"].pop("source")
    tree["data"] = {**source, **tree["data"]}
    return tree


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise RecipeError(
                f"--set {key} goes through {part}, which is {tree!r}",
                expected="a key of a mapping, such as distill.temperature",
                do="set the whole of it, or name another key",
            )
    tree[last] = value


def _lift_temperature(distill: Any) -> None:
    """Move a number `temperature` or `distillation_temp` into the objective, whose setting it is.

    A schedule stays, as does auto.
    """
    if not isinstance(distill, dict):
        return
    given = {key: distill.pop(key) for key in ALIASES["distill"] if key in distill}
    if len(given) == 1 and _stays(next(iter(given.values()))):
        distill["temperature"] = given.popitem()[1]
    objective = distill.get("objective", {"name": "soft-targets"})
    if not given or not isinstance(objective, dict):
        return
    name = objective.get("name")
    kind = CATALOGUE.get(name) if isinstance(name, str) else None
    takes_it = kind is None or "temperature" in {f.name for f in fields(kind)}  # type: ignore[arg-type]
    values = [*given.values(), *([objective["temperature"]] if "temperature" in objective else [])]
    if not takes_it or any(value != values[0] for value in values):
        raise RecipeError(
            f"distill has {' and '.join(given)} = {values} with the objective {name}",
            expected="one temperature, and an objective that has one",
            do="give it once, or leave it out",
        )
    distill["objective"] = {**objective, "temperature": values[0]}


def _stays(temperature: Any) -> bool:
    return isinstance(temperature, dict | None) or temperature == "auto"


def _nest_source(tree: dict[str, Any]) -> None:
    """Part the fields of a source from those of `data`, beside which they stand in a file."""
    data = tree.get("data")
    if not isinstance(data, dict):
        return
    own = {f.name for f in fields(Data)} - {"source"}
    source = {key: value for key, value in data.items() if key not in own}
    tree["data"] = {"source": source, **{key: data[key] for key in data if key in own}}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value

"""The arms of a comparison: what each learns from, all with one budget, one batch size and one first student.

`distilled` is the student in question, `scratch` the same student on the same labels without the teacher. The
others are controls: `label-smoothing` softens the labels without a teacher, `hard-teacher` passes on the teacher's
answers without its doubts, `shuffled-teacher` its doubts about other examples of the same predicted class, `direct`
hears the first teacher where `distilled` hears the last assistant.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field

from limbeck.data import AnyPreprocess, Examples, derive_seed
from limbeck.errors import RecipeError
from limbeck.objectives import CATALOGUE, CrossEntropy, HardTargets, Objective, SoftTargets, TapObjective
from limbeck.teachers import Mapped, Signals, Stored
from limbeck.training.lesson import Lesson
from limbeck.training.loss import Term, TermSchedule
from limbeck.training.schedules import AnySchedule, Schedule, bounds_of, complement_of, value_at

ArmName = Literal["distilled", "scratch", "label-smoothing", "hard-teacher", "shuffled-teacher", "direct"]
DEAF = ("scratch", "label-smoothing")
"""Arms that hear no teacher."""

Auto = Literal["auto"]
"""In the place of a number that the run guesses (`limbeck.guess`)."""

USUAL_ALPHA = 0.1
"""Unless another is given."""

SMOOTHING = 0.1
"""Of the `label-smoothing` arm, the value of Szegedy 2016 and Müller 2019."""

if TYPE_CHECKING:
    AnyObjective = Objective
else:
    # The union that pydantic chooses from by name is the catalogue itself: a new objective needs no line here.
    AnyObjective = Annotated[Union[tuple(CATALOGUE.values())], Field(discriminator="name")]  # noqa: UP007


@dataclass(frozen=True, kw_only=True)
class WeightedTerm:
    """A further objective: adds weight * value to the loss; alpha does not rescale it."""

    weight: float | AnySchedule
    objective: AnyObjective

    def __post_init__(self) -> None:
        if not all(math.isfinite(bound) for bound in bounds_of(self.weight)):
            raise ValueError(f"weight must be a finite number, not {self.weight}")


@dataclass(frozen=True, kw_only=True)
class Distill:
    """The loss of the distilled arm, `alpha * student_loss + (1 - alpha) * distillation_loss + terms`.

    Args:
        alpha: the share of `student_loss`, 0.1 unless given; null when the two weights are given instead; auto is
            guessed by the run, once the teacher has been asked.
        student_weight: the weight of `student_loss`, with `distillation_weight` in place of alpha.
        distillation_weight: the weight of `distillation_loss`.
        temperature: a schedule of the objective's temperature, null leaves that as it is; a number goes into the
            objective; auto is guessed likewise.
        objective: the soft-label objective.
        terms: further objectives.
        views: 1 uses the stored signal of the plain example for all its views; a larger number V stores the signals of
            V views, and students see these in turn; live asks the teacher about every view, at its cost (Beyer 2022,
            arXiv 2106.05237, of patience and consistency).
    """

    alpha: float | AnySchedule | Auto | None = None
    student_weight: float | AnySchedule | None = None
    distillation_weight: float | AnySchedule | None = None
    temperature: AnySchedule | Auto | None = None
    objective: AnyObjective = field(default_factory=SoftTargets)
    terms: tuple[WeightedTerm, ...] = ()
    views: int | Literal["live"] = 1

    def __post_init__(self) -> None:
        self._check_kinds()
        pair = [weight for weight in (self.student_weight, self.distillation_weight) if weight is not None]
        if self.alpha is not None and pair:
            raise ValueError("give alpha, or student_weight and distillation_weight, not both forms")
        if len(pair) == 1:
            raise ValueError("student_weight and distillation_weight go together: give both")
        if not pair and self.alpha is None:
            object.__setattr__(self, "alpha", USUAL_ALPHA)
        if not isinstance(self.alpha, str | None) and not _within(self.alpha, 0.0, 1.0):
            raise ValueError(f"alpha is a share, from 0 to 1, not {self.alpha}")
        if "logits" not in self.objective.traits.needs:
            raise ValueError(f"{self.objective.name} hears no logits: take another objective, or add it to terms")
        if pair and not (all(_within(weight, 0.0, math.inf) for weight in pair) and any(map(_counts, pair))):
            raise ValueError(f"the weights must be at least 0 and one of them above, not {pair[0]} and {pair[1]}")
        if self.temperature is not None:
            self._begin_at(self.temperature)

    def _check_kinds(self) -> None:
        for name in ("alpha", "temperature"):
            value = getattr(self, name)
            if isinstance(value, str) and value != "auto":
                raise ValueError(f"{name} is a number, a schedule or auto, not {value!r}")
        if self.views != "live" and self.views < 1:
            raise ValueError(f"views must be 1 or more, or live, not {self.views}")
        for term in self.terms:
            if not isinstance(term, WeightedTerm):
                raise ValueError(f"terms are WeightedTerm(weight=..., objective=...), not {term!r}")

    def _begin_at(self, temperature: float | Schedule | Auto) -> None:
        """Give the objective the temperature of the first step; a number is then the objective's alone."""
        objective: Any = self.objective
        default = {f.name: f.default for f in fields(objective)}.get("temperature") if is_dataclass(objective) else None
        if default is None:
            raise ValueError(f"temperature is {temperature}, and {self.objective.name} has none: leave it out")
        if isinstance(temperature, str):
            _check_guessable(objective, default)
            return
        if objective.temperature not in (default, value_at(temperature, 0.0)):
            raise ValueError(f"temperature is {temperature}, and the objective's {objective.temperature}: give it once")
        for bound in bounds_of(temperature):
            replace(objective, temperature=bound)  # refuses what the objective cannot bear
        object.__setattr__(self, "objective", replace(objective, temperature=value_at(temperature, 0.0)))
        if not isinstance(temperature, Schedule):
            object.__setattr__(self, "temperature", None)

    @property
    def unsettled(self) -> bool:
        """Whether a number has still to be guessed."""
        return "auto" in (self.alpha, self.temperature)

    def settled(self, *, alpha: float, temperature: float) -> "Distill":
        """The same with these numbers in the place of auto; what was given stays."""
        changes: dict[str, Any] = {}
        if self.alpha == "auto":
            changes["alpha"] = alpha
        if self.temperature == "auto":
            objective: Any = self.objective
            changes |= {"temperature": None, "objective": replace(objective, temperature=temperature)}
        return replace(self, **changes)

    @property
    def tentative(self) -> "Distill":
        """The same with the usual numbers in the place of auto: to be looked at before the teacher is asked."""
        usual = vars(self.objective).get("temperature", math.nan)
        return self.settled(alpha=USUAL_ALPHA, temperature=usual)

    @property
    def weights(self) -> tuple[float | Schedule, float | Schedule]:
        """The weights of `student_loss` and `distillation_loss`.

        Raises:
            ValueError: alpha is auto.
        """
        if isinstance(self.alpha, str):
            raise ValueError("alpha is auto: it is a number once the teacher has been asked (limbeck.guess)")
        if self.alpha is not None:
            return self.alpha, complement_of(self.alpha)
        assert self.student_weight is not None
        assert self.distillation_weight is not None
        return self.student_weight, self.distillation_weight

    @property
    def stored_views(self) -> int:
        """Of how many views of each example the answers are stored; live ones are stored of the plain example too."""
        return 1 if self.views == "live" else self.views

    @property
    def temperatures(self) -> tuple[float, ...]:
        """At which a term softens the teacher's logits, and 1, rising."""
        objectives = [self.objective, *(term.objective for term in self.terms)]
        return tuple(sorted({1.0, *(o.temperature for o in objectives if isinstance(o, SoftTargets))}))

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The parts of the teacher that a term looks at."""
        objectives = [term.objective for term in self.terms]
        return tuple(dict.fromkeys(o.teacher for o in objectives if isinstance(o, TapObjective)))

    def loss(self) -> tuple[Term, ...]:
        """The terms of the loss, without those whose weight is always 0.

        Raises:
            ValueError: alpha or the temperature is auto.
        """
        if isinstance(self.temperature, str):
            raise ValueError("temperature is auto: it is a number once the teacher has been asked (limbeck.guess)")
        student, distillation = self.weights
        terms = [
            ("student_loss", student, CrossEntropy(), None),
            ("distillation_loss", distillation, self.objective, self.temperature),
            *((f"term{i}_{t.objective.name}", t.weight, t.objective, None) for i, t in enumerate(self.terms)),
        ]
        return tuple(_term(*parts) for parts in terms if _counts(parts[1]))


def _term(name: str, weight: float | Schedule, objective: Objective, temperature: Schedule | None) -> Term:
    """A term as it stands at the first step, with what changes after it."""
    moving = weight if isinstance(weight, Schedule) else None
    schedule = TermSchedule(moving, temperature) if moving or temperature else None
    # What a term learns is found by its name, in which torch allows no dot.
    return Term(name.replace(".", "-"), value_at(weight, 0.0), objective, schedule)


def _check_guessable(objective: Any, default: Any) -> None:
    """Refuse what a guess would not fit: it is made for the teacher's logits as they are."""
    if objective.temperature != default:
        raise ValueError(f"temperature is auto, and the objective's {objective.temperature}: give it once")
    if vars(objective).get("standardise"):
        raise ValueError("temperature is auto, and the objective standardises the logits first: give a number")


def _within(value: float | Schedule, least: float, most: float) -> bool:
    """Whether a finite number, or all values of a schedule, lie between the two."""
    return all(math.isfinite(bound) and least <= bound <= most for bound in bounds_of(value))


def _counts(weight: float | Schedule) -> bool:
    """Whether a weight is ever other than 0."""
    return any(bound != 0.0 for bound in bounds_of(weight))


def lesson_of(
    arm: ArmName, distill: Distill, examples: Examples, signals: Signals, preprocess: AnyPreprocess, *, seed: int
) -> Lesson:
    """What an arm learns from; the seed decides how a shuffled teacher is shuffled.

    An arm that hears no teacher sees the labelled examples only: the others would teach it nothing.

    Raises:
        RecipeError: labels are needed and there are none; signals are to be shuffled that are not stored.
    """
    labelled = examples.labelled.nonzero()[:, 0]
    # Without a single label the labels' mean is of nothing: the loss is then the teacher's part alone.
    loss = tuple(term for term in distill.loss() if len(labelled) or "labels" not in term.objective.traits.needs)
    if arm in DEAF:
        if not len(labelled):
            raise _unlabelled(arm)
        objective: Objective = CrossEntropy(smoothing=SMOOTHING if arm == "label-smoothing" else 0.0)
        seen = examples if len(labelled) == len(examples) else examples.select(labelled)
        return Lesson(seen, None, (Term("student_loss", 1.0, objective),), preprocess)
    if arm == "hard-teacher":
        loss = _without_doubts(loss)
    if not loss:
        raise _unlabelled(arm)
    if arm == "shuffled-teacher":
        if not isinstance(signals, Stored | Mapped):
            raise RecipeError(
                "the arm shuffled-teacher came with distill.views: live",
                expected="stored signals, which can be permuted",
                do="set distill.views to a number, or leave the arm out",
            )
        signals = signals.shuffled(derive_seed(seed, "shuffled-teacher"))
    heard = any(term.objective.traits.hears_teacher for term in loss)
    # A student that hears no stored views sees fresh ones.
    views = distill.stored_views if heard else 1
    return Lesson(examples, signals if heard else None, loss, preprocess, views)


def _without_doubts(loss: Sequence[Term]) -> tuple[Term, ...]:
    """The teacher's first choice in the place of its logits, and nothing in the place of its features."""
    kept = tuple(_hardened(term) for term in loss if not term.objective.traits.taps)
    if len(kept) < len(loss) and not any(term.objective.traits.hears_teacher for term in kept):
        raise RecipeError(
            "the arm hard-teacher came with a loss that looks at the teacher's features alone",
            expected="an objective on its logits, of which the answers can be taken",
            do="give distillation_loss a weight, or leave the arm out",
        )
    return kept


def _unlabelled(arm: ArmName) -> RecipeError:
    return RecipeError(
        f"the arm {arm} has no labelled examples, and nothing in its loss does without labels",
        expected="labels, or arms and objectives that hear the teacher and need no labels (limbeck list objectives)",
        do="label some examples, or set proof.arms: [distilled], distill.alpha below 1 and such an objective",
    )


def _hardened(term: Term) -> Term:
    if not term.objective.traits.hears_teacher:
        return term
    schedule = replace(term.schedule, temperature=None) if term.schedule else None
    return replace(term, objective=HardTargets(), schedule=schedule)

"""The arms of a comparison: what each learns from, all with one budget, one batch size and one first student.

`distilled` is the student in question, `scratch` the same student on the same labels without the teacher. The
others are controls: `label-smoothing` softens the labels without a teacher, `hard-teacher` passes on the teacher's
answers without its doubts, `shuffled-teacher` its doubts about other examples of the same predicted class.
"""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import Field

from limbeck.data import Examples, Preprocess, derive_seed
from limbeck.errors import RecipeError
from limbeck.objectives import CATALOGUE, CrossEntropy, HardTargets, Objective, SoftTargets
from limbeck.teachers import Signals, Stored
from limbeck.training.lesson import Lesson
from limbeck.training.step import Term

ArmName = Literal["distilled", "scratch", "label-smoothing", "hard-teacher", "shuffled-teacher"]

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

    weight: float
    objective: AnyObjective

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"weight must be a finite number, not {self.weight}")


@dataclass(frozen=True, kw_only=True)
class Distill:
    """The loss of the distilled arm, `alpha * student_loss + (1 - alpha) * distillation_loss + terms`.

    Args:
        alpha: the share of `student_loss`, 0.1 unless given; null when the two weights are given instead.
        student_weight: the weight of `student_loss`, with `distillation_weight` in place of alpha.
        distillation_weight: the weight of `distillation_loss`.
        objective: the soft-label objective.
        terms: further objectives.
        views: 1 uses the stored signal of the plain example for all its views; live asks the teacher about every
            view, at its cost.
    """

    alpha: float | None = None
    student_weight: float | None = None
    distillation_weight: float | None = None
    objective: AnyObjective = field(default_factory=SoftTargets)
    terms: tuple[WeightedTerm, ...] = ()
    views: Literal[1, "live"] = 1

    def __post_init__(self) -> None:
        pair = [weight for weight in (self.student_weight, self.distillation_weight) if weight is not None]
        if self.alpha is not None and pair:
            raise ValueError("give alpha, or student_weight and distillation_weight, not both forms")
        if len(pair) == 1:
            raise ValueError("student_weight and distillation_weight go together: give both")
        if not pair and self.alpha is None:
            object.__setattr__(self, "alpha", 0.1)
        if self.alpha is not None and not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha is a share, from 0 to 1, not {self.alpha}")
        if self.objective.traits.needs != "teacher":
            raise ValueError(f"{self.objective.name} hears no teacher: take another objective, or add it to terms")
        if pair and not (all(0.0 <= weight < math.inf for weight in pair) and any(pair)):
            raise ValueError(f"the weights must be at least 0 and one of them above, not {pair[0]} and {pair[1]}")

    @property
    def weights(self) -> tuple[float, float]:
        """The weights of `student_loss` and `distillation_loss`."""
        if self.alpha is not None:
            return self.alpha, 1.0 - self.alpha
        assert self.student_weight is not None
        assert self.distillation_weight is not None
        return self.student_weight, self.distillation_weight

    def loss(self) -> tuple[Term, ...]:
        """The terms of the loss, without those whose weight is 0."""
        student, distillation = self.weights
        terms = [
            Term("student_loss", student, CrossEntropy()),
            Term("distillation_loss", distillation, self.objective),
            *(Term(f"term{i}_{t.objective.name}", t.weight, t.objective) for i, t in enumerate(self.terms)),
        ]
        return tuple(term for term in terms if term.weight != 0.0)


def lesson_of(
    arm: ArmName, distill: Distill, examples: Examples, signals: Signals, preprocess: Preprocess, *, seed: int
) -> Lesson:
    """What an arm learns from; the seed decides how a shuffled teacher is shuffled.

    An arm that hears no teacher sees the labelled examples only: the others would teach it nothing.

    Raises:
        RecipeError: labels are needed and there are none; signals are to be shuffled that are not stored.
    """
    labelled = examples.labelled.nonzero()[:, 0]
    # Without a single label the labels' mean is of nothing: the loss is then the teacher's part alone.
    loss = tuple(term for term in distill.loss() if len(labelled) or term.objective.traits.needs != "labels")
    if arm in ("scratch", "label-smoothing"):
        if not len(labelled):
            raise _unlabelled(arm)
        objective: Objective = CrossEntropy(smoothing=SMOOTHING if arm == "label-smoothing" else 0.0)
        seen = examples if len(labelled) == len(examples) else examples.select(labelled)
        return Lesson(seen, None, (Term("student_loss", 1.0, objective),), preprocess)
    if not loss:
        raise _unlabelled(arm)
    if arm == "hard-teacher":
        loss = tuple(_without_doubts(term) for term in loss)
    if arm == "shuffled-teacher":
        if not isinstance(signals, Stored):
            raise RecipeError(
                "the arm shuffled-teacher came with distill.views: live",
                expected="stored signals, which can be permuted",
                do="set distill.views: 1, or leave the arm out",
            )
        signals = signals.shuffled(derive_seed(seed, "shuffled-teacher"))
    heard = any(term.objective.traits.needs == "teacher" for term in loss)
    return Lesson(examples, signals if heard else None, loss, preprocess)


def _unlabelled(arm: ArmName) -> RecipeError:
    return RecipeError(
        f"the arm {arm} has no labelled examples to learn from",
        expected="labels, or arms and weights that hear the teacher",
        do="label some examples, or set proof.arms: [distilled] and distill.alpha below 1",
    )


def _without_doubts(term: Term) -> Term:
    return replace(term, objective=HardTargets()) if term.objective.traits.needs == "teacher" else term

"""The absolute promise: an objective is what its paper defines.

Dimension key: N examples, C classes, K directions.
"""

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.objectives import Objective
from limbeck.testing.promise import expect_close
from limbeck.testing.trials import built, inputs, parameters_of, run_with, shapes_of

Array = NDArray[np.float64]

LogitDefinition = Callable[[Array, Array, NDArray[np.int64]], Array]
"""(student's logits [N, C], teacher's logits [N, C], labels [N]) -> values [N], float64: the paper's formula."""

TapDefinition = Callable[[Array, Array, Mapping[str, Array]], Array]
"""(student's features, teacher's features, what is learnt by its names in the state dict) -> values [N], float64."""

Definition = LogitDefinition | TapDefinition
"""The one of a logit objective, or of a tap objective.

It is worth what it does not share: write it in NumPy probabilities, not with the objective's functions.
"""

STUDENT = "the student's"
"""Where a gradient is taken, beside the names of what is learnt."""

DIRECTIONS = 4
"""Along which gradients are compared: a wrong entry shows in all of them."""


def matches(definition: Definition) -> Callable[[Objective], None]:
    """The promise of the values of `definition`, and of the gradients of its central differences."""

    def matches_the_definition(objective: Objective) -> None:
        for shapes in shapes_of(objective):
            for scale in (0.5, 2.0, 20.0):
                _compare(objective, definition, *inputs(shapes, scale))

    return matches_the_definition


def _compare(objective: Objective, definition: Definition, student: Tensor, teacher: Tensor, labels: Tensor) -> None:
    learnt = built(objective, student, teacher)
    values, *gradients = run_with(learnt, objective, student, teacher, labels)
    state = {} if learnt is None else {name: t.detach().numpy() for name, t in learnt.state_dict().items()}

    def define(student: Array, changed: Mapping[str, Array]) -> Array:
        if objective.traits.taps:
            return cast(TapDefinition, definition)(student, teacher.numpy(), {**state, **changed})
        return cast(LogitDefinition, definition)(student, teacher.numpy(), labels.numpy())

    s = student.numpy()
    expect_close(values, torch.from_numpy(define(s, {})), "values of the definition", relative=1e-9, floor=1e-12)
    # Where the gradient jumps, a wide step would reach over a jump.
    step = 1e-3 if objective.traits.smooth else 1e-5
    for at, gradient in zip((STUDENT, *parameters_of(learnt)), gradients, strict=True):
        start = s if at == STUDENT else state[at]

        def move(moved: Array, at: str = at) -> Array:
            return define(moved, {}) if at == STUDENT else define(s, {at: moved})

        got_K, wanted_K = _slopes(move, start, gradient.numpy(), step)
        expect_close(got_K, wanted_K, f"gradient of the definition at {at}", relative=1e-5, floor=1e-7)


def _slopes(define: Callable[[Array], Array], at: Array, gradient: Array, step: float) -> tuple[Tensor, Tensor]:
    """The gradient's and the definition's slopes [K] along unit directions; those to the fourth order of the step."""
    draw = np.random.default_rng(at.size)
    got, wanted = [], []
    for _ in range(DIRECTIONS):
        direction = draw.standard_normal(at.shape)
        direction /= np.linalg.norm(direction)
        got.append(float((gradient * direction).sum()))
        weights = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
        wanted.append(sum(w * float(define(at + k * step * direction).sum()) for k, w in weights) / step)
    return torch.tensor(got, dtype=torch.float64), torch.tensor(wanted, dtype=torch.float64)

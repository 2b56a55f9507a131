"""What an objective promises, each where its traits say so.

Dimension key: N examples, C classes.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from limbeck.objectives import UNLABELLED, Objective, Traits
from limbeck.testing import logits, taps
from limbeck.testing.definition import Definition, matches
from limbeck.testing.promise import Promise, broken_by, expect, expect_close, expect_finite, expect_same, raise_broken
from limbeck.testing.trials import ask, built, inputs, parameters_of, run, shapes_of

MOST_ENTRIES = 200
"""Of the student's tensor and of what is learnt, for a gradcheck of each; above, it compares along one direction."""


def broken_promises(objective: Objective, definition: Definition | None = None) -> dict[str, str]:
    """Name of each promise an objective breaks -> what was expected and what came; empty for a sound one."""
    promises = [*PROMISES]
    if definition is not None:
        promises.append(Promise(matches(definition)))
    return broken_by(promises, objective)


def check_objective(objective: Objective, definition: Definition | None = None) -> None:
    """Check everything that an objective's traits promise, and that it is what its definition says.

    Raises:
        AssertionError: all broken promises by name, each with what was expected and what came.
    """
    raise_broken(broken_promises(objective, definition))


def check_definition(objective: Objective, definition: Definition) -> None:
    """Check values, absolutely, and gradients against an independent definition, in float64.

    Raises:
        AssertionError: what was expected and what came.
    """
    Promise(matches(definition))(objective)


def one_value_per_example(objective: Objective) -> None:
    """It returns [N], also for one example and (of logits) for none, and does not divide by the batch."""
    none = [] if objective.traits.taps else [((0, 5), (0, 5))]
    for shapes in (*shapes_of(objective), *none):
        student, teacher, labels = inputs(shapes)
        values, *gradients = run(objective, student, teacher, labels)
        count = len(student)
        expect(values.shape == (count,), f"shape [{count}], one value per example", list(values.shape))
        expect_finite(values, *gradients)


def is_in_float32_at_least(objective: Objective) -> None:
    """Half precision is raised to float32; float64 is left alone."""
    student, teacher, labels = inputs(shapes_of(objective)[0])
    for given in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        values, *_ = run(objective, student.to(given), teacher.to(given), labels)
        wanted = torch.float64 if given == torch.float64 else torch.float32
        expect(values.dtype == wanted, f"{wanted} values from {given}", values.dtype)


def is_zero_at_the_teacher(objective: Objective) -> None:
    """Value and gradient are 0 where the student says what the teacher says, to the slack, if nothing is learnt."""
    floor = objective.traits.slack
    for shapes in shapes_of(objective):
        _, teacher, labels = inputs(shapes)
        if shapes[0] != shapes[1] or built(objective, teacher, teacher) is not None:
            continue
        values, gradient = run(objective, teacher, teacher, labels)
        expect_close(values, torch.zeros_like(values), "value where student = teacher", floor=floor)
        expect_close(gradient, torch.zeros_like(gradient), "gradient where student = teacher", floor=floor)


def is_never_negative(objective: Objective) -> None:
    """No value is below 0, to the slack."""
    for shapes in shapes_of(objective):
        for scale in (0.1, 3.0, 30.0):
            values, *_ = run(objective, *inputs(shapes, scale))
            expect(bool((values >= -objective.traits.slack).all()), "no value below 0", float(values.min()))


def has_the_gradient_of_its_value(objective: Objective) -> None:
    """Autograd's gradient is that of central differences, in float64, also at what is learnt."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        learnt = built(objective, student, teacher)

        def values(
            student: Tensor,
            *parameters: Tensor,
            teacher: Tensor = teacher,
            labels: Tensor = labels,
            learnt: torch.nn.Module | None = learnt,
        ) -> Tensor:
            # gradcheck moves the entries of the parameters in their place, inside `learnt`.
            return ask(objective, student, teacher, labels, learnt)

        given = (student.requires_grad_(), *parameters_of(learnt).values())
        many = sum(tensor.numel() for tensor in given) > MOST_ENTRIES
        torch.autograd.gradcheck(values, given, eps=1e-5, atol=1e-7, rtol=1e-5, fast_mode=many)


def takes_the_teacher_as_constant(objective: Objective) -> None:
    """No gradient reaches the teacher, even where it would take one."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        teacher.requires_grad_()
        run(objective, student, teacher, labels)
        reached = teacher.grad is not None and bool(teacher.grad.any())
        expect(not reached, "no gradient at what the teacher says", teacher.grad)


def has_one_gradient_size_at_all_temperatures(objective: Objective) -> None:
    """From temperature 20 to 40 the gradient's norm changes by less than a tenth: T^2 is there, once."""
    assert is_dataclass(objective)
    cool: Any = replace(objective, temperature=20.0)
    hot: Any = replace(objective, temperature=40.0)
    asked = inputs(shapes_of(objective)[0])
    norms = [float(run(softened, *asked)[1].norm()) for softened in (cool, hot)]
    expect(abs(norms[0] / norms[1] - 1) < 0.1, "gradient norms at T = 20 and 40 within 10 %", norms)


def keeps_its_digits_in_half_precision(objective: Objective) -> None:
    """From bfloat16 it is as near to the truth as the truth rounded twice to bfloat16.

    The truth is the same objective in float64; its own float32 error is allowed for.
    """
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        student, teacher = student.bfloat16(), teacher.bfloat16()
        truth = run(objective, student.double(), teacher.double(), labels)
        single = run(objective, student.float(), teacher.float(), labels)
        half = run(objective, student, teacher, labels)
        for at, (ours, float32, true) in enumerate(zip(half, single, truth, strict=True)):
            rounding, own = (true.bfloat16().double() - true).abs(), (float32.double() - true).abs()
            allowed = float(2 * rounding.max() + 2 * own.max() + 1e-7)
            error = float((ours.double() - true).abs().max())
            what = "gradient" if at else "values"
            expect(error <= allowed, f"{what} from bfloat16 within {allowed:.3g} of the truth", error)


def treats_each_example_alone(objective: Objective) -> None:
    """Micro-batches equal one batch, and an example alone equals the example in its batch."""
    for shapes in shapes_of(objective):
        asked = inputs(shapes)
        count = len(asked[2])
        wanted = run(objective, *asked)
        for sizes in ((count // 3, count - count // 3), (1, count - 3, 2), (1,) * count):
            if min(sizes) < 1:
                continue
            parts = zip(*(torch.split(x, list(sizes)) for x in asked), strict=True)
            values, gradients, *learnt = zip(*(run(objective, *part) for part in parts), strict=True)
            got = (_cat(values), torch.cat(gradients), *(torch.stack(each).sum(dim=0) for each in learnt))
            expect_same(got, wanted, f"in micro-batches of {sizes}")


def permutes_with_examples(objective: Objective) -> None:
    """Examples in another order give the same values in that order."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        values, gradient, *learnt = run(objective, student, teacher, labels)
        order = torch.arange(len(labels)).roll(len(labels) // 3).flip(0)
        got = run(objective, student[order], teacher[order], labels[order])
        expect_same(got, (values[order], gradient[order], *learnt), "with the examples in another order")


def needs_no_labels(objective: Objective) -> None:
    """Other labels, or none, change nothing."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        wanted = run(objective, student, teacher, labels)
        for other in (labels.flip(0), torch.zeros_like(labels), torch.full_like(labels, UNLABELLED)):
            expect_same(run(objective, student, teacher, other), wanted, "with other labels", exact=True)


def _cat(parts: tuple[Tensor, ...]) -> Tensor:
    """A value that was reduced has no dimension: it is one value then."""
    return torch.cat([part.reshape(1) if part.ndim == 0 else part for part in parts])


def _where(condition: Callable[[Traits], bool]) -> Callable[[Objective], bool]:
    return lambda objective: condition(objective.traits)


def _softens(objective: Objective) -> bool:
    """Whether a temperature has to leave the size of its gradient as it is."""
    softened = is_dataclass(objective) and "temperature" in {field.name for field in fields(objective)}
    return softened and objective.traits.smooth and objective.traits.zero_at_teacher


_logits = _where(lambda traits: not traits.taps)
_taps = _where(lambda traits: traits.taps)

PROMISES: tuple[Promise[Objective], ...] = (
    Promise(one_value_per_example),
    Promise(is_in_float32_at_least),
    Promise(is_zero_at_the_teacher, _where(lambda traits: traits.zero_at_teacher)),
    Promise(is_never_negative, _where(lambda traits: traits.non_negative)),
    Promise(has_the_gradient_of_its_value),
    Promise(takes_the_teacher_as_constant),
    Promise(has_one_gradient_size_at_all_temperatures, _softens),
    Promise(keeps_its_digits_in_half_precision),
    Promise(treats_each_example_alone, _where(lambda traits: traits.coupling == "example")),
    Promise(permutes_with_examples),
    Promise(needs_no_labels, _where(lambda traits: "labels" not in traits.needs)),
    Promise(logits.ignores_a_shift_of_logits, _where(lambda traits: traits.shift_invariant and not traits.taps)),
    Promise(logits.bears_extreme_logits, _logits),
    Promise(logits.permutes_with_classes, _logits),
    Promise(logits.bears_absent_classes, _logits),
    Promise(logits.is_nothing_without_labels, _where(lambda traits: "labels" in traits.needs)),
    Promise(logits.needs_no_teacher, _where(lambda traits: not traits.hears_teacher)),
    Promise(logits.refuses_other_widths, _where(lambda traits: "logits" in traits.needs)),
    Promise(taps.bears_extreme_features, _taps),
    Promise(taps.bears_dead_features, _taps),
    Promise(taps.refuses_what_cannot_be_compared, _taps),
    Promise(taps.trains_what_it_learns, _taps),
)
"""What every objective promises, each where its traits say so."""

"""What an objective on features promises, beyond what every objective does.

Dimension key: N examples.
"""

from typing import cast

import torch
from torch import Tensor, nn

from limbeck.objectives import Objective, TapObjective
from limbeck.signal import Signal
from limbeck.testing.promise import expect, expect_close, expect_finite, expect_same
from limbeck.testing.trials import ask, built, inputs, parameters_of, run, run_with, shapes_of


def bears_extreme_features(objective: Objective) -> None:
    """Features of +-80 and +-10,000 in float32 give the finite value and gradients of float64."""
    for shapes in shapes_of(objective):
        for extreme in (80.0, 1e4):
            student, teacher, labels = inputs(shapes)
            # In other entries for other examples, and for the teacher: alike, nothing would be left to compare.
            examples = torch.arange(len(labels))
            _set_ends(student, 2 * (examples % 2), extreme)
            _set_ends(teacher, 2 * (examples // 2 % 2), -extreme)
            student, teacher = student.float(), teacher.float()
            values, *gradients = run(objective, student, teacher, labels)
            expect_finite(values, *gradients)
            wanted = run(objective, student.double(), teacher.double(), labels)
            expect_close(values.double(), wanted[0], f"values at +-{extreme:g}", relative=1e-5, floor=1e-4)
            for got, true in zip(gradients, wanted[1:], strict=True):
                expect_close(got.double(), true, f"gradient at +-{extreme:g}", relative=1e-3, floor=1e-5)


def bears_dead_features(objective: Objective) -> None:
    """Features that are all 0, the student's, the teacher's or both, give finite values and gradients."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        for ours, theirs in ((0, 1), (1, 0), (0, 0)):
            for dtype in (torch.float32, torch.float64):
                expect_finite(*run(objective, ours * student.to(dtype), theirs * teacher.to(dtype), labels))


def refuses_what_cannot_be_compared(objective: Objective) -> None:
    """Another number of examples, a tap that is not there or no signal is a ValueError.

    So are vectors to an objective that needs maps.
    """
    student, teacher, labels = inputs(shapes_of(objective)[0])
    learnt = built(objective, student, teacher)
    ours, theirs = cast(TapObjective, objective).student, cast(TapObjective, objective).teacher
    output, signal = Signal(torch.zeros(7, 2), {ours: student}), Signal(torch.zeros(7, 2), {theirs: teacher})
    bare = Signal(torch.zeros(7, 2))
    refused: dict[str, tuple[Signal, Signal | None]] = {
        "a teacher of one example (which would broadcast)": (output, Signal(torch.zeros(7, 2), {theirs: teacher[:1]})),
        "a teacher of an example less": (output, Signal(torch.zeros(7, 2), {theirs: teacher[1:]})),
        "a student without the tap": (bare, signal),
        "a teacher without the tap": (output, bare),
        "no signal": (output, None),
    }
    if "maps" in objective.traits.needs:
        vectors = {name: Signal(torch.zeros(7, 2), {name: torch.ones(7, 5)}) for name in (ours, theirs)}
        refused["vectors in the place of maps"] = (vectors[ours], vectors[theirs])
    for what, pair in refused.items():
        try:
            cast(TapObjective, objective)(*pair, labels, learnt)
        except ValueError:
            continue
        raise AssertionError(f"expected ValueError from {what}, got a value")


def trains_what_it_learns(objective: Objective) -> None:
    """All that it builds is parameters that a gradient reaches, from torch's seed alone, and can be saved."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        learnt = built(objective, student, teacher)
        _expect_no_hidden_parameters(objective, student, teacher, labels, learnt)
        if learnt is None:
            continue
        answer = run_with(learnt, objective, student, teacher, labels)
        parameters, state = parameters_of(learnt), learnt.state_dict()
        expect(len(parameters) > 0 and parameters.keys() == state.keys(), "parameters alone to be built", list(state))
        # Of a single example, what is compared within the batch has nothing to learn.
        if len(student) > 1:
            for name, gradient in zip(parameters, answer[2:], strict=True):
                expect(bool(gradient.any()), f"a gradient at {name}", "0 everywhere")
        _expect_saved(objective, student, teacher, labels, learnt)


def _expect_saved(objective: Objective, student: Tensor, teacher: Tensor, labels: Tensor, learnt: nn.Module) -> None:
    """Built of one seed it is the same; built of another, its state dict makes it the same."""
    state = learnt.state_dict()
    again, other = built(objective, student, teacher), built(objective, student, teacher, seed=1)
    assert again is not None, "expected the same module from the same seed, got None"
    assert other is not None, "expected a module from every seed, got None"
    expect(again.state_dict().keys() == state.keys(), "the same parts from the same seed", list(again.state_dict()))
    for name, tensor in again.state_dict().items():
        expect_close(tensor, state[name], f"the same {name} from the same seed", floor=0.0)
    other.load_state_dict(state)
    answers = [run_with(module, objective, student, teacher, labels) for module in (again, other)]
    expect_same(answers[1], answers[0], "from a loaded state dict", exact=True)


def _expect_no_hidden_parameters(
    objective: Objective, student: Tensor, teacher: Tensor, labels: Tensor, learnt: nn.Module | None
) -> None:
    """What a gradient reaches is the student or in `parameters()`: what is not there no optimizer sees."""
    leaf = student.clone().requires_grad_()
    known = {id(leaf), *map(id, parameters_of(learnt).values())}
    reached, waiting = set(), [ask(objective, leaf, teacher, labels, learnt).grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in reached:
            continue
        reached.add(node)
        waiting += [following for following, _ in node.next_functions]
        if node.name() == "torch::autograd::AccumulateGrad":
            variable = node.variable  # type: ignore[attr-defined]
            expect(id(variable) in known, "what is trained among the parameters", f"a tensor {list(variable.shape)}")


def _set_ends(features: Tensor, at_N: Tensor, extreme: float) -> None:
    """Each example reaches both ends, in the entry given and the one that follows."""
    examples = torch.arange(len(at_N))
    features.flatten(1)[examples, at_N], features.flatten(1)[examples, at_N + 1] = extreme, -extreme

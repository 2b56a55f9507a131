"""What the students among which a search looks cost, and which of them are cheap enough."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from limbeck.errors import RecipeError
from limbeck.measurement import latency
from limbeck.models import parameters
from limbeck.preparation import Materials, Prepared, student_preprocess
from limbeck.recipe import Recipe
from limbeck.rundir import Run
from limbeck.search_space import Tune
from limbeck.students import new_student
from limbeck.tuning.space import label_of

Sizes = Mapping[str, Mapping[str, float]]


def sizes(opened: Run, data: Prepared, materials: Materials) -> dict[str, dict[str, int | float]]:
    """By the name of each student, the recipe's own and the alternatives: parameters and latency in milliseconds.

    The latency is that on this machine's processor, whatever the students are trained on.
    """
    recipe = opened.recipe
    models = dict.fromkeys([recipe.student.model, *(recipe.tune or Tune()).student])
    found: dict[str, dict[str, int | float]] = {}
    for model in models:
        one = replace(recipe, student=replace(recipe.student, model=model))
        network = new_student(one, data, materials, recipe.proof.seeds[0])
        example = student_preprocess(one, data)(data.train.inputs[torch.zeros(1, dtype=torch.int64)])
        found[label_of(model)] = {
            "parameters": parameters(network),
            "latency_ms": 1000 * latency(network, example),
        }
    return found


def affordable(recipe: Recipe, sizes: Sizes) -> Recipe:
    """The recipe with only those alternatives among which a choice may fall.

    What a student costs is known before it is trained, so none is trained in vain.

    Raises:
        RecipeError: none is within the limits, or so few are that nothing is left to vary.
    """
    tune = recipe.tune or Tune()
    if tune.most_parameters is None and tune.most_latency is None:
        return recipe
    models = tune.student or (recipe.student.model,)
    kept = tuple(model for model in tune.student if _fits(sizes[label_of(model)], tune))
    shown = "; ".join(f"{name}: {_shown(size)}" for name, size in sizes.items())
    if not any(_fits(sizes[label_of(model)], tune) for model in models):
        raise RecipeError(
            f"no student is within tune.most_parameters and tune.most_latency ({shown})",
            expected="one that is",
            do="raise the limits, or name smaller students under tune.student",
        )
    try:
        return replace(recipe, tune=replace(tune, student=kept))
    except ValueError:
        raise RecipeError(
            f"one student is within tune.most_parameters and tune.most_latency ({shown}), and nothing else is searched",
            expected="several settings to choose from",
            do="raise the limits, or give tune.temperature and tune.alpha a range",
        ) from None


def _fits(size: Mapping[str, float], tune: Tune) -> bool:
    limits = {"parameters": tune.most_parameters, "latency_ms": tune.most_latency}
    return all(limit is None or size[name] <= limit for name, limit in limits.items())


def _shown(size: Mapping[str, float]) -> str:
    return f"{size['parameters']:,.0f} parameters, {size['latency_ms']:.2g} ms"

"""Students before they are trained: how one is made, and what is refused before an hour goes into the teacher."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from limbeck.data import AnyPreprocess, Examples, derive_seed
from limbeck.errors import RecipeError
from limbeck.files import digest, digest_tensors
from limbeck.models import check_output, initialise
from limbeck.preparation import Materials, Prepared, student_preprocess
from limbeck.recipe import GivenModel, Recipe, encoding_of
from limbeck.record import read_record
from limbeck.rundir import Run
from limbeck.teachers import Live, ModuleTeacher, Stored, Teacher, ask_all
from limbeck.training import check_parts, learner_of, lesson_of

ASKED_AT_ONCE = 512
"""Examples: what is small is asked about many at a time."""


def check_students(opened: Run, data: Prepared, materials: Materials) -> str:
    """Refuse, before an hour goes into the teacher, what cannot be trained in the end; returns the student's sha256.

    Raises:
        RecipeError: a student that does not fit the data, cannot be trained or is another each time it is made, an arm
            that lacks labels, or a batch that cannot be parted.
    """
    recipe = opened.recipe
    preprocess, seed = student_preprocess(recipe, data), recipe.proof.seeds[0]
    once, again = (new_student(recipe, data, materials, seed) for _ in range(2))
    _check_trainable(once)
    check_pairing(once, data.train, preprocess)
    sha256 = digest_tensors(once.state_dict())
    _check_same(seed, {"once": sha256, "again": digest_tensors(again.state_dict())})
    unheard = Stored({"logits": torch.zeros(len(data.train), 1)})
    for arm in recipe.proof.arms:
        lesson = lesson_of(arm, recipe.distill.tentative, data.train, unheard, preprocess, seed=seed)
        check_parts(once, lesson.terms, recipe.fit, opened.world)
    return digest({"structure": repr(once), "tensors": sha256})


def new_student(recipe: Recipe, data: Prepared, materials: Materials, seed: int) -> nn.Module:
    """The untrained student of a seed: its weights are f(seed, "student"), or those of the instance given."""
    spec = recipe.student.model
    if isinstance(materials.student, nn.Module):
        return copy.deepcopy(materials.student).cpu()
    maker = materials.student if isinstance(spec, GivenModel) else spec
    if maker is None or isinstance(maker, GivenModel):
        raise RecipeError(
            f"student.model is python ({spec.name})",
            expected="a model that a file can name",
            do="call limbeck.distill in Python with the student, or name a model (limbeck list models)",
        )
    shape = student_preprocess(recipe, data).output_shape(data.train.input_shape)
    return initialise(maker, shape, len(data.train.classes), derive_seed(seed, "student"))


def answers(opened: Run, student: nn.Module, data: Prepared, examples: Examples) -> Tensor:
    """What a student says about examples, logits [N, C].

    Raises:
        DataError: some are not finite.
    """
    asked = ModuleTeacher(student, student_preprocess(opened.recipe, data), opened.device)
    return ask_all(asked, examples, ASKED_AT_ONCE)


def _check_trainable(student: nn.Module) -> None:
    found = list(student.parameters())
    lazy = any(is_lazy(parameter) for parameter in found)
    if lazy or not any(parameter.requires_grad for parameter in found):
        raise RecipeError(
            f"the student {type(student).__name__} has {'lazy parameters' if lazy else 'nothing that can be trained'}",
            expected="parameters with a shape, at least one of them with requires_grad",
            do="give the layers their sizes" if lazy else "give it parameters, or unfreeze them",
        )


def check_pairing(module: nn.Module, examples: Examples, preprocess: AnyPreprocess) -> None:
    """Whether a model takes these examples and answers with these classes."""
    two = preprocess(examples.inputs[torch.arange(2) % len(examples)])
    check_output(module, two, len(examples.classes))


def check_terms(opened: Run, student: nn.Module, teacher: Teacher, data: Prepared, whose: str = "the student") -> None:
    """Whether the terms of the loss can be formed between a student and a teacher, on the batches of the recipe.

    Raises:
        RecipeError: a tap that either lacks, a term that cannot compare the two, or a batch that cannot be parted.
    """
    preprocess = student_preprocess(opened.recipe, data)
    signals = Live(teacher, data.train, encoding_of(opened.recipe))
    lesson = lesson_of("distilled", opened.recipe.distill.tentative, data.train, signals, preprocess, seed=0)
    check_parts(student, lesson.terms, opened.recipe.fit, opened.world)
    with learner_of(student, lesson, seed=0, device=opened.device, whose=whose):
        pass


def check_same_start(opened: Run, seed: int) -> None:
    """The arms of a seed must have begun with one student, or they are no comparison."""
    directories = {arm: opened.arm_directory(arm, seed) for arm in opened.recipe.proof.arms}
    _check_same(seed, {arm: read_record(directory)["initial_sha256"] for arm, directory in directories.items()})


def _check_same(seed: int, starts: dict[str, str]) -> None:
    if len(set(starts.values())) > 1:
        raise RecipeError(
            f"the students of seed {seed} begin with different weights, "
            + ", ".join(f"{name} {sha256[:12]}" for name, sha256 in starts.items()),
            expected="one untrained student for all arms of a seed",
            do="let the student's factory take its randomness from torch alone",
        )

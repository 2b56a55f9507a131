"""Who passes on what the teacher says: assistants, and generations of the student's own architecture.

teacher --> assistant --> ... --> the students of the arms
"""

from torch import nn

from limbeck.data import derive_seed
from limbeck.files import MANIFEST
from limbeck.models import ModelSpec, initialise
from limbeck.preparation import Materials, Prepared, student_preprocess
from limbeck.recipe import GivenModel
from limbeck.rundir import Run
from limbeck.students import check_pairing, check_terms, new_student
from limbeck.teachers import ModuleTeacher, SavedModel, Signals, Teacher, load_model, save_model
from limbeck.training import fit, lesson_of


def check_chain(opened: Run, data: Prepared, materials: Materials, teacher: Teacher) -> None:
    """Refuse, before anything is trained, a term that cannot compare two neighbours of the chain.

    Raises:
        RecipeError: likewise, with the term's name.
    """
    recipe = opened.recipe
    student = new_student(recipe, data, materials, recipe.proof.seeds[0])
    if "direct" in recipe.proof.arms:
        check_terms(opened, student, teacher, data)
    for number in range(1, len(recipe.student.chain) + 1):
        assistant = new_assistant(opened, number, data, materials)
        check_pairing(assistant, data.train, student_preprocess(recipe, data))
        check_terms(opened, assistant, teacher, data, whose=f"assistant {number}")
        teacher = as_teacher(opened, assistant, data)
    check_terms(opened, student, teacher, data)


def trained_assistant(
    opened: Run, number: int, signals: Signals, data: Prepared, materials: Materials
) -> ModuleTeacher:
    """The assistant of that number, from 1, taught by the signals of the one before it."""
    recipe, directory = opened.recipe, opened.directory / "assistants" / str(number)
    module = new_assistant(opened, number, data, materials)
    spec, preprocess = recipe.student.chain[number - 1], student_preprocess(recipe, data)
    if opened.agreed((directory / MANIFEST).exists()):
        return as_teacher(opened, load_model(directory, module).module, data)
    seed = derive_seed("assistant", number)
    lesson = lesson_of("distilled", recipe.distill, data.train, signals, preprocess, seed=seed)
    place = opened.place(directory, arm=f"assistant-{number}", seed=0)
    fit(module, lesson, recipe.fit, steps=recipe.fit.steps(len(data.train)), seed=seed, place=place)
    if opened.world.leads:
        catalogued = None if isinstance(spec, GivenModel) else spec
        save_model(directory, SavedModel(module, catalogued, data.train.input_shape, data.train.classes, preprocess))
    opened.world.wait()
    return as_teacher(opened, module, data)


def new_assistant(opened: Run, number: int, data: Prepared, materials: Materials) -> nn.Module:
    """Untrained: a further generation is made as the student is, another model as the catalogue says."""
    student, seed = opened.recipe.student, derive_seed("assistant", number)
    if number > len(student.assistants):
        return new_student(opened.recipe, data, materials, seed)
    spec: ModelSpec = student.assistants[number - 1]
    shape = student_preprocess(opened.recipe, data).output_shape(data.train.input_shape)
    return initialise(spec, shape, len(data.train.classes), derive_seed(seed, "student"))


def as_teacher(opened: Run, module: nn.Module, data: Prepared) -> ModuleTeacher:
    """An assistant as whoever comes after it asks it."""
    recipe = opened.recipe
    preprocess = student_preprocess(recipe, data)
    return ModuleTeacher(module, preprocess, opened.device, recipe.distill.teacher_taps)

"""`limbeck.distill`: the whole story in one call."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.data import Preprocess
from limbeck.distillation.plan import plan_of
from limbeck.distillation.result import Result
from limbeck.errors import Interrupted
from limbeck.files import path_of
from limbeck.models import ModelSpec
from limbeck.pipeline import run
from limbeck.progress import Watch, unwatched
from limbeck.report import write_report
from limbeck.training import ArmName, Auto, Distill, Fit, Schedule

AGAIN = "make the same call again with resume=True"


def distill(
    *,
    teacher: Any,
    student: str | ModelSpec | Callable[[], nn.Module] | nn.Module,
    train: Any,
    test: Any = None,
    out: str | Path,
    alpha: float | Schedule | Auto | None = None,
    temperature: float | Schedule | Auto | None = None,
    objective: Any = None,
    distillation: Distill | None = None,
    assistants: Sequence[str | ModelSpec] = (),
    generations: int = 1,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    fit: Fit | None = None,
    seeds: int | Sequence[int] = 5,
    arms: Sequence[ArmName] = ("distilled", "scratch"),
    labelled: int | None = None,
    unlabelled: bool = True,
    validation: int = 0,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    allow_weak_teacher: bool = False,
    watch: Watch = unwatched,
) -> Result:
    """Distil a teacher into a student, and prove the gain against the same student without the teacher.

    Args:
        teacher: an nn.Module that takes preprocessed inputs; a function of preprocessed inputs that returns logits or
            probabilities [N, C]; an array of them with a row per training example; a list of these, or an `Ensemble`
            with weights; a spec of the catalogue of teachers, such as `limbeck.teachers.TimmTeacher(name=...)`; or the
            path of a saved model.
        student: a name of the catalogue (`limbeck list models`), one of its specs (`limbeck.models.Mlp(hidden=(32,))`),
            a function that makes an nn.Module, or an instance, whose weights every student then starts from.
        train: (inputs, labels) as arrays or tensors, a `torch.utils.data.Dataset`, or a source: the name "digits" or
            one of `limbeck.data`, such as `Idx(path=...)`. Label -100: not known.
        test: likewise arrays or a Dataset; None holds a share of train out. Not given with a source.
        out: the directory of the run.
        alpha: `loss = alpha * student_loss + (1 - alpha) * distillation_loss`, 0.1 unless given, a schedule, or "auto",
            which is guessed from the teacher's answers.
        temperature: of the distillation loss, 4 unless given, a schedule or "auto"; `objective` has its own.
        objective: the soft-label objective; None is `SoftTargets(temperature=temperature)`.
        distillation: all settings of the loss, further terms among them, in the place of the three above.
        assistants: names or specs of the catalogue that stand between teacher and student, each taught by the one
            before it.
        generations: how often the student is trained in a row, each time taught by the last.
        epochs: passes over the training examples of the distilled arm, the budget of all arms; 20 unless given.
        batch_size: examples of one optimizer step, 128 unless given.
        lr: the peak learning rate of AdamW under a cosine, 0.001 unless given.
        fit: all settings of the training, in the place of the three above.
        seeds: how many, counted from 0, or which.
        arms: what is compared.
        labelled: how many training labels students see; None is all.
        unlabelled: whether students that hear the teacher also see the examples without a label.
        validation: how many training examples are held out.
        classes: names of the labels.
        preprocess: from stored inputs to what teacher and student take; None is what the data suggest.
        device: auto, cpu, cuda or cuda:N.
        resume: go on with the run in `out`.
        overwrite: delete the run in `out` first.
        allow_weak_teacher: go on with a teacher no better than chance.
        watch: told of progress.

    Returns:
        The result: `.verdict`, `.student`, `.record`.

    Raises:
        RecipeError: settings that cannot be used. DataError: data, teacher or labels that cannot. DiskError: a full or
            read-only disk. Interrupted: Ctrl-C or SIGTERM, after a safe checkpoint.
    """
    plan = plan_of(**locals())
    try:
        record = run(plan.recipe, plan.materials, plan.options)
    except Interrupted as stopped:
        raise stopped.advising(AGAIN) from None
    directory = path_of(plan.recipe.out, "out")
    write_report(directory, record)
    return Result(directory, record, plan.recipe, plan.materials)

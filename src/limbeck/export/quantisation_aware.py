"""Quantisation-aware distillation: where a student does not bear int8, it learns to from its own answers in float32.

    quantisation_aware(subject, watch) -> nn.Module

What comes back is an ordinary network in float32 that loses nothing more by int8: it is converted and measured as the
student was. The teacher is heard too, at a small share, and by a student alone that has learnt what it says: another it
would go on teaching, and the file is to be the student that was measured (docs/log.md).

Dimension key: N examples, B examples of a batch, C classes.
"""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.conversion.fake_quantised import FakeQuantised
from limbeck.data import AnyPreprocess, Examples, derive_seed
from limbeck.export.subject import Subject
from limbeck.files import MANIFEST
from limbeck.models import arranged, layout_of
from limbeck.objectives import SoftTargets
from limbeck.progress import Watch
from limbeck.rundir import origin_of
from limbeck.signal import Signal
from limbeck.teachers import read_answers, spread
from limbeck.training import Fit, Lesson, Place, Term, configured, fit

SHARE, LEAST = 0.1, 200
"""Of the steps that the student was trained for; and so many at the least."""
RATE = 0.3
"""Of its learning rate."""
TEACHER = 0.1
"""The big teacher's share in what is heard."""
AGREED = 0.98
"""The share of examples on which it must make the student's own first choice to be heard."""
HEARD = ("distilled", "direct")
"""Arms whose students heard the teacher's own answers; others shall not hear them now."""


@dataclass(frozen=True, eq=False)
class Both:
    """Signals of the student in float32, asked of the very view, and of the big teacher, as they are stored.

    What is heard is the mean of their probabilities at one temperature, the teacher's weighing `TEACHER`.

    Args:
        student: a network in evaluation mode.
        preprocess: from stored inputs to what it takes.
        teacher: [N, C] its logits for the examples; None where it is not heard.
        temperature: of the objective.
    """

    student: nn.Module
    preprocess: AnyPreprocess
    teacher: Tensor | None
    temperature: float

    def fetch(self, rows: Tensor, inputs: Tensor, numbers: Tensor) -> Signal:
        """See `limbeck.teachers.Signals`."""
        seen = arranged(self.preprocess(inputs), layout_of(self.student))
        with torch.no_grad():
            own_BC = self.student(seen)
        if self.teacher is None:
            return Signal(own_BC)
        own_BC, taught_BC = (F.log_softmax(x / self.temperature, dim=1) for x in (own_BC, self.teacher[rows]))
        mean_BC = torch.logaddexp(own_BC + math.log(1 - TEACHER), taught_BC + math.log(TEACHER))
        return Signal(self.temperature * mean_BC)

    def to(self, device: torch.device) -> "Both":
        """See `limbeck.teachers.Signals`: all of it happens on the processor."""
        return self


def quantisation_aware(subject: Subject, watch: Watch) -> nn.Module:
    """The student of a subject, trained on to answer in int8 as it does in float32.

    Args:
        subject: whose network stays as it is.
        watch: told of progress.

    Raises:
        RecipeError: the network cannot be asked, or diverges.
    """
    recipe = subject.run.opened.recipe
    temperature = subject.run.record["recipe"]["distill"]["objective"].get("temperature", SoftTargets().temperature)
    network = FakeQuantised(subject.network, subject.calibration)
    signals = Both(subject.network, subject.preprocess, teacher_answers(subject, subject.learning), temperature)
    loss = (Term("distillation_loss", 1.0, SoftTargets(temperature=temperature)),)
    lesson = Lesson(subject.learning, signals, loss, subject.preprocess)
    settings = _gentle(recipe.fit)
    steps = max(LEAST, math.ceil(SHARE * recipe.fit.steps(len(subject.run.data.train))))
    with tempfile.TemporaryDirectory(prefix="limbeck-") as directory, configured(settings):
        tags: dict[str, str | int] = {"arm": "quantisation-aware", "seed": subject.seed}
        place = Place(Path(directory), Path(directory) / "metrics.jsonl", tags, watch=watch)
        fit(network, lesson, settings, steps=steps, seed=derive_seed(subject.seed, "quantisation-aware"), place=place)
    return network.plain()


def _gentle(settings: Fit) -> Fit:
    """The fit of the student, in smaller steps and in float32."""
    optimizer = replace(settings.optimizer, lr=RATE * settings.optimizer.lr)
    return replace(settings, optimizer=optimizer, precision="fp32")


def teacher_answers(subject: Subject, examples: Examples) -> Tensor | None:
    """What the big teacher said of examples, logits [N, C], as the run stored it; None where it was not to be heard."""
    directory = subject.run.directory
    store = directory / "labels" / origin_of(directory).get("teacher", "none")
    if subject.arm not in HEARD or not (store / MANIFEST).is_file():
        return None
    keys, signal, classes = read_answers(store)
    place = {key.tobytes(): number for number, key in enumerate(keys.numpy())}
    rows = [place.get(key.tobytes(), -1) for key in examples.keys.numpy()]
    if classes != examples.classes or min(rows) < 0:
        return None
    logits_NC = spread(signal).float()[torch.tensor(rows)]
    agreed_N = logits_NC.argmax(dim=1) == subject.logits(examples).argmax(dim=1)
    return logits_NC if agreed_N.double().mean() >= AGREED else None

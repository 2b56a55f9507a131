"""Small lessons, students and places for the tests of training."""

from dataclasses import replace

import torch

from limbeck.data import Augment, Preprocess, derive_seed, key_examples
from limbeck.files import digest_tensors
from limbeck.models import ConvNet, Mlp, initialise
from limbeck.objectives import VID, CrossEntropy, Hint, InBatchContrastive, SoftTargets
from limbeck.progress import Stop, unwatched
from limbeck.teachers import ModuleTeacher, Stored
from limbeck.training import SGD, AdamW, Fit, Lesson, Place, Term

CLASSES = ("a", "b", "c")
TERMS = (
    Term("student_loss", 0.1, CrossEntropy()),
    Term("distillation_loss", 0.9, SoftTargets(temperature=4.0)),
)
HINT = Hint(student="conv1", teacher="conv1")
TAPPED = (
    *TERMS,
    Term("term0_hint", 0.5, HINT),
    Term("term1_vid", 0.1, VID(student="conv2", teacher="conv2")),
    Term("term2_in-batch-contrastive", 0.1, InBatchContrastive(student="flatten", teacher="flatten", width=8)),
)
"""For a student and a teacher that are convnets: a projector, variances and embeddings are learnt."""


def examples_of(count=64, seed=0):
    """Images [count, 1, 8, 8] whose class is the third of the picture that is bright."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, 100, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 3
    for row, label in enumerate(labels.tolist()):
        inputs[row, 0, :, 3 * label : 3 * label + 2] += 100
    return key_examples(inputs, labels, CLASSES)


def lesson_with(examples=None, terms=TERMS):
    examples = examples or examples_of()
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(len(examples), 3, generator=generator)
    logits[torch.arange(len(examples)), examples.labels.clamp_min(0)] += 4
    return Lesson(examples, Stored({"logits": logits.half()}), terms, Preprocess(scale=255.0))


def tapped_teacher():
    """A convnet of twice the channels of the scenes' students, its parts tapped."""
    module = initialise(ConvNet(channels=(8, 16)), (1, 8, 8), 3, derive_seed(0, "teacher"))
    return ModuleTeacher(module, Preprocess(scale=255.0), torch.device("cpu"), ("conv1", "conv2", "flatten"))


def tapped_lesson(terms=TAPPED, examples=None):
    """The lesson above with what passes the teacher's taps."""
    lesson = lesson_with(examples, terms)
    answer = tapped_teacher().answer(lesson.examples.inputs, lesson.examples.keys)
    features = {"tap." + tap: values.half() for tap, values in answer.features.items()}
    return replace(lesson, signals=Stored({**lesson.signals.tensors, **features}))


def student_of(spec, seed=0):
    return initialise(spec, (1, 8, 8), 3, derive_seed(seed, "student"))


def place_in(directory, *, watch=unwatched, stop=None, **options):
    """Where a fit of these tests runs; it asks after its own `stop`, never after a false one."""
    stop = Stop() if stop is None else stop
    return Place(
        directory / "fit", directory / "metrics.jsonl", {"arm": "a", "seed": 0}, watch=watch, stop=stop, **options
    )


def sha(module):
    return digest_tensors(module.state_dict())


SCENES = {
    "mlp with dropout": (Mlp(hidden=(16,), dropout=0.5), Fit(batch_size=16, optimizer=AdamW(lr=0.01))),
    "convnet, adamw": (ConvNet(channels=(4, 8)), Fit(batch_size=16, optimizer=AdamW(lr=0.01))),
    "convnet, momentum": (ConvNet(channels=(4, 8)), Fit(batch_size=16, optimizer=SGD(lr=0.05))),
    "no momentum": (Mlp(hidden=(16,)), Fit(batch_size=16, optimizer=SGD(lr=0.05, momentum=0.0))),
    "augmented": (ConvNet(channels=(4, 8)), Fit(batch_size=16, optimizer=AdamW(lr=0.01), augment=Augment(shift=1))),
    "accumulated": (
        Mlp(hidden=(16,), dropout=0.1),
        Fit(batch_size=16, optimizer=AdamW(lr=0.01), accumulate=2, clip=1),
    ),
    "bf16": (ConvNet(channels=(4, 8)), Fit(batch_size=16, optimizer=AdamW(lr=0.01), precision="bf16")),
}
"""Student and settings, by what is special in them; 64 examples make an epoch of 4 steps."""

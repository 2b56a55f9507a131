"""What is exported: a student, what is told of it, and the examples it is held to.

Dimension key: N examples, C classes.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import limbeck
from limbeck.bundle import Description
from limbeck.data import AnyPreprocess, Encode, Examples, Rows, hold_out, overlap
from limbeck.finished import Chosen, Finished, delivered_form
from limbeck.models import evaluating
from limbeck.teachers import evenly

CALIBRATION = 512
"""Training examples by which ranges of activations are found: 128 to 512 are usual."""
CHOOSING = 2000
"""Training examples, at most, on which an attempt at int8 is judged before the measured ones are read."""
AT_ONCE = 256
"""Examples of one question to a student or a file."""


@dataclass(frozen=True)
class Subject:
    """A student on its way out of a run.

    Args:
        run: where it was trained.
        arm: of the run.
        seed: of the arm.
        network: in evaluation mode, float32, on the processor.
        preprocess: from stored inputs to what it takes.
        description: what is told of it.
    """

    run: Finished
    arm: str
    seed: int
    network: nn.Module
    preprocess: AnyPreprocess
    description: Description

    @cached_property
    def _parted(self) -> tuple[Tensor, Tensor]:
        """Rows of all training examples to make a file with, and of others to choose among attempts on.

        Also of those that students did not see, and none of their labels is read: the question is whether file and
        student agree. The two have no key in common, unless there are too few to part them.
        """
        every = self.run.data.teacher_train
        count = min(CHOOSING, len(every) // 5)
        if count < 2 * len(every.classes):
            return torch.arange(len(every)), torch.arange(len(every))
        return hold_out(every, count, "export")

    @cached_property
    def choosing(self) -> Examples:
        """On which attempts are judged: the validation set, or training examples that no attempt is made with."""
        data = self.run.data
        if data.validation is not None and data.facts["measured_on"] == "test":
            return data.validation
        held = data.teacher_train.select(self._parted[1])
        return held.hide_labels(torch.zeros(len(held), dtype=torch.bool))

    @cached_property
    def learning(self) -> Examples:
        """What quantisation-aware distillation learns from: what the student did, without the choosing examples."""
        train = self.run.data.train
        kept = torch.ones(len(train), dtype=torch.bool)
        kept[overlap(self.choosing, train)] = False
        return train.select(kept) if kept.any() else train

    @cached_property
    def calibration(self) -> Tensor:
        """Real training examples as the network takes them, [N, ...] float32, through the preprocessing of delivery."""
        rows = self._parted[0]
        chosen = rows[evenly(len(rows), CALIBRATION)]
        return self.preprocess(self.run.data.teacher_train.inputs[chosen]).contiguous()

    def logits(self, examples: Examples) -> Tensor:
        """What the student says, [N, C] float32."""
        with evaluating(self.network), torch.inference_mode():
            parts = [self.network(self.preprocess(part)) for part in examples.inputs.split(AT_ONCE)]
        return torch.cat(parts).float().clone()

    @cached_property
    def of_measured(self) -> Tensor:
        """Its logits for the measured examples, [N, C]."""
        return self.logits(self.run.data.measured)

    @cached_property
    def of_choosing(self) -> Tensor:
        """Its logits for the choosing examples, [N, C]."""
        return self.logits(self.choosing)


def subject_of(run: Finished, chosen: Chosen, licence: str | None) -> Subject:
    """The student of a run that is meant, ready to be exported.

    Raises:
        RecipeError: the run has no such student, or its data can only be handed over in Python.
        DataError: a damaged student, or data that have changed.
    """
    arm, seed = run.settled(chosen)
    saved = run.student(arm, seed)
    network, digest = delivered_form(saved)
    description = Description(
        classes=saved.classes,
        inputs=_inputs(run, saved.preprocess, saved.input_shape),
        input_shape=saved.input_shape,
        input_dtype=str(run.data.measured.inputs.dtype).removeprefix("torch."),
        preprocess=asdict(saved.preprocess),
        network_shape=saved.preprocess.output_shape(saved.input_shape),
        teacher=teacher_in_words(run.record),
        licence=licence,
        student=digest,
        limbeck=limbeck.__version__,
    )
    return Subject(run, arm, seed, network, saved.preprocess, description)


def _inputs(run: Finished, preprocess: AnyPreprocess, shape: tuple[int, ...]) -> dict[str, Any]:
    """What an example is, and how a file of such is read."""
    source = run.opened.recipe.data.source
    table = (
        {"delimiter": source.delimiter, "missing": list(source.missing), "columns": source.columns}
        if isinstance(source, Rows)
        else {}
    )
    if isinstance(preprocess, Encode):
        return {"kind": "rows", **table}
    if "texts_cut" in run.data.facts:
        column = next((c["name"] for c in run.data.facts["columns"] if c["role"] == "text"), None)
        return {"kind": "texts", "column": column, **table}
    if len(shape) == 3 and shape[0] in (1, 3):
        declared = run.data.preprocess
        return {"kind": "images", "levels": 1.0 if isinstance(declared, Encode) else declared.scale}
    return {"kind": "numbers"}


def teacher_in_words(record: dict[str, Any]) -> str:
    """Who taught, without any path of the machine where that was."""
    spec, size = record["recipe"]["teacher"], record["teacher"].get("parameters")
    parameters = f" of {size:,} parameters" if size else ""
    if spec["kind"] == "train":
        return f"the model {spec['model']['name']}{parameters}, trained on the same data"
    if spec["kind"] == "ensemble":
        return f"an ensemble of {len(spec['members'])} teachers{parameters and ','}{parameters}"
    named = f" {spec['name']}" if spec.get("name") else ""
    return f"a teacher of kind {spec['kind']}{named}{parameters and ','}{parameters}"

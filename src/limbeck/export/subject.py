"""What is exported: a student, what is told of it, and the examples it is held to.

Dimension key: N examples, C classes.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.bundle import Description
from limbeck.data import AnyPreprocess, Encode, Examples, Rows, hold_out, overlap
from limbeck.finished import Chosen, Finished, delivered_form
from limbeck.models import evaluating
from limbeck.preparation import Prepared
from limbeck.teachers import evenly
from limbeck.training import DEAF

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

    @property
    def deaf(self) -> bool:
        """Whether it heard no teacher."""
        return self.arm in DEAF

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
    def _calibrating(self) -> Tensor:
        """Rows of all training examples by which ranges are found."""
        rows = self._parted[0]
        return rows[evenly(len(rows), CALIBRATION)]

    @cached_property
    def calibration(self) -> Tensor:
        """Real training examples as the network takes them, [N, ...] float32, through the preprocessing of delivery."""
        return self.preprocess(self.run.data.teacher_train.inputs[self._calibrating]).contiguous()

    @property
    def calibration_keys(self) -> Tensor:
        """The keys of these examples, [N, 32]."""
        return self.run.data.teacher_train.keys[self._calibrating]

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
        inputs=_inputs(run.data, run.opened.recipe.data.source, saved.preprocess),
        input_shape=saved.input_shape,
        input_dtype=str(run.data.measured.inputs.dtype).removeprefix("torch."),
        preprocess=asdict(saved.preprocess),
        network_shape=saved.preprocess.output_shape(saved.input_shape),
        teacher=teacher_in_words(run.record, arm),
        licence=licence,
        student=digest,
        limbeck=version("limbeck"),
    )
    return Subject(run, arm, seed, network, saved.preprocess, description)


def _inputs(data: Prepared, source: Any, preprocess: AnyPreprocess) -> dict[str, Any]:
    """What an example is, and how a file of such is read."""
    table = (
        {"delimiter": source.delimiter, "missing": list(source.missing), "columns": source.columns}
        if isinstance(source, Rows)
        else {}
    )
    if isinstance(preprocess, Encode):
        return {"kind": "rows", **table}
    if "texts_cut" in data.facts:
        column = next((c["name"] for c in data.facts["columns"] if c["role"] == "text"), None)
        return {"kind": "texts", "column": column, **table}
    shape = data.measured.input_shape
    if len(shape) == 3 and shape[0] in (1, 3):
        return {"kind": "images", "levels": _levels(data)}
    return {"kind": "numbers"}


def _levels(data: Prepared) -> float | None:
    """The stored value of white; None where values beyond black and white are stored: no picture is like them."""
    white = 1.0 if isinstance(data.preprocess, Encode) else data.preprocess.scale
    sides = (data.teacher_train.inputs, data.measured.inputs)
    if white == 255 and sides[0].dtype == torch.uint8:  # it can be nothing else, and may be larger than the memory
        return white
    least, most = min(float(x.min()) for x in sides), max(float(x.max()) for x in sides)
    return white if least >= 0 and most <= white else None


def teacher_in_words(record: dict[str, Any], arm: str) -> str:
    """Who taught the student of an arm, without any path of the machine where that was."""
    if arm in DEAF:
        return "nobody: it learnt from labels alone"
    spec, size = record["recipe"]["teacher"], record["teacher"].get("parameters")
    parameters = f" of {size:,} parameters" if size else ""
    if spec["kind"] == "train":
        return f"the model {spec['model']['name']}{parameters}, trained on the same data"
    if spec["kind"] == "ensemble":
        return f"an ensemble of {len(spec['members'])} teachers{parameters and ','}{parameters}"
    named = f" {spec['name']}" if spec.get("name") else ""
    return f"a teacher of kind {spec['kind']}{named}{parameters and ','}{parameters}"

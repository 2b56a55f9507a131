"""The card of a bundle: README.md, with the front matter that hubs read."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.bundle import CONFIG, GOLDEN, LABELS, MODEL_FILES, PARITY
from limbeck.errors import name_some
from limbeck.export.subject import Subject
from limbeck.measurement import Verdict
from limbeck.recipe_text import write_yaml

_TASKS = {
    "images": "image-classification",
    "rows": "tabular-classification",
    "texts": "text-classification",
    "numbers": "tabular-classification",
}
"""By what an example is, the hub's name of the task."""
_LIMITS = {
    "images": "It knows images like those it was trained on; others it answers too, as if it knew them.",
    "rows": "Values that no training row had count as missing or unknown.",
    "texts": "A text is cut after the bytes that are stored.",
    "numbers": "It takes arrays of exactly the shape above.",
}


@dataclass(frozen=True)
class Card:
    """What is told of a bundle to people and hubs.

    Args:
        subject: the student that was exported.
        kind: the format.
        parity: as parity.json has it.
        facts: of the conversion.
    """

    subject: Subject
    kind: str
    parity: Mapping[str, Any]
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        sections = (
            *(self._head(), self._use(), self._parity(), self._learnt()),
            *(self._inputs(), self._limits(), self._made()),
        )
        return f"---\n{write_yaml(self._front())}---\n\n" + "\n\n".join(sections) + "\n"

    def _front(self) -> dict[str, Any]:
        task, data, on = (
            _TASKS[self.subject.description.inputs["kind"]],
            self._record["data"]["source"],
            self.parity["on"],
        )
        accuracy = {"type": "accuracy", "value": self.parity["accuracy"], "name": f"accuracy on {on} examples"}
        result = {
            "task": {"type": task},
            "dataset": {"name": data, "type": data, "split": on},
            "metrics": [accuracy] if self.parity["accuracy"] is not None else [],
        }
        return {
            "library_name": "limbeck",
            "pipeline_tag": task,
            "tags": [*(() if self.subject.deaf else ("knowledge-distillation",)), *self.kind.split("-")],
            "license": self._licence or "unknown",
            **self._base_model(),
            "datasets": [data],
            "metrics": ["accuracy"],
            "model-index": [{"name": self._name, "results": [result]}],
        }

    def _base_model(self) -> dict[str, str]:
        """The teacher, where the hub has it."""
        teacher = self._record["recipe"]["teacher"]
        known = teacher["kind"] == "huggingface" and teacher["name"] and not self.subject.deaf
        return {"base_model": teacher["name"]} if known else {}

    def _head(self) -> str:
        classes = [" ".join(name.split()) for name in self.subject.description.classes]  # a name may have line breaks
        teacher = self.subject.description.teacher
        learnt = "labels alone" if self.subject.deaf else f"{teacher}, by knowledge distillation"
        return (
            f"# {self._name}: {self.kind}\n\nA network of {self._fit['parameters']:,} parameters that learnt from "
            f"{learnt}. It tells {len(classes)} classes apart: {name_some(classes, 20)}."
        )

    def _use(self) -> str:
        return (
            f"## Use\n\n    limbeck predict THIS_FOLDER FILE...\n\n`{MODEL_FILES[self.kind]}` is one file: class "
            f"names, preprocessing and licence are inside it, and in `{CONFIG}`; the classes alone in `{LABELS}`. Its "
            f"input is called `inputs`, its output `logits`. `{GOLDEN}` has real examples and what it must answer."
        )

    def _parity(self) -> str:
        found = self.parity
        lines = [
            f"agreement of first choices with the student: {_percent(found['agreement'])}",
            f"KL(student ‖ file): {found['divergence']:.2g} nats on average, {found['largest_divergence']:.2g} at most",
            f"largest difference of a logit: {found['largest_error']:.2g}, of a range of {found['range']:.3g}",
            *found["notes"],
        ]
        if found["accuracy"] is not None:
            lines.insert(0, self._accuracy())
        return (
            f"## This file beside the student\n\nMeasured on {found['examples']:,} {found['on']} examples, on the file "
            f"as it is here ({found['bytes']:,} bytes, sha256 `{found['sha256'][:16]}`):\n\n"
            + "\n".join(f"- {line}" for line in lines)
        )

    def _accuracy(self) -> str:
        found = self.parity
        interval = ""
        if found["drop_interval"]:
            low, high = (f"{100 * bound:.2f}" for bound in found["drop_interval"])
            interval = f" (95 % interval {low} to {high})"
        return (
            f"accuracy {_percent(found['accuracy'])}, of the student in PyTorch "
            f"{_percent(found['original_accuracy'])}: a drop of {100 * found['drop']:.2f} points{interval}"
        )

    def _learnt(self) -> str:
        data, own = self._record["data"], self._fit
        seeds = len(self._record["recipe"]["proof"]["seeds"])
        told = [
            f"Data: {data['source']}; {data['student_train']:,} training examples, {data['student_labelled']:,} of "
            f"them with a label; measured on {data['measured']:,} {data['measured_on']} examples.",
            f"The student's accuracy: {_percent(own['accuracy'])}.",
        ]
        if not self.subject.deaf:
            accuracy = _percent(self._record["teacher"]["accuracy"])
            told.append(f"Teacher: {self.subject.description.teacher}; accuracy {accuracy}.")
            told.append(f"The student agrees with it on {_percent(own['agreement'])}.")
        if own["ece"] is not None:
            told.append(f"Its expected calibration error is {own['ece']:.3f}.")
        verdicts = "\n".join(f"- {v['arm']} {Verdict.from_dict(v)}" for v in self._record["verdicts"])
        return (
            f"## What it learnt, and what that is worth\n\n{' '.join(told)}\n\nThe arms of the run side by side, same "
            f"labels and budget, {seeds} seed{'s' * (seeds != 1)}:\n\n{verdicts}"
        )

    def _inputs(self) -> str:
        described = self.subject.description
        return (
            f"## Inputs\n\n- an example: {described.inputs['kind']}, stored as {described.input_dtype} of shape "
            f"{list(described.input_shape)}\n- as the network takes it: float32 `[N, "
            f"{', '.join(map(str, described.network_shape))}]`, batch {self.facts['batch']}\n- between the two: the "
            f"preprocessing in `{CONFIG}`"
        )

    def _limits(self) -> str:
        classes = len(self.subject.description.classes)
        stated = (
            f"{self._licence}, as its maker states" if self._licence else "none was stated (`limbeck export --licence`)"
        )
        lines = (
            _LIMITS[self.subject.description.inputs["kind"]],
            f"Every input gets one of the {classes} classes, also one that is none of them.",
            f"Licence: {stated}. Those of teacher and data may bind the student too; limbeck does not know them.",
            f"`{GOLDEN}` has real examples as they are stored: see whether they may be passed on.",
            "How fast it is elsewhere nobody measured here: `limbeck bench`.",
        )
        return "## Limits and licence\n\n" + "\n".join(f"- {line}" for line in lines)

    def _made(self) -> str:
        subject = self.subject
        words = ["limbeck", "export", "RUN", "--to", self.kind, "--arm", subject.arm, "--seed", str(subject.seed)]
        command = shlex.join([*words, *(("--licence", self._licence) if self._licence else ())])
        return (
            f"## Made with\n\n    {command}\n\nlimbeck {subject.description.limbeck}, torch "
            f"{self._record['environment']['torch']}; the student's weights have the sha256 "
            f"`{subject.description.student[:16]}`; `{PARITY}` has every number."
        )

    @property
    def _record(self) -> dict[str, Any]:
        return self.subject.run.record

    @property
    def _fit(self) -> dict[str, Any]:
        fits = self._record["arms"][self.subject.arm]
        found: dict[str, Any] = next(fit for fit in fits if fit["seed"] == self.subject.seed)
        return found

    @property
    def _name(self) -> str:
        model = self._record["recipe"]["student"]["model"]
        return f"{model.get('what') or model['name']}, {self.subject.arm}, seed {self.subject.seed}"

    @property
    def _licence(self) -> str:
        """On one line."""
        return " ".join((self.subject.description.licence or "").split())


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.2f} %"

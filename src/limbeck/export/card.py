"""The card of a bundle: README.md, with the front matter that hubs read."""

from collections.abc import Mapping
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
    "numbers": "It takes arrays of exactly the shape below.",
}


def card(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        subject: the student that was exported.
        kind: the format.
        parity: as parity.json has it.
        facts: of the conversion.
    """
    front = write_yaml(_front(subject, kind, parity))
    sections = (_head, _use, _parity, _learnt, _inputs, _limits, _made)
    body = "\n\n".join(section(subject, kind, parity, facts) for section in sections)
    return f"---\n{front}---\n\n{body}\n"


def _front(subject: Subject, kind: str, parity: Mapping[str, Any]) -> dict[str, Any]:
    record, described = subject.run.record, subject.description
    teacher = record["recipe"]["teacher"]
    task = _TASKS[described.inputs["kind"]]
    data = record["data"]["source"]
    accuracy = {"type": "accuracy", "value": parity["accuracy"], "name": f"accuracy on {parity['on']} examples"}
    result = {
        "task": {"type": task},
        "dataset": {"name": data, "type": data, "split": parity["on"]},
        "metrics": [accuracy] if parity["accuracy"] is not None else [],
    }
    return {
        "library_name": "limbeck",
        "pipeline_tag": task,
        "tags": ["knowledge-distillation", *kind.split("-")],
        "license": described.licence or "unknown",
        **({"base_model": teacher["name"]} if teacher["kind"] == "huggingface" and teacher["name"] else {}),
        "datasets": [data],
        "metrics": ["accuracy"],
        "model-index": [{"name": _name(subject), "results": [result]}],
    }


def _name(subject: Subject) -> str:
    model = subject.run.record["recipe"]["student"]["model"]
    return f"{model.get('what') or model['name']}, {subject.arm}, seed {subject.seed}"


def _head(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    classes = [" ".join(name.split()) for name in subject.description.classes]  # a name may have line breaks
    own = _fit(subject)
    return (
        f"# {_name(subject)}: {kind}\n\n"
        f"A student of {own['parameters']:,} parameters that learnt from {subject.description.teacher}, by knowledge "
        f"distillation. It tells {len(classes)} classes apart: {name_some(classes, 20)}."
    )


def _use(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return (
        f"## Use\n\n    limbeck predict THIS_FOLDER FILE...\n\n`{MODEL_FILES[kind]}` is one file: class names, "
        f"preprocessing and licence are inside it, and in `{CONFIG}`; the classes alone in `{LABELS}`. Its input is "
        f"called `inputs`, its output `logits`. `{GOLDEN}` has real examples and what the file must answer."
    )


def _parity(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    lines = [
        f"- agreement of first choices with the student: {_percent(parity['agreement'])}",
        f"- KL(student ‖ file): {parity['divergence']:.2g} nats on average, {parity['largest_divergence']:.2g} at most",
        f"- largest difference of a logit: {parity['largest_error']:.2g}, of a range of {parity['range']:.3g}",
    ]
    if parity["accuracy"] is not None:
        low, high = (f"{100 * bound:.2f}" for bound in parity["drop_interval"] or (parity["drop"],) * 2)
        lines.insert(
            0,
            f"- accuracy {_percent(parity['accuracy'])}, of the student in PyTorch "
            f"{_percent(parity['original_accuracy'])}: a drop of {100 * parity['drop']:.2f} points "
            f"(95 % interval {low} to {high})",
        )
    lines += [f"- {told}" for told in (parity["made"], parity["speed"].get("sentence")) if told]
    return (
        f"## This file beside the student\n\nMeasured on {parity['examples']:,} {parity['on']} examples, on the file "
        f"as it is here ({parity['bytes']:,} bytes, sha256 `{parity['sha256'][:16]}`):\n\n" + "\n".join(lines)
    )


def _learnt(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    record, own = subject.run.record, _fit(subject)
    data, teacher = record["data"], record["teacher"]
    seeds = len(record["recipe"]["proof"]["seeds"])
    verdicts = [f"- {v['arm']} {Verdict.from_dict(v)}" for v in record["verdicts"]]
    calibration = "" if own["ece"] is None else f" Its expected calibration error is {own['ece']:.3f}."
    agreement = "" if own["agreement"] is None else f" It agrees with its teacher on {_percent(own['agreement'])}."
    return (
        f"## What it learnt, and what that is worth\n\nData: {data['source']}; {data['student_train']:,} training "
        f"examples, {data['student_labelled']:,} of them with a label; measured on {data['measured']:,} "
        f"{data['measured_on']} examples. Teacher: {subject.description.teacher}; accuracy "
        f"{_percent(teacher['accuracy'])}. The student's accuracy: {_percent(own['accuracy'])}.{agreement}"
        f"{calibration}\n\nBeside the same student without the teacher, same labels and budget, {seeds} seeds:\n\n"
        + "\n".join(verdicts)
    )


def _inputs(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    described = subject.description
    return (
        f"## Inputs\n\n- an example: {described.inputs['kind']}, stored as {described.input_dtype} of shape "
        f"{list(described.input_shape)}\n- as the network takes it: float32 `[N, "
        f"{', '.join(map(str, described.network_shape))}]`, batch {facts['batch']}\n- between the two: the "
        f"preprocessing in `{CONFIG}`"
    )


def _limits(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    licence = subject.description.licence
    stated = f"Stated by its maker: {licence}." if licence else "Its maker stated none (`limbeck export --licence`)."
    return (
        f"## Limits and licence\n\n- {_LIMITS[subject.description.inputs['kind']]}\n- Every input gets one of the "
        f"{len(subject.description.classes)} classes, also one that is none of them.\n- Licence: {stated} That of the "
        "teacher and of the data may bind the student too; limbeck does not know them.\n- How fast it is elsewhere "
        "nobody measured here: `limbeck bench`."
    )


def _made(subject: Subject, kind: str, parity: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    environment = subject.run.record["environment"]
    return (
        f"## Made with\n\n    limbeck export RUN --to {kind}\n\nlimbeck {subject.description.limbeck}, torch "
        f"{environment['torch']}; arm {subject.arm}, seed {subject.seed}; weights sha256 "
        f"`{subject.description.student[:16]}`; `{PARITY}` has every number."
    )


def _fit(subject: Subject) -> dict[str, Any]:
    fits = subject.run.record["arms"][subject.arm]
    return next(fit for fit in fits if fit["seed"] == subject.seed)


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.2f} %"

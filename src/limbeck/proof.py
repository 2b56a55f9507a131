"""The proof: every student measured, the arms compared, the record of the run written.

Dimension key: S seeds, N examples, C classes.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.files import describe, read_json, read_tensors, verify
from limbeck.measurement import Verdict, compare, correct, evaluate, gap_share, mcnemar
from limbeck.preparation import Prepared
from limbeck.recipe import tree_of
from limbeck.record import read_record, write_record
from limbeck.rundir import Run
from limbeck.teachers import LabelStore, Teacher, ask_all
from limbeck.teaching import Teaching

PREDICTIONS = "predictions.safetensors"
"""What a student says about the measured examples, logits [N, C], beside its record."""


def predictions(opened: Run, arm: str, seed: int) -> Tensor:
    """What the student of an arm and seed said about the measured examples, logits [N, C].

    Raises:
        DataError: it is missing or damaged.
    """
    return read_tensors(opened.arm_directory(arm, seed) / PREDICTIONS)["logits"]


def judge(opened: Run, data: Prepared, teaching: Teaching) -> None:
    """Measure every student, compare the arms, and write the record of the run.

    Args:
        opened: the run, whose arms are all trained.
        data: whose measured examples the predictions are about.
        teaching: whose teacher and assistants are asked about the same examples, if they know them.
    """
    recipe, measured, teacher = opened.recipe, data.measured, teaching.teacher
    labels = measured.labels
    known = measured.labelled
    teacher_logits = ask_all(teacher, measured) if teacher.knows(measured) else None
    rights: dict[str, Tensor] = {}
    arms: dict[str, list[dict[str, Any]]] = {}
    for arm in recipe.proof.arms:
        rows, records = [], []
        for seed in recipe.proof.seeds:
            directory = opened.arm_directory(arm, seed)
            verify(directory / "student")
            logits = predictions(opened, arm, seed)
            metrics = asdict(evaluate(logits, labels, teacher_logits))
            records.append({**read_record(directory), **metrics})
            rows.append(correct(logits, labels)[known])
        rights[arm], arms[arm] = torch.stack(rows), records
    verdicts = _verdicts(rights, recipe.proof.seeds)
    teacher_right = None if teacher_logits is None else correct(teacher_logits, labels)[known]
    record = {
        "verdict": verdicts[0].as_dict(),
        "verdicts": [verdict.as_dict() | {"sentence": str(verdict)} for verdict in verdicts],
        "recipe": tree_of(recipe),
        "environment": read_json(opened.directory / "environment.json"),
        "data": data.facts,
        "teacher": {
            **teaching.found,
            **_teacher_facts(teacher, teacher_logits, labels),
            "verdict": _teacher_verdict(teacher_right, rights, recipe.proof.seeds),
        },
        "assistants": [_teacher_facts(each, ask_all(each, measured), labels) for each in teaching.assistants],
        "labels": _store_facts(teaching.store, opened.directory),
        "gap_share": _gap_share(teacher_right, rights),
        "mcnemar": _mcnemar(rights, recipe.proof.seeds),
        "arms": arms,
        "files": {
            str(path.relative_to(opened.directory)): describe(path)
            for path in sorted(opened.directory.glob("arms/*/seed-*/student/*"))
        },
    }
    write_record(opened.directory, record)


def _verdicts(rights: dict[str, Tensor], seeds: tuple[int, ...]) -> list[Verdict]:
    """The distilled arm by scratch first, by every control, then every control by scratch."""
    pairs = [("distilled", other) for other in ("scratch", *rights) if other != "distilled"]
    pairs += [(arm, "scratch") for arm in rights if arm not in ("distilled", "scratch")]
    pairs = [pair for pair in dict.fromkeys(pairs) if set(pair) <= set(rights)]
    if not pairs:
        arm = next(iter(rights))
        reason = "no second arm to compare with; set proof.arms: [distilled, scratch]"
        return [
            Verdict(
                word="NOT COMPARED",
                arm=arm,
                against="scratch" if arm != "scratch" else "distilled",
                difference=None,
                interval=None,
                seeds=seeds,
                examples=rights[arm].shape[1],
                reason=reason,
            )
        ]
    return [compare(rights[a], rights[b], arm=a, against=b, seeds=seeds) for a, b in pairs]


def _teacher_facts(teacher: Teacher, logits: Tensor | None, labels: Tensor) -> dict[str, Any]:
    """The teacher on the measured examples; nothing where it cannot answer them."""
    metrics = asdict(evaluate(logits, labels, None)) if logits is not None else {"accuracy": None}
    return {"identity": teacher.identity(), "parameters": teacher.size, **metrics}


def _teacher_verdict(
    teacher_right: Tensor | None, rights: dict[str, Tensor], seeds: tuple[int, ...]
) -> dict[str, Any] | None:
    """The teacher against scratch: if it is no better, there is little to learn from it."""
    if teacher_right is None or "scratch" not in rights:
        return None
    right = teacher_right.expand_as(rights["scratch"])
    return compare(right, rights["scratch"], arm="teacher", against="scratch", seeds=seeds).as_dict()


def _store_facts(store: LabelStore, directory: Path) -> dict[str, Any]:
    left_out = ("format", "fingerprint", "files")
    return {
        "directory": os.path.relpath(store.directory, directory),  # that of a search serves all its runs
        **{key: value for key, value in store.manifest.items() if key not in left_out},
        "bytes": sum(file["bytes"] for file in store.manifest["files"].values()),
        "pace": dict(store.pace),
    }


def _gap_share(teacher_right: Tensor | None, rights: dict[str, Tensor]) -> dict[str, float | None]:
    if teacher_right is None or "scratch" not in rights:
        return {}
    return {
        arm: gap_share(teacher_right, right, rights["scratch"]) for arm, right in rights.items() if arm != "scratch"
    }


def _mcnemar(rights: dict[str, Tensor], seeds: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """P values of each arm against scratch, seed by seed; they describe, the verdict does not rest on them."""
    if "scratch" not in rights:
        return {}
    return {
        arm: {str(seed): mcnemar(right[i], rights["scratch"][i]) for i, seed in enumerate(seeds)}
        for arm, right in rights.items()
        if arm != "scratch"
    }

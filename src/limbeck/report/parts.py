"""What pages have in common: tables, numbers in words, notes on the data, what a run was made with."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

Record = dict[str, Any]

DASH = "–"


def arms_table(record: Record) -> str:
    """A row for each arm and one for the teacher; the share of the gap only where the record has it."""
    head = ("arm", "accuracy %", "errors", "NLL (nats)", "ECE", "agreement with teacher %")
    rows = [
        (
            name,
            spread(fits, "accuracy", 100, 2),
            spread(fits, "errors", 1, 1),
            spread(fits, "nll", 1, 3),
            spread(fits, "ece", 1, 3),
            spread(fits, "agreement", 100, 1),
        )
        for name, fits in record["arms"].items()
    ]
    teacher = record["teacher"]
    rows.append(
        (
            "teacher",
            number(teacher["accuracy"], 100, 2),
            number(teacher.get("errors"), 1, 0),
            number(teacher.get("nll"), 1, 3),
            number(teacher.get("ece"), 1, 3),
            DASH,
        )
    )
    if "gap_share" not in record:
        return table(head, rows)
    shares = [*(percent(record["gap_share"].get(name), 0) for name in record["arms"]), DASH]
    return table((*head, "share of the gap"), [(*row, share) for row, share in zip(rows, shares, strict=True)])


def data_notes(data: Record) -> list[str]:
    """What a reader should know of the data of a run."""
    notes = []
    if not data["official_test"]:
        notes.append("The test set is the run's own split, chosen by content and disjoint from training.")
    if data["overlap"]:
        done = "were left out" if data["overlap_dropped"] else "were kept (data.drop_overlap leaves them out)"
        notes.append(f"{data['overlap']:,} test examples are in the training set too; they {done}.")
    if data["duplicates"]:
        notes.append(f"{data['duplicates']:,} training examples repeat another; each content was labelled once.")
    if any(cut := data.get("texts_cut", [])):
        notes.append(f"{sum(cut):,} texts were longer than the bytes that are stored, and have lost their end.")
    return notes


def made_with(record: Record) -> str:
    """Versions and hardware, in a sentence."""
    environment = record["environment"]
    commit = environment["commit"][:12] if environment["commit"] else "installed package"
    return (
        f"limbeck {environment['limbeck']} ({commit}{', changed' * bool(environment['dirty'])}), "
        f"torch {environment['torch']}, Python {environment['python']}, {environment['processor']}, "
        f"{environment['cores']} cores, {record['recipe']['fit']['threads']} threads, "
        f"GPUs: {', '.join(environment['gpus']) or 'none'}."
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def spread(fits: list[dict[str, Any]], key: str, factor: float, digits: int) -> str:
    values = [fit[key] * factor for fit in fits if fit[key] is not None]
    if not values:
        return DASH
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def number(value: float | None, factor: float, digits: int) -> str:
    return DASH if value is None else f"{value * factor:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"

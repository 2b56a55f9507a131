"""What the columns of a table are for, guessed from the training file and said aloud.

Dimension key: N rows, V distinct values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limbeck.cells import Cells
from limbeck.errors import DataError, name_some
from limbeck.tabular import Sheet

Role = Literal["numeric", "categorical", "text", "ignore"]

LABELS = ("label", "target", "class", "y")
MOST_GUESSED = 1000
"""Values of a column that is taken for categorical without being told so."""
MOST_VALUES = 10_000
_FEW = 20  # rows below which numbers that are all distinct may well be a coincidence
_LONG = 24  # characters, on average, above which texts are sentences rather than names
_MIXED = 0.9  # the share of numbers above which a word among them is taken for a mistake


@dataclass(frozen=True)
class Judged:
    """A column's role, and what it rests on: `given`, or the reason of a guess."""

    role: Role
    why: str


def guess_label(sheet: Sheet) -> str:
    """The one column that is called a label, else the last."""
    named = [name for name in sheet.cells if name.lower() in LABELS]
    return named[0] if len(named) == 1 else list(sheet.cells)[-1]


def judge(sheet: Sheet, label: str, given: Mapping[str, Role]) -> dict[str, Judged]:
    """The role of each column but the label, those in `given` as they are there.

    Raises:
        DataError: numbers with a few words among them, a categorical column of too many values, texts beside other
            columns, or nothing that is used.
    """
    judged = {
        name: Judged(given[name], "given") if name in given else _guess(name, cells)
        for name, cells in sheet.cells.items()
        if name != label
    }
    texts = [name for name, one in judged.items() if one.role == "text"]
    others = [name for name, one in judged.items() if one.role in ("numeric", "categorical")]
    if texts and (others or len(texts) > 1):
        asked = [name for name in texts if name in given]
        if asked:
            raise DataError(
                f"the column {asked[0]} of {sheet.path} is text beside {name_some([*others, *texts[1:]])}",
                expected="one column of text and no other that is used",
                do="set the roles of the others to ignore, or that of the text",
            )
        judged |= {name: Judged("ignore", "texts beside other columns: text is taken alone") for name in texts}
    for name in others:
        _check_values(sheet, name, judged[name])
    if not others and all(one.role == "ignore" for one in judged.values()):
        reasons = "; ".join(f"{name}: {one.why}" for name, one in judged.items())
        raise DataError(
            f"{sheet.path} has no column to learn from beside the label {label}" + (f" ({reasons})" if reasons else ""),
            expected="at least one numeric, categorical or text column",
            do="set its role in `roles`, or look whether `label` and `delimiter` are right",
        )
    return judged


def _check_values(sheet: Sheet, name: str, judged: Judged) -> None:
    distinct = sheet.cells[name].distinct
    if judged.role == "categorical" and distinct > MOST_VALUES:
        raise DataError(
            f"the column {name} of {sheet.path} has {distinct:,} values",
            expected=f"at most {MOST_VALUES:,} in a categorical column, since each becomes an input of its own",
            do="set its role in `roles` to ignore, or join rare values",
        )


def _guess(name: str, cells: Cells) -> Judged:
    known = len(cells) - int(cells.missing.sum())
    distinct = cells.distinct
    if distinct < 2:
        return Judged("ignore", "one value" if distinct else "no value")
    if cells.words == 0:
        if _counts_rows(name, cells, known):
            return Judged("ignore", "numbers that only count or name the rows")
        return Judged("numeric", f"numbers, {distinct:,} distinct")
    if known - cells.words > _MIXED * known:
        cells.numbers()  # names the first word
    lengths_V = np.array([len(text) for text in cells.texts()])
    if distinct > known / 2 and float((lengths_V * cells.counts).sum()) / known >= _LONG:
        return Judged("text", f"long texts, {distinct:,} distinct")
    if distinct == known:
        return Judged("ignore", "names of the rows: all distinct")
    if distinct > MOST_GUESSED:
        return Judged("ignore", f"{distinct:,} values, more than {MOST_GUESSED:,}")
    return Judged("categorical", f"{distinct:,} values")


def _counts_rows(name: str, cells: Cells, known: int) -> bool:
    """Whether whole numbers are all distinct, and named as an id or consecutive."""
    numbers = cells.value_numbers[cells.counts > 0]
    if len(numbers) < known or (numbers != np.floor(numbers)).any():
        return False
    word = name.lower()
    called = word in ("", "id", "index", "row", "unnamed: 0") or word.endswith(("_id", " id", "-id"))
    return called or (known >= _FEW and numbers.max() - numbers.min() == known - 1)


def columns_line(facts: Mapping[str, Any]) -> str | None:
    """The columns that are used and those that are not, in a line; None where the data are no table."""
    if "columns" not in facts:
        return None
    used: dict[str, list[str]] = {}
    for column in facts["columns"]:
        why = f" ({column['why']})" if column["role"] == "ignore" else ""
        used.setdefault(column["role"], []).append(column["name"] + why)
    roles = [
        f"{'ignored' if role == 'ignore' else role} {', '.join(used[role])}"
        for role in ("numeric", "categorical", "text", "ignore")
        if role in used
    ]
    label = facts["label"]
    return f"label {label['name']} ({label['why']}); " + "; ".join(roles)

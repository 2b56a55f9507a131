"""A table in a CSV or Parquet file: a row is an example, a column is its label.

Dimension key: N rows, K columns that are stored, L bytes.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from limbeck.data.encode import AnyPreprocess, Encode
from limbeck.data.examples import key_examples
from limbeck.data.preprocess import Preprocess
from limbeck.data.sources.base import Splits, check_share, existing
from limbeck.data.sources.roles import Judged, Role, guess_label, judge
from limbeck.data.sources.stored import (
    Table,
    classes_of,
    keys_of,
    labels_of,
    learn_vocabularies,
    stored_rows,
    texts_in,
    unknown_values,
)
from limbeck.data.splits import hold_out
from limbeck.data.text import MOST_BYTES, stored_texts
from limbeck.errors import DataError, name_some
from limbeck.files import path_of
from limbeck.tabular import Sheet, read_sheet

_log = logging.getLogger(__name__)

_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_LAYOUT = "a table (CSV, also .gz, or Parquet), or a folder with train.* and test.* (.csv, .csv.gz or .parquet)"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A table with numeric and categorical columns, or with one of texts.

    Roles are guessed from the whole training file. Vocabularies are learnt on training rows; so are the statistics of
    `Encode`, once more where a validation set is held out. The key of a row is that of its cells.

    Args:
        path: the training file, or a folder with `train.*` and perhaps `test.*`.
        test: the test file; None is that of the folder, or a share of the training rows.
        test_share: the share held out for the test when there is no test file.
        label: the column of classes; None is the one called label, target, class or y, else the last.
        roles: of columns, in the place of guesses.
        columns: the names of all columns, if the first row of a CSV file does not have them.
        delimiter: of a CSV file, one character.
        missing: what a cell without a value holds.
        text_bytes: of a text that are stored; longer ones are cut and counted.

    Raises:
        ValueError: test_share outside (0, 1), a delimiter of more than a character, text_bytes below 1.
    """

    source: Literal["rows"] = "rows"
    path: str
    test: str | None = None
    test_share: float = 0.2
    label: str | None = None
    roles: dict[str, Role] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    delimiter: str = ","
    missing: tuple[str, ...] = ("", "?", "NA", "NaN", "null")
    text_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        check_share(self.test_share)
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '\n\r"\0':
            raise ValueError(f"delimiter must be one plain character, not {self.delimiter!r}")
        if self.text_bytes < 1:
            raise ValueError(f"text_bytes must be 1 or more, not {self.text_bytes}")

    def load(self) -> Splits:
        """Inputs [N, K] float32, NaN where a number is missing and 0 where a category is; texts [N, L] uint8."""
        train_path, test_path = self._paths()
        sheet = self._read(train_path, unread=[name for name, role in self.roles.items() if role == "ignore"])
        label = self._label(sheet)
        judged = judge(sheet, label, self._given_roles(sheet, label))
        roles: dict[str, Role] = {name: one.role for name, one in judged.items() if one.role != "ignore"}
        classes = classes_of(sheet, label)
        sides = [_side(sheet, roles, label, classes)]
        if test_path is None:
            sides = list(sides[0].parted(classes, self.test_share))
        else:
            sides.append(_side(self._test_sheet(test_path, [*roles, label]), roles, label, classes))
        _log.info("%s: label %s, columns %s", train_path, label, judged)
        facts = {
            "label": {"name": label, "why": "given" if self.label else "guessed"},
            "columns": _facts(sheet, judged),
        }
        inputs, preprocess, found = self._stored(sides[0], sides[1], roles)
        coding = preprocess.coding if isinstance(preprocess, Encode) else ""
        keyed = [
            key_examples(x, side.labels, classes, side.keys, coding) for x, side in zip(inputs, sides, strict=True)
        ]
        return Splits(keyed[0], keyed[1], preprocess.on(keyed[0]), test_path is not None, facts | found)

    def _stored(
        self, train: "_Side", test: "_Side", roles: dict[str, Role]
    ) -> tuple[list[Tensor], AnyPreprocess, dict[str, Any]]:
        """Inputs of both sides, what a network does to them first, and facts; all learnt on the training rows."""
        if "text" in roles.values():
            inputs, cut = stored_texts([texts_in(train.table), texts_in(test.table)], self.text_bytes)
            return inputs, Preprocess(), {"texts_cut": cut}
        encode = learn_vocabularies(train.table, roles)
        unknown = unknown_values(test.table, encode)
        return [stored_rows(side.table, encode) for side in (train, test)], encode, {"unknown_in_test": unknown}

    # --- files and names ---

    def _paths(self) -> tuple[Path, Path | None]:
        if not path_of(self.path, "data.path").is_dir():
            path = existing(self.path, folder=False, expected=_LAYOUT)
            return path, None if self.test is None else existing(self.test, folder=False, expected=_LAYOUT)
        folder = existing(self.path, folder=True, expected=_LAYOUT)
        train, test = (_only(folder, side) for side in ("train", "test"))
        if train is None:
            raise DataError(
                f"{folder} has no file train", expected=_LAYOUT, do="put it there, or name a file by `path`"
            )
        return train, test if self.test is None else existing(self.test, folder=False, expected=_LAYOUT)

    def _read(self, path: Path, unread: Collection[str] = ()) -> Sheet:
        return read_sheet(path, names=self.columns, delimiter=self.delimiter, missing=self.missing, unread=unread)

    def _test_sheet(self, path: Path, wanted: list[str]) -> Sheet:
        sheet = self._read(path, unread=[name for name, role in self.roles.items() if role == "ignore"])
        lacking = [name for name in wanted if name not in sheet.cells]
        if lacking:
            raise _lacks(sheet, lacking, "the columns of the training file that are used, in any order")
        return sheet

    def _label(self, sheet: Sheet) -> str:
        if self.label is None:
            return guess_label(sheet)
        if self.label not in sheet.cells:
            raise _lacks(sheet, [self.label], "the column that `label` names")
        return self.label

    def _given_roles(self, sheet: Sheet, label: str) -> dict[str, Role]:
        given: dict[str, Role] = {name: role for name, role in self.roles.items() if role != "ignore"}
        unknown = [name for name in given if name not in sheet.cells or name == label]
        if unknown:
            raise _lacks(sheet, unknown, f"columns beside the label {label} in `roles`")
        return given


@dataclass(frozen=True, eq=False)
class _Side:
    """The training or the test rows before they are stored."""

    table: Table
    keys: Tensor
    labels: Tensor

    def parted(self, classes: tuple[str, ...], test_share: float) -> tuple["_Side", "_Side"]:
        """The rest, and a share held out by content."""
        rows = key_examples(torch.zeros(len(self.keys), 1), self.labels, classes, self.keys)
        rest, held = hold_out(rows, round(test_share * len(rows)), "test")
        return self.select(rest), self.select(held)

    def select(self, index: Tensor) -> "_Side":
        table = {name: cells.select(index.numpy()) for name, cells in self.table.items()}
        return _Side(table, self.keys[index], self.labels[index])


def _side(sheet: Sheet, roles: dict[str, Role], label: str, classes: tuple[str, ...]) -> _Side:
    table = {name: sheet.cells[name] for name in roles}
    return _Side(table, keys_of(table, roles), labels_of(sheet, label, classes))


def _facts(sheet: Sheet, judged: dict[str, Judged]) -> list[dict[str, Any]]:
    """For each column but the label and those not read: its role and why, its values and those missing."""
    return [
        {
            "name": name,
            "role": one.role,
            "why": one.why,
            "values": sheet.cells[name].distinct,
            "missing": int(sheet.cells[name].missing.sum()),
        }
        for name, one in judged.items()
    ]


def _only(folder: Path, side: str) -> Path | None:
    found = [folder / (side + suffix) for suffix in _SUFFIXES if (folder / (side + suffix)).is_file()]
    if len(found) > 1:
        raise DataError(
            f"{folder} has {name_some([path.name for path in found])}",
            expected=f"one file {side}",
            do="remove all but one, or name the files by `path` and `test`",
        )
    return found[0] if found else None


def _lacks(sheet: Sheet, names: list[str], expected: str) -> DataError:
    return DataError(
        f"{sheet.path} has no column {name_some(names)}; it has {name_some(list(sheet.cells))}",
        expected=expected,
        do="correct the names; the first row of a CSV file has them, or `columns`, and `delimiter` parts them",
    )

"""From the columns of a table to numbers that a network takes.

Dimension key: N examples, K columns, D numbers that the network sees.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.data.examples import Examples
from limbeck.data.preprocess import Preprocess
from limbeck.errors import DataError
from limbeck.files import digest


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, as stored and as encoded.

    Args:
        name: its name.
        vocabulary: the values of a categorical one, stored as their places from 1; 0 is missing or unknown. None is a
            numeric one, stored as it is, NaN where missing.
        mean: of the numbers in the training examples.
        std: their standard deviation.
        indicated: some values were missing there, so that an input of its own says where one is.

    Raises:
        ValueError: a value twice, or statistics that are no numbers to divide by.
    """

    name: str
    vocabulary: tuple[str, ...] | None = None
    mean: float = 0.0
    std: float = 1.0
    indicated: bool = False

    def __post_init__(self) -> None:
        if self.vocabulary is not None and len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError(f"the vocabulary of {self.name} has a value twice")
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"{self.name} has mean {self.mean} and std {self.std}: std must be a positive number")


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Rows of a table as a network takes them: the preprocess of the source `rows`.

    Numbers are standardised, 0 where missing; then 1 where missing, for each of these columns that is indicated; then
    categories as one-hot, where missing or unknown all 0, or a place of their own in a column that is indicated: what
    no training example had would come with weights that nothing has taught.

    Args:
        columns: in the order in which they are stored.

    Raises:
        ValueError: no columns, or a name twice.
    """

    kind: Literal["encode"] = "encode"
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"columns must be at least one, each with a name of its own, not {names}")

    def __call__(self, inputs: Any) -> Tensor:
        """Stored rows [N, K] as float32 [N, D], on their device.

        Raises:
            DataError: another number of columns.
        """
        values_NK = torch.as_tensor(inputs).float()
        plan = self._plan.to(values_NK.device)
        self.output_shape(tuple(values_NK.shape[1:]))
        numbers = values_NK[:, plan.numeric]
        missing = numbers.isnan()
        scaled = ((numbers - plan.mean) / plan.std).masked_fill(missing, 0.0)
        codes = values_NK[:, plan.categorical].nan_to_num().long()
        codes = torch.where((codes >= 0) & (codes < plan.sizes), codes, 0)
        one_hot = torch.zeros(len(values_NK), plan.width, device=values_NK.device)
        one_hot.scatter_(1, codes + plan.starts, 1.0)
        return torch.cat([scaled, missing[:, plan.indicated].float(), one_hot[:, plan.kept]], dim=1)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(D,), from the shape of a stored row.

        Raises:
            DataError: another number of columns.
        """
        if input_shape != (len(self.columns),):
            raise DataError(
                f"the examples have the shape {input_shape}",
                expected=f"rows of the {len(self.columns)} columns {', '.join(c.name for c in self.columns)}",
                do="give rows as the source stores them, before any encoding",
            )
        plan = self._plan
        return (len(plan.numeric) + len(plan.indicated) + len(plan.kept),)

    def on(self, examples: Examples) -> "Encode":
        """The same columns and vocabularies, described by these training examples alone."""
        stored = examples.inputs.numpy()
        return replace(self, columns=tuple(_described(c, stored[:, place]) for place, c in enumerate(self.columns)))

    def decode(self, inputs: Any) -> dict[str, NDArray[Any]]:
        """Stored rows [N, K] as columns [N] by name: float32 with NaN, or objects that are texts or None.

        A value that the vocabulary lacks is None, as a missing one: that is all that is stored of it.
        """
        values_NK = np.asarray(torch.as_tensor(inputs).cpu(), dtype=np.float32)
        self.output_shape(values_NK.shape[1:])
        return {column.name: _decoded(column, values_NK[:, place]) for place, column in enumerate(self.columns)}

    def check_stored_alike(self, other: "AnyPreprocess", whose: str) -> None:
        """Refuse data that are stored otherwise than those this was learnt on: a code would mean another value.

        Args:
            other: what the source of the data declares.
            whose: this is, in errors.

        Raises:
            DataError: other columns, another order, or other vocabularies.
        """
        own, theirs = ([(c.name, c.vocabulary) for c in getattr(one, "columns", ())] for one in (self, other))
        if own != theirs:
            odd = next((name for name, _ in own if name not in dict(theirs)), None)
            odd = odd or next((name for name, values in own if dict(theirs)[name] != values), own[0][0])
            raise DataError(
                f"{whose} was learnt on other columns than the data have, or on other values; {odd} is one of them",
                expected=f"the same names, order and values of {', '.join(name for name, _ in own)}",
                do="take the training file that it was learnt on, with the same roles",
            )

    @property
    def coding(self) -> str:
        """A digest of what decides how a row is stored: the columns, their order and their vocabularies."""
        return digest([[column.name, column.vocabulary] for column in self.columns])

    @cached_property
    def _plan(self) -> "_Plan":
        numeric = [place for place, column in enumerate(self.columns) if column.vocabulary is None]
        categorical = [place for place, column in enumerate(self.columns) if column.vocabulary is not None]
        chosen, others = ([self.columns[place] for place in places] for places in (numeric, categorical))
        sizes = torch.tensor([1 + len(column.vocabulary or ()) for column in others]).long()
        starts = sizes.cumsum(0) - sizes
        kept = torch.ones(int(sizes.sum()), dtype=torch.bool)
        kept[starts] = torch.tensor([column.indicated for column in others], dtype=torch.bool)
        return _Plan(
            numeric=torch.tensor(numeric).long(),
            categorical=torch.tensor(categorical).long(),
            mean=torch.tensor([column.mean for column in chosen]),
            std=torch.tensor([column.std for column in chosen]),
            indicated=torch.tensor([place for place, column in enumerate(chosen) if column.indicated]).long(),
            sizes=sizes,
            starts=starts,
            kept=kept.nonzero()[:, 0],
        )


AnyPreprocess = Preprocess | Encode
"""From stored inputs to what a network takes."""


@dataclass(frozen=True)
class _Plan:
    """Where the columns of each kind are, and what is done to them, as tensors."""

    numeric: Tensor
    categorical: Tensor
    mean: Tensor
    std: Tensor
    indicated: Tensor
    sizes: Tensor
    starts: Tensor
    kept: Tensor

    @property
    def width(self) -> int:
        return int(self.sizes.sum())

    def to(self, device: torch.device) -> "_Plan":
        if self.mean.device == device:
            return self
        return _Plan(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def _described(column: Column, stored_N: NDArray[np.float32]) -> Column:
    if column.vocabulary is not None:
        return replace(column, indicated=bool((stored_N == 0).any()))
    known = stored_N[~np.isnan(stored_N)].astype(np.float64)
    mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
    # Rounding alone makes the deviation of a constant differ from 0.
    std = std if std > 1e-9 * abs(mean) else 1.0
    return replace(column, mean=mean, std=std, indicated=len(known) < len(stored_N))


def _decoded(column: Column, stored_N: NDArray[np.float32]) -> NDArray[Any]:
    if column.vocabulary is None:
        return stored_N.copy()
    values = np.array([None, *column.vocabulary], dtype=object)
    codes = np.nan_to_num(stored_N).astype(np.int64)
    return values[np.where((codes >= 0) & (codes < len(values)), codes, 0)]

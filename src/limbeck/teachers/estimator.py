"""An estimator as teacher: whatever has `predict_proba`, of scikit-learn or with its manners.

Dimension key: N examples, C classes.
"""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from limbeck.data import AnyPreprocess, Encode, Examples, Preprocess
from limbeck.errors import DataError, RecipeError, name_some
from limbeck.files import path_of
from limbeck.signal import Signal
from limbeck.teachers.audience import Audience
from limbeck.teachers.content import NoContent, content_of, parts_within
from limbeck.teachers.gives import Gives, Probabilities, Votes
from limbeck.teachers.picked import answering
from limbeck.teachers.skops_file import read_estimator
from limbeck.teachers.teacher import Teacher, own_memory, tensor_of


@dataclass(frozen=True, kw_only=True)
class SklearnTeacher:
    """A classifier of scikit-learn in a file of `skops.io.dump`: forests, boosting, SVMs, pipelines.

    Args:
        path: the file; pickles are refused.
        gives: what its numbers are; null knows the shares of votes of forests, bagging and neighbours, and takes the
            numbers of every other estimator for probabilities.
        votes: how many votes its shares are of; null is the number of its trees or neighbours.
        classes: the names of its outputs, in its order; null asks the estimator.
        preprocess: what it was fitted on; null is the stored values as they are, without the source's scaling.

    Raises:
        ValueError: votes below 1, or beside gives: probabilities.
    """

    kind: Literal["sklearn"] = "sklearn"
    path: str
    gives: Literal["probabilities", "votes"] | None = None
    votes: int | None = None
    classes: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None

    def __post_init__(self) -> None:
        if self.votes is not None and (self.votes < 1 or self.gives == "probabilities"):
            raise ValueError(f"votes must be 1 or more, and goes with gives: votes, not {self.votes} and {self.gives}")

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        audience.refuse_taps(f"the estimator in {self.path}")
        estimator = read_estimator(path_of(self.path, f"{audience.key}.path"))
        gives = Votes(self.votes) if self.votes is not None else gives_of(estimator)
        if self.gives == "probabilities":
            gives = Probabilities()
        elif self.gives == "votes" and not isinstance(gives, Votes):
            raise RecipeError(
                f"{audience.key}.gives is votes, and {self.path} holds a {type(estimator).__name__}",
                expected="the number of votes, which this estimator does not tell",
                do=f"set {audience.key}.votes",
            )
        what = f"the estimator in {self.path}"
        encode = None if self.preprocess else table_for(estimator, audience, what)
        teacher = EstimatorTeacher(estimator, self.preprocess or Preprocess(), gives, encode)
        return in_order_of(teacher, audience.classes, what, self.classes)


class EstimatorTeacher:
    """An object with `predict_proba`, asked on one thread of joblib: threads would add up its trees in any order.

    Args:
        estimator: fitted.
        preprocess: from stored inputs to what it was fitted on; the result is flattened to rows [N, D] in float32.
        gives: what its numbers are, see `gives_of`.
        encode: of stored rows that it sees as a table of named columns, in place of `preprocess`.
    """

    def __init__(self, estimator: Any, preprocess: AnyPreprocess, gives: Gives, encode: Encode | None = None) -> None:
        self.estimator, self.preprocess, self.gives, self.encode = estimator, preprocess, gives, encode

    def identity(self) -> dict[str, Any]:
        """All that it holds, and the versions of its libraries; one that cannot be taken apart is like a function."""
        kind = type(self.estimator)
        try:
            content = content_of(self.estimator)
        except NoContent:
            content = None
        return {
            "kind": "estimator",
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "content": content,
            "versions": _versions(self.estimator),
            "preprocess": asdict(self.preprocess),
            "coding": None if self.encode is None else self.encode.coding,
        }

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        import joblib  # late: it starts slowly

        rows_ND = self._seen(inputs)
        # What it warns of, such as columns without names, is no news to whoever fitted it.
        with warnings.catch_warnings(), joblib.parallel_config(backend="sequential"):
            warnings.simplefilter("ignore")
            try:
                answers = self.estimator.predict_proba(rows_ND)
            except Exception as error:  # whatever an estimator may raise
                raise DataError(
                    f"the teacher, a {type(self.estimator).__name__}, failed on rows of shape {rows_ND.shape}: {error}",
                    expected="an estimator fitted on the stored values of these examples, each flattened to a row",
                    do="fit it on such rows, or say by `preprocess` what it was fitted on",
                ) from error
        if isinstance(answers, list):
            raise DataError(
                f"the teacher, a {type(self.estimator).__name__}, answers {len(answers)} questions at once",
                expected="one label an example",
                do="fit it on one column of labels",
            )
        return Signal(tensor_of(np.asarray(answers)).to(torch.float32))

    def _seen(self, inputs: Tensor) -> Any:
        """Rows [N, D], or a table of the columns it was fitted on, their values as the file has them."""
        if self.encode is None:
            return own_memory(self.preprocess(inputs), inputs).flatten(1).numpy()
        import pyarrow as pa

        columns = self.encode.decode(inputs)
        return pa.table({str(name): pa.array(columns[str(name)]) for name in self.estimator.feature_names_in_})

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True

    within: tuple[Teacher, ...] = ()

    @property
    def size(self) -> None:
        """See `Teacher.size`: an estimator counts no parameters."""


def can_predict(given: Any) -> bool:
    """Whether an object answers as scikit-learn's classifiers do."""
    return not isinstance(given, type) and callable(getattr(given, "predict_proba", None))


def teacher_of_estimator(given: Any, audience: Audience) -> Teacher:
    """The teacher that an object with `predict_proba` makes; without a preprocess of its own it sees the stored values.

    Raises:
        DataError: a class of the data that it does not know.
    """
    what = f"the teacher, a {type(given).__name__},"
    encode = None if audience.handed_over else table_for(given, audience, what)
    teacher = EstimatorTeacher(given, audience.handed_over or Preprocess(), gives_of(given), encode)
    return in_order_of(teacher, audience.classes, what)


def table_for(estimator: Any, audience: Audience, what: str) -> Encode | None:
    """The way back from stored rows to the columns by whose names an estimator was fitted; None where it saw arrays.

    Raises:
        DataError: columns that the data lack.
    """
    names, encode = getattr(estimator, "feature_names_in_", None), audience.preprocess
    if names is None or not isinstance(encode, Encode):
        return None
    known = [column.name for column in encode.columns]
    lacking = [str(name) for name in names if name not in known]
    if lacking:
        raise DataError(
            f"{what} was fitted on the columns {name_some([str(name) for name in names])}, and the data lack "
            f"{name_some(lacking)}",
            expected=f"columns of the data: {name_some(known)}",
            do="give the roles of these columns in `data`, or fit it on those of the data",
        )
    return encode


def gives_of(estimator: Any) -> Gives:
    """What an estimator's numbers are.

    A forest, bagged estimators and neighbours of one weight answer with the share of their members that say so: exact
    zeros among a known number of votes, which half a vote more for each class makes finite. All else has a floor.
    """
    from sklearn.ensemble import BaggingClassifier
    from sklearn.ensemble._forest import ForestClassifier
    from sklearn.neighbors import KNeighborsClassifier

    last = _last(estimator)
    if isinstance(last, ForestClassifier | BaggingClassifier):
        return Votes(last.n_estimators)
    if isinstance(last, KNeighborsClassifier) and last.weights in ("uniform", None):
        return Votes(last.n_neighbors)
    return Probabilities()


def _last(estimator: Any) -> Any:
    """Who answers in the end, in a pipeline or a search."""
    from sklearn.model_selection._search import BaseSearchCV
    from sklearn.pipeline import Pipeline

    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, BaseSearchCV):
            estimator = estimator.best_estimator_
        else:
            return estimator


def in_order_of(
    teacher: EstimatorTeacher, classes: Sequence[str], what: str, named: Sequence[str] | None = None
) -> Teacher:
    """The estimator's teacher in the order of the data's classes.

    Args:
        teacher: who is asked.
        classes: of the data.
        what: the estimator, in errors.
        named: the names of its outputs, where the recipe gives them.

    Raises:
        DataError: classes that do not fit.
    """
    known = getattr(teacher.estimator, "classes_", None)
    if named is not None and known is not None and len(named) != len(known):
        raise DataError(
            f"`classes` names {len(named)} outputs, and {what} has {len(known)}",
            expected=f"a name for each of {', '.join(map(str, list(known)[:12]))}",
            do="name them in its order",
        )
    own = named if named is not None or known is None else names_of(known, classes)
    return answering(teacher, own, classes, what)


def names_of(known: Any, classes: Sequence[str]) -> list[str]:
    """The names of an estimator's `classes_`: numbers are the labels of the data, anything else a name."""
    values = [value.item() if isinstance(value, np.generic) else value for value in np.ravel(known)]
    whole = [int(value) if isinstance(value, int | float) and value == int(value) else value for value in values]
    if all(isinstance(value, int) and 0 <= value < len(classes) for value in whole):
        return [classes[value] for value in whole]
    return [str(value) for value in whole]


def _versions(estimator: Any) -> dict[str, str]:
    """Of the libraries that an estimator's parts come from; numpy's arrays are data."""
    rooms = {type(part).__module__.partition(".")[0] for part in parts_within(estimator)} - {"builtins", "numpy"}
    versions = {room: getattr(sys.modules.get(room), "__version__", None) for room in sorted(rooms)}
    return {room: str(version) for room, version in versions.items() if version is not None}

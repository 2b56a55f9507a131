"""A delivered student that answers, held to what it answered when it was made.

Dimension key: N examples, C classes.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.bundle import CONFIG, Bundle, Description, Golden, check_seal, described_in
from limbeck.errors import DataError, RecipeError, first_line
from limbeck.foreign import foreign_file
from limbeck.prediction.preprocessing import preprocessing
from limbeck.prediction.reader import Part, Reader
from limbeck.prediction.stored import at_once, stored_array
from limbeck.record import cores
from limbeck.runtime import Runner, Session, runner

SEEN = 1e-5
"""Of its range, that preprocessing may differ from what it was when the bundle was made."""
ANSWERED = {"onnx-int8": 0.05, "executorch-int8": 0.05}
"""Of their range, that the logits of golden examples may differ from what they were, by format.

A bundle is opened on other processors than it was made on. They add in another order, and where activations are rounded
to 8 bits a sum that falls to the other side of a border moves by a whole level.
"""
ANSWERED_EXACTLY = 1e-4
"""Likewise, for all other formats."""


class Predictor:
    """A student that answers, without torch where its file is an ONNX one.

    Args:
        description: what it takes and gives.
        run: its network.
        path: where it lies, for errors.

    Raises:
        DataError: a description of a preprocessing that cannot be used.
    """

    def __init__(self, description: Description, run: Runner, path: Path) -> None:
        self.description, self.path, self._run = description, path, run
        try:
            self._preprocess = preprocessing(description.preprocess)
            shape = self._preprocess.output_shape(description.input_shape)
        except (KeyError, TypeError, ValueError) as error:
            raise self._unlike(f"has a preprocessing that cannot be used: {first_line(error)}") from None
        if shape != description.network_shape:
            raise self._unlike(f"preprocesses to the shape {shape}, its network takes {description.network_shape}")

    @classmethod
    def opened(cls, bundle: Bundle, *, threads: int | None = None) -> "Predictor":
        """That of a bundle.

        Args:
            bundle: whole and undamaged.
            threads: that one batch is computed with; None is one a core.

        Raises:
            DataError: it does not answer its golden examples as when it was made, or cannot be run.
            MissingError: the runtime of its format is not installed.
        """
        run = runner(bundle.kind, bundle.model, threads or cores())
        predictor = cls(bundle.description, run, bundle.directory)
        predictor._hold(bundle.golden, ANSWERED.get(bundle.kind, ANSWERED_EXACTLY))
        if isinstance(run, Session) and _inside(run) != bundle.description:
            raise predictor._unlike(f"describes another student in {CONFIG} than inside {bundle.model.name}")
        return predictor

    @classmethod
    def of_file(cls, path: Path, *, threads: int | None = None) -> "Predictor":
        """That of the ONNX file of a bundle alone: no golden examples are with it, but a seal is in it.

        Raises:
            DataError: damaged, or not a file of limbeck.
        """
        foreign_file(path, what="the model.onnx of a bundle", most=2**31 - 1)
        data = path.read_bytes()
        check_seal(data, path)
        session = Session(path, threads=threads or cores(), data=data)
        description = _inside(session)
        session.check_shape(description.network_shape)
        predictor = cls(description, session, path)
        predictor._ask(np.zeros((1, *description.network_shape), np.float32))
        return predictor

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, by place in the probabilities."""
        return self.description.classes

    def logits(self, inputs: Any) -> NDArray[np.float32]:
        """Logits [N, C] of examples as they are stored, [N, ...], or of one of them.

        Raises:
            DataError: another shape or type, or examples that are not answered with numbers; rows of it are counted
                from 1.
        """
        try:
            array = np.asarray(inputs)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"inputs are no array: {first_line(error)}", expected="an array of numbers", do="make them one"
            ) from None
        return self._logits(stored_array(array, self.description, "inputs"), lambda row: f"row {row + 1:,} of inputs")

    def probabilities(self, inputs: Any, temperature: float = 1.0) -> NDArray[np.float64]:
        """Probabilities [N, C] of examples as they are stored, [N, ...], or of one of them.

        Args:
            inputs: the examples.
            temperature: divides logits before softmax; above 1 more of the student's doubts are seen.

        Raises:
            DataError: see `logits`.
            RecipeError: a temperature that is not positive and finite.
        """
        positive = _positive(temperature)
        return _probabilities(self.logits(inputs), positive)

    def about(self, part: Part, temperature: float = 1.0) -> NDArray[np.float64]:
        """Probabilities [N, C] of examples from files, which errors name.

        Raises:
            DataError, RecipeError: see `probabilities`.
        """
        positive = _positive(temperature)
        return _probabilities(self._logits(part.inputs, part.name), positive)

    def reader(self) -> Reader:
        """Reads files into inputs of this student."""
        return Reader(self.description)

    def _logits(self, stored: NDArray[Any], name: Callable[[int], str]) -> NDArray[np.float32]:
        """Finite logits [N, C] of stored inputs, each of which errors call by its name."""
        step = at_once(self.description)
        parts = [self._ask(self._preprocess(stored[start : start + step])) for start in range(0, len(stored), step)]
        logits_NC = np.concatenate([np.empty((0, len(self.classes)), np.float32), *parts])
        bad = np.argwhere(~np.isfinite(logits_NC))
        if len(bad):
            row, place = bad[0]
            raise DataError(
                f"{name(int(row))} is answered with the logit {logits_NC[row, place]}",
                expected="finite numbers",
                do="look at this example: NaN and huge numbers cannot be answered",
            )
        return logits_NC

    def _ask(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network says, [N, C], however many classes it knows."""
        answers = self._run(seen)
        if answers.shape != (len(seen), len(self.classes)):
            raise self._unlike(
                f"answers {len(seen)} examples with the shape {list(answers.shape)}, and names {len(self.classes)} "
                f"classes"
            )
        return answers

    def _hold(self, golden: Golden, answered: float) -> None:
        """Hold preprocessing and network to what they gave when the bundle was made."""
        described, count = self.description, golden.inputs.shape[:1]
        expected = {
            "inputs": ((*count, *described.input_shape), described.input_dtype),
            "seen": ((*count, *described.network_shape), "float32"),
            "logits": ((*count, len(described.classes)), "float32"),
        }
        came = {name: (array.shape, str(array.dtype)) for name, array in vars(golden).items()}
        odd = [name for name in expected if came[name] != expected[name]]
        if odd or not golden.inputs.size:
            raise self._unlike(f"has golden examples whose {' and '.join(odd) or 'count'} do not fit its description")
        self._compare("preprocessing", self._preprocess(golden.inputs), golden.seen, SEEN)
        self._compare("network", self._ask(golden.seen), golden.logits, answered)

    def _compare(self, what: str, came: NDArray[Any], golden: NDArray[Any], share: float) -> None:
        if not np.isfinite(golden).all():
            raise self._unlike(f"has golden examples whose {what} gave no finite numbers")
        span = float(np.ptp(golden.astype(np.float64))) or 1.0
        apart = float(np.abs(came.astype(np.float64) - golden).max())
        if not apart <= share * span:
            raise self._unlike(
                f"does not answer its golden examples as when it was made: the {what} is {apart / span:.2g} of the "
                f"range apart"
            )

    def _unlike(self, came: str) -> DataError:
        return DataError(
            f"{self.path} {came}",
            expected="a bundle that answers as it did when it was exported",
            do="export the student again on a machine like this one, or with the limbeck and runtime that run here",
        )


def _inside(session: Session) -> Description:
    try:
        return described_in(session.metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the metadata of {session.path} lack or mistype a field: {first_line(error)}",
            expected="the model.onnx of a bundle, of this limbeck or an older one",
            do="export the student again",
        ) from None


def _positive(temperature: Any) -> float:
    with suppress(OverflowError):
        known = isinstance(temperature, int | float | np.floating | np.integer)
        if known and 0 < (number := float(temperature)) < np.inf:
            return number
    raise RecipeError(
        f"temperature {temperature!r:.60}", expected="a number above 0", do="leave it out, or set it to 1"
    )


def _probabilities(logits_NC: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    below_NC = logits_NC.astype(np.float64) - logits_NC.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # of a cold temperature: minus infinity is right
        powers_NC = np.exp(below_NC / temperature)
    probabilities_NC: NDArray[np.float64] = powers_NC / powers_NC.sum(axis=1, keepdims=True)
    return probabilities_NC


def choices(probabilities_C: NDArray[np.float64], top: int) -> list[int]:
    """The places of the `top` most probable classes, the most probable first."""
    order: list[int] = np.argsort(-probabilities_C, kind="stable")[:top].tolist()
    return order

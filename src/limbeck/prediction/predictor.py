"""A delivered student that answers, held to what it answered when it was made.

Dimension key: N examples, C classes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.bundle import Bundle, Description, Golden, check_seal, described
from limbeck.errors import DataError, RecipeError, first_line
from limbeck.foreign import foreign_file
from limbeck.prediction.preprocessing import preprocessing
from limbeck.prediction.reader import Reader
from limbeck.prediction.stored import stored_array
from limbeck.record import cores
from limbeck.runtime import Runner, Session, runner

AT_ONCE = 256
"""Examples of one question to the network."""
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
            shape = self._preprocess(np.zeros((1, *description.input_shape), description.input_dtype)).shape[1:]
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
        try:
            description = described(
                {name: json.loads(text) for name, text in session.metadata.items() if name != "seal"}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the metadata of {path} lack or mistype a field: {error}",
                expected="the model.onnx of a bundle, of this limbeck or an older one",
                do="export the student again",
            ) from None
        session.check_shape(description.network_shape)
        return cls(description, session, path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, by place in the probabilities."""
        return self.description.classes

    def logits(self, inputs: Any) -> NDArray[np.float32]:
        """Logits [N, C] of examples as they are stored, [N, ...], or of one of them.

        Raises:
            DataError: another shape or type, or examples that are not answered with numbers.
        """
        stored = stored_array(np.asarray(inputs), self.description, "inputs")
        parts = [
            self._run(self._preprocess(stored[start : start + AT_ONCE])) for start in range(0, len(stored), AT_ONCE)
        ]
        logits_NC = np.concatenate([np.empty((0, len(self.classes)), np.float32), *parts])
        bad = np.flatnonzero(~np.isfinite(logits_NC).all(axis=1))
        if len(bad):
            raise DataError(
                f"example {bad[0]} of the inputs is answered with {logits_NC[bad[0]]}",
                expected="finite numbers",
                do="look at this example: NaN and huge numbers cannot be answered",
            )
        return logits_NC

    def probabilities(self, inputs: Any, temperature: float = 1.0) -> NDArray[np.float64]:
        """Probabilities [N, C] of examples as they are stored, [N, ...], or of one of them.

        Args:
            inputs: the examples.
            temperature: divides logits before softmax; above 1 more of the student's doubts are seen.

        Raises:
            DataError: see `logits`.
            RecipeError: a temperature that is not positive and finite.
        """
        if not 0 < temperature < np.inf:
            raise RecipeError(
                f"temperature {temperature}", expected="a number above 0", do="leave it out, or set it to 1"
            )
        logits_NC = self.logits(inputs).astype(np.float64)
        powers_NC = np.exp((logits_NC - logits_NC.max(axis=1, keepdims=True)) / temperature)
        probabilities_NC: NDArray[np.float64] = powers_NC / powers_NC.sum(axis=1, keepdims=True)
        return probabilities_NC

    def reader(self) -> Reader:
        """Reads files into inputs of this student."""
        return Reader(self.description)

    def _hold(self, golden: Golden, answered: float) -> None:
        """Hold preprocessing and network to what they gave when the bundle was made."""
        described = self.description
        count = len(golden.inputs)
        shapes = {
            "inputs": (count, *described.input_shape),
            "seen": (count, *described.network_shape),
            "logits": (count, len(described.classes)),
        }
        odd = [name for name, shape in shapes.items() if getattr(golden, name).shape != shape]
        if odd or not count:
            raise self._unlike(f"has golden examples whose {' and '.join(odd) or 'count'} do not fit its description")
        self._compare("preprocessing", self._preprocess(golden.inputs), golden.seen, SEEN)
        self._compare("network", self._run(golden.seen), golden.logits, answered)

    def _compare(self, what: str, came: NDArray[Any], golden: NDArray[Any], share: float) -> None:
        span = float(np.ptp(golden)) or 1.0
        if came.shape != golden.shape:
            raise self._unlike(f"gives golden examples the shape {came.shape} by its {what}, not {golden.shape}")
        apart = float(np.abs(came - golden).max())
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


def choices(probabilities_C: NDArray[np.float64], top: int) -> list[int]:
    """The places of the `top` most probable classes, the most probable first."""
    order: list[int] = np.argsort(-probabilities_C, kind="stable")[:top].tolist()
    return order

"""The kinds of teacher: a network, a function, a table of answers, and several of them together.

Dimension key: N examples, C classes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.data import Examples, Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest_tensors
from limbeck.models import Taps, evaluating, layout_of
from limbeck.signal import Signal
from limbeck.teachers.ensemble import Ensemble, EnsembleTeacher
from limbeck.teachers.teacher import Gives, Teacher, look_like_probabilities


class ModuleTeacher:
    """A network on its device, asked in evaluation mode without gradients; modes and tensors stay what they were."""

    def __init__(
        self, module: nn.Module, preprocess: Preprocess, device: torch.device, taps: tuple[str, ...] = ()
    ) -> None:
        """Args: `taps` are the parts whose output its signals carry too."""
        self.module = module.to(device)
        self.preprocess, self.device, self.taps = preprocess, device, taps
        self.gives: Gives = "logits"

    def identity(self) -> dict[str, Any]:
        """Structure as torch prints it, parameters, buffers, and preprocessing."""
        kind = type(self.module)
        return {
            "kind": "module",
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "structure": hashlib.sha256(repr(self.module).encode()).hexdigest(),
            # Not the state dict, which leaves out buffers that are not persistent.
            "tensors": digest_tensors({**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}),
            "preprocess": asdict(self.preprocess),
            "taps": sorted(self.taps),
        }

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        seen = _own(self.preprocess(inputs.to(self.device)), inputs).to(self._dtype)
        if seen.ndim == 4:
            seen = seen.contiguous(memory_format=layout_of(self.module))
        # Taps watch for tensors overwritten in place, of which inference tensors keep no count.
        quiet = torch.no_grad() if self.taps else torch.inference_mode()
        with evaluating(self.module), quiet, Taps(self.module, self.taps, "the teacher") as taps:
            answers = self.module(seen)
            features = taps.take()
        # A clone made outside inference mode can be saved for a backward pass; an inference tensor cannot.
        logits_NC = _tensor(answers).float().cpu().clone()
        return Signal(logits_NC, {tap: values.float().cpu().clone() for tap, values in features.items()})

    @property
    def _dtype(self) -> torch.dtype:
        """Of its inputs: that of its first weights."""
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True

    def without_taps(self) -> "ModuleTeacher":
        """The same network, asked for its logits alone."""
        bare = ModuleTeacher(self.module, self.preprocess, self.device)
        bare.gives = self.gives
        return bare


class CallableTeacher:
    """A function from preprocessed inputs to answers. It shows no weights, so only its probes can tell it changed."""

    def __init__(self, function: Callable[[Tensor], Any], preprocess: Preprocess) -> None:
        self.function, self.preprocess = function, preprocess
        self.gives: Gives = "logits"

    def identity(self) -> dict[str, Any]:
        """Its name and preprocessing: the store of such a teacher belongs to its run alone."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return {"kind": "callable", "name": name, "preprocess": asdict(self.preprocess)}

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        with torch.no_grad():
            answers = self.function(_own(self.preprocess(inputs), inputs))
        return Signal(_tensor(answers).detach().float().cpu())

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True


class TableTeacher:
    """Answers computed elsewhere, one row for each training example; the first of duplicates counts."""

    def __init__(self, rows_NC: Tensor, examples: Examples) -> None:
        if rows_NC.ndim != 2 or len(rows_NC) != len(examples):
            raise DataError(
                f"the teacher's array has shape {tuple(rows_NC.shape)}",
                expected=f"[{len(examples)}, classes]: a row for each training example, in their order",
                do="compute the teacher's logits on exactly the training inputs",
            )
        self.rows_NC = rows_NC.detach().float().cpu()
        self.keys = examples.keys
        self.row_of: dict[bytes, int] = {}
        for row, key in enumerate(_names(examples.keys)):
            self.row_of.setdefault(key, row)
        self.gives: Gives = "probabilities" if look_like_probabilities(self.rows_NC) else "logits"

    def identity(self) -> dict[str, Any]:
        """The values themselves with their keys, in the order of the keys."""
        rows = [row for _, row in sorted(self.row_of.items())]
        tensors = {"keys": self.keys[rows], "rows": self.rows_NC[rows]}
        return {"kind": "table", "tensors": digest_tensors(tensors)}

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`; the inputs are not looked at."""
        unknown = [key for key in _names(keys) if key not in self.row_of]
        if unknown:
            raise DataError(
                f"the teacher's array has no row for {len(unknown)} of {len(keys)} examples asked about",
                expected="questions about the training examples it was computed for",
                do="give the array a row for each of these, or hand over the teacher itself",
            )
        return Signal(self.rows_NC[[self.row_of[key] for key in _names(keys)]])

    def knows(self, examples: Examples) -> bool:
        """Whether every example is one of the table's."""
        return all(key in self.row_of for key in _names(examples.keys))


def _own(seen: Tensor, inputs: Tensor) -> Tensor:
    """What a network is shown, in memory of its own: one that works in place would change the data for all after it."""
    shared = seen.untyped_storage().data_ptr() == inputs.untyped_storage().data_ptr()
    return seen.clone() if shared else seen


def _names(keys: Tensor) -> list[bytes]:
    return [row.tobytes() for row in keys.numpy()]


def _tensor(answers: Any) -> Tensor:
    if isinstance(answers, Tensor):
        return answers
    try:
        # A copy: torch warns of arrays that cannot be written.
        return torch.as_tensor(np.array(answers) if isinstance(answers, np.ndarray) else answers)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"the teacher answered with a {type(answers).__name__}",
            expected="a tensor or array of logits [N, classes]",
            do="wrap it in a function, or in an nn.Module if it is to be tapped, that returns the logits alone",
        ) from None


def teacher_of(
    given: Any, examples: Examples, preprocess: Preprocess, device: torch.device, taps: tuple[str, ...] = ()
) -> Teacher:
    """The teacher that a Python object makes.

    Args:
        given: an nn.Module, an array or tensor with a row for each of `examples`, a function of preprocessed
            inputs [N, ...] that returns logits or probabilities [N, C], or a list or `Ensemble` of these.
        examples: the training set.
        preprocess: from stored inputs to what a module or function takes.
        device: of a module.
        taps: the parts of a module that students look at.

    Raises:
        DataError: none of these, or an array of another length.
        RecipeError: taps of something that is no module.
    """
    if isinstance(given, nn.Module):
        return ModuleTeacher(given, preprocess, device, taps)
    if taps:
        raise RecipeError(
            f"the taps {', '.join(taps)} came with a teacher that is a {type(given).__name__}",
            expected="an nn.Module, whose parts can be tapped",
            do="leave out the terms that look at features, or hand over the network itself",
        )
    if isinstance(given, list | tuple) and any(_can_answer(member) for member in given):
        given = Ensemble(given)
    if isinstance(given, Ensemble):
        return _together(given, examples, preprocess, device)
    if isinstance(given, Tensor | np.ndarray):
        return TableTeacher(_tensor(given), examples)
    if _can_answer(given):
        return CallableTeacher(given, preprocess)
    raise DataError(
        f"the teacher is a {type(given).__name__}",
        expected="an nn.Module, a function of a batch, an array of logits with a row per training example, or a list",
        do="wrap it in a function that takes inputs [N, ...] and returns logits [N, classes]",
    )


def _together(given: Ensemble, examples: Examples, preprocess: Preprocess, device: torch.device) -> EnsembleTeacher:
    for number, member in enumerate(given.members):
        if not _can_answer(member):
            raise DataError(
                f"member {number} of the teacher is a {type(member).__name__}",
                expected="an nn.Module, a function of a batch, or an array of logits with a row per training example",
                do="load a saved model by limbeck.load_model(path).module; in a recipe there is teacher.kind: ensemble",
            )
    members = [teacher_of(member, examples, preprocess, device) for member in given.members]
    return EnsembleTeacher(members, given.weights, given.mean)


def _can_answer(given: Any) -> bool:
    return isinstance(given, Tensor | np.ndarray) or callable(given)

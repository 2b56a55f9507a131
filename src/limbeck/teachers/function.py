"""A function of Python as teacher.

Dimension key: N examples, C classes.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from limbeck.data import AnyPreprocess, Examples
from limbeck.signal import Signal
from limbeck.teachers.gives import Gives, Logits
from limbeck.teachers.teacher import Teacher, own_memory, tensor_of


class CallableTeacher:
    """A function from preprocessed inputs to answers. It shows no weights, so only its probes can tell it changed."""

    def __init__(self, function: Callable[[Tensor], Any], preprocess: AnyPreprocess) -> None:
        self.function, self.preprocess = function, preprocess
        self.gives: Gives = Logits()

    def identity(self) -> dict[str, Any]:
        """Its name and preprocessing: the store of such a teacher belongs to its run alone."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return {"kind": "callable", "name": name, "preprocess": asdict(self.preprocess)}

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        with torch.no_grad():
            answers = self.function(own_memory(self.preprocess(inputs), inputs))
        return Signal(tensor_of(answers).detach().float().cpu())

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True

    within: tuple[Teacher, ...] = ()

    @property
    def size(self) -> None:
        """See `Teacher.size`: a function shows no weights."""

"""A network of torch as teacher.

Dimension key: N examples, C classes.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limbeck.data import AnyPreprocess, Examples
from limbeck.errors import DataError, LimbeckError
from limbeck.files import digest_tensors
from limbeck.models import Taps, arranged, evaluating, layout_of, parameters, quickened
from limbeck.signal import Signal
from limbeck.teachers.gives import Gives, Logits
from limbeck.teachers.teacher import BATCH_SIZE, Teacher, own_memory, tensor_of

Precision = Literal["fp32", "bf16"]

LEAST = 8
"""Examples on which a quicker copy is held against the network."""


@dataclass(frozen=True)
class _Way:
    """How a network is asked: it or a copy of it, in what form, and how many examples at a time (None: all)."""

    network: nn.Module
    dtype: torch.dtype
    layout: torch.memory_format
    batch: int | None = None


class ModuleTeacher:
    """A network on its device, asked in evaluation mode without gradients; modes and tensors stay what they were.

    On the processor a network of convolutions is asked through a quicker copy of it, and in bf16 any network is. A
    copy is made at the first question after `identity()` and forgotten at the next: whoever opens or seals a store
    compares answers with a copy of what the network is by then.

    Args:
        module: the network.
        preprocess: from stored inputs to what it takes.
        device: where it is asked; it is moved there.
        taps: the parts whose output its signals carry too.
        precision: of its arithmetic; what it answers is float32 all the same.
        facts: what else decides its answers, for its identity, such as the version of the library it is of.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocess: AnyPreprocess,
        device: torch.device,
        taps: tuple[str, ...] = (),
        precision: Precision = "fp32",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.module = module.to(device)
        self.preprocess, self.device, self.taps, self.facts = preprocess, device, taps, dict(facts or {})
        self.gives: Gives = Logits()
        self._precision: Precision = precision
        self._way: _Way | None = None

    @property
    def precision(self) -> Precision:
        """Of its arithmetic; it can be set."""
        return self._precision

    @precision.setter
    def precision(self, precision: Precision) -> None:
        self._precision, self._way = precision, None

    def identity(self) -> dict[str, Any]:
        """Structure as torch prints it, parameters, buffers, precision, and preprocessing."""
        self._way = None
        kind = type(self.module)
        return {
            "kind": "module",
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "structure": hashlib.sha256(repr(self.module).encode()).hexdigest(),
            # Not the state dict, which leaves out buffers that are not persistent.
            "tensors": digest_tensors({**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}),
            "preprocess": asdict(self.preprocess),
            "taps": sorted(self.taps),
            "precision": self.precision,
            **self.facts,
        }

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        seen = self.seen(inputs)
        way = self._way = self._way or self._way_for(seen)
        signals = [self._answered(way, part) for part in seen.split(way.batch or max(len(seen), 1))]
        if len(signals) == 1:
            return signals[0]
        features = {tap: _joined([signal.features[tap] for signal in signals]) for tap in self.taps}
        return Signal(_joined([signal.logits for signal in signals]), features)

    def seen(self, inputs: Tensor) -> Tensor:
        """What the network itself is shown of stored inputs [N, ...], in memory of its own."""
        return _in(own_memory(self.preprocess(inputs.to(self.device)), inputs), self._dtype)

    def _way_for(self, seen: Tensor) -> _Way:
        lowered = self.precision == "bf16"
        if seen.ndim == 4 and self.device.type == "cpu" and seen.dtype == torch.float32:
            dtype = torch.bfloat16 if lowered else torch.float32
            quick = quickened(self.module, seen[:LEAST], dtype, self.taps)
            if quick is not None:
                return _Way(quick.network, dtype, torch.channels_last, quick.batch)
        if lowered:
            copied = copy.deepcopy(self.module).to(torch.bfloat16)
            # In bf16 another number asked at once would move more than the last bits.
            return _Way(copied, torch.bfloat16, layout_of(copied), BATCH_SIZE)
        return _Way(self.module, self._dtype, layout_of(self.module))

    def _answered(self, way: _Way, part: Tensor) -> Signal:
        count = len(part)
        if way.batch is not None and 0 < count < way.batch:
            # One shape for all: weights are arranged for it, and no bit depends on how many are asked at once.
            part = torch.cat([part, part[-1:].expand(way.batch - count, *part.shape[1:])])
        part = _in(part, way.dtype)
        part = arranged(part, way.layout)
        # Taps watch for tensors overwritten in place, of which inference tensors keep no count.
        quiet = torch.no_grad() if self.taps else torch.inference_mode()
        with evaluating(way.network), quiet, Taps(way.network, self.taps, "the teacher") as taps:
            answers = tensor_of(way.network(part))
            features = taps.take()
        # A clone made outside inference mode can be saved for a backward pass; an inference tensor cannot.
        own = {tap: _cut(values, len(part), count).float().cpu().clone() for tap, values in features.items()}
        return Signal(_cut(answers, len(part), count).float().cpu().clone(), own)

    @property
    def _dtype(self) -> torch.dtype:
        """Of its inputs: that of its first weights."""
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True

    def without_taps(self) -> "ModuleTeacher":
        """The same network, asked for its logits alone."""
        bare = copy.copy(self)
        bare.taps, bare._way = (), None
        return bare

    def try_out(self, examples: Examples, outputs: int, what: str) -> None:
        """Ask a network that somebody else built about one example, before it is relied on.

        Args:
            examples: of the data.
            outputs: how many numbers it should give for an example.
            what: the network, in errors.

        Raises:
            DataError: it fails, whatever the error, or gives something else.
        """
        shape = tuple(examples.inputs.shape[1:])
        try:
            answers = self.answer(examples.inputs[:1], examples.keys[:1]).logits
        except LimbeckError:
            raise
        except Exception as error:
            raise DataError(
                f"{what} failed on an example of shape {shape}: {error}",
                expected="a network that takes the data as its preprocess makes them",
                do="give the `preprocess` that it was trained with, or another source",
            ) from error
        self._way = None
        if answers.shape != (1, outputs):
            raise DataError(
                f"{what} answers one example with shape {tuple(answers.shape)}",
                expected=f"logits [1, {outputs}]",
                do="name all its outputs by `classes`",
            )

    within: tuple[Teacher, ...] = ()

    @property
    def size(self) -> int:
        """See `Teacher.size`."""
        return parameters(self.module)


def _in(values: Tensor, dtype: torch.dtype) -> Tensor:
    """In another precision; whole numbers, which name something, stay."""
    return values.to(dtype) if values.is_floating_point() else values


def _cut(values: Tensor, asked: int, count: int) -> Tensor:
    """Without what filled the batch up; what is not [asked, ...] stays, to be refused."""
    return values[:count] if values.ndim and len(values) == asked else values


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts[0].ndim else parts[0]

"""A network of torch as teacher.

Dimension key: N examples, C classes.
"""

import hashlib
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.data import Examples, Preprocess
from limbeck.files import digest_tensors
from limbeck.models import Taps, evaluating, layout_of, parameters
from limbeck.signal import Signal
from limbeck.teachers.gives import Gives, Logits
from limbeck.teachers.teacher import Teacher, own_memory, tensor_of


class ModuleTeacher:
    """A network on its device, asked in evaluation mode without gradients; modes and tensors stay what they were."""

    def __init__(
        self, module: nn.Module, preprocess: Preprocess, device: torch.device, taps: tuple[str, ...] = ()
    ) -> None:
        """Args: `taps` are the parts whose output its signals carry too."""
        self.module = module.to(device)
        self.preprocess, self.device, self.taps = preprocess, device, taps
        self.gives: Gives = Logits()

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
        seen = own_memory(self.preprocess(inputs.to(self.device)), inputs).to(self._dtype)
        if seen.ndim == 4:
            seen = seen.contiguous(memory_format=layout_of(self.module))
        # Taps watch for tensors overwritten in place, of which inference tensors keep no count.
        quiet = torch.no_grad() if self.taps else torch.inference_mode()
        with evaluating(self.module), quiet, Taps(self.module, self.taps, "the teacher") as taps:
            answers = self.module(seen)
            features = taps.take()
        # A clone made outside inference mode can be saved for a backward pass; an inference tensor cannot.
        logits_NC = tensor_of(answers).float().cpu().clone()
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

    within: tuple[Teacher, ...] = ()

    @property
    def size(self) -> int:
        """See `Teacher.size`."""
        return parameters(self.module)

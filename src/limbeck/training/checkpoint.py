"""Checkpoints: everything a fit needs to go on as if it had never been killed.

That is little, since order and randomness are functions of (seed, step): the learner's weights and buffers, optimizer
state, step.
"""

import logging
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from limbeck.errors import DataError, RecipeError
from limbeck.files import commit_directory, read_tensors, verify

KEPT = 2
"""The newest checkpoint may turn out damaged; the one before it is then the way back."""

_log = logging.getLogger(__name__)


class Checkpoints:
    """The versioned checkpoints of one fit, the newest valid of which counts."""

    def __init__(self, directory: Path, conditions: dict[str, str | int]) -> None:
        """Args: where they lie, and the conditions under which the bits of a result are promised."""
        self.directory, self.conditions = directory, conditions
        self._passed_over: set[Path] = set()

    def save(self, step: int, learner: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Commit the state after `step` steps, then let all but the newest valid ones go."""
        place = self.directory / f"step-{step:08d}"
        commit_directory(
            place,
            {
                "learner.safetensors": learner_state(learner),
                "optimizer.safetensors": optimizer_state(optimizer),
            },
            step=step,
            conditions=self.conditions,
        )
        # A place that was passed over must not count as one of those kept, or it would push a valid one out.
        self._passed_over.discard(place)
        valid = [other for other in self._newest_first() if other not in self._passed_over]
        for old in (*self._passed_over, *valid[KEPT:]):
            shutil.rmtree(old, ignore_errors=True)
        self._passed_over.clear()

    def restore(self, learner: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Load the newest valid checkpoint into both; returns its step, 0 when there is none.

        Raises:
            RecipeError: it is of another student.
        """
        for place in self._newest_first():
            try:
                manifest = verify(place)
                weights = read_tensors(place / "learner.safetensors")
                state = read_tensors(place / "optimizer.safetensors")
            except DataError as error:
                _log.warning("checkpoint %s is not valid and is passed over: %s", place.name, error)
                self._passed_over.add(place)
                continue
            if manifest["conditions"] != self.conditions:
                _log.warning(
                    "resumed under %s, begun under %s: the result is not promised bit for bit",
                    self.conditions,
                    manifest["conditions"],
                )
            try:
                restore_learner(learner, weights)
            except RuntimeError as error:
                raise RecipeError(
                    f"the checkpoint {place} is of another student ({str(error).splitlines()[-1].strip()})",
                    expected="the student that the run was begun with",
                    do="give that student, or begin a new run",
                ) from None
            restore_optimizer(optimizer, state)
            return int(manifest["step"])
        return 0

    def _newest_first(self) -> list[Path]:
        return sorted(self.directory.glob("step-*"), reverse=True)


def learner_state(learner: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers: one that is not persistent may still be changed by training."""
    return {**dict(learner.named_buffers()), **learner.state_dict()}


def restore_learner(learner: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put named tensors back in place.

    Raises:
        RuntimeError: names or shapes of another student.
    """
    known = learner.state_dict()
    beside = {name: buffer for name, buffer in learner.named_buffers() if name not in known}
    learner.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in beside})
    for name, buffer in beside.items():
        if name not in tensors:
            raise RuntimeError(f"the buffer {name} is missing")
        buffer.copy_(tensors[name])


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of every parameter as named tensors, `<position of the parameter>.<name>`."""
    return {
        f"{position}.{name}": value
        for position, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put named tensors back as the state of the parameters they belong to."""
    parameters = _parameters(optimizer)
    for key, saved in tensors.items():
        position, name = key.split(".", 1)
        parameter = parameters[int(position)]
        # safetensors hands tensors back contiguous, and the fused kernels walk raw memory: a moment laid out
        # otherwise than its channels_last weight would be scrambled without an error.
        model = parameter.detach() if saved.shape == parameter.shape else saved
        room = torch.empty_like(model, dtype=saved.dtype, device=parameter.device)
        optimizer.state[parameter][name] = room.copy_(saved)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]

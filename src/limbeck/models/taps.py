"""Taps: what passes named parts of an unmodified network."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from limbeck.errors import RecipeError


class Taps:
    """Captures the output of named parts of a network while it is open.

        with Taps(network, ["layer2"]) as taps:
            logits = network(inputs)
            features = taps.take()

    Args:
        network: any module; forward hooks listen to it, nothing in it changes.
        names: of its parts, as in `network.named_modules()`.
        whose: the network, in errors.

    Raises:
        RecipeError: the network has no part of such a name.
    """

    def __init__(self, network: nn.Module, names: Iterable[str], whose: str = "the network") -> None:
        parts = dict(network.named_modules())
        parts.pop("")
        self._parts = {name: _part(parts, name, whose) for name in dict.fromkeys(names)}
        self._network, self._whose = network, whose
        self._kept: dict[str, tuple[Tensor, int | None]] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        # A pass that failed leaves features behind, and so does gradient checkpointing, whose backward runs parts anew.
        self._hooks.append(self._network.register_forward_pre_hook(lambda network, inputs: self._kept.clear()))
        for name, part in self._parts.items():
            self._hooks.append(part.register_forward_hook(self._listener(name)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._kept.clear()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Listen to nothing while the block runs."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def take(self) -> dict[str, Tensor]:
        """What passed each tap in the forward pass since the last call, [N, ...] by name; the last pass, if several.

        Raises:
            RecipeError: a part did not run, or what it gave was overwritten in place before the pass ended.
        """
        if not self._hooks and self._parts:
            raise RecipeError("taps were taken from while closed", expected="an open block", do="take inside the with")
        kept, self._kept = self._kept, {}
        for name in self._parts:
            if name not in kept:
                raise self._unfit(name, "did not run in the forward pass", "tap a part that the network uses")
            tensor, version = kept[name]
            if version is not None and tensor._version != version:
                do = "tap the part that overwrites it, or build that with inplace=False"
                raise self._unfit(name, "gave a tensor that a later part overwrote in place", do)
        return {name: kept[name][0] for name in self._parts}

    def _unfit(self, name: str, why: str, do: str) -> RecipeError:
        expected = "a part whose output is one tensor a pass"
        return RecipeError(f"the tap {name!r} of {self._whose} {why}", expected=expected, do=do)

    def _listener(self, name: str) -> Any:
        def keep(part: nn.Module, inputs: Any, output: Any) -> None:
            if name in self._kept:
                do = "tap a part that runs once, or the block around it"
                raise self._unfit(name, "ran twice in one forward pass", do)
            # Attention layers and recurrent ones give a tuple, their features first.
            found = output[0] if isinstance(output, tuple) and output else output
            if not isinstance(found, Tensor):
                raise self._unfit(name, f"gave a {type(output).__name__}", "tap a part that gives a tensor")
            # Inference tensors keep no count of what overwrites them, and need no gradient: a copy is safe.
            self._kept[name] = (found.clone(), None) if found.is_inference() else (found, found._version)

        return keep


def _part(parts: dict[str, nn.Module], name: str, whose: str) -> nn.Module:
    if name in parts:
        return parts[name]
    near = difflib.get_close_matches(name, parts, n=1)
    raise RecipeError(
        f"the tap {name!r} is no part of {whose}" + (f"; did you mean {near[0]!r}?" if near else ""),
        expected=f"one of {', '.join(parts)}",
        do=f"name a part as in named_modules() of {whose}",
    )

"""The same losses elsewhere: torchdistill's classes, the published code in a folder of checkouts, and torch's own.

Nothing of theirs is copied here: each is imported from where the user put it, and one that is not there is left out.
An adapter gives student, teacher and labels to it as it wants them, and makes up for a factor that it leaves to its
caller (T^2).
"""

import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(student, teacher, labels) -> the mean over the batch."""

Make = Callable[[Any, nn.Module | None], Loss]
"""(the class or function, what limbeck's objective learns) -> loss."""


@dataclass(frozen=True)
class Published:
    """A symbol in a file of a repository on GitHub, and how it is called."""

    repo: str
    path: str
    symbol: str
    make: Make


@dataclass(frozen=True)
class Torchdistill:
    """A class of `torchdistill.losses.mid_level`, and how it is called."""

    symbol: str
    make: Make


def projected(loss: Callable[[Tensor, Tensor], Tensor], learnt: nn.Module | None) -> Loss:
    """A loss on features of one shape, behind the projector that limbeck's objective learns."""
    if learnt is None:
        return lambda student, teacher, labels: loss(student, teacher)
    return lambda student, teacher, labels: loss(learnt(student), teacher)


def told(make: Callable[[Any], Any], factor: float = 1.0, output: Callable[[Tensor], Any] | None = None) -> Make:
    """A class of torchdistill on two outputs of modules, which it finds by path and direction.

    Args:
        make: from the class to its module.
        factor: T^2, where it leaves it out.
        output: what the student's module would put out, where that is more than the features.
    """

    def build(symbol: Any, learnt: nn.Module | None) -> Loss:
        module = make(symbol)

        def loss(student: Tensor, teacher: Tensor) -> Tensor:
            said = student if output is None else output(student)
            value = module({"tap": {"output": said}}, {"tap": {"output": teacher}})
            return value if factor == 1.0 else factor * value

        return projected(loss, learnt)

    return build


def spoken(symbol: Any, **settings: Any) -> Any:
    """A class of torchdistill that takes the names of two modules."""
    return symbol("tap", "output", "tap", "output", **settings)


def paired(symbol: Any, **settings: Any) -> Any:
    """A class of torchdistill that takes pairs of modules."""
    pair = {"student": {"path": "tap", "io": "output"}, "teacher": {"path": "tap", "io": "output"}}
    return symbol({"pair": pair}, **settings)


def torchdistill_vid(symbol: Any, learnt: Any) -> Loss:
    """Its regressor is a part of the student and gives mean and variance: here both are limbeck's."""
    module = paired(symbol)

    def loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        variance = (F.softplus(learnt.log_scale) + 1e-5).view(1, -1, 1, 1)
        return module({"tap": {"output": (learnt.network(student), variance)}}, {"tap": {"output": teacher}})

    return loss


def published_vid(symbol: Any, learnt: Any) -> Loss:
    """The authors' module with the parameters of limbeck's."""
    module = symbol(1, 1, len(learnt.log_scale))
    module.regressor, module.log_scale = learnt.network, learnt.log_scale
    return lambda student, teacher, labels: module(student, teacher)


def classified(make: Callable[[Any], Any], temperature: float = 1.0) -> Make:
    """A loss on logits; with a temperature for those that have none and leave it to their caller."""

    def build(symbol: Any, learnt: nn.Module | None) -> Loss:
        function = make(symbol)
        if temperature == 1.0:
            return lambda student, teacher, labels: function(student, teacher, labels)
        return lambda student, teacher, labels: (
            temperature**2 * function(student / temperature, teacher / temperature, labels)
        )

    return build


def on_pairs(make: Callable[[Any], Callable[[Tensor, Tensor], Tensor]]) -> Make:
    """A loss on two tensors of one shape, without labels."""
    return lambda symbol, learnt: projected(make(symbol), learnt)


def from_torchdistill(peer: Torchdistill, learnt: nn.Module | None) -> Loss | None:
    """The loss; None where torchdistill is not installed."""
    if importlib.util.find_spec("torchdistill") is None:
        return None
    from torchdistill.losses import mid_level

    return peer.make(getattr(mid_level, peer.symbol), learnt)


def from_published(peer: Published, folder: Path | None, learnt: nn.Module | None) -> Loss | None:
    """The loss; None where the file is not in the folder."""
    file = folder / peer.repo / peer.path if folder else None
    if file is None or not file.exists():
        return None
    return peer.make(getattr(_imported(file, peer), peer.symbol), learnt)


def _imported(file: Path, peer: Published) -> types.ModuleType:
    """The one file as a module, without the packages around it, which want more than a loss does."""
    home = "published_" + "_".join(Path(peer.repo, peer.path).parent.parts).replace("-", "_")
    for name, content in {
        home: {},
        f"{home}.inner": {},
        f"{home}.inner._base": {"Distiller": nn.Module},
        f"{home}.builder": {"LOSSES": _Registry, "DISTILL_LOSSES": _Registry},
    }.items():
        sys.modules.setdefault(name, types.ModuleType(name)).__dict__.update(content)
    spec = importlib.util.spec_from_file_location(f"{home}.inner.{file.stem}", file)
    assert spec is not None, file
    assert spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    root = str(file.parents[len(Path(peer.path).parts) - 1])
    sys.path.insert(0, root)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(root)
    return module


class _Registry:
    """Stands where they register their losses by name."""

    @staticmethod
    def register_module() -> Callable[[Any], Any]:
        return lambda symbol: symbol

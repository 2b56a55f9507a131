"""From a network to a file that answers as it does: a batch of any size first, of one example where that is barred.

Dimension key: N examples, C classes.
"""

import copy
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from limbeck.bundle import MODEL_FILES
from limbeck.conversion.converted import Converted
from limbeck.errors import LimbeckError, RecipeError, first_line
from limbeck.files import write_bytes
from limbeck.quiet import quietly
from limbeck.runtime.runner import Runner, runner

BATCHES = (1, 2, 7, 64)
"""Sizes of batch that every file is run with."""
MOST_BYTES = 1_500_000_000
"""Of weights: protobuf, and with it one ONNX file, ends at 2 GiB."""
TOLERANCE = 1e-4
"""By how much of the logits' range those of a file may differ."""
_NO_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_CAUSES = {
    "Constraints violated": "its code takes a batch of one size alone",
    "data-dependent expression": "its code asks for a number that it computed, as in `if x.sum() > 0`",
}
"""What torch says at length, and what it means."""
_DECISIONS = logging.getLogger("torch.fx.experimental.symbolic_shapes")


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        kind: of the bundle that it is for.
        library: that writes it.
        write: the bytes for a program whose batch is open, or of one example.
    """

    kind: str
    library: str
    write: Callable[[ExportedProgram], bytes]


def convert(network: nn.Module, samples: Tensor, format: Format) -> Converted:
    """A file of the network that was run with batches of all `BATCHES` and answered like it.

    Args:
        network: is copied, and stays as it is.
        samples: real preprocessed examples [N, ...], float32, N >= 2.
        format: of the file.

    Raises:
        RecipeError: a network that cannot be converted: too large, at random, or of operators that the format lacks.
    """
    began = time.perf_counter()
    ours = prepared(network, samples)
    hindrances: list[str] = []
    for batch in (None, 1):
        try:
            with quietly(format.library):
                data = format.write(captured(ours, samples, batch))
            with running(format.kind, data) as answer:
                difference = compared(answer, ours, samples)
        except Exception as error:  # of torch, of its exporters and of runtimes, which raise what they like
            hindrances.append(cause(error))
            continue
        facts: dict[str, Any] = {"batch": batch or "dynamic", "difference": difference}
        if hindrances:
            facts["why_not_dynamic"] = with_operators(hindrances[0], deciding(ours, samples))
        return Converted(data, {**facts, "seconds": round(time.perf_counter() - began, 2)})
    hindrances[0] = with_operators(hindrances[0], deciding(ours, samples))
    raise unfit(f"cannot be written as {format.kind}: {'; '.join(dict.fromkeys(hindrances))}")


def prepared(network: nn.Module, samples: Tensor) -> nn.Module:
    """A copy as it is delivered: on the CPU, in float32, in evaluation mode, known to give logits [N, C].

    Raises:
        RecipeError: a network that is too large, fails, gives something else, or answers at random.
    """
    size = sum(each.numel() * each.element_size() for each in (*network.parameters(), *network.buffers()))
    if size > MOST_BYTES:
        raise unfit(f"has {size:,} bytes of weights, more than one file of {MOST_BYTES:,} bytes holds")
    try:
        ours = copy.deepcopy(network).cpu().float().eval()
        with torch.no_grad():
            first, again = ours(samples[:2].clone()), ours(samples[:2].clone())
    except Exception as error:  # whatever a user's forward may raise
        shape = list(samples[:2].shape)
        raise unfit(f"fails in float32 on the CPU on a batch of shape {shape}: {first_line(error)}") from error
    if not isinstance(first, Tensor):
        raise unfit(f"answers with a {type(first).__name__}")
    if first.ndim != 2 or len(first) != 2 or first.dtype != torch.float32:
        raise unfit(f"answers two examples with {first.dtype} numbers of shape {list(first.shape)}")
    if not first.isfinite().all():
        raise unfit("answers with numbers that are not finite")
    if not torch.equal(first, again):
        raise unfit("answers the same examples twice, and otherwise the second time")
    return ours


def captured(network: nn.Module, samples: Tensor, batch: int | None) -> ExportedProgram:
    """The network as a graph.

    Args:
        network: prepared.
        samples: real examples [N, ...].
        batch: how many examples it takes at once; None: any number.

    Raises:
        Exception: of many kinds, a network that cannot be captured.
    """
    # Sizes of 0 and 1 are taken for constants, so that an open batch is shown with two examples.
    inputs = samples[: batch or 2].clone()
    shapes = None if batch else ({0: Dim("batch")},)
    with torch.no_grad():
        program = torch.export.export(network, (inputs,), dynamic_shapes=shapes)
    signature = program.graph_signature
    if signature.buffers_to_mutate:
        raise ValueError(f"it changes its own {next(iter(signature.buffers_to_mutate.values()))}")
    if _rows(program, signature.user_inputs) != _rows(program, signature.user_outputs):
        raise ValueError("the number of its answers depends on more than that of its examples")
    return program


@contextmanager
def on_disk(kind: str, data: bytes) -> Iterator[Path]:
    """A file as it will lie in its bundle, but where nobody takes it for one."""
    with TemporaryDirectory(prefix="limbeck-") as directory:
        path = Path(directory) / MODEL_FILES[kind]
        write_bytes(path, data)
        yield path


@contextmanager
def running(kind: str, data: bytes) -> Iterator[Runner]:
    """A file of these bytes, on the disk and in its runtime, with one thread.

    Raises:
        ValueError: what limbeck has against the file, or the runtime.
    """
    with on_disk(kind, data) as path:
        try:
            yield runner(kind, path, 1)
        except LimbeckError as error:
            raise ValueError(error.came.replace(str(path), "the file")) from None


def compared(answer: Runner, network: Callable[[Tensor], Tensor], samples: Tensor, within: float = TOLERANCE) -> float:
    """The largest difference of a file's logits from the network's, in shares of the range of these.

    Args:
        answer: the file, which is asked with batches of all `BATCHES`.
        network: prepared.
        samples: real examples [N, ...].
        within: what differences must be below.

    Raises:
        ValueError: another shape, or a larger difference.
    """
    most = 0.0
    for inputs, logits_NC in asked(answer, samples):
        with torch.no_grad():
            own_NC = network(inputs).numpy()
        if len({logits_NC.shape, own_NC.shape, (len(inputs), own_NC.shape[-1])}) > 1:
            raise ValueError(
                f"of {len(inputs)} examples it makes {list(logits_NC.shape)}, the network {list(own_NC.shape)}"
            )
        # Rounding grows with the logits themselves, so that a range of nearly 0 is not all that counts.
        scale = max(float(np.ptp(own_NC)), 0.01 * float(np.abs(own_NC).max()), 1e-6)
        most = max(most, float(np.abs(logits_NC - own_NC).max()) / scale)
        if not most < within:
            raise ValueError(f"of {len(inputs)} examples its logits differ by {most:.2g} of their range")
    return most


def asked(answer: Runner, samples: Tensor) -> Iterator[tuple[Tensor, NDArray[np.float32]]]:
    """Inputs [N, ...] and the logits [N, C] of a file, N through `BATCHES`; samples are repeated where they are few."""
    for size in BATCHES:
        inputs = samples[torch.arange(size) % len(samples)]
        yield inputs, answer(np.ascontiguousarray(inputs.numpy()))


def cause(error: BaseException) -> str:
    """Of an error of another library, what it comes from, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if lacking := _NO_OPERATOR.search(text):
        return f"{lacking[1]} has no counterpart there"
    return next((words for sign, words in _CAUSES.items() if sign in text), first_line(Exception(text)))


def _rows(program: ExportedProgram, names: Sequence[Any]) -> list[str]:
    """The first size of values, as a number or a symbol."""
    return [str(node.meta["val"].shape[0]) for node in program.graph.nodes if node.name in names]


def deciding(network: nn.Module, samples: Tensor) -> list[str]:
    """The operators at which an open batch becomes one of a fixed size, as far as torch's log of its decisions tells.

    Args:
        network: prepared.
        samples: real examples [N, ...].
    """
    operators: dict[str, None] = {}

    def listen(record: logging.LogRecord) -> bool:
        if "[guard added]" in str(record.msg):
            operators[_operator_at(sys._getframe())] = None
        return False

    level = _DECISIONS.level
    _DECISIONS.setLevel(logging.INFO)
    _DECISIONS.addFilter(listen)
    try:
        with quietly("torch"):
            captured(network, samples, None)
    except Exception:  # it is looked at because it fails
        return list(operators)
    finally:
        _DECISIONS.removeFilter(listen)
        _DECISIONS.setLevel(level)
    return []


def with_operators(why: str, operators: list[str]) -> str:
    """A hindrance with the operators that it came from."""
    return f"{why} ({', '.join(operators)})" if operators else why


def _operator_at(frame: Any) -> str:
    """The operator that the code below is at, or the function of the network where there is none."""
    while frame is not None:
        called = frame.f_locals.get("func")
        if isinstance(called, torch._ops.OpOverload):
            return str(called).removesuffix(f".{called._overloadname}")
        if not frame.f_globals.get("__name__", "").startswith(("torch", "logging", __name__)):
            return f"{frame.f_code.co_name}()"
        frame = frame.f_back
    return "unknown"


def unfit(came: str) -> RecipeError:
    """A network that cannot be delivered, and why."""
    return RecipeError(
        f"the network {came}",
        expected="a network that answers a batch of examples with its logits [N, C] alone, always alike",
        do="mend its forward, or export to another format",
    )

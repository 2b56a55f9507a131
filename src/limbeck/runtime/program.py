"""A program of torch.export as a module: its graph is walked, operator by operator, never compiled to Python.

torch's own loader evaluates the expressions in a file and turns its names into Python source, so a file could run what
it likes. Here sizes are computed from the inputs, operators come from a list, and names are keys of a dict.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import DataError, first_line
from limbeck.runtime.archive import DTYPES, STRIDED, WHAT, Archive, Meta, Node, refused
from limbeck.runtime.fitting import Shape, check_shape, in_batches
from limbeck.runtime.operators import gives_a_list, makes_from_nothing, operator_of

MOST_NUMBERS = 2**32
"""Of one value for a batch of two."""
MOST_PARTS = 2**20
"""Of what an operator parts a tensor into."""
_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_CHOICES: dict[str, dict[int, Any]] = {
    "as_none": {True: None},
    "as_scalar_type": dict(DTYPES),
    "as_memory_format": dict(_FORMATS),
    "as_layout": {STRIDED: torch.strided},
}
"""By torch's number for them in such files."""
_SYMBOL = re.compile(r"Symbol\('([su]\d+)'(?:, \w+=True)*\)")
"""As torch writes an open size that is no expression."""
_WITH_BATCH = "export it with an open batch: dynamic_shapes=({0: torch.export.Dim('batch')},)"


@dataclass(frozen=True)
class _Value:
    """A value that was computed before, by its name."""

    name: str


@dataclass(frozen=True)
class _Here:
    """The device of the inputs, whatever device a program was exported on."""


@dataclass(frozen=True)
class _Step:
    """One operator.

    Args:
        function: what is called.
        positional, named: its arguments, with `_Value` and `_Here` in them.
        outputs: names of what it gives; a list of names where it gives a list.
        dead: names of values that no later step needs.
    """

    function: Callable[..., Any]
    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    outputs: tuple[Any, ...]
    dead: tuple[str, ...]


class Program(nn.Module):
    """One input [N, ...], one output [N, C]; parameters and buffers are tensors of its own.

    Args:
        archive: read from a file.

    Raises:
        DataError: operators or arguments of strangers, or a program that is no function of one batch.
    """

    def __init__(self, archive: Archive) -> None:
        super().__init__()
        self.path = archive.path
        module = archive.exported.graph_module
        self._held, self._input = _inputs(archive, module.signature.input_specs)
        self._output = _output(archive.path, module.signature.output_specs)
        meta = module.graph.tensor_values.get(self._input)
        if meta is None or DTYPES.get(meta.dtype, torch.int64).is_floating_point is False or not meta.sizes:
            raise _unfit(archive.path, "its input is no floating-point batch [N, ...]")
        self._dtype = DTYPES[meta.dtype]
        self.shape: Shape = tuple(size.as_int for size in meta.sizes[1:])
        self.least, self.most = _batch(archive, meta)
        self._steps = _steps(archive.path, module.graph.nodes, self._output)
        facts = [self._held, self._input, self._output, asdict(meta), [asdict(node) for node in module.graph.nodes]]
        self._digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        for place, name in enumerate(self._held.values()):
            if name not in archive.tensors:
                raise refused(archive.path, f"it lacks the tensor {name[:80]!r}")
            self.register_buffer(f"held_{place}", archive.tensors[name])
            if name in archive.learnt:
                delattr(self, f"held_{place}")
                self.register_parameter(f"held_{place}", nn.Parameter(archive.tensors[name], requires_grad=False))

    def extra_repr(self) -> str:
        """The graph's digest: a module is told from another by what it prints."""
        return self._digest

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers [N, C]."""
        return in_batches(self._answer, inputs.to(self._computed_in), least=self.least, most=self.most, join=torch.cat)

    @property
    def _computed_in(self) -> torch.dtype:
        """Its inputs' type as exported, or that of its weights once it was copied into another precision."""
        return next((held.dtype for held in self.parameters() if held.is_floating_point()), self._dtype)

    def _answer(self, inputs: Tensor) -> Tensor:
        return self._run(inputs, [getattr(self, f"held_{place}") for place in range(len(self._held))])

    def _run(self, inputs: Tensor, held: list[Tensor], most: int | None = None) -> Tensor:
        """Walk the graph; `most` is how many numbers a value may have."""
        values: dict[str, Any] = dict(zip(self._held, held, strict=True))
        values[self._input] = inputs
        for step in self._steps:
            positional = [_resolved(each, values, inputs.device) for each in step.positional]
            named = {name: _resolved(each, values, inputs.device) for name, each in step.named.items()}
            if most is not None and gives_a_list(step.function):
                _check_parts([*positional, *named.values()])
            result = step.function(*positional, **named)
            if most is not None and any(prod(each.shape) > most for each in _tensors(result)):
                raise OverflowError(f"{step.function} makes a value of more than {most:,} numbers")
            _bind(values, step.outputs, result)
            for name in step.dead:
                values.pop(name, None)
        answers: Tensor = values[self._output]
        return answers

    def rehearse(self, shape: tuple[int, ...]) -> None:
        """Run without numbers, to learn what the program does with examples of a shape before it may take memory.

        Raises:
            DataError: another shape, a program that fails or takes absurd memory, or that changes its own weights.
        """
        check_shape(self.path, self.shape, shape)
        held = [getattr(self, f"held_{place}").to("meta") for place in range(len(self._held))]
        versions = [tensor._version for tensor in held]
        batch = self.most or max(self.least, 2)
        inputs = torch.empty(min(batch, max(self.least, 2)), *shape, dtype=self._dtype, device="meta")
        try:
            with torch.no_grad():
                answers = self._run(inputs, held, MOST_NUMBERS)
        except Exception as error:  # of any operator
            raise _unfit(self.path, f"it fails on a batch of shape {list(inputs.shape)}: {first_line(error)}") from None
        if [tensor._version for tensor in held] != versions:
            raise _unfit(self.path, "it changes its own weights")
        if not isinstance(answers, Tensor) or answers.ndim != 2 or len(answers) != len(inputs):
            came = list(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
            raise _unfit(self.path, f"it answers {len(inputs)} examples with {came}")


def read_program(path: Path) -> Program:
    """The program in a file of torch.export; nothing in the file is run but operators of mathematics.

    Raises:
        DataError: a file that is no such program, or one that asks for more.
    """
    return Program(Archive(path))


# --- inputs and outputs ----------------------------------------------------------------------------------------------


def _inputs(archive: Archive, specs: list[dict[str, dict[str, Any]]]) -> tuple[dict[str, str], str]:
    """The names in the graph of what is held, each with the name of its tensor, and of the one input."""
    keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
    held: dict[str, str] = {}
    given: list[str] = []
    for spec in specs:
        kind, fields = _only(archive.path, spec)
        if kind == "user_input":
            given.append(_name(archive.path, fields.get("arg")))
        elif kind in keys:
            held[_name(archive.path, {"as_tensor": fields.get("arg")})] = str(fields.get(keys[kind]))
        else:
            raise _unfit(archive.path, f"it takes a {kind[:40]}")
    if len(given) != 1:
        raise _unfit(archive.path, f"it takes {len(given)} inputs")
    return held, given[0]


def _output(path: Path, specs: list[dict[str, dict[str, Any]]]) -> str:
    kinds = [_only(path, spec) for spec in specs]
    changed = [kind for kind, _ in kinds if kind != "user_output"]
    if changed:
        raise _unfit(path, f"it changes its own tensors ({changed[0][:40]}), as in training")
    if len(kinds) != 1:
        raise _unfit(path, f"it gives {len(kinds)} outputs")
    return _name(path, kinds[0][1].get("arg"))


def _batch(archive: Archive, meta: Meta) -> tuple[int, int | None]:
    """The least and the most examples of a batch."""
    first = meta.sizes[0]
    if first.as_int is not None:
        return max(first.as_int, 1), max(first.as_int, 1)
    expression = (first.as_expr or {}).get("expr_str")
    symbol = _SYMBOL.fullmatch(expression) if isinstance(expression, str) else None
    if symbol is None:
        raise DataError(
            f"{archive.path} takes batches of {str(expression)[:40]!r} examples",
            expected="batches of any size, or of one size",
            do=_WITH_BATCH,
        )
    allowed = archive.exported.range_constraints.get(symbol[1])
    least = max((allowed.min_val if allowed else None) or 1, 1)
    most = allowed.max_val if allowed else None
    if meta.layout != STRIDED or least > 2**16 or (most is not None and most < least):
        raise _unfit(archive.path, f"it takes batches of {least} to {most} examples")
    return least, None if most is None or most > 2**31 else most


# --- the graph -------------------------------------------------------------------------------------------------------


def _steps(path: Path, nodes: list[Node], output: str) -> tuple[_Step, ...]:
    """The nodes, each of which knows what it is the last to use."""
    steps: list[_Step] = []
    needed = {output}
    for node in reversed(nodes):
        function = operator_of(node.target)
        if function is None:
            raise DataError(
                f"{path} calls {node.target[:80]!r}",
                expected="operators of torch (aten) that only compute",
                do="export the network without custom operators, control flow and random numbers",
            )
        positional, named = [], {}
        for each in node.inputs:
            value = _argument(path, each.arg)
            if (each.name in ("train", "training") and value is True) or (each.name == "dropout_p" and value):
                raise _unfit(path, f"{node.target} is called as in training: model.eval() before the export")
            if each.kind == 2:
                named[each.name] = value
            else:
                positional.append(value)
        if makes_from_nothing(function):
            named["device"] = _Here()
        outputs = tuple(_target(path, each) for each in node.outputs)
        used = set(_names([*positional, *named.values()])) | {name for each in outputs for name in _flat(each)}
        steps.append(_Step(function, tuple(positional), named, outputs, tuple(used - needed)))
        needed |= used
    return tuple(reversed(steps))


def _argument(path: Path, arg: dict[str, Any]) -> Any:
    """An argument as Python's: a number, a type, a name of a value, or a list of these."""
    kind, value = _only(path, arg)
    if kind in _CHOICES and isinstance(value, int) and value in _CHOICES[kind]:
        return _CHOICES[kind][value]
    match kind, value:
        case (("as_tensor" | "as_sym_int" | "as_sym_bool" | "as_sym_float" | "as_optional_tensor"), dict()):
            return _one(path, value)
        case (("as_tensors" | "as_sym_ints" | "as_sym_bools" | "as_sym_floats" | "as_optional_tensors"), list()):
            return [_one(path, each) for each in value]
        case (("as_int" | "as_bool"), bool() | int()):
            return value
        case "as_string", str():
            return value
        case "as_float", float() | int() | "Infinity" | "-Infinity" | "NaN":
            return float(value)
        case (("as_ints" | "as_floats" | "as_bools"), list()) if all(isinstance(each, int | float) for each in value):
            return list(value)
        case "as_device", dict():
            return _Here()
    raise _unfit(path, f"an operator of it is given a {kind[:40]}")


def _one(path: Path, value: Any) -> Any:
    """A name, a number, or nothing, as they stand in lists and alone."""
    match value:
        case {"name": str(name)} | {"as_name": str(name)} | {"as_tensor": {"name": str(name)}}:
            return _Value(name)
        case {"as_int": int(number)} | {"as_float": float(number)} | {"as_bool": bool(number)}:
            return number
        case {"as_none": True}:
            return None
    raise _unfit(path, "an operator of it is given what is neither a value nor a number")


def _target(path: Path, output: dict[str, Any]) -> str | list[str] | None:
    """The name of what a step gives, the names where it gives a list, None where nobody wants it."""
    value = _argument(path, output)
    if value is None:
        return None
    names = [each.name for each in (value if isinstance(value, list) else [value]) if isinstance(each, _Value)]
    if not names:
        raise _unfit(path, "an operator of it gives something without a name")
    return names if isinstance(value, list) else names[0]


def _flat(output: str | list[str] | None) -> list[str]:
    return [output] if isinstance(output, str) else output or []


def _names(value: Any) -> list[str]:
    if isinstance(value, _Value):
        return [value.name]
    return [name for each in value for name in _names(each)] if isinstance(value, list) else []


def _resolved(value: Any, values: dict[str, Any], device: torch.device) -> Any:
    if isinstance(value, _Value):
        return values[value.name]
    if isinstance(value, _Here):
        return device
    return [_resolved(each, values, device) for each in value] if isinstance(value, list) else value


def _bind(values: dict[str, Any], outputs: tuple[Any, ...], result: Any) -> None:
    given = (result,) if len(outputs) == 1 else result
    if not outputs:
        return
    for target, each in zip(outputs, given, strict=True):
        if isinstance(target, list):
            values.update(zip(target, each, strict=True))
        elif target is not None:
            values[target] = each


def _check_parts(arguments: list[Any]) -> None:
    numbers = [each for each in arguments if isinstance(each, int)]
    numbers += [size for each in arguments if isinstance(each, Tensor) for size in each.shape]
    if max(numbers, default=0) > MOST_PARTS:
        raise OverflowError(f"a tensor is parted into up to {max(numbers):,}")


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [each for each in result if isinstance(each, Tensor)] if isinstance(result, tuple | list) else []


# --- errors ----------------------------------------------------------------------------------------------------------


def _only(path: Path, union: dict[str, Any]) -> tuple[str, Any]:
    """The one member of a union of the schema."""
    if len(union) != 1:
        raise refused(path, "its graph is not as torch writes it")
    return next(iter(union.items()))


def _name(path: Path, arg: Any) -> str:
    match arg:
        case {"as_tensor": {"name": str(name)}}:
            return name
    raise _unfit(path, "it takes or gives something else than tensors")


def _unfit(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} cannot be a teacher: {why}",
        expected=f"{WHAT}: in evaluation mode, one batch in, one tensor of logits [N, classes] out",
        do=f"model.eval() first, return the logits alone, and {_WITH_BATCH}",
    )

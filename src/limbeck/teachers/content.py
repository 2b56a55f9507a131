"""What a Python object holds, as one number: for teachers that are neither tensors nor files."""

import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
RANDOM = (np.random.RandomState, np.random.Generator, np.random.BitGenerator)
"""Their state decided a fit, not an answer; whatever draws while it answers says something else the second time."""
COUNTING = ("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree")
"""Modules whose objects count how often they were asked; their estimator holds the metric."""


class NoContent(Exception):
    """An object that holds what has no content of its own: a lambda, an open file, a lock."""


def content_of(value: Any) -> str:
    """sha256 of all that an object holds, however deep: the same after a copy or a way through a file.

    Objects are taken apart as `pickle` would, without writing one. Memory addresses, sharing and the padding of
    structures are nothing to it; the last bit of every number is.

    Raises:
        NoContent: a part of it has none.
    """
    try:
        return _Walk().digest(value).hex()
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise NoContent(str(error)) from error


class _Walk:
    """Each part is taken apart once: parts that are shared a million times over cost no more than one."""

    def __init__(self) -> None:
        self.known: dict[int, bytes] = {}
        self.under_way: dict[int, int] = {}
        self.kept: list[Any] = []
        """Parts whose address stands for them, some of which nobody else would keep alive."""

    def digest(self, value: Any) -> bytes:
        if isinstance(value, PLAIN):
            return _sha256(type(value).__name__, repr(value).encode())
        name = id(value)
        if name in self.known:
            return self.known[name]
        if name in self.under_way:
            return _sha256("the part that holds it", str(len(self.under_way) - self.under_way[name]).encode())
        self.under_way[name] = len(self.under_way)
        self.kept.append(value)
        found = _sha256(type(value).__qualname__, *self._parts(value))
        del self.under_way[name]
        self.known[name] = found
        return found

    def _parts(self, value: Any) -> Iterator[bytes]:
        if isinstance(value, np.ndarray | np.generic):
            yield from self._of_array(np.asarray(value))
        elif isinstance(value, type | FunctionType | BuiltinFunctionType):
            yield _address(value)
        elif isinstance(value, dict | list | tuple | functools.partial):
            yield from map(self.digest, _members(value))
        elif isinstance(value, set | frozenset):
            yield from sorted(map(self.digest, value))
        elif isinstance(value, ModuleType):
            yield value.__name__.encode()
        elif isinstance(value, RANDOM):
            return
        elif type(value).__module__ in COUNTING:
            yield from map(self.digest, value.get_arrays())
        else:
            yield from self._of_object(value)

    def _of_array(self, array: np.ndarray[Any, Any]) -> Iterator[bytes]:
        yield f"{array.dtype.str} {array.shape}".encode()
        if array.dtype.names is not None:
            # Field by field: between them lies whatever was in that memory before.
            for field in array.dtype.names:
                yield field.encode()
                yield from self._of_array(array[field])
        elif array.dtype.hasobject:
            yield from map(self.digest, array.ravel().tolist())
        else:
            yield hashlib.sha256(np.ascontiguousarray(array).data if array.size else b"").digest()

    def _of_object(self, value: Any) -> Iterator[bytes]:
        reduced = value.__reduce_ex__(4)
        if isinstance(reduced, str):  # a name in its module, as numpy's functions have
            yield f"{type(value).__module__} {reduced}".encode()
            return
        yield from map(self.digest, reduced[:3])
        for more in reduced[3:5]:  # the items of a list, the pairs of a mapping
            yield from map(self.digest, more or ())


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, functools.partial):  # pickle would also take its attributes, which come to be by looking
        return value.func, value.args, value.keywords
    return (part for pair in value.items() for part in pair) if isinstance(value, dict) else value


def _address(thing: type | Callable[..., Any]) -> bytes:
    """Where an importable class or function stands; what its code says, its module's version decides.

    Raises:
        NoContent: it stands nowhere, such as a lambda.
    """
    module, name = getattr(thing, "__module__", None) or "", thing.__qualname__
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not thing and not isinstance(thing, BuiltinFunctionType):
        raise NoContent(f"{module}.{name} is made on the way")
    return f"{module}.{name}".encode()


def _sha256(kind: str, *parts: bytes) -> bytes:
    total = hashlib.sha256(kind.encode())
    for part in parts:
        total.update(f" {len(part)} ".encode())
        total.update(part)
    return total.digest()


def parts_within(value: Any) -> Iterator[Any]:
    """An object and all that it holds in attributes, lists, mappings and arrays of objects, each once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, PLAIN) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting.extend(_held(one))


def _held(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype.hasobject else ()
    return getattr(value, "__dict__", {}).values() if not isinstance(value, type | ModuleType) else ()

"""Recipes as text: YAML 1.2 read with suspicion, and errors in words.

Nothing is executed: tags, anchors and aliases are refused, as are duplicate keys, deep nesting and large files.
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.representer import SafeRepresenter

from limbeck.errors import RecipeError

MOST_BYTES = 256 * 1024
MOST_DEPTH = 20
MOST_NAMED = 5
"""Errors that one message names; the others are counted."""
ALIASES = {"distill": ["temperature", "distillation_temp"]}
"""Keys of the file form that no class has: conveniences, undone on reading."""

T = TypeVar("T")


def read_yaml(path: Path) -> Any:
    """The plain values in a YAML file.

    Raises:
        RecipeError: no such file, too large, or not plain YAML.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RecipeError(
            f"{path} could not be read: {error.strerror}",
            expected="a recipe in YAML",
            do="check the path; examples/ has recipes to begin with",
        ) from None
    if len(data) > MOST_BYTES:
        raise RecipeError(
            f"{path} is larger than {MOST_BYTES:,} bytes",
            expected="a recipe, which is a page or two of YAML",
            do="name data by its path instead of writing it into the recipe",
        )
    try:
        return parse_yaml(data.decode(), where=str(path))
    except UnicodeDecodeError as error:
        raise _not_yaml(str(path), f"not UTF-8 text ({error.reason} at byte {error.start})") from None


def parse_yaml(text: str, *, where: str) -> Any:
    """The plain values in YAML text: scalars as YAML 1.2 has them, so that 1e-3 is a number and no a string.

    Raises:
        RecipeError: likewise.
    """
    try:
        _refuse_cleverness(text, where)
        return _yaml().load(text)
    except RecipeError:
        raise
    except (YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        raise _not_yaml(where, f"line {mark.line + 1}: {problem}" if mark else problem) from None


def write_yaml(tree: Any) -> str:
    """Plain values as YAML text."""
    stream = io.StringIO()
    _yaml().dump(tree, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """It quotes a text that begins with a question mark, which would be read as a key in `{...}`."""


_Representer.add_representer(
    str,
    lambda own, text: own.represent_scalar("tag:yaml.org,2002:str", text, style="'" if text.startswith("?") else None),
)


def _yaml() -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 110
    yaml.representer.ignore_aliases = lambda _: True  # what is named twice is written twice: we read no anchors
    return yaml


def _refuse_cleverness(text: str, where: str) -> None:
    depth = 0
    for event in _yaml().parse(text):
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            raise _not_yaml(where, f"line {event.start_mark.line + 1}: an anchor or alias")
        if getattr(event, "tag", None):
            raise _not_yaml(where, f"line {event.start_mark.line + 1}: the tag {event.tag}")
        if getattr(event, "version", None):  # %YAML 1.1 would make a boolean of `no`
            raise _not_yaml(where, f"line {event.start_mark.line + 1}: a % directive")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise _not_yaml(where, f"line {event.start_mark.line + 1}: nesting deeper than {MOST_DEPTH}")


def _not_yaml(where: str, why: str) -> RecipeError:
    return RecipeError(
        f"{where} is not a plain YAML recipe: {why}",
        expected="mappings, lists, numbers and strings, each key once, no tags, no anchors",
        do="mend that line",
    )


# --- from plain values to frozen ones ------------------------------------------------------------------------------


def build(kind: type[T], tree: Any, *, where: str, do: str = "mend it in the file or with --set") -> T:
    """A dataclass from plain values, strictly: no key too many, no string for a number.

    Raises:
        RecipeError: naming every key at fault, with the nearest known one for a key that is not.
    """
    _check_plain(tree, "", where, do)
    try:
        # In JSON's strict mode lists become tuples and mappings dataclasses, and nothing else is converted.
        text = json.dumps(tree, default=_plain)
        built: T = _reader(kind).validate_json(text, strict=True, extra="forbid")  # type: ignore[arg-type]
    except ValidationError as error:
        every = error.errors(include_url=False)
        found = [one for one in every if not _beside_the_point(one)] or every
        problems = dict(_problem(kind, one) for one in found)
        many = f"{len(problems)} errors" if len(problems) > 1 else "an error"
        more = " ..." if len(problems) > MOST_NAMED else ""
        raise RecipeError(
            f"{where} has {many}: " + "; ".join([*problems][:MOST_NAMED]) + more,
            expected="; ".join(dict.fromkeys([*problems.values()][:MOST_NAMED])),
            do=f"{do}; docs/recipe.md has every key",
        ) from None
    return built


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    """Made once: it takes longer than reading does."""
    return TypeAdapter(kind)


def _check_plain(value: Any, name: str, where: str, do: str) -> None:
    """Refuse what YAML can say and a recipe cannot: keys that are no names, numbers that are not finite."""
    if is_dataclass(value):
        value = _plain(value)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise RecipeError(f"{where} has the key {key!r}", expected="names as keys", do=do)
            _check_plain(item, f"{name}.{key}".lstrip("."), where, do)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _check_plain(item, f"{name}.{place}", where, do)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{where} has an error: {name} is {value}", expected=f"{name}: a finite number", do=do)


def _plain(value: Any) -> Any:
    """What Python hands over instead of plain values: settings, arrays of numpy, a range; else its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, range) else str(value)


def _beside_the_point(error: Any) -> bool:
    """Whether an error speaks of the member of a union that was not meant: a number where a mapping came, or not."""
    labels = [part for part in error["loc"] if _is_label(part)]
    if not labels:
        return False
    mapping = isinstance(error.get("input"), dict)
    if labels[-1].startswith("tagged-union"):
        return not mapping and error["loc"][-1] == labels[-1]
    return mapping


def _is_label(part: Any) -> bool:
    """Whether a part of a location is pydantic's name for a member of a union, which a file does not spell."""
    return isinstance(part, str) and (part in ("float", "int") or part.startswith(("tagged-union[", "literal[")))


def _problem(kind: type, error: Any) -> tuple[str, str]:
    """What came and what was expected, for one error of pydantic."""
    location, value = error["loc"], error.get("input")
    place = _place(kind, location)
    match error["type"]:
        case "unexpected_keyword_argument":
            return f"unknown key {place.name}{hint(location[-1], place.known)}", f"one of {', '.join(place.known)}"
        case "missing" | "missing_argument":
            return f"{place.name} is missing", f"{place.name} to be given"
        case "union_tag_invalid" | "union_tag_not_found":
            key = str(error["ctx"]["discriminator"]).strip("'")
            name = place.name if place.name.endswith(f".{key}") else f"{place.name}.{key}"
            came = value.get(key) if isinstance(value, dict) else value
            tags = [tag for tag in _options(place.kind) if tag != "python"]
            return f"{name} is {shown(came)}{hint(came, tags)}", f"{name}: one of {', '.join(tags)}"
        case "value_error":
            return f"{place.name}: {error['ctx']['error']}".removeprefix(": "), "values that fit"
        case "dataclass_type" | "dict_type":
            first = next((fields(member)[0].name for member in _options(place.kind).values()), None)
            names = ", ".join(tag for tag in _options(place.kind) if tag != "python")
            which = f" with {first}: one of {names}" if first else ""
            return f"{place.name} is {shown(value)}", f"{place.name}: a mapping{which}"
        case _:
            expected = error["msg"].removeprefix("Input should be ").replace("array", "list")
            return f"{place.name} is {shown(value)}", f"{place.name}: {expected}"


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def hint(came: Any, known: Sequence[str]) -> str:
    """The nearest known name in brackets, where one is near."""
    near = get_close_matches(came, known, n=1) if isinstance(came, str) else []
    return f" (did you mean {near[0]}?)" if near else ""


@dataclass
class _Place:
    """A place in the tree: its dotted name as in a file, the keys known beside it, and what belongs there."""

    name: str
    known: list[str]
    kind: Any


def _place(kind: Any, location: tuple[Any, ...]) -> _Place:
    names: list[str] = []
    known: list[str] = []
    beside: list[str] = []
    for part in location:
        kind = _present(kind)
        options = _options(kind)
        if _is_label(part):
            continue
        if part in options:  # the tag of a union, which a file does not spell as a key
            kind = options[part]
            continue
        if is_dataclass(kind):
            known = [f.name for f in fields(kind)] + beside + ALIASES.get(".".join(names), [])
            beside = []
            kind = get_type_hints(kind, include_extras=True).get(str(part))
        elif get_args(kind):
            kind = get_args(kind)[0]
        if names == ["data"] and part == "source":  # in a file the fields of a source stand beside those of data
            beside = known
        else:
            names.append(str(part))
    return _Place(".".join(names), list(dict.fromkeys(known)), _present(kind))


def _present(kind: Any) -> Any:
    """X, of `X | None`: a section that a recipe may leave out; any other type as it is."""
    some = [member for member in get_args(kind) if member is not NoneType]
    return some[0] if get_origin(kind) in (Union, UnionType) and len(some) == 1 else kind


def _options(kind: Any) -> dict[str, Any]:
    """The members of a union of dataclasses by their tags, the values of their first field; else nothing."""
    return {
        tag: member
        for member in _members(kind)
        if is_dataclass(member)
        for tag in get_args(get_type_hints(member)[fields(member)[0].name])
        if isinstance(tag, str)
    }


def _members(kind: Any) -> list[Any]:
    """The members of a union, or of the unions within it; none of another type."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) not in (Union, UnionType):
        return []
    inner = [_members(member) or [member] for member in get_args(kind)]
    return [member for members in inner for member in members]

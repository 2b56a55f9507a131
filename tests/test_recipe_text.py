import datetime
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.recipe_text import MOST_BYTES, MOST_DEPTH, build, parse_yaml, read_yaml, write_yaml


def refusal(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, where="r.yaml")
    assert caught.value.exit_status == 2
    assert caught.value.came.startswith("r.yaml is not a plain YAML recipe: ")
    assert "\n" not in caught.value.came
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("010", 10),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("'1'", "1"),
        ("", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object):
    found = parse_yaml(f"a: {text}", where="r")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3"),
        ("{a: {b: 1, b: 2}}", "duplicate key"),
        ("a: !!python/object/apply:os.system [echo]", "the tag"),
        ("a: !import x", "the tag !import"),
        ("a: !!str 1", "the tag"),
        ("a: &x 1\nb: *x", "line 1: an anchor or alias"),
        ("a: *x", "anchor or alias"),
        ("a: {<<: *x}", "anchor or alias"),
        ("%YAML 1.1\n---\na: no", "a % directive"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: [1", "line 1"),
        ("a:\n\t- 1", "line 2"),
        ("a: 'x", "line 1"),
        ("a: \x00", "special characters"),
        ("[" * 100, f"nesting deeper than {MOST_DEPTH}"),
        ("{a: " * 100, f"nesting deeper than {MOST_DEPTH}"),
        ("\n".join(" " * i + "a:" for i in range(100)), f"nesting deeper than {MOST_DEPTH}"),
    ],
)
def test_what_is_not_plain_is_refused(text: str, why: str):
    assert why in refusal(text).came


def test_billions_of_laughs_are_not_laughed():
    lines = [
        "a: &a [lol, lol]",
        *(f"{b}: &{b} [*{a}, *{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ]
    assert "an anchor or alias" in refusal("\n".join(lines)).came


@given(st.text(max_size=60) | st.text("[]{}:,-&*!|>'\"%@`#? \n\tab01", max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str):
    with suppress(RecipeError):
        parse_yaml(text, where="r.yaml")


def test_a_file_of_another_kind(tmp_path: Path):
    path = tmp_path / "r.yaml"
    for data, why in ((b"\xff\xfe\x00", "not UTF-8"), (b"\x93NUMPY\x01", "not UTF-8"), (b"PK\x03\x04", "special")):
        path.write_bytes(data)
        with pytest.raises(RecipeError, match=why):
            read_yaml(path)


def test_a_large_file_is_not_even_read(tmp_path: Path):
    path = tmp_path / "r.yaml"
    with open(path, "wb") as file:
        file.truncate(10 * 2**20)
    with pytest.raises(RecipeError, match=f"larger than {MOST_BYTES:,} bytes"):
        read_yaml(path)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: [2]\r\n")
    assert read_yaml(path) == {"a": 1, "b": [2]}


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
@example({"a": "?0"})
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_again(value: object):
    found = parse_yaml(write_yaml({"a": value}), where="r")["a"]
    assert found == value
    assert repr(found) == repr(value)


@dataclass(frozen=True, kw_only=True)
class Few:
    counts: tuple[int, ...] = ()
    share: float = 0.0
    name: str = ""


def test_building_converts_nothing_but_lists_and_numpy():
    built = build(Few, {"counts": np.arange(3), "share": np.float32(0.5)}, where="x")
    assert built == Few(counts=(0, 1, 2), share=0.5)
    assert build(Few, {"counts": range(2)}, where="x").counts == (0, 1)
    for values in ({"counts": ["1"]}, {"share": "0.5"}, {"name": 1}, {"counts": 1.0}, {"counts": {"a": 1}}):
        with pytest.raises(RecipeError, match="x has an error"):
            build(Few, values, where="x")
    assert build(Few, {"name": datetime.date(2026, 1, 2)}, where="x").name == "2026-01-02"


def test_what_is_shared_is_written_twice():
    shared = {"a": [1, 2]}
    assert parse_yaml(write_yaml({"x": shared, "y": shared}), where="r") == {"x": shared, "y": shared}

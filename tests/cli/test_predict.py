"""`limbeck predict`: what is printed, and what is refused."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import limbeck
from bundles import deliver
from limbeck.cli.output import on_one_line, print_json
from limbeck.data import Column, Encode
from running import limbeck_says


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A student of a table with two columns."""
    torch.manual_seed(0)
    encode = Encode(columns=(Column(name="hours", mean=40.0, std=10.0), Column(name="work", vocabulary=("a", "b"))))
    stored = torch.tensor([[30.0, 1], [50.0, 2], [40.0, 0]])
    inputs = {"kind": "rows", "delimiter": ",", "missing": ["", "?"], "columns": None}
    place = tmp_path_factory.mktemp("bundle") / "onnx"
    return deliver(place, nn.Linear(3, 3), stored, encode, inputs, ("low", "middle", "high"))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("work,label,hours\na,low,30\nnew,?,50\n")
    return path


@pytest.fixture
def expected(bundle):
    stored = np.array([[30, 1], [50, 0]], np.float32)
    return limbeck.load_bundle(bundle).probabilities(stored)


def test_a_line_for_each_example(bundle, table, expected):
    said = limbeck_says("predict", bundle, table)
    assert said.status == 0
    names = ("low", "middle", "high")
    lines = []
    for row, one in enumerate(expected, start=1):
        order = sorted(range(3), key=lambda place: -one[place])
        lines.append(f"{table}:{row}  " + "  ".join(f"{names[place]} {one[place]:.4f}" for place in order))
    assert said.out.splitlines() == lines


def test_a_line_stays_one_whatever_the_names(bundle, table):
    odd = table.rename(table.with_name("a\nb\u2028c\x1b[2J чай.csv"))
    said = limbeck_says("predict", bundle, odd)
    first, _ = said.out.splitlines()
    assert first.startswith(f"{table.parent}/a\\nb\\u2028c\\x1b[2J чай.csv:1  ")
    assert json.loads(limbeck_says("predict", bundle, odd, "--json").out)[0]["file"] == str(odd)


@given(st.text(st.characters()))
def test_any_text_is_shown_on_one_line(text):
    assert len(f"|{on_one_line(text)}|".splitlines()) == 1
    on_one_line(text).encode()


def test_json_may_name_a_file_that_is_no_text(capsys):
    print_json("a\udcff чай")
    assert json.loads(capsys.readouterr().out.encode()) == "a\udcff чай"


def test_an_example_without_an_answer_is_named(bundle, tmp_path):
    stored = np.ones((300, 2), np.float32)
    stored[298, 0] = np.inf
    np.save(tmp_path / "x.npy", stored)
    said = limbeck_says("predict", bundle, tmp_path / "x.npy")
    assert said.status == 3
    assert re.search(r"row 299 of .*x\.npy is answered with the logit (nan|-?inf)", said.err)


def test_json_has_all_probabilities(bundle, table, expected):
    said = limbeck_says("predict", bundle / "model.onnx", table, "--json")
    first, second = json.loads(said.out)
    assert first["file"] == str(table)
    assert (first["row"], second["row"]) == (1, 2)
    assert list(first["probabilities"]) == ["low", "middle", "high"]
    np.testing.assert_allclose(list(second["probabilities"].values()), expected[1], atol=1e-6)
    best = max(first["probabilities"], key=first["probabilities"].get)
    assert (first["label"], first["probability"]) == (best, first["probabilities"][best])


def test_top_and_temperature(bundle, table):
    cold, hot = (limbeck_says("predict", bundle, table, "--top", 1, "-T", t).out.split() for t in (0.01, 1000))
    assert len(cold) == len(hot) == 6
    assert float(cold[2]) > 0.99
    assert float(hot[2]) == pytest.approx(1 / 3, abs=0.01)


def test_what_is_unknown_is_told(bundle, table, caplog):
    limbeck_says("predict", bundle, table)
    assert "read as missing: work (1)" in caplog.text


@pytest.mark.parametrize(
    ("words", "status", "begin"),
    [
        (("--temperature", "0"), 2, "limbeck: temperature 0"),
        (("--temperature", "nan"), 2, "limbeck: temperature nan"),
        (("--top", "0"), 2, "limbeck: --top 0"),
        (("--threads", "0"), 2, "limbeck: --threads 0"),
    ],
)
def test_options_that_cannot_be_used(bundle, table, words, status, begin):
    said = limbeck_says("predict", bundle, table, *words)
    assert said.status == status
    assert said.err.startswith(begin)
    assert said.out == ""


def test_a_lacking_column_is_named(bundle, tmp_path):
    (tmp_path / "table.csv").write_text("hours,label\n30,low\n")
    said = limbeck_says("predict", bundle, tmp_path / "table.csv")
    assert said.status == 3
    assert "has no column work; it has hours, label" in said.err

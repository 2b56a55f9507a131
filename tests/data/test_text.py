import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import from_arrays, text_bytes, texts_of
from limbeck.errors import DataError

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(TEXT, min_size=1, max_size=8))
def test_texts_come_back_from_their_bytes(texts):
    inputs, cut = text_bytes(texts)
    assert inputs.dtype == torch.uint8
    assert texts_of(inputs) == texts
    assert cut == 0


@given(TEXT, st.integers(1, 12))
def test_a_long_text_is_cut_between_characters_and_counted(text, most):
    inputs, cut = text_bytes([text], most)
    (kept,) = texts_of(inputs)
    assert text.startswith(kept)
    assert cut == (len(text.encode()) > most)
    assert len(kept.encode()) <= inputs.shape[1] <= most
    # No further character would have fitted.
    assert kept == text or len(text[: len(kept) + 1].encode()) > most


@pytest.mark.parametrize(("text", "why"), [("a\0b", "NUL"), ("half \ud800", "surrogates")])
def test_a_text_that_could_not_come_back_is_refused(text, why):
    with pytest.raises(DataError, match=f"text 1 cannot be stored.*{why}"):
        text_bytes(["fine", text])


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda x: np.array(x, dtype=object)])
def test_texts_in_python_are_stored_as_bytes(kind):
    splits = from_arrays(
        (kind(["good", "awful film", "né"]), [1, 0, 1]), (kind(["so very awful, so very long", ""]), [0, 1])
    )
    assert texts_of(splits.train.inputs) == ["good", "awful film", "né"]
    assert splits.train.input_shape == (10,)
    assert texts_of(splits.test.inputs) == ["so very aw", ""]
    assert splits.facts == {"texts_cut": [0, 1]}
    assert splits.preprocess.scale == 1.0


def test_the_key_of_a_text_is_that_of_its_content_alone():
    short, long = (from_arrays((["a", "b", other], [0, 1, 0]), (["c", "e"], [0, 1])) for other in ("d", "much longer"))
    assert torch.equal(short.train.keys[:2], long.train.keys[:2])
    assert bytes(short.train.keys[0].tolist()) == hashlib.sha256(b"text\0a").digest()

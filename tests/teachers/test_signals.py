"""What a fit hears: stored and live answers are the same bits, shuffled ones keep what they must."""

import pytest
import torch
from asking import FIRST, examples_of, teacher

from limbeck.teachers import Live, Stored, TableTeacher
from limbeck.teachers.encoding import halved


@pytest.mark.parametrize("scale", [1.0, 1e6], ids=["fp16", "fp32"])
@pytest.mark.parametrize("count", [40, 512])
def test_live_and_stored_are_one_for_one_shape_of_batch(open_store, scale, count):
    who, examples = teacher(), examples_of(count)
    who.module.factor = scale
    stored = open_store(who, examples).signals
    assert stored.tensors["logits"].dtype == (torch.float16 if scale == 1.0 else torch.float32)
    # The store asks in the order of the keys.
    rows = examples.groups.argsort()
    live = Live(who, examples)
    answer = live.fetch(rows, examples.inputs[rows], FIRST).logits
    assert torch.equal(answer, stored.fetch(rows, examples.inputs[rows], FIRST).logits)
    assert answer.dtype == torch.float32
    some = rows[3:17]
    torch.testing.assert_close(
        live.fetch(some, examples.inputs[some], FIRST).logits, stored.fetch(some, examples.inputs[some], FIRST).logits
    )


def test_a_live_answer_is_of_the_view_and_a_stored_one_of_the_example(open_store):
    who, examples = teacher(), examples_of(8)
    stored = open_store(who, examples).signals
    rows, view = torch.arange(8), 255 - examples.inputs
    assert torch.equal(stored.fetch(rows, view, FIRST).logits, stored.fetch(rows, examples.inputs, FIRST).logits)
    live = Live(who, examples)
    assert not torch.equal(live.fetch(rows, view, FIRST).logits, live.fetch(rows, examples.inputs, FIRST).logits)


def test_a_live_table_answers_by_key():
    examples, table = examples_of(8), torch.arange(24.0).reshape(8, 3)
    live = Live(TableTeacher(table, examples), examples)
    rows = torch.tensor([5, 5, 0])
    assert torch.equal(live.fetch(rows, examples.inputs[rows], FIRST).logits, table[rows])


def test_shuffled_signals_keep_the_prediction_and_every_row_once():
    stored = Stored({"logits": torch.randn(300, 4, generator=torch.Generator().manual_seed(0)).half()})
    before = stored.tensors["logits"].clone()
    shuffled = stored.shuffled(7)
    assert torch.equal(stored.tensors["logits"], before)
    assert torch.equal(shuffled.tensors["logits"].argmax(1), before.argmax(1))
    assert sorted(shuffled.tensors["logits"].tolist()) == sorted(before.tolist())
    assert (shuffled.tensors["logits"] != before).any(dim=1).double().mean() > 0.9
    assert torch.equal(stored.shuffled(7).tensors["logits"], shuffled.tensors["logits"])
    assert not torch.equal(stored.shuffled(8).tensors["logits"], shuffled.tensors["logits"])


def bears_half(values):
    return halved(values).dtype == torch.float16


def test_half_precision_is_borne_where_it_is_faithful():
    assert bears_half(torch.randn(100, 10) * 30)
    assert bears_half(torch.zeros(3, 4))
    assert bears_half(torch.tensor([[1e-9, 20.0]])), "a vanished logit beside a large one is nothing"
    assert not bears_half(torch.tensor([[1.0, 2.0], [7e4, 1.0]]))
    assert not bears_half(torch.tensor([[1e-9, 2e-9]])), "a row that vanishes altogether"
    assert not bears_half(torch.randn(100, 10) * 3 + 2000), "an offset that softmax does not see hides no error"

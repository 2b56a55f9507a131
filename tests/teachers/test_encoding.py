"""How logits are written down, and the measured loss of it."""

import numpy as np
import pytest
import torch
from asking import FIRST, examples_of, net, teacher
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.teachers import Encoding, Labels, Live, TableTeacher, ask_all, spread
from limbeck.teachers.encoding import halved

TOP2 = Encoding(Labels(encoding="top-k", k=2), (1.0, 4.0))


def logits_of(seed, examples=40, classes=7, size=3.0):
    return size * torch.randn(examples, classes, generator=torch.Generator().manual_seed(seed))


def softmax(rows):
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("options", [{"encoding": "top-k"}, {"k": 3}, {"encoding": "top-k", "k": 0}])
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="k "):
        Labels(**options)


@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-9, 1e-3, 1.0, 30.0, 1e5]))
@settings(max_examples=30, deadline=None)
def test_a_record_is_written_alike_whatever_stands_beside_it(seed, scale):
    rows = torch.cat([scale * logits_of(seed, 3), logits_of(seed + 1, 3)])
    together = halved(rows).float()
    alone = torch.cat([halved(row[None]).float() for row in rows])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("labels", [Labels(), Labels(encoding="fp16"), Labels(encoding="fp32")])
def test_what_is_lost_is_measured_beside_independent_numbers(labels):
    exact, encoding = logits_of(0), Encoding(labels)
    tensors = encoding.encode(exact)
    stored = encoding.decode(tensors, 7).logits.double().numpy()
    p, q = softmax(exact.double().numpy()), softmax(stored)
    lost = encoding.loss_of(exact, tensors)
    np.testing.assert_allclose(lost["errors"].numpy(), np.abs(stored - exact.double().numpy()).max(axis=1), atol=1e-7)
    np.testing.assert_allclose(lost["divergences"].numpy(), (p * np.log(p / q)).sum(axis=1), atol=2e-7)
    assert (lost["errors"].max() == 0) == (labels.encoding == "fp32")


def test_a_top_k_record_has_the_largest_and_the_mass_of_the_rest():
    exact = logits_of(1)
    signal = TOP2.decode(TOP2.encode(exact), 7)
    rows = exact.double().numpy()
    ids = np.argsort(-rows, axis=1)[:, :2]
    assert np.array_equal(signal.top.ids.numpy(), ids)
    kept = np.take_along_axis(rows, ids, axis=1) - rows.max(axis=1, keepdims=True)
    np.testing.assert_allclose(signal.logits.numpy(), kept, atol=5e-3)
    for t in (1.0, 4.0):
        p = softmax(rows / t)
        tail = 1 - np.take_along_axis(p, ids, axis=1).sum(axis=1)
        found = torch.cat([signal.logits / t, signal.top.tail(t)[:, None]], dim=1).softmax(1)[:, 2]
        np.testing.assert_allclose(found.numpy(), tail, rtol=1e-3)


def test_what_top_k_loses_is_the_shape_of_the_tail():
    exact = logits_of(2)
    rows = exact.double().numpy()
    p = softmax(rows)
    ids = np.argsort(-rows, axis=1)[:, :2]
    q = np.repeat((1 - np.take_along_axis(p, ids, axis=1).sum(axis=1, keepdims=True)) / 5, 7, axis=1)
    np.put_along_axis(q, ids, np.take_along_axis(p, ids, axis=1), axis=1)
    lost = TOP2.loss_of(exact, TOP2.encode(exact))
    np.testing.assert_allclose(lost["divergences"].numpy(), (p * np.log(p / q)).sum(axis=1), rtol=2e-3, atol=1e-5)


def test_all_classes_kept_leave_nothing_to_the_tail():
    exact = logits_of(3)
    for k in (7, 50):
        encoding = Encoding(Labels(encoding="top-k", k=k), (1.0,))
        signal = encoding.decode(encoding.encode(exact), 7)
        assert torch.equal(signal.top.tail(1.0), torch.full((40,), -torch.inf))
        torch.testing.assert_close(spread(signal).softmax(1), exact.softmax(1), rtol=0.01, atol=1e-4)


def test_an_offset_costs_a_top_k_record_no_digits():
    exact = logits_of(4)
    for shifted in (exact, exact + 3000):
        tensors = TOP2.encode(shifted)
        assert tensors["logits"].dtype == torch.float16
        assert tensors["ids"].dtype == torch.int16
        torch.testing.assert_close(tensors["tails"], TOP2.encode(exact)["tails"], rtol=1e-3, atol=1e-3)


# --- in the store ----------------------------------------------------------------------------------------------------


def test_a_top_k_store_holds_what_a_live_teacher_says(open_store):
    examples, who = examples_of(128), teacher(net())
    store = open_store(who, examples, encoding=TOP2)
    rows = examples.groups.argsort()  # as the store asked, in one batch
    live = Live(who, examples, TOP2).fetch(rows, examples.inputs[rows], FIRST)
    found = store.signals.fetch(rows, examples.inputs[rows], FIRST)
    assert torch.equal(live.logits, found.logits)
    assert torch.equal(live.top.ids, found.top.ids)
    assert all(torch.equal(live.top.tail(t), found.top.tail(t)) for t in (1.0, 4.0))


def test_the_manifest_tells_what_top_k_lost(open_store):
    examples, who = examples_of(100), teacher()
    manifest = open_store(who, examples, encoding=TOP2).manifest
    exact = ask_all(who, examples).double().numpy()
    tail = 1 - np.sort(softmax(exact), axis=1)[:, -2:].sum(axis=1)
    assert manifest["encoding"] == "top-2 fp16"
    assert manifest["mean_tail"] == pytest.approx(tail.mean(), rel=1e-3)
    assert manifest["largest_tail"] == pytest.approx(tail.max(), rel=1e-3)
    assert 0 < manifest["mean_error"] <= manifest["largest_error"] < 1e-2
    assert 0 <= manifest["mean_divergence"] <= manifest["largest_divergence"]


def test_a_shuffled_top_k_store_keeps_the_first_choice(open_store):
    examples, table = examples_of(60), logits_of(5, 60, 3)
    signals = open_store(TableTeacher(table, examples), examples, encoding=TOP2).signals
    rows = torch.arange(60)
    before, after = (each.fetch(rows, examples.inputs, FIRST) for each in (signals, signals.shuffled(3)))
    assert torch.equal(before.top.ids[:, 0], after.top.ids[:, 0])
    assert (before.logits != after.logits).any(dim=1).double().mean() > 0.5

"""Teachers that are tapped: their features are stored as their logits are, and never go stale either."""

import contextlib
import os
import random
import signal
import time

import pytest
import torch
from asking import CPU, FIRST, examples_of, net, sided, teacher
from test_store import fingerprints, interrupted
from torch import nn

import limbeck.teachers.labelling as labelling
from limbeck.data import Preprocess, derive_seed
from limbeck.errors import DataError, DiskError, RecipeError
from limbeck.files import MANIFEST, digest_tensors
from limbeck.models import ConvNet, initialise
from limbeck.progress import Stop, unwatched
from limbeck.teachers import (
    Audience,
    Encoding,
    Ensemble,
    Labels,
    Live,
    ModuleTeacher,
    Stored,
    ask_all,
    label,
    teacher_of,
)
from limbeck.teachers.store import read_answers
from limbeck.teachers.teacher import ask

PROBES = labelling.PROBES
TAPS = ("first", "norm")


@pytest.fixture
def small_shards(monkeypatch):
    """Four batches of eight in a shard."""
    monkeypatch.setattr(labelling, "SHARD_SIZE", 32)
    monkeypatch.setattr(labelling, "BATCH_SIZE", 8)


def convnet(taps=("conv1", "conv2")):
    module = initialise(ConvNet(channels=(4, 8)), (1, 4, 4), 3, derive_seed(0, "teacher"))
    return ModuleTeacher(module, Preprocess(scale=255.0), CPU, taps)


def same(signal, other):
    if isinstance(signal, Stored):
        pairs = [(values, other.tensors[name]) for name, values in signal.tensors.items()]
        return signal.tensors.keys() == other.tensors.keys() and all(torch.equal(*pair) for pair in pairs)
    return (
        torch.equal(signal.logits, other.logits)
        and signal.features.keys() == other.features.keys()
        and all(torch.equal(values, other.features[tap]) for tap, values in signal.features.items())
    )


# --- asked -----------------------------------------------------------------------------------------------------------


def test_a_tapped_teacher_is_asked_as_purely_as_any():
    module = net().train()
    module.norm.eval()
    before = digest_tensors({**dict(module.named_parameters()), **dict(module.named_buffers())})
    modes, examples = [part.training for part in module.modules()], examples_of(50)
    answer = teacher(module, taps=TAPS).answer(examples.inputs, examples.keys)
    assert list(answer.features) == list(TAPS)
    for values in (answer.logits, *answer.features.values()):
        assert values.dtype == torch.float32
        assert not values.requires_grad
        assert not values.is_inference()
    assert digest_tensors({**dict(module.named_parameters()), **dict(module.named_buffers())}) == before
    assert [part.training for part in module.modules()] == modes
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    module.eval()
    first = module.first(examples.inputs.float().flatten(1) / 255).detach()
    torch.testing.assert_close(answer.features["first"], first)
    torch.testing.assert_close(answer.features["norm"], module.norm(first).detach())


@pytest.mark.parametrize(("tapped", "plain"), [(teacher(taps=TAPS), teacher()), (convnet(), convnet(()))])
def test_taps_change_no_bit_of_the_logits(tapped, plain):
    examples = examples_of(100)
    assert torch.equal(ask_all(tapped, examples), ask_all(plain, examples))


def test_hooks_are_gone_when_the_teacher_fails():
    module = net()
    with pytest.raises(RuntimeError):
        teacher(module, taps=TAPS).answer(torch.zeros(2, 7), torch.zeros(2, 32, dtype=torch.uint8))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_teacher_that_infers_by_itself_can_be_tapped():
    class Inferring(type(net())):
        forward = torch.inference_mode()(type(net()).forward)

    module = Inferring()
    module.load_state_dict(net().state_dict())
    examples = examples_of(6)
    answer = teacher(module, taps=TAPS).answer(examples.inputs, examples.keys)
    assert same(answer, teacher(taps=TAPS).answer(examples.inputs, examples.keys))
    assert not any(values.is_inference() for values in (answer.logits, *answer.features.values()))


def test_features_can_be_part_of_a_loss_that_is_differentiated():
    examples, weight = examples_of(4), torch.ones(8, requires_grad=True)
    (teacher(taps=TAPS).answer(examples.inputs, examples.keys).features["first"] * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("dress", "words"),
    [
        (lambda x: x / 0, r"shape \(8, 16\) for 8 examples, 128 values"),
        (lambda x: x.masked_fill(torch.arange(16) == 3, torch.nan), "8 values of it NaN"),
        (lambda x: x[:1], r"shape \(1, 16\) for 8 examples"),
        (lambda x: x.repeat(2, 1), r"shape \(16, 16\) for 8"),
        (lambda x: x.reshape(4, -1, 16), r"shape \(4, 2, 16\) for 8"),
        (lambda x: x.mean(dim=1), r"shape \(8,\) for 8"),
        (lambda x: x.sum(), r"shape \(\) for 8"),
    ],
)
def test_features_that_cannot_be_learnt_from_are_refused_by_tap(dress, words, open_store, tmp_path, small_shards):
    who = teacher(sided(dress), taps=("first", "side"))
    with pytest.raises(DataError, match=f"tap 'side' gave .*{words}"):
        open_store(who, examples_of(20))
    assert not list(tmp_path.rglob(MANIFEST))
    assert not list(tmp_path.rglob("shard-*"))


@pytest.mark.parametrize("given", [lambda x: x, torch.zeros(6, 3), [net(), net(1)], Ensemble([net()])])
def test_what_has_no_parts_cannot_be_tapped(given):
    with pytest.raises(RecipeError, match="taps first, norm came with a teacher that is a"):
        teacher_of(given, Audience(examples_of(6), Preprocess(), CPU, TAPS))
    assert teacher_of(net(), Audience(examples_of(6), Preprocess(), CPU, TAPS)).taps == TAPS


def test_a_tap_that_the_teacher_lacks_is_refused(open_store):
    with pytest.raises(RecipeError, match="'norms' is no part of the teacher; did you mean 'norm'"):
        open_store(teacher(taps=("norms",)), examples_of(6))


# --- stored and live -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [teacher(taps=TAPS), convnet()], ids=["mlp", "channels_last"])
@pytest.mark.parametrize(("encoding", "dtype"), [("auto", torch.float16), ("fp32", torch.float32)])
def test_live_and_stored_are_one_for_one_shape_of_batch(open_store, who, encoding, dtype):
    examples, encoding = examples_of(128), Encoding(Labels(encoding=encoding))
    stored = open_store(who, examples, encoding=encoding).signals
    assert {values.dtype for values in stored.tensors.values()} == {dtype}
    rows = examples.groups.argsort()  # as the store asked, in one batch
    live = Live(who, examples, encoding).fetch(rows, examples.inputs[rows], FIRST)
    fetched = stored.fetch(rows, examples.inputs[rows], FIRST)
    assert same(live, fetched)
    assert {values.dtype for values in (live.logits, *live.features.values())} == {torch.float32}
    asked = ask(who, examples.inputs[rows], examples.keys[rows])
    for tap, values in asked.features.items():
        torch.testing.assert_close(fetched.features[tap], values, rtol=2**-10, atol=1e-6)


def test_live_features_are_of_the_view_and_stored_ones_of_the_example(open_store):
    who, examples = convnet(), examples_of(8)
    stored = open_store(who, examples).signals
    rows, view = torch.tensor([5, 5, 0]), examples.inputs[[5, 5, 0]].flip(3)
    assert same(stored.fetch(rows, view, FIRST), stored.fetch(rows, examples.inputs[rows], FIRST))
    live = Live(who, examples)
    heard, plain = live.fetch(rows, view, FIRST), live.fetch(rows, examples.inputs[rows], FIRST)
    assert not torch.equal(heard.features["conv1"], plain.features["conv1"])
    expected = who.module.conv1(view.float() / 255).detach()
    torch.testing.assert_close(heard.features["conv1"], expected, rtol=2**-9, atol=1e-4)


def test_features_are_found_by_content(open_store, small_shards):
    examples, module = examples_of(60), net()
    first = open_store(teacher(module, taps=TAPS), examples)
    assert module.asked == 60 + PROBES
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3)).repeat(2)
    again = open_store(teacher(module, taps=TAPS), examples.select(order))
    assert again.directory == first.directory
    assert same(again.signals, first.signals.select(order))
    more = open_store(teacher(module, taps=TAPS), examples_of(90))
    assert more.directory == first.directory
    assert more.signals.tensors["tap.first"].shape == (90, 8)
    expected = teacher(net(), taps=TAPS).answer(examples_of(90).inputs, examples_of(90).keys)
    for tap in TAPS:
        torch.testing.assert_close(
            more.signals.tensors["tap." + tap].float(), expected.features[tap], rtol=2**-9, atol=2**-9
        )


def test_logits_can_be_read_without_the_data_or_the_features(open_store):
    plain, tapped = (open_store(who, examples_of(50)) for who in (teacher(), teacher(taps=TAPS)))
    (keys, signal, classes), (other_keys, other, other_classes) = (
        read_answers(store.directory) for store in (plain, tapped)
    )
    assert torch.equal(keys, other_keys)
    assert torch.equal(signal.logits, other.logits)
    assert classes == other_classes


def test_signals_are_selected_moved_and_shuffled_whole():
    stored = Stored(
        {
            "logits": torch.randn(40, 3),
            "tap.a": torch.arange(40.0)[:, None],
            "tap.b": torch.arange(80.0).reshape(40, 1, 2),
        }
    )
    shuffled = stored.shuffled(7)
    order = shuffled.tensors["tap.a"][:, 0].long()
    assert sorted(order.tolist()) == list(range(40))
    assert (order != torch.arange(40)).double().mean() > 0.5
    assert all(torch.equal(shuffled.tensors[name], values[order]) for name, values in stored.tensors.items())
    moved = stored.to(torch.device("meta"))
    assert moved.tensors["logits"].device.type == "meta"
    assert {moved.tensors[tap].device.type for tap in ("tap.a", "tap.b")} == {"cpu"}, "features follow batch by batch"


# --- how they are written down ---------------------------------------------------------------------------------------


def spread(x):
    return x * 4e5  # 7e4 and more


def offset(x):
    return 3000 + x


def vanishing(x):
    return x * 1e-9


@pytest.mark.parametrize("dress", [spread, offset, vanishing])
def test_features_that_half_precision_cannot_hold_are_stored_in_full(open_store, tmp_path, dress):
    examples = examples_of(100)
    store = open_store(teacher(sided(dress), taps=("first", "side")), examples)
    assert store.manifest["encoding"] == "fp16 and fp32"
    expected = ask(teacher(sided(dress), taps=("first", "side")), examples.inputs, examples.keys)
    torch.testing.assert_close(store.signals.tensors["tap.side"], expected.features["side"], rtol=1e-6, atol=0)
    dtypes = {name: values.dtype for name, values in store.signals.tensors.items()}
    assert dtypes == {"logits": torch.float16, "tap.first": torch.float16, "tap.side": torch.float32}
    assert [path.name for path in (tmp_path / "labels").iterdir()] == [store.directory.name]
    assert open_store(teacher(sided(dress)), examples).manifest["encoding"] == "fp16", "the logits alone would fit"


@pytest.mark.parametrize("dress", [torch.relu, torch.zeros_like, torch.ones_like, lambda x: x * 1000])
def test_features_that_half_precision_holds_are_stored_in_half(open_store, dress):
    store = open_store(teacher(sided(dress), taps=("side",)), examples_of(40))
    assert store.signals.tensors["tap.side"].dtype == torch.float16


def test_features_that_the_disk_cannot_hold_are_refused_at_the_first_shard(open_store, monkeypatch, small_shards):
    module = net()
    monkeypatch.setattr(labelling, "free_bytes", lambda path: 2000)
    with pytest.raises(DiskError, match=r"needs [\d,]+ bytes for 4 shards, 2,000 are free") as caught:
        open_store(teacher(module, taps=TAPS), examples_of(100))
    assert module.asked == 32
    assert "tap less" in caught.value.do
    monkeypatch.setattr(labelling, "free_bytes", lambda path: None)
    open_store(teacher(module, taps=TAPS), examples_of(100))


# --- never stale -----------------------------------------------------------------------------------------------------


def test_other_taps_have_another_store(open_store):
    examples = examples_of(40)
    given = [(), ("first",), ("norm",), TAPS, ("drop",), ("drop", "first", "norm")]
    stores = [open_store(teacher(taps=taps), examples) for taps in given]
    assert len({store.directory for store in stores}) == len(given)
    assert [tuple(name[4:] for name in store.signals.tensors if name.startswith("tap.")) for store in stores] == given
    again = open_store(teacher(taps=TAPS[::-1]), examples)
    assert again.directory == stores[3].directory, "their order is nothing"
    assert same(again.signals, stores[3].signals)


@pytest.mark.parametrize("dress", [lambda x: x + 0.05, lambda x: x.roll(1, dims=1), lambda x: x.reshape(-1, 4, 4)])
def test_other_code_that_changes_features_alone_is_refused(open_store, tmp_path, dress):
    examples = examples_of(40)
    store = open_store(teacher(sided(), taps=("side",)), examples)
    before = fingerprints(tmp_path)
    other = teacher(sided(dress), taps=("side",))
    assert other.identity() == teacher(sided(), taps=("side",)).identity()
    for some in (examples, examples_of(90)):
        with pytest.raises(DataError, match="otherwise than when"):
            open_store(other, some)
    assert fingerprints(tmp_path) == before
    assert same(open_store(teacher(sided(), taps=("side",)), examples).signals, store.signals)


def test_features_that_are_random_are_refused(open_store, tmp_path):
    with pytest.raises(DataError, match="asked twice"):
        open_store(teacher(sided(torch.rand_like), taps=("side",)), examples_of(40))
    assert not list(tmp_path.rglob(MANIFEST))


def test_shards_whose_features_other_code_left_are_asked_again(open_store, tmp_path, small_shards):
    examples = examples_of(100)
    interrupted(open_store, teacher(sided(lambda x: x + 0.05), taps=("side",)), examples)
    assert len(list(tmp_path.rglob("shard-*"))) == 2
    store = open_store(teacher(sided(), taps=("side",)), examples)
    expected = teacher(sided(), taps=("side",)).answer(examples.inputs, examples.keys).features["side"]
    torch.testing.assert_close(store.signals.tensors["tap.side"].float(), expected, rtol=2**-10, atol=1e-6)


# --- ends of every kind ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [lambda: teacher(net(), taps=TAPS), convnet], ids=["mlp", "channels_last"])
def test_an_interrupted_labelling_ends_in_the_same_bytes(open_store, tmp_path, who, small_shards):
    examples = examples_of(150)
    whole = label(tmp_path / "whole", who(), examples, watch=unwatched, stop=Stop())
    interrupted(open_store, who(), examples)
    store = open_store(who(), examples)
    assert fingerprints(store.directory) == fingerprints(whole.directory)
    assert same(store.signals, whole.signals)


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, inputs):
        time.sleep(0.002)
        return self.net(inputs)


def test_a_killed_labelling_ends_in_the_same_bytes(tmp_path, small_shards, unsynced):
    examples, randomness, kills = examples_of(260), random.Random(0), 0

    def run(root):
        return label(
            tmp_path / root, teacher(Slow(), taps=("net.first",)), examples, watch=unwatched, stop=Stop()
        ).signals

    whole = run("whole")
    for _ in range(6):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                run("killed")
            os._exit(0)
        time.sleep(randomness.uniform(0.01, 0.05))
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
    assert same(run("killed"), whole)
    assert kills >= 1
    assert fingerprints(tmp_path / "killed") == fingerprints(tmp_path / "whole")


def test_a_damaged_feature_is_told(open_store, small_shards):
    store = open_store(teacher(taps=TAPS), examples_of(40))
    path = store.directory / "shard-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=path.name):
        open_store(teacher(taps=TAPS), examples_of(40))


def test_a_live_view_that_float16_cannot_hold_keeps_its_float32():
    class Loud(nn.Module):
        def forward(self, x):
            return 1e3 * x.flatten(1)[:, :3]

    examples = examples_of(6)
    live = Live(teacher(Loud(), Preprocess()), examples)
    rows = torch.arange(6)
    answer = live.fetch(rows, examples.inputs[rows], FIRST).logits
    assert answer.abs().max() > torch.finfo(torch.float16).max
    torch.testing.assert_close(answer, 1e3 * examples.inputs[rows].float().flatten(1)[:, :3], rtol=1e-3, atol=1e-3)

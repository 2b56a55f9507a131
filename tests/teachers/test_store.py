"""The label store: asked once, added to by content, whole after every kind of end. See also test_staleness."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import time

import pytest
import torch
from asking import CPU, Net, examples_of, net, teacher
from torch import nn

import limbeck.teachers.labelling as labelling
from limbeck.data import Preprocess
from limbeck.errors import DataError, Interrupted
from limbeck.files import MANIFEST
from limbeck.locks import claimed
from limbeck.progress import Stop, unwatched
from limbeck.teachers import (
    CallableTeacher,
    Encoding,
    Labels,
    ModuleTeacher,
    TableTeacher,
    ask_all,
    label,
)
from limbeck.teachers.encoding import largest_errors, ranges
from limbeck.teachers.store import read_answers

PROBES = labelling.PROBES


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Four batches of eight in a shard."""
    monkeypatch.setattr(labelling, "SHARD_SIZE", 32)
    monkeypatch.setattr(labelling, "BATCH_SIZE", 8)


def fingerprints(root):
    """sha256 of every file below, but for the lock."""
    paths = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def truth(who, examples):
    return ask_all(who, examples)


def close(signals, expected):
    torch.testing.assert_close(signals.tensors["logits"].float(), expected, rtol=2**-9, atol=2**-9)


# --- asked once ------------------------------------------------------------------------------------------------------


def test_the_teacher_is_asked_once_and_then_only_its_probes(open_store):
    examples, module = examples_of(100), net()
    store = open_store(teacher(module), examples)
    assert module.asked == 100 + PROBES
    close(store.signals, truth(teacher(net()), examples))
    module.asked = 0
    again = open_store(teacher(module), examples)
    assert module.asked == PROBES
    assert torch.equal(again.signals.tensors["logits"], store.signals.tensors["logits"])
    assert again.manifest == store.manifest
    assert (store.manifest["examples"], store.manifest["distinct"], store.manifest["encoding"]) == (100, 100, "fp16")
    assert 0 < store.manifest["mean_error"] < store.manifest["largest_error"] < 1e-2


def test_the_order_of_the_rows_is_nothing_to_the_store(open_store, tmp_path):
    examples, module = examples_of(100), net()
    first = open_store(teacher(module), examples)
    before = fingerprints(tmp_path)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    module.asked = 0
    second = open_store(teacher(module), examples.select(order))
    assert module.asked == PROBES
    assert torch.equal(second.signals.tensors["logits"], first.signals.tensors["logits"][order])
    assert fingerprints(tmp_path) == before
    other = label(tmp_path / "other", teacher(net()), examples.select(order), watch=unwatched, stop=Stop())
    assert fingerprints(other.directory) == fingerprints(first.directory)


def test_only_new_examples_are_asked_about(open_store, tmp_path):
    everything, module = examples_of(150), net()
    part = everything.select(torch.arange(90))
    first = open_store(teacher(module), part)
    shards = fingerprints(first.directory)
    module.asked = 0
    second = open_store(teacher(module), everything)
    assert 60 <= module.asked <= 60 + 3 * PROBES
    assert second.directory == first.directory
    assert torch.equal(second.signals.tensors["logits"][:90], first.signals.tensors["logits"])
    close(second.signals, truth(teacher(net()), everything))
    after = fingerprints(first.directory)
    assert all(after[name] == sha for name, sha in shards.items() if name != MANIFEST)
    assert (second.manifest["distinct"], second.manifest["examples"]) == (150, 150)
    # A subset needs nothing new, wherever it lies.
    module.asked = 0
    some = everything.select(torch.tensor([140, 3, 80]))
    assert torch.equal(
        open_store(teacher(module), some).signals.tensors["logits"], second.signals.tensors["logits"][[140, 3, 80]]
    )
    assert module.asked == 3


def test_duplicates_share_a_label(open_store):
    examples, module = examples_of(20).select(torch.arange(40) % 20), net()
    store = open_store(teacher(module), examples)
    assert torch.equal(store.signals.tensors["logits"][:20], store.signals.tensors["logits"][20:])
    assert module.asked == 20 + PROBES
    assert (store.manifest["examples"], store.manifest["distinct"]) == (40, 20)


def test_the_answers_can_be_read_without_the_data(open_store):
    examples = examples_of(50)
    store = open_store(teacher(), examples)
    keys, signal, classes = read_answers(store.directory)
    assert classes == examples.classes
    row = {bytes(key.tolist()): i for i, key in enumerate(keys)}
    found = torch.stack([signal.logits[row[bytes(key.tolist())]] for key in examples.keys])
    assert torch.equal(found, store.signals.tensors["logits"].float())


# --- what may not be stored ------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    """Logits of a chosen size."""

    def __init__(self, scale, row=None):
        super().__init__()
        self.weight, self.row, self.asked = nn.Parameter(torch.tensor(scale)), row, 0

    def forward(self, inputs):
        self.asked += len(inputs)
        return inputs.flatten(1)[:, :3] * self.weight


@pytest.mark.parametrize("scale", [7e4 / 0.5, 1e-9])
def test_what_half_precision_cannot_hold_is_stored_in_full(open_store, tmp_path, scale):
    examples, module = examples_of(100), Scaled(scale)
    store = open_store(teacher(module), examples)
    assert "fp32" in store.manifest["encoding"]
    stored, exact = store.signals.tensors["logits"], truth(teacher(Scaled(scale)), examples)
    assert (largest_errors(exact, stored) <= 2**-10 * ranges(exact)).all()
    unborne = largest_errors(exact, exact.half()) > 2**-10 * ranges(exact)
    assert unborne.any()
    assert torch.equal(stored[unborne], exact[unborne])
    assert [path.name for path in (tmp_path / "labels").iterdir()] == [store.directory.name]
    module.asked = 0
    assert open_store(teacher(module), examples).directory == store.directory
    assert module.asked == PROBES


def test_one_large_logit_makes_its_own_shard_wide_and_no_other_record_another(open_store):
    examples = examples_of(100)
    rows = torch.randn(100, 3)
    plain = open_store(TableTeacher(rows, examples), examples)
    last = int(examples.groups.argmax())
    rows[last, 1] = 7e4
    store = open_store(TableTeacher(rows, examples), examples)
    assert store.manifest["encoding"] == "fp16 and fp32"
    others = torch.arange(100) != last
    assert torch.equal(store.signals.tensors["logits"][last], rows[last])
    assert torch.equal(store.signals.tensors["logits"][others], plain.signals.tensors["logits"][others].float())


def test_half_precision_that_was_asked_for_and_does_not_hold_is_refused(open_store):
    half = Encoding(Labels(encoding="fp16"))
    assert open_store(teacher(), examples_of(40), encoding=half).manifest["encoding"] == "fp16"
    with pytest.raises(DataError, match="float16 does not hold the teacher's logits"):
        open_store(teacher(Scaled(7e5)), examples_of(40), encoding=half)


def test_an_answer_that_is_not_finite_is_refused_and_nothing_is_sealed(open_store, tmp_path):
    examples = examples_of(100)
    rows = torch.randn(100, 3)
    rows[41, 0] = float("nan")
    with pytest.raises(DataError, match=bytes(examples.keys[41].tolist()).hex()[:12]):
        open_store(TableTeacher(rows, examples), examples)
    assert not list(tmp_path.rglob(MANIFEST))
    for path in tmp_path.rglob("shard-*"):
        assert torch.isfinite(labelling.read_tensors(path)["logits"]).all()


def test_a_teacher_that_learns_while_it_answers_is_refused(open_store, tmp_path):
    class Counting(Scaled):
        def __init__(self):
            super().__init__(1.0)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, inputs):
            self.seen += len(inputs)
            return super().forward(inputs)

    with pytest.raises(DataError, match="changed while it was asked"):
        open_store(teacher(Counting()), examples_of(40))
    assert not list(tmp_path.rglob(MANIFEST))


@pytest.mark.parametrize("kind", ["random", "remembering"])
def test_a_teacher_that_answers_twice_in_two_ways_is_refused(open_store, kind):
    calls = []

    def answer(inputs):
        calls.append(1)
        noise = torch.randn(len(inputs), 3) if kind == "random" else len(calls)
        return inputs.flatten(1)[:, :3] + noise

    with pytest.raises(DataError, match="asked twice"):
        open_store(CallableTeacher(answer, Preprocess(scale=255.0)), examples_of(40))


# --- ends of every kind ----------------------------------------------------------------------------------------------


def test_an_interrupted_labelling_goes_on_where_it_stopped(open_store, tmp_path):
    examples, stop, module = examples_of(150), Stop(), net()
    whole = label(tmp_path / "whole", teacher(net()), examples, watch=unwatched, stop=Stop())
    done = []

    def watch(progress):
        done.append(progress.done)
        if progress.done == 64:
            stop.request(signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        open_store(teacher(module), examples, watch=watch, stop=stop)
    assert caught.value.exit_status == 143
    assert done == [32, 64]
    module.asked = 0
    store = open_store(teacher(module), examples)
    assert module.asked <= 150 - 64 + 4 * PROBES
    assert fingerprints(store.directory) == fingerprints(whole.directory)


class Slow(Net):
    def forward(self, inputs):
        time.sleep(0.001)
        return super().forward(inputs)


def test_a_killed_labelling_ends_in_the_same_bytes(tmp_path):
    def slow():
        module = Slow()
        module.load_state_dict(net().state_dict())
        return teacher(module)

    base, everything, randomness = examples_of(60), examples_of(260), random.Random(0)

    def begin(root):  # both add to a store that is there already
        shutil.rmtree(tmp_path / root, ignore_errors=True)
        label(tmp_path / root, slow(), base, watch=unwatched, stop=Stop())

    begin("whole")
    begin("killed")
    whole = label(tmp_path / "whole", slow(), everything, watch=unwatched, stop=Stop())
    kills = 0
    for _ in range(40):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                label(tmp_path / "killed", slow(), everything, watch=unwatched, stop=Stop())
            os._exit(0)
        time.sleep(randomness.uniform(0.005, 0.06))
        os.kill(child, signal.SIGKILL)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        kills += killed
        if not killed:  # it was done in time, and there would be nothing left to kill
            begin("killed")
    store = label(tmp_path / "killed", slow(), everything, watch=unwatched, stop=Stop())
    assert kills >= 5
    assert fingerprints(tmp_path / "killed") == fingerprints(tmp_path / "whole")
    assert torch.equal(store.signals.tensors["logits"], whole.signals.tensors["logits"])


def interrupted(open_store, who, examples):
    stop = Stop()

    def watch(progress):
        if progress.done == 64:
            stop.request(signal.SIGINT)

    with pytest.raises(Interrupted):
        open_store(who, examples, watch=watch, stop=stop)


def test_shards_left_by_other_code_are_asked_again(open_store, tmp_path):
    examples = examples_of(100)
    other = net()
    other.factor = 1.01
    interrupted(open_store, teacher(other), examples)
    assert len(list(tmp_path.rglob("shard-*"))) == 2
    store = open_store(teacher(net()), examples)
    close(store.signals, truth(teacher(net()), examples))


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-9], lambda d: d[:-9] + b"\x00" * 9, lambda d: b"", lambda d: b"x" * 99]
)
def test_a_damaged_shard_of_a_cut_labelling_is_asked_again(open_store, tmp_path, damage):
    examples = examples_of(100)
    whole = label(tmp_path / "whole", teacher(), examples, watch=unwatched, stop=Stop())
    interrupted(open_store, teacher(), examples)
    shard = next((tmp_path / "labels").rglob("shard-00000*"))
    shard.write_bytes(damage(shard.read_bytes()))
    assert fingerprints(open_store(teacher(), examples).directory) == fingerprints(whole.directory)


def test_a_shard_of_another_store_is_not_taken_for_ones_own(open_store, tmp_path):
    examples = examples_of(100)
    foreign = label(tmp_path / "foreign", teacher(net(1)), examples, watch=unwatched, stop=Stop())
    whole = label(tmp_path / "whole", teacher(), examples, watch=unwatched, stop=Stop())
    interrupted(open_store, teacher(), examples)
    directory = next(tmp_path.joinpath("labels").iterdir())
    for name in ("shard-00000.safetensors", "shard-00007.safetensors"):
        (directory / name).write_bytes((foreign.directory / "shard-00000.safetensors").read_bytes())
    store = open_store(teacher(), examples)
    assert fingerprints(store.directory) == fingerprints(whole.directory)
    # After the seal a stray shard is nothing, and a swapped one is refused.
    (directory / "shard-00009.safetensors").write_bytes((foreign.directory / "shard-00000.safetensors").read_bytes())
    assert torch.equal(open_store(teacher(), examples).signals.tensors["logits"], store.signals.tensors["logits"])
    (directory / "shard-00001.safetensors").write_bytes((foreign.directory / "shard-00001.safetensors").read_bytes())
    with pytest.raises(DataError, match="shard-00001"):
        open_store(teacher(), examples)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_shard_of_a_sealed_store_is_named(open_store, number, damage):
    examples = examples_of(90)
    store = open_store(teacher(), examples)
    path = store.directory / f"shard-{number:05d}.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data[:-3] if damage == "cut" else data)
    if damage == "gone":
        path.unlink()
    with pytest.raises(DataError, match=path.name):
        open_store(teacher(), examples)
    # The way out costs one shard: without its seal the store takes up what is whole.
    (store.directory / MANIFEST).unlink()
    module = net()
    again = open_store(teacher(module), examples)
    assert torch.equal(again.signals.tensors["logits"], store.signals.tensors["logits"])
    assert module.asked <= 32 + 4 * PROBES


def test_who_comes_while_another_seals_waits_and_readers_do_not(open_store):
    examples = examples_of(40)
    store = open_store(teacher(), examples)
    stop, waited = Stop(), []

    def watch(progress):
        waited.append(progress)
        stop.request(signal.SIGINT)

    with claimed(store.directory / MANIFEST) as mine:
        assert mine
        again = open_store(teacher(), examples)
        assert torch.equal(again.signals.tensors["logits"], store.signals.tensors["logits"])
        with pytest.raises(Interrupted):
            open_store(teacher(), examples_of(60), watch=watch, stop=stop)
    assert waited
    assert open_store(teacher(), examples_of(60)).manifest["distinct"] == 60


def test_convolutions_in_any_shape_of_batch_agree_with_their_probes(open_store):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
    for count in (5, 23, 90):
        open_store(ModuleTeacher(module, Preprocess(), CPU), examples_of(count))

"""Labelling by many: ranks and machines that share a directory end in the bytes of one process."""

import contextlib
import os
import random
import signal
import time
from dataclasses import replace

import pytest
import torch
from asking import Net, examples_of, net, teacher
from test_store import Slow, fingerprints

import limbeck.teachers.labelling as labelling
import limbeck.teachers.shards as shards_module
from limbeck.data import Augment, Preprocess, Views
from limbeck.errors import DataError
from limbeck.locks import claimed
from limbeck.progress import Stop, unwatched
from limbeck.teachers import CallableTeacher, Encoding, Labels, ask_all, label, state_of
from limbeck.teachers.shards import Mapped, Shards


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(labelling, "SHARD_SIZE", 32)
    monkeypatch.setattr(labelling, "BATCH_SIZE", 8)
    monkeypatch.setattr(labelling, "WAIT", 0.002)


def slow():
    module = Slow()
    module.load_state_dict(net().state_dict())
    return teacher(module)


def open_at(root, who, examples, **options):
    return label(root, who, examples, watch=unwatched, stop=Stop(), **options)


def begin(root, examples):
    """Another process that labels; returns its number."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            open_at(root, slow(), examples)
            status = 0
        os._exit(status)
    return child


# --- several writers -------------------------------------------------------------------------------------------------


def test_several_processes_share_the_work_and_end_in_one_store(tmp_path):
    examples = examples_of(400)
    whole = open_at(tmp_path / "whole", slow(), examples)
    for attempt in range(20):  # on a busy machine the others may come too late to get a part
        root = tmp_path / f"shared-{attempt}"
        children = [begin(root, examples) for _ in range(3)]
        module = slow().module
        mine = open_at(root, teacher(module), examples)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert fingerprints(mine.directory) == fingerprints(whole.directory)
        assert torch.equal(mine.signals.tensors["logits"], whole.signals.tensors["logits"])
        assert not list(mine.directory.glob(".lock-shard-*")), "claims are gone with the seal"
        if module.asked < 400:
            return
    raise AssertionError("this process asked about every example, every time")


def test_what_a_killed_process_had_claimed_is_done_by_another(tmp_path):
    examples, randomness, kills = examples_of(300), random.Random(1), 0
    whole = open_at(tmp_path / "whole", slow(), examples)
    for _ in range(6):
        child = begin(tmp_path / "shared", examples)
        time.sleep(randomness.uniform(0.005, 0.05))
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
    assert kills >= 3
    assert fingerprints(open_at(tmp_path / "shared", slow(), examples).directory) == fingerprints(whole.directory)


def test_a_claimed_shard_is_waited_for(tmp_path):
    examples = examples_of(100)
    whole = open_at(tmp_path / "whole", teacher(), examples)
    directory = tmp_path / "shared" / whole.directory.name
    held = (directory / "shard-00001.safetensors", whole.directory / "shard-00001.safetensors")
    with contextlib.ExitStack() as claim:
        assert claim.enter_context(claimed(held[0]))
        done = []

        def watch(progress):  # the others are done: now the claimant delivers
            done.append(progress.done)
            if progress.done == 68:
                held[0].write_bytes(held[1].read_bytes())
                claim.close()

        module = net()
        store = label(tmp_path / "shared", teacher(module), examples, watch=watch, stop=Stop())
    assert done == [32, 64, 68, 100]
    assert module.asked <= 68 + 2 * labelling.PROBES
    assert fingerprints(store.directory) == fingerprints(whole.directory)


# --- views -----------------------------------------------------------------------------------------------------------


def views_of(examples, cycle=3):
    return Views(examples, Augment(shift=1), seed=5, cycle=cycle)


def test_every_view_of_every_example_is_stored_and_found_by_its_number(open_store):
    examples = examples_of(50)
    views, module = views_of(examples), net()
    store = open_store(teacher(module), examples, views=views)
    assert 150 < module.asked <= 150 + labelling.PROBES + 5
    rows = torch.arange(50)
    for number in (0, 1, 2, 7):
        numbers = torch.full((50,), number)
        seen = views.seen(rows, numbers).inputs
        assert number == 0 or not torch.equal(seen, views.seen(rows, torch.zeros_like(rows)).inputs)
        expected = teacher().answer(seen, examples.keys).logits
        found = store.signals.fetch(rows, seen, numbers).logits
        torch.testing.assert_close(found, expected, rtol=2**-9, atol=2**-9)
    assert (store.manifest["views"], store.manifest["distinct"]) == (3, 50)


def test_views_are_labelled_alike_in_any_order_and_after_a_stop(tmp_path):
    examples = examples_of(60)
    whole = open_at(tmp_path / "whole", teacher(), examples, views=views_of(examples))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    mixed = examples.select(order)
    stop = Stop()

    def watch(progress):
        if progress.done == 20:
            stop.request(signal.SIGINT)

    with contextlib.suppress(Exception):
        label(tmp_path / "other", teacher(), mixed, views=views_of(mixed), watch=watch, stop=stop)
    other = open_at(tmp_path / "other", teacher(), mixed, views=views_of(mixed))
    assert fingerprints(other.directory) == fingerprints(whole.directory)


# --- on the disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(shards_module, "IN_MEMORY", 0)


@pytest.mark.parametrize("encoding", [Encoding(), Encoding(Labels(encoding="top-k", k=2), (1.0,))])
def test_a_store_too_large_for_memory_says_the_same_from_the_disk(tmp_path, monkeypatch, encoding):
    examples = examples_of(150).select(torch.arange(200) % 150)
    views = views_of(examples)
    whole = open_at(tmp_path, teacher(taps=("first",)), examples, views=views, encoding=encoding)
    monkeypatch.setattr(shards_module, "IN_MEMORY", 0)
    mapped = open_at(tmp_path, teacher(taps=("first",)), examples, views=views, encoding=encoding)
    assert isinstance(mapped.signals, Mapped)
    generator = torch.Generator().manual_seed(0)
    for one, other in ((whole, mapped), (shuffled(whole), shuffled(mapped))):
        rows = torch.randint(0, 200, (64,), generator=generator)
        numbers = torch.randint(0, 9, (64,), generator=generator)
        found = [each.signals.fetch(rows, examples.inputs[rows], numbers) for each in (one, other)]
        assert torch.equal(found[0].logits, found[1].logits)
        assert torch.equal(found[0].features["first"], found[1].features["first"])
        if encoding.labels.k:
            assert torch.equal(found[0].top.ids, found[1].top.ids)


def shuffled(store):
    return replace(store, signals=store.signals.shuffled(3))


def test_a_shard_is_held_against_its_checksum_when_it_is_first_read(open_store, on_disk):
    examples = examples_of(90)
    store = open_store(teacher(), examples)
    path = store.directory / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)
    found = Shards.sealed(store.directory)
    places = found.find(examples.keys)
    sound = places[(places < 32) | (places >= 64)]
    assert len(found.take(sound)["logits"]) == 58
    with pytest.raises(DataError, match=path.name):
        found.take(places)


def test_a_damaged_key_is_not_taken_for_a_new_example(open_store):
    examples = examples_of(90)
    store = open_store(teacher(), examples)
    path = store.directory / "shard-00001.safetensors"
    key = bytes(examples.keys[examples.groups.argsort()[40]].tolist())
    data = path.read_bytes()
    assert data.count(key) == 1
    path.write_bytes(data.replace(key, bytes([key[0] ^ 1]) + key[1:]))
    module = net()
    with pytest.raises(DataError, match=path.name):
        open_store(teacher(module), examples)
    assert module.asked == 0


def test_the_error_of_a_store_names_the_first_shard_that_fits_no_disk(open_store, on_disk):
    examples = examples_of(40)
    store = open_store(teacher(), examples)
    (store.directory / "shard-00000.safetensors").unlink()
    with pytest.raises(DataError, match="shard-00000"):
        open_store(teacher(), examples)


# --- its state -------------------------------------------------------------------------------------------------------


def test_the_state_of_a_store_tells_how_far_it_has_come(tmp_path):
    examples, module, stop = examples_of(150), net(), Stop()
    root = tmp_path / "labels"
    before = state_of(root, teacher(module), examples)
    assert (before.sealed, before.answered, before.wanted, before.bytes, before.encoding) == (False, 0, 150, 0, None)

    def watch(progress):
        if progress.done == 64:
            stop.request(signal.SIGTERM)

    with contextlib.suppress(Exception):
        label(root, teacher(module), examples, watch=watch, stop=stop)
    halfway = state_of(root, teacher(module), examples)
    assert (halfway.sealed, halfway.answered, halfway.wanted) == (False, 64, 150)
    store = open_at(root, teacher(module), examples)
    open_at(root, teacher(net(1)), examples)
    module.asked = 0
    after = state_of(root, teacher(module), examples_of(200))
    assert (after.sealed, after.answered, after.wanted, after.encoding) == (True, 150, 200, "fp16")
    assert after.directory == store.directory
    assert after.bytes == sum(path.stat().st_size for path in store.directory.glob("shard-*"))
    assert len(after.others) == 1
    assert module.asked == 0


def test_a_network_of_any_size_is_asked_about_views_it_has_seen(open_store):
    """Probes are views too: a teacher that answers plain examples alike and views otherwise is found out."""

    class Shifty(Net):
        def forward(self, inputs):
            moved = self.factor * (inputs[:, :, 0] == 0).flatten(1).all(dim=1)
            return super().forward(inputs) + moved[:, None] * torch.tensor([1.0, 0.0, 0.0])

    examples, module = examples_of(60), Shifty()
    module.load_state_dict(net().state_dict())
    open_store(teacher(module), examples, views=views_of(examples))
    module.factor = 0.0
    with pytest.raises(DataError, match="otherwise than when"):
        open_store(teacher(module), examples, views=views_of(examples))
    del module
    assert ask_all(teacher(), examples).shape == (60, 3)


# --- room on the disk ------------------------------------------------------------------------------------------------


def test_a_disk_with_room_for_the_store_is_room_enough(tmp_path, monkeypatch):
    """What is written is no longer needed: the room shrinks, and so does the need."""
    examples = examples_of(256)
    whole = open_at(tmp_path / "whole", teacher(), examples)
    need = sum(path.stat().st_size for path in whole.directory.glob("shard-*"))

    def free(path):
        return int(1.1 * need) - sum(file.stat().st_size for file in tmp_path.glob("labels/*/shard-*"))

    monkeypatch.setattr(labelling, "free_bytes", free)
    assert open_at(tmp_path / "labels", teacher(), examples).manifest["distinct"] == 256


# --- what a probe sees -----------------------------------------------------------------------------------------------


def outputs_of(change):
    """A network whose answers are changed by code, under the same weights."""

    class Changed(Net):
        def forward(self, inputs):
            logits = super().forward(inputs)
            return change(logits) if self.factor == 1.0 else logits / self.factor

    def made(factor):
        module = Changed()
        module.load_state_dict(net().state_dict())
        module.factor = factor
        return teacher(module)

    return made


def sharpened(logits):
    return 1.5 * logits


def tail_moved(logits):
    """The first choice and the second stay what they are, the third sinks."""
    return torch.where(logits == logits.amin(dim=1, keepdim=True), logits - 1, logits)


@pytest.mark.parametrize(("k", "change"), [(1, sharpened), (1, tail_moved), (2, tail_moved)])
def test_what_moves_in_the_tail_alone_is_found_out(open_store, k, change):
    encoding, made = Encoding(Labels(encoding="top-k", k=k), (1.0, 4.0)), outputs_of(change)
    open_store(made(1.0 + 1e-12), examples_of(60), encoding=encoding)
    open_store(made(1.0 + 1e-12), examples_of(60), encoding=encoding)
    with pytest.raises(DataError, match="otherwise than when"):
        open_store(made(1.0), examples_of(60), encoding=encoding)


def test_one_wild_answer_excuses_no_other(open_store):
    examples = examples_of(40)
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    rows[int(examples.groups.argmin())] = torch.tensor([0.0, 3e4, 0.0])
    offset = [0.0]

    def answer(inputs):
        found = [int((examples.inputs == image.to(torch.uint8)).flatten(1).all(1).nonzero()[0]) for image in inputs]
        return rows[found] + offset[0] * torch.tensor([1.0, 0.0, 0.0])

    open_store(CallableTeacher(answer, Preprocess()), examples)
    offset[0] = 0.5
    with pytest.raises(DataError, match="otherwise than when"):
        open_store(CallableTeacher(answer, Preprocess()), examples)


def test_a_damaged_shard_that_waits_counts_for_nothing(tmp_path):
    examples = examples_of(60)
    directory = state_of(tmp_path, teacher(), examples).directory
    directory.mkdir()
    (directory / "shard-00000.safetensors").write_bytes(b"x" * 99)
    assert state_of(tmp_path, teacher(), examples).answered == 0

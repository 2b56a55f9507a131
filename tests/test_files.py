"""The commit protocol: killed, starved of space, flipped and swapped, and never silently wrong."""

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import limbeck.files as files
from limbeck.data import Preprocess, key_examples
from limbeck.errors import DataError, DiskError
from limbeck.files import (
    MANIFEST,
    append_line,
    commit_directory,
    cut_lines,
    describe,
    digest,
    digest_tensors,
    encode,
    read_json,
    read_manifest,
    read_tensors,
    seal,
    sealed,
    sweep,
    unsealed,
    verify,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)
from limbeck.locks import locked
from limbeck.models import Mlp
from limbeck.progress import Stop, unwatched
from limbeck.record import read_record, write_record
from limbeck.teachers import ModuleTeacher, SavedModel, label, save_model
from limbeck.training.checkpoint import Checkpoints


def forked(work):
    """A child process that runs `work` and leaves without Python's farewell."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    return child


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


# --- one file --------------------------------------------------------------------------------------------------------


def payload(version):
    body = str(version).encode().ljust(8) + bytes([version % 256]) * (200_000 + version % 1000)
    return hashlib.sha256(body).digest() + body


def test_a_reader_sees_the_old_or_the_new_bytes_whenever_the_writer_is_killed(tmp_path):
    path, randomness, seen = tmp_path / "file", random.Random(0), 0
    write_bytes(path, payload(0))

    def write_for_ever():
        for version in range(seen + 1, seen + 100_000):
            write_bytes(path, payload(version))

    kills = 0
    # On a slow disk hardly a file is written between two kills: go on until some were.
    while kills < 50 or (kills < 2000 and seen < 20):
        kills += 1
        child = forked(write_for_ever)
        time.sleep(randomness.uniform(0.0, 0.03))
        kill(child)
        data = path.read_bytes()
        assert hashlib.sha256(data[32:]).digest() == data[:32]
        assert int(data[32:40]) >= seen
        seen = int(data[32:40])
    assert seen >= 20
    sweep(tmp_path)
    assert names_in(tmp_path) == ["file"]


def test_a_directory_is_whole_or_not_valid_whenever_the_writer_is_killed(tmp_path):
    randomness = random.Random(1)

    def write_for_ever():
        for version in range(100_000):
            big = payload(version)
            commit_directory(
                tmp_path / "store", {"a": big, "b.safetensors": {"x": torch.full((9,), version)}}, n=version
            )

    whole = kills = 0
    # On a slow disk a directory is whole for a small part of the time: go on until both cases were met.
    while kills < 25 or (kills < 500 and not 0 < whole < kills):
        kills += 1
        child = forked(write_for_ever)
        time.sleep(randomness.uniform(0.0, 0.05))
        kill(child)
        with contextlib.suppress(DataError):
            version = verify(tmp_path / "store")["n"]
            assert (tmp_path / "store" / "a").read_bytes() == payload(version)
            assert read_tensors(tmp_path / "store" / "b.safetensors")["x"].tolist() == [version] * 9
            whole += 1
    assert 0 < whole < kills


class _Failing:
    """An open file whose write gives up half-way."""

    def __init__(self, file, error):
        self.file, self.error = file, error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        raise self.error


def fail_at(monkeypatch, call, number, code):
    """Make the `number`-th use of a system call fail."""
    count = 0

    def failing(real):
        def one(*arguments, **options):
            nonlocal count
            count += 1
            if count == number:
                raise OSError(code, os.strerror(code))
            return real(*arguments, **options)

        return one

    def opening(path, mode="r", **options):
        nonlocal count
        file = open(path, mode, **options)  # noqa: SIM115
        count += mode == "wb"
        return _Failing(file, OSError(code, os.strerror(code))) if mode == "wb" and count == number else file

    if call == "write":
        monkeypatch.setattr(files, "open", opening, raising=False)
    else:
        monkeypatch.setattr(os, call, failing(getattr(os, call)))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, call, code):
    path = tmp_path / "some file.json"
    write_text(path, "old")
    with monkeypatch.context() as broken:
        fail_at(broken, call, 1, code)
        with pytest.raises(DiskError, match=r"some file\.json") as caught:
            write_text(path, "new")
    assert caught.value.exit_status == 74
    assert os.strerror(code) in str(caught.value)
    assert "3 bytes needed" in str(caught.value)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["some file.json"]
    write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_whatever_call_of_a_commit_fails_the_directory_is_whole_or_not_valid(tmp_path, monkeypatch, call, code):
    def commit(version):
        commit_directory(tmp_path / "d", {"a": b"a%d" % version, "b": b"b%d" % version}, n=version)

    commit(0)
    for number in range(1, 20):
        with monkeypatch.context() as broken:
            fail_at(broken, call, number, code)
            try:
                commit(number)
                break
            except DiskError as error:
                told = (error.exit_status, str(tmp_path / "d") in str(error))
        assert told == (74, True)
        with contextlib.suppress(DataError):
            found = verify(tmp_path / "d")["n"]
            assert (tmp_path / "d" / "a").read_bytes() == b"a%d" % found
        assert not list(tmp_path.rglob(".tmp-*"))
    assert 3 <= number < 19, "every call was made to fail, and then none"
    assert verify(tmp_path / "d")["n"] == number


def test_a_file_system_that_cannot_sync_directories_is_borne(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "new" / "file", "x")
    assert (tmp_path / "new" / "file").read_text() == "x"


def test_new_directories_are_durable_up_to_the_first_that_was_there(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync_directory", lambda directory: synced.append(directory))
    write_text(tmp_path / "a" / "b" / "file", "x")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


@pytest.mark.parametrize("name", ['né 标签 "x"', "a'b", "n" * 255, "é" * 127, ".tmp", "a b", "-rf", "x\ny"])
def test_odd_names_are_only_names(tmp_path, name):
    write_text(tmp_path / name, "old")
    write_text(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
    assert names_in(tmp_path) == [name]
    directory = tmp_path / ("d" + name[1:])
    commit_directory(directory, {"file": b"x"})
    assert list(verify(directory)["files"]) == ["file"]
    with locked(directory):
        pass


def test_a_name_too_long_for_the_disk_is_one_message(tmp_path):
    with pytest.raises(DiskError, match="name too long"):
        write_text(tmp_path / ("n" * 256), "x")
    assert names_in(tmp_path) == []


def test_a_file_in_the_way_of_a_directory_is_a_disk_error(tmp_path):
    write_text(tmp_path / "file", "x")
    with pytest.raises(DiskError, match="file"):
        write_text(tmp_path / "file" / "below", "x")
    with pytest.raises(DiskError), locked(tmp_path / "file"):
        pass


def test_a_read_only_directory_is_refused_by_name(tmp_path, monkeypatch):
    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(DiskError, match=str(tmp_path)), locked(tmp_path):
        pytest.fail("the lock was given")


# --- JSON, tensors, lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\x00" * 40, b"\xff\xfe{}", b"[" * 100_000, b'{"a": NaN}', b'{"a": -Infinity}', b"nul", b"{} {}",
        b'{"format": 1', b"9" * 5000,
    ],
)  # fmt: skip
def test_garbage_is_no_json(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("value", [[], 1, None, "x", {}, {"format": 1}, {"format": 1, "files": {}, "sha256": None}])
def test_json_that_is_no_manifest_or_record_is_refused(tmp_path, value):
    for name, read in ((MANIFEST, read_manifest), ("record.json", read_record)):
        write_json(tmp_path / name, value)
        with pytest.raises(DataError):
            read(tmp_path)


def test_a_number_beyond_all_numbers_is_refused(tmp_path):
    (tmp_path / MANIFEST).write_text('{"format": 1, "files": {}, "n": 1e999, "sha256": "x"}')
    with pytest.raises(DataError):
        verify(tmp_path)


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    for read in (read_json, read_tensors):
        with pytest.raises(DataError):
            read(tmp_path / "x")
        with pytest.raises(DataError, match="does not exist"):
            read(tmp_path / "missing")


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x", {"a": float("nan")})
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("kind", [MANIFEST, "record.json"])
def test_a_newer_format_is_named(tmp_path, kind):
    write_json(tmp_path / kind, sealed({"format": 2, "files": {}}))
    with pytest.raises(DataError, match="format 2"):
        (verify if kind == MANIFEST else read_record)(tmp_path)


def test_a_record_comes_back_as_json_sees_it(tmp_path):
    write_record(tmp_path, {"by number": {10: "a", 9: "b"}, "pair": (1, 2), "class": "né \ud7ff"})
    record = read_record(tmp_path)
    assert record == {"format": 1, "by number": {"10": "a", "9": "b"}, "pair": [1, 2], "class": "né \ud7ff"}
    text = (tmp_path / "record.json").read_text()
    (tmp_path / "record.json").write_text(text.replace('"a"', '"c"'))
    with pytest.raises(DataError, match="checksum"):
        read_record(tmp_path)


def test_unknown_keys_of_a_sealed_object_are_kept():
    assert unsealed(json.loads(encode(sealed({"format": 1, "new": 3}))), Path("x")) == {"format": 1, "new": 3}


def test_tensors_come_back_bit_for_bit(tmp_path):
    shared = torch.arange(6.0)
    tensors = {
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3),
        "half": torch.tensor([1.0, float("inf"), float("nan")], dtype=torch.float16),
        "brain": torch.randn(4).bfloat16(),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "turned": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "whole": shared,
        "part": shared[2:4],
        "parameter": nn.Parameter(torch.ones(2)),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    assert digest_tensors(read_tensors(tmp_path / "x.safetensors")) == digest_tensors(tensors)
    first = (tmp_path / "x.safetensors").read_bytes()
    write_tensors(tmp_path / "x.safetensors", dict(reversed(tensors.items())))
    assert (tmp_path / "x.safetensors").read_bytes() == first


def test_the_digest_tells_names_types_shapes_and_bits_apart():
    values = torch.tensor([1.0, 2.0, 0.0, 4.0])
    ulp = torch.nextafter(values, torch.tensor(9.0))
    zeros = torch.tensor([1.0, 2.0, -0.0, 4.0])
    others = [
        {"a": values}, {"b": values}, {"a": values.double()}, {"a": values.view(2, 2)}, {"a": ulp}, {"a": values * -1},
        {"a": values.view(torch.int32)}, {"a": values[:2], "b": values[2:]}, {}, {"a": zeros},
    ]  # fmt: skip
    assert len({digest_tensors(tensors) for tensors in others}) == len(others)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_no_tensors_are_still_tensors(tmp_path):
    # An optimizer without momentum has no state; its file must be readable all the same.
    commit_directory(tmp_path / "d", {"optimizer.safetensors": {}})
    assert read_tensors(tmp_path / "d" / "optimizer.safetensors") == {}


def test_cut_lines_drops_what_is_to_be_redone_and_what_is_torn(tmp_path):
    log = tmp_path / "metrics.jsonl"
    cut_lines(log, lambda line: True)
    assert not log.exists()
    for step in (1, 2, 3):
        append_line(log, json.dumps({"fit": "a", "step": step}))
    append_line(log, json.dumps({"fit": "b", "step": 9}))
    with open(log, "a") as file:
        file.write('{"fit": "a", "st')
    cut_lines(log, lambda line: line["fit"] != "a" or line["step"] <= 2)
    append_line(log, json.dumps({"fit": "a", "step": 3}))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["fit"], line["step"]) for line in lines] == [("a", 1), ("a", 2), ("b", 9), ("a", 3)]


@pytest.mark.parametrize("torn", ['{"step": 2}', '{"step"', "12", "\x00\x00", '{"step": 2}\n\n'])
def test_cut_lines_mends_any_last_line(tmp_path, torn):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n' + torn)
    cut_lines(log, lambda line: line["step"] <= 2)
    append_line(log, '{"step": 3}')
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == ([1, 2, 3] if torn.startswith('{"step": 2}') else [1, 3])


# --- sealed directories under rot ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed_directories(tmp_path_factory):
    """One directory of every kind that limbeck seals."""
    root = tmp_path_factory.mktemp("sealed")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 17, (40, 1, 4, 4), generator=generator, dtype=torch.uint8)
    examples = key_examples(inputs, torch.arange(40) % 3, ("a", "b", "c"))
    spec = Mlp(hidden=(5,))
    module = spec.build((1, 4, 4), 3)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    module(inputs.float()).sum().backward()
    optimizer.step()
    Checkpoints(root / "checkpoints", {"ranks": 1}).save(1, module, optimizer)
    save_model(root / "model", SavedModel(module, spec, (1, 4, 4), examples.classes, Preprocess()))
    teacher = ModuleTeacher(module, Preprocess(), torch.device("cpu"))
    store = label(root / "labels", teacher, examples, watch=unwatched, stop=Stop())
    return [root / "checkpoints" / "step-00000001", root / "model", store.directory]


def hurt(path, damage):
    """Damage a file, see what `verify` says, mend it."""
    before = path.read_bytes()
    path.write_bytes(damage(before))
    try:
        return verify(path.parent)
    except DataError:
        return None
    finally:
        path.write_bytes(before)


def test_no_flipped_bit_is_silent(sealed_directories):
    randomness = random.Random(2)

    def flip(data):
        bit = randomness.randrange(8 * len(data))
        return data[: bit // 8] + bytes([data[bit // 8] ^ (1 << bit % 8)]) + data[bit // 8 + 1 :]

    for directory in sealed_directories:
        manifest = verify(directory)
        paths = [directory / MANIFEST, *(directory / name for name in manifest["files"])]
        assert [hurt(paths[turn % len(paths)], flip) for turn in range(1002 // 3)] == [None] * 334
        assert verify(directory) == manifest


def test_no_truncation_is_silent(sealed_directories):
    randomness = random.Random(3)
    for directory in sealed_directories:
        manifest = verify(directory)
        for turn in range(67):
            names = [MANIFEST, *manifest["files"]]
            found = hurt(directory / names[turn % len(names)], lambda data: data[: randomness.randrange(len(data) - 1)])
            assert found is None
        assert verify(directory) == manifest


def test_a_missing_a_swapped_and_a_resealed_file_are_refused(sealed_directories, tmp_path):
    for number, directory in enumerate(sealed_directories):
        copy = tmp_path / str(number)
        shutil.copytree(directory, copy)
        name = next(iter(verify(copy)["files"]))
        (copy / name).rename(copy / "away")
        with pytest.raises(DataError, match=name):
            verify(copy)
        (copy / name).write_bytes(next((sealed_directories[number - 1]).glob("*.safetensors")).read_bytes())
        with pytest.raises(DataError, match="sha256"):
            verify(copy)
        manifest = json.loads((directory / MANIFEST).read_text())
        manifest["files"][name] = describe(copy / name)
        write_json(copy / MANIFEST, manifest)
        with pytest.raises(DataError, match="checksum"):
            verify(copy)
        shutil.copy(sealed_directories[number - 1] / MANIFEST, copy / MANIFEST)
        with pytest.raises(DataError):
            verify(copy)


def test_a_seal_names_what_is_there(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    seal(tmp_path, ["a"], step=3)
    assert verify(tmp_path) == {
        "format": 1,
        "step": 3,
        "files": {"a": {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}},
    }


# --- locks -----------------------------------------------------------------------------------------------------------


def hold(directory, ready):
    with locked(directory):
        os.write(ready, b".")
        time.sleep(60)


def test_a_second_writer_is_refused_and_a_killed_one_is_followed_at_once(tmp_path):
    reading, writing = os.pipe()
    child = forked(lambda: hold(tmp_path, writing))
    assert os.read(reading, 1) == b"."
    for _ in range(3):
        with pytest.raises(DataError, match=rf"process {child} on ") as caught, locked(tmp_path):
            pytest.fail("two writers")
        assert caught.value.exit_status == 3
    kill(child)
    began = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - began < 1
        assert (tmp_path / ".lock-holder").read_text().startswith(f"process {os.getpid()} ")
        with pytest.raises(DataError, match=f"process {os.getpid()}"), locked(tmp_path):
            pytest.fail("two writers in one process")
    with locked(tmp_path):
        pass
    assert names_in(tmp_path) == [".lock"]
    os.close(reading), os.close(writing)


def test_a_failure_under_the_lock_releases_it(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_without_locks_of_the_kernel_nobody_writes(tmp_path, monkeypatch, code):
    import fcntl

    def no_flock(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    with pytest.raises(DiskError, match=os.strerror(code)), locked(tmp_path):
        pytest.fail("the lock was given")


def test_sweeping_removes_what_killed_writers_left(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in (".tmp-123-x", "deep/.tmp-9-y", "kept", "deep/kept"):
        (tmp_path / name).write_text("x")
    sweep(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["deep", "deep/kept", "kept"]


def test_sweeping_spares_where_others_write(tmp_path):
    for name in (".tmp-1-x", "labels/one/.tmp-2-y", "arms/.tmp-3-z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sweep(tmp_path, sparing=tmp_path / "labels")
    assert [path.name for path in tmp_path.rglob(".tmp-*")] == [".tmp-2-y"]

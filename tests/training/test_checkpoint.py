"""Checkpoints: the newest valid one counts, two are kept, and memory layout is no trap."""

import logging
import shutil

import pytest
import torch
from lessons import sha, student_of
from torch import nn

from limbeck.errors import RecipeError
from limbeck.models import ConvNet, Mlp
from limbeck.training import SGD, AdamW
from limbeck.training.checkpoint import Checkpoints, optimizer_state

CONDITIONS = {"torch": torch.__version__, "threads": 1}


def steps_in(directory):
    return sorted(int(path.name.removeprefix("step-")) for path in directory.glob("step-*"))


def made(directory, spec=None, settings=None):
    student = student_of(spec or Mlp(hidden=(4,))).to(memory_format=torch.channels_last)
    return Checkpoints(directory, CONDITIONS), student, (settings or AdamW()).build(student.parameters())


def learn(student, optimizer, steps=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        inputs = torch.randn(6, 1, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
        student(inputs).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("settings", [AdamW(lr=0.01), SGD(lr=0.001), SGD(momentum=0.0), SGD(lr=0.001, nesterov=True)])
@pytest.mark.parametrize("spec", [Mlp(hidden=(4,)), ConvNet(channels=(4, 8))])
def test_training_goes_on_bit_for_bit(tmp_path, spec, settings):
    checkpoints, student, optimizer = made(tmp_path, spec, settings)
    learn(student, optimizer)
    checkpoints.save(3, student, optimizer)
    again, other, restored = made(tmp_path, spec, settings)
    assert again.restore(other, restored) == 3
    before, after = optimizer_state(optimizer), optimizer_state(restored)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name])
        assert value.stride() == after[name].stride()
    learn(student, optimizer, seed=1), learn(other, restored, seed=1)
    assert sha(other) == sha(student)


def test_a_moment_of_another_type_than_its_weight_keeps_its_type(tmp_path):
    student = nn.Linear(1, 1, bias=False).bfloat16()
    student.weight = nn.Parameter(torch.ones((), dtype=torch.bfloat16))
    optimizer = torch.optim.AdamW(student.parameters())
    optimizer.state[student.weight] = {"step": torch.tensor(1001.0), "exp_avg": torch.ones((), dtype=torch.float32)}
    Checkpoints(tmp_path, CONDITIONS).save(1, student, optimizer)
    restored = torch.optim.AdamW(student.parameters())
    Checkpoints(tmp_path, CONDITIONS).restore(student, restored)
    assert restored.state[student.weight]["step"].item() == 1001.0


def test_nothing_to_restore_is_step_zero(tmp_path):
    checkpoints, student, optimizer = made(tmp_path / "missing")
    before = sha(student)
    assert checkpoints.restore(student, optimizer) == 0
    assert sha(student) == before


def test_two_are_kept(tmp_path):
    checkpoints, student, optimizer = made(tmp_path)
    learn(student, optimizer)
    for step in (1, 2, 10, 100):
        checkpoints.save(step, student, optimizer)
    assert steps_in(tmp_path) == [10, 100]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["learner.safetensors", "optimizer.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_passed_over_aloud(tmp_path, caplog, name, damage):
    checkpoints, student, optimizer = made(tmp_path)
    weights = {}
    for step in (1, 2):
        learn(student, optimizer, seed=step)
        checkpoints.save(step, student, optimizer)
        weights[step] = sha(student)
    damage(tmp_path / "step-00000002" / name)
    again, other, restored = made(tmp_path)
    with caplog.at_level(logging.WARNING, "limbeck"):
        assert again.restore(other, restored) == 1
    assert sha(other) == weights[1]
    assert "step-00000002" in caplog.text
    assert name in caplog.text


def test_damaged_and_unfinished_ones_never_push_a_valid_one_out(tmp_path):
    checkpoints, student, optimizer = made(tmp_path)
    learn(student, optimizer)
    for step in (10, 20):
        checkpoints.save(step, student, optimizer)
    # Killed while saving 30 and 40, and 50 rotted: all newer than what is valid.
    for step in (30, 40, 50):
        shutil.copytree(tmp_path / "step-00000020", tmp_path / f"step-{step:08d}")
        (tmp_path / f"step-{step:08d}" / "manifest.json").unlink()
    again, other, restored = made(tmp_path)
    assert again.restore(other, restored) == 20
    again.save(21, other, restored)
    assert steps_in(tmp_path) == [20, 21]
    assert made(tmp_path)[0].restore(other, restored) == 21


def test_a_damaged_place_may_be_saved_to_again(tmp_path):
    checkpoints, student, optimizer = made(tmp_path)
    learn(student, optimizer)
    checkpoints.save(1, student, optimizer)
    checkpoints.save(2, student, optimizer)
    flip(tmp_path / "step-00000002" / "learner.safetensors")
    again, other, restored = made(tmp_path)
    assert again.restore(other, restored) == 1
    again.save(2, other, restored)
    assert steps_in(tmp_path) == [1, 2]
    assert made(tmp_path)[0].restore(other, restored) == 2


def test_a_save_cut_short_at_any_moment_leaves_a_way_back(tmp_path, monkeypatch):
    import limbeck.files as files

    real, weights = files.write_bytes, {}
    for cut in range(4):
        directory = tmp_path / str(cut)
        checkpoints, student, optimizer = made(directory)
        for step in (1, 2):
            learn(student, optimizer, seed=step)
            checkpoints.save(step, student, optimizer)
        weights[2] = sha(student)
        learn(student, optimizer, seed=3)
        weights[3] = sha(student)
        written = []

        def until(path, data, written=written, cut=cut):
            if len(written) == cut:
                raise KeyboardInterrupt
            written.append(path)
            real(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(files, "write_bytes", until)
            if cut < 3:
                with pytest.raises(KeyboardInterrupt):
                    checkpoints.save(3, student, optimizer)
            else:
                checkpoints.save(3, student, optimizer)
        again, other, restored = made(directory)
        step = again.restore(other, restored)
        assert step == (3 if cut == 3 else 2)
        assert sha(other) == weights[step]


def test_other_conditions_are_told(tmp_path, caplog):
    checkpoints, student, optimizer = made(tmp_path)
    checkpoints.save(1, student, optimizer)
    with caplog.at_level(logging.WARNING, "limbeck"):
        assert Checkpoints(tmp_path, {**CONDITIONS, "threads": 2}).restore(student, optimizer) == 1
    assert "not promised bit for bit" in caplog.text


def test_a_checkpoint_of_another_student_is_refused(tmp_path):
    checkpoints, student, optimizer = made(tmp_path)
    checkpoints.save(1, student, optimizer)
    again, other, restored = made(tmp_path, Mlp(hidden=(5,)))
    with pytest.raises(RecipeError, match="another student"):
        again.restore(other, restored)

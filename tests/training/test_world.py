"""Several processes train one student: the same as one process would, and the same again after a kill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import world_fits

from limbeck.files import digest_tensors, read_json, read_tensors
from limbeck.training import World, join_world


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The students of one process."""
    out = tmp_path_factory.mktemp("alone")
    plain = world_fits.train(out / "plain", World()).state_dict()
    accumulated = world_fits.train(out / "accumulated", World(), world_fits.ACCUMULATED).state_dict()
    tapped = world_fits.train(out / "tapped", World(), further=world_fits.TAPPED).state_dict()
    return {"plain": plain, "accumulated": accumulated, "tapped": tapped, "learner": learner_in(out / "tapped")}


def learner_in(directory):
    """The last checkpoint of a fit: what its terms learnt with the student."""
    return read_tensors(directory / "checkpoints" / f"step-{world_fits.STEPS:08d}" / "learner.safetensors")


def launch(ranks, out, mode):
    """Start torchrun with the script that stands beside this file."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += [str(Path(world_fits.__file__)), str(out), mode]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("ranks", "kill"), [(2, False), (4, True)])
def test_ranks_are_one_process_and_resume_exactly(tmp_path, alone, ranks, kill):
    launched = launch(ranks, tmp_path, "all, then kill" if kill else "all")
    assert launched.returncode == (-9 if kill else 0), launched.stderr[-3000:]
    if kill:
        assert not (tmp_path / "killed" / "student-0.safetensors").exists()
        resumed = launch(ranks, tmp_path, "resume")
        assert resumed.returncode == 0, resumed.stderr[-3000:]
    again = ("stopped", "killed") if kill else ("stopped",)

    def student(name, rank=0):
        return read_tensors(tmp_path / name / f"student-{rank}.safetensors")

    for name in ("plain", "accumulated", "tapped"):
        for key, value in alone[name].items():
            torch.testing.assert_close(student(name)[key], value, rtol=1e-4, atol=1e-6)
    for key, value in learner_in(tmp_path / "tapped").items():
        torch.testing.assert_close(value, alone["learner"][key], rtol=1e-4, atol=1e-6)
    for name in ("plain", "accumulated", "tapped", "whole", *again):
        assert len({digest_tensors(student(name, rank)) for rank in range(ranks)}) == 1, name
    assert all(digest_tensors(student(name)) == digest_tensors(student("whole")) for name in again)
    assert [read_json(tmp_path / f"status-{rank}.json") for rank in range(ranks)] == [143] * ranks
    assert all("begins at step 0" in read_json(tmp_path / f"unlike-{rank}.json") for rank in range(ranks))


def test_a_process_alone_is_the_whole_world(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = join_world()
    assert (world, world.leads, world.agree(3, 0)) == (World(0, 1), True, (3, 0))
    world.wait()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_the_parts_of_a_batch_are_the_batch(size):
    rows = torch.randperm(30)
    parts = [World(rank, size).part(rows) for rank in range(size)]
    assert torch.equal(torch.cat(parts), rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1

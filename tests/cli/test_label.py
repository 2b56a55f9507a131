"""`limbeck label`: the teacher asked alone, by one process or by many, and what it left held against its checksums."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from limbeck.files import describe
from limbeck.recipe_text import read_yaml, write_yaml
from limbeck.teachers import precision
from running import TRAIN, limbeck_says

pytestmark = pytest.mark.usefixtures("unsynced")


def stores(out: Path) -> dict[str, object]:
    return {str(path.relative_to(out)): describe(path) for path in sorted(out.glob("labels/*/[!.]*"))}


def test_the_teacher_is_asked_and_nothing_else_is_done(recipe: Path, tmp_path: Path):
    said = limbeck_says("label", recipe)
    assert said.status == 0, said.err
    (store,) = (tmp_path / "run" / "labels").iterdir()
    assert said.out.startswith(f"labels/{store.name} is complete: {TRAIN} examples in 1 shards, ")
    assert "nats lost on average" in said.out
    assert f"labels: {TRAIN} of {TRAIN}" in said.err
    assert not (tmp_path / "run" / "arms").exists()
    assert not (tmp_path / "run" / "record.json").exists()


def test_distill_goes_on_from_there(recipe: Path, tmp_path: Path):
    limbeck_says("label", recipe)
    before = stores(tmp_path / "run")
    said = limbeck_says("distill", recipe, "--resume")
    assert said.status == 0, said.err
    assert "labels:" not in said.err
    assert stores(tmp_path / "run") == before


def test_facts_as_json_and_a_top_k_store_with_its_tail(recipe: Path, tmp_path: Path):
    said = limbeck_says("label", recipe, "--json", "--set", "labels={encoding: top-k, k: 2}")
    (facts,) = json.loads(said.out)
    assert facts["encoding"].startswith("top-2 ")
    assert 0 < facts["mean_tail"] < facts["largest_tail"] < 1
    assert facts["bytes"] == sum(path.stat().st_size for path in (tmp_path / "run").glob("labels/*/shard-*"))


def test_verify_holds_every_file_against_its_checksum(recipe: Path, tmp_path: Path):
    assert limbeck_says("label", recipe, "--verify").status == 3
    limbeck_says("label", recipe)
    said = limbeck_says("label", recipe, "--verify")
    assert said.status == 0
    assert " is sound: " in said.out
    (shard,) = (tmp_path / "run").glob("labels/*/shard-*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    said = limbeck_says("label", recipe, "--verify")
    assert said.status == 3
    assert shard.name in said.err


def test_another_recipe_for_the_same_run_is_refused(recipe: Path):
    limbeck_says("label", recipe)
    said = limbeck_says("label", recipe, "--set", "distill.temperature=9")
    assert said.status == 2
    assert "begun with another recipe" in said.err


def begin(recipe: Path, out: Path, *before: str) -> subprocess.Popen[str]:
    command = [sys.executable, *before, "-m", "limbeck", "label", str(recipe), "--set", f"out={out}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_many_processes_label_one_run(recipe: Path, tmp_path: Path):
    """Two by torchrun and one started by hand, as on another machine: one store, in the bytes of one process."""
    limbeck_says("label", recipe, "--set", f"out={tmp_path / 'alone'}")
    together = tmp_path / "together"
    ranks = begin(recipe, together, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    other = begin(recipe, together)
    for process in (ranks, other):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err[-3000:]
        assert " is complete: " in out
    assert stores(together) == stores(tmp_path / "alone")


def test_top_k_beside_an_objective_that_needs_every_class_is_refused_before_it_is_trained(recipe: Path, tmp_path: Path):
    tree = read_yaml(recipe)
    tree["labels"], tree["distill"] = {"encoding": "top-k", "k": 2}, {"objective": {"name": "dkd"}}
    recipe.write_text(write_yaml(tree))
    said = limbeck_says("distill", recipe)
    assert said.status == 2
    assert "expected the teacher's logits of all 3 classes" in said.err
    assert not list(tmp_path.glob("run/teacher/manifest.json"))


def test_a_top_k_run_is_a_run_like_another(recipe: Path, tmp_path: Path):
    said = limbeck_says(
        "distill", recipe, "--set", "labels={encoding: top-k, k: 2}", "--json",
        "--set", "proof.arms=[distilled, scratch, hard-teacher, shuffled-teacher]",
    )  # fmt: skip
    assert said.status == 0, said.err
    assert json.loads(said.out)["labels"]["encoding"].startswith("top-2")
    assert limbeck_says("peek", tmp_path / "run", "-T", "1").status == 0
    said = limbeck_says("peek", tmp_path / "run", "-T", "3")
    assert said.status == 2
    assert "known at the temperatures" in said.err


def test_the_precision_that_auto_found_is_kept_by_the_run(recipe: Path, tmp_path: Path, monkeypatch):
    settings = ("--set", "labels.precision=auto", "--json")
    monkeypatch.setattr(precision, "_faster", lambda teacher, examples: True)
    (before,) = json.loads(limbeck_says("label", recipe, *settings).out)
    monkeypatch.setattr(precision, "_faster", lambda teacher, examples: False)
    record = json.loads(limbeck_says("distill", recipe, "--resume", *settings).out)
    assert record["teacher"]["precision"] == "bf16"
    assert record["teacher"]["bf16_agreement"] >= 0.999
    assert record["labels"]["directory"] == f"labels/{before['store']}"
    assert before["examples_per_second"] > 0
    plain = limbeck_says("label", recipe, "--set", f"out={tmp_path / 'plain'}", "--json")
    assert json.loads(plain.out)[0]["store"] != before["store"]

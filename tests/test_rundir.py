import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from limbeck.errors import DataError, DiskError, MissingError, RecipeError
from limbeck.files import write_text
from limbeck.locks import locked
from limbeck.recipe import Recipe, recipe_from_tree
from limbeck.recipe_text import read_yaml, write_yaml
from limbeck.record import RECORD
from limbeck.rundir import RESOLVED, check_origin, check_out, holds_run_of, open_run
from limbeck.search_space import Tune
from limbeck.training import World
from running import Heard, tree


def recipe_for(out: Path | str, **changes: Any) -> Recipe:
    return recipe_from_tree({**tree(Path("DATA"), out), **changes}, {}, where="the test")


def opening(recipe: Recipe, *, resume: bool = False, overwrite: bool = False) -> Any:
    return open_run(recipe, world=World(), resume=resume, overwrite=overwrite, watch=Heard())


def begun(out: Path) -> Path:
    """A directory in which a run has made something."""
    with opening(recipe_for(out)):
        (out / "labels").mkdir()
    return out


def test_a_run_begins_with_its_resolved_recipe(tmp_path: Path):
    out = tmp_path / "new" / "run"
    recipe = recipe_for(out, fit={})
    with opening(recipe) as opened:
        cores = len(os.sched_getaffinity(0))
        assert opened.recipe.fit.threads == cores
        assert opened.directory == out
        assert opened.device.type in ("cpu", "cuda")
    assert read_yaml(out / RESOLVED)["fit"]["threads"] == cores
    assert (out / "environment.json").exists()
    assert (out / "run.log").exists()
    assert not (out / ".lock-holder").exists()


def test_threads_are_kept_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values: dict[str, Any] = {"fit": {}, "teacher": {"kind": "train", "model": {"name": "mlp"}}}
    recipe = recipe_for(tmp_path / "run", **values)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    with opening(recipe):
        pass
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with opening(recipe, resume=True) as opened:
        assert opened.recipe.fit.threads == opened.recipe.teacher.fit.threads == 3


# --- what may be in the directory ---------------------------------------------------------------------------------


def test_an_empty_or_new_directory_is_taken(tmp_path: Path):
    check_out(tmp_path, resume=False, overwrite=False)
    check_out(tmp_path / "new", resume=False, overwrite=False)
    check_out(tmp_path / "new", resume=True, overwrite=False)


def test_a_run_that_made_nothing_is_begun_anew(tmp_path: Path):
    with opening(recipe_for(tmp_path)):
        pass
    (tmp_path / ".tmp-1-2-3").touch()
    changed = recipe_for(tmp_path, distill={"alpha": 0.5})
    with opening(changed) as opened:
        assert opened.recipe.distill.alpha == 0.5
    assert read_yaml(tmp_path / RESOLVED)["distill"]["alpha"] == 0.5


def test_a_run_is_refused_and_both_ways_out_are_named(tmp_path: Path):
    with pytest.raises(RecipeError, match="is not empty") as caught:
        check_out(begun(tmp_path), resume=False, overwrite=False)
    assert "--resume" in caught.value.do
    assert "--overwrite" in caught.value.do
    assert "--set out=" in caught.value.do


@pytest.mark.parametrize("way", [{}, {"resume": True}, {"overwrite": True}])
def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path, way: dict[str, bool]):
    (tmp_path / "labels").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RecipeError, match="does not look like a run"), opening(recipe_for(tmp_path), **way):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"labels", "thesis.tex"}


def test_overwrite_deletes_what_a_run_left_and_nothing_else(tmp_path: Path):
    out = begun(tmp_path)
    (out / "recipe.yaml").write_text("the user's")
    (out / "record.json").write_text("old")
    (out / "labels" / "shard").touch()
    with opening(recipe_for(out, distill={"alpha": 0.5}), overwrite=True):
        assert not (out / "labels").exists()
        assert not (out / "record.json").exists()
    assert (out / "recipe.yaml").read_text() == "the user's"
    assert read_yaml(out / RESOLVED)["distill"]["alpha"] == 0.5


def test_overwrite_spares_a_link(tmp_path: Path):
    out = begun(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (out / "teacher").symlink_to(tmp_path / "elsewhere")
    with opening(recipe_for(out), overwrite=True):
        assert not (out / "teacher").exists()
    assert (tmp_path / "elsewhere" / "kept").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("teacher", {"kind": "saved", "path": "{out}/teacher"}),
        ("teacher", {"kind": "saved", "path": "{out}/arms/distilled/seed-0/student"}),
        ("data", {"source": "npz", "path": "{out}/labels/x.npz"}),
    ],
)
def test_overwrite_never_deletes_what_the_run_reads(tmp_path: Path, key: str, value: dict[str, str]):
    out = begun(tmp_path)
    reading = {name: text.format(out=out) for name, text in value.items()}
    recipe = recipe_for(out, **{key: reading})
    with pytest.raises(RecipeError, match=f"would delete {key}.path"), opening(recipe, overwrite=True):
        pass
    assert (out / "labels").exists()


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path):
    with pytest.raises(RecipeError, match="--resume came with --overwrite"):
        check_out(tmp_path, resume=True, overwrite=True)


def test_out_is_a_file(tmp_path: Path):
    (tmp_path / "x").touch()
    with pytest.raises(RecipeError, match="is a file"):
        check_out(tmp_path / "x", resume=False, overwrite=False)


# --- resume -------------------------------------------------------------------------------------------------------


def test_a_changed_recipe_is_named_key_by_key(tmp_path: Path):
    out = begun(tmp_path)
    changed = recipe_for(out, distill={"alpha": 0.5}, proof={"seeds": [0, 2]})
    with pytest.raises(RecipeError, match="begun with another recipe") as caught, opening(changed, resume=True):
        pass
    assert "distill.alpha: 0.1 -> 0.5" in caught.value.came
    assert "proof.seeds: [0, 1] -> [0, 2]" in caught.value.came
    assert read_yaml(out / RESOLVED)["distill"]["alpha"] == 0.1


@pytest.mark.parametrize("before", ["absent", "null"])
def test_what_a_search_may_vary_makes_no_other_run(tmp_path: Path, before: str):
    out = begun(tmp_path / "run")
    if before == "absent":  # as runs were written that began before there was a search
        tree = read_yaml(out / RESOLVED)
        del tree["tune"]
        write_text(out / RESOLVED, write_yaml(tree))
    write_text(out / RECORD, "{}")
    with opening(recipe_for(out, tune={"trials": 3}), resume=True) as opened:
        assert opened.recipe.tune == Tune(trials=3)
    assert (out / RECORD).exists()
    assert holds_run_of(recipe_for(out, tune={}), out)


def test_a_run_may_be_moved(tmp_path: Path):
    begun(tmp_path / "here").rename(tmp_path / "there")
    with opening(recipe_for(tmp_path / "there"), resume=True) as opened:
        assert opened.directory == tmp_path / "there"


def test_nothing_to_resume_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING), opening(recipe_for(tmp_path / "run"), resume=True):
        pass
    assert "nothing to resume" in caplog.text
    assert "nothing to resume" in (tmp_path / "run" / "run.log").read_text()


def test_a_run_keeps_its_data_and_its_teacher(tmp_path: Path):
    with opening(recipe_for(tmp_path)) as opened:
        check_origin(opened, {"training set": "1", "teacher": "2"})
        check_origin(opened, {"training set": "1", "teacher": "2"})
        with pytest.raises(DataError, match="begun with another training set and another teacher"):
            check_origin(opened, {"training set": "3", "teacher": "4"})
        with pytest.raises(DataError, match="begun with another teacher"):
            check_origin(opened, {"training set": "1", "teacher": "4"})


# --- the lock, the log, the disk, the device ----------------------------------------------------------------------


@pytest.mark.parametrize("way", [{"resume": True}, {"overwrite": True}])
def test_one_writer_at_a_time(tmp_path: Path, way: dict[str, bool]):
    out = begun(tmp_path)
    writing = pytest.raises(DataError, match=f"is being written by process {os.getpid()}")
    with locked(out), writing, opening(recipe_for(out), **way):
        pass
    assert (out / "labels").exists()


def test_the_log_is_the_runs_and_is_let_go(tmp_path: Path):
    log = logging.getLogger("limbeck")
    before = (log.level, list(log.handlers))
    with opening(recipe_for(tmp_path)):
        logging.getLogger("limbeck.anything").debug("a detail")
    logging.getLogger("limbeck.anything").debug("too late")
    assert (log.level, list(log.handlers)) == before
    assert "a detail" in (tmp_path / "run.log").read_text()
    assert "too late" not in (tmp_path / "run.log").read_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_log_on_a_full_disk_is_given_up_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "run.log").symlink_to("/dev/full")
    with opening(recipe_for(tmp_path)):
        logging.getLogger("limbeck").info("lost")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DiskError, match=os.strerror(number)) as caught, opening(recipe_for(tmp_path / "run")):
        pass
    assert caught.value.exit_status == 74


def test_a_directory_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DiskError, match="Permission denied"):
        check_out(tmp_path, resume=False, overwrite=False)


def test_a_name_that_is_too_long(tmp_path: Path):
    with pytest.raises(DiskError, match="too long"), opening(recipe_for(tmp_path / ("x" * 300))):
        pass


@pytest.mark.parametrize("name", ['né 标签 "x"', "with space", "x" * 255, "-n", "%s"])
def test_odd_names_work(tmp_path: Path, name: str):
    with opening(recipe_for(tmp_path / name)):
        pass
    with opening(recipe_for(tmp_path / name), resume=True):
        pass


@pytest.mark.parametrize("device", ["meta", "gpu", "cuda:x", "", "cpu,cuda", "mps"])
def test_an_unknown_device(tmp_path: Path, device: str):
    with pytest.raises(RecipeError, match="device is"), opening(recipe_for(tmp_path / "run", device=device)):
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("found", "device"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")])
def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: int, device: str):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    with pytest.raises(MissingError, match=f"torch finds {found or 'no'} GPU") as caught:
        opening(recipe_for(tmp_path / "run", device=device)).__enter__()
    assert caught.value.exit_status == 4
    assert not (tmp_path / "run").exists()

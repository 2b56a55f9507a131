"""Who teaches in a run: ensembles, assistants, generations, and the arm that leaves them out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import DataError, Interrupted, RecipeError
from limbeck.files import digest_tensors, read_json
from limbeck.models import ConvNet, Mlp, initialise, parameters
from limbeck.progress import Progress
from limbeck.recipe import recipe_from_tree
from limbeck.record import read_record
from limbeck.rundir import ORIGIN
from limbeck.teachers import Audience, SavedTeacher, load_model
from running import TEST, TRAIN, Heard, Interrupting, measured, run_tree, students, tree

pytestmark = pytest.mark.usefixtures("unsynced")

HINT = {"weight": 1.0, "objective": {"name": "hint", "student": "conv1", "teacher": "conv1"}}


def member(hidden: int = 16, **fit: Any) -> dict[str, Any]:
    return {**tree(Path("X"), "X")["teacher"], "model": {"name": "mlp", "hidden": [hidden]}, **fit}


def ensemble(*members: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"kind": "ensemble", "members": list(members), **settings}


def weights_of(directory: Path) -> str:
    return digest_tensors(load_model(directory).module.state_dict())


# --- ensembles -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught_by_two(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run whose teacher is two networks, trained alike but for their seed."""
    out = tmp_path_factory.mktemp("ensemble") / "run"
    run_tree(tree(npz, out, teacher=ensemble(member(), member())))
    return out


def test_each_member_is_trained_from_a_seed_of_its_own(finished: Path, taught_by_two: Path):
    first, second = (weights_of(taught_by_two / "teacher" / f"member-{number}") for number in range(2))
    assert first != second
    assert first == weights_of(finished / "teacher")  # member 0 is what the one teacher of this recipe would be
    assert {path.name for path in (taught_by_two / "teacher").iterdir()} == {"member-0", "member-1"}


def test_the_record_tells_of_every_member(taught_by_two: Path):
    teacher = read_record(taught_by_two)["teacher"]
    assert [found["asked"] for found in teacher["members"]] == [TRAIN, TRAIN]
    assert all(0.5 < found["train_accuracy"] <= 1 for found in teacher["members"])
    assert teacher["identity"]["kind"] == "ensemble"
    assert len(teacher["identity"]["members"]) == 2
    assert teacher["parameters"] == 2 * parameters(initialise(Mlp(hidden=(16,)), (1, 8, 8), 3, 0))
    assert 0.5 < teacher["accuracy"] <= 1
    assert teacher["verdict"]


def test_an_ensemble_of_saved_teachers_is_that_of_the_trained_ones(npz: Path, tmp_path: Path, taught_by_two: Path):
    saved = [{"kind": "saved", "path": str(taught_by_two / "teacher" / f"member-{number}")} for number in range(2)]
    record = run_tree(tree(npz, tmp_path, teacher=ensemble(*saved)))
    assert students(record) == students(read_record(taught_by_two))
    assert not (tmp_path / "teacher").exists()
    mixed = run_tree(tree(npz, tmp_path / "mixed", teacher=ensemble(saved[0], member())))
    assert students(mixed) == students(record)


def test_weights_and_mean_decide_what_is_taught(npz: Path, tmp_path: Path, taught_by_two: Path):
    saved = [{"kind": "saved", "path": str(taught_by_two / "teacher" / f"member-{number}")} for number in range(2)]
    stores = {read_record(taught_by_two)["labels"]["directory"]}
    for name, settings in (("weights", {"weights": [1, 3]}), ("mean", {"mean": "logits"})):
        values = tree(npz, tmp_path / name, teacher=ensemble(*saved, **settings), proof={"seeds": [0]})
        stores.add(run_tree(values)["labels"]["directory"])
    assert len(stores) == 3


def test_members_whose_threads_are_counted(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("limbeck.rundir.cores", lambda: 1)
    short = {"epochs": 4, "optimizer": {"name": "adamw", "lr": 0.02}, "batch_size": 32}
    values = tree(npz, tmp_path, teacher=ensemble(member(fit=short), member(fit=short)))
    record = run_tree(values)
    assert [one["fit"]["threads"] for one in record["recipe"]["teacher"]["members"]] == [1, 1]
    monkeypatch.setattr("limbeck.rundir.cores", lambda: 2)  # elsewhere it goes on as it began
    assert run_tree(values, resume=True) == record


def test_a_weak_member_is_refused(npz: Path, tmp_path: Path):
    untaught = member(fit={**member()["fit"], "optimizer": {"name": "adamw", "lr": 1e-9}})
    values = tree(npz, tmp_path, teacher=ensemble(member(), untaught))
    with pytest.raises(DataError, match="the teacher is right on"):
        run_tree(values)
    assert run_tree(values, resume=True, allow_weak=True)["teacher"]["members"][1]["train_accuracy"] < 0.7


def test_a_path_that_is_none_is_named_by_its_key(npz: Path, tmp_path: Path):
    values = tree(npz, tmp_path, teacher=ensemble(member(), {"kind": "saved", "path": "a\0b"}))
    with pytest.raises(RecipeError, match=r"teacher\.members\.1\.path is 'a"):
        run_tree(values)


def test_an_interrupted_ensemble_goes_on_with_the_member_it_was_at(npz: Path, tmp_path: Path, taught_by_two: Path):
    values, heard = tree(npz, tmp_path, teacher=ensemble(member(), member())), Heard()
    with pytest.raises(Interrupted):
        run_tree(values, watch=interrupting("teacher 1"))
    assert students(run_tree(values, resume=True, watch=heard)) == students(read_record(taught_by_two))
    assert "teacher 0" not in {progress.stage for progress in heard}


def test_overwrite_spares_the_members_that_it_is_going_to_read(npz: Path, tmp_path: Path):
    run_tree(tree(npz, tmp_path))
    saved = {"kind": "saved", "path": str(tmp_path / "teacher")}
    with pytest.raises(RecipeError, match=r"--overwrite would delete teacher\.members\.0\.path"):
        run_tree(tree(npz, tmp_path, teacher=ensemble(saved, member())), overwrite=True)
    assert (tmp_path / "teacher" / "manifest.json").exists()


# --- generations and assistants --------------------------------------------------------------------------------------


ARMS = ["distilled", "scratch", "direct"]
STUDENT = {"model": {"name": "mlp", "hidden": [8]}}
CONVNET = {"model": {"name": "convnet", "channels": [4, 8]}}


def chained(npz: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Three generations, and the arm that hears the teacher itself."""
    changes = {"student": {**STUDENT, "generations": 3}, "proof": {"seeds": [0, 1], "arms": ARMS}, **changes}
    return tree(npz, out, **changes)


@pytest.fixture(scope="module")
def generations(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of such a run that was left alone."""
    out = tmp_path_factory.mktemp("generations") / "run"
    run_tree(chained(npz, out))
    return out


def test_three_generations_are_two_assistants_and_the_arms(generations: Path):
    assert sorted(path.name for path in (generations / "assistants").iterdir()) == ["1", "2"]
    assert sorted(path.name for path in (generations / "arms").iterdir()) == sorted(ARMS)
    assert len(list((generations / "labels").glob("*/manifest.json"))) == 3
    made = [weights_of(generations / "assistants" / number) for number in "12"]
    made += [weights_of(generations / "arms" / arm / f"seed-{seed}" / "student") for arm in ARMS for seed in (0, 1)]
    assert len(set(made)) == 8
    assert load_model(generations / "assistants" / "2").spec == Mlp(hidden=(8,))


def test_the_record_tells_of_every_assistant(generations: Path):
    record = read_record(generations)
    assert len(record["assistants"]) == 2
    for assistant in record["assistants"]:
        assert assistant["parameters"] == record["arms"]["distilled"][0]["parameters"]
        assert 0 <= assistant["accuracy"] <= 1
        assert assistant["examples"] == TEST
    assert record["labels"]["directory"] == f"labels/{read_json(generations / ORIGIN)['teacher']}"
    pairs = [(verdict["arm"], verdict["against"]) for verdict in record["verdicts"]]
    assert pairs == [("distilled", "scratch"), ("distilled", "direct"), ("direct", "scratch")]


def test_direct_is_the_distilled_arm_of_a_run_without_the_chain(generations: Path, finished: Path):
    for seed in (0, 1):
        direct, distilled = (
            weights_of(out / "arms" / arm / f"seed-{seed}" / "student")
            for out, arm in ((generations, "direct"), (finished, "distilled"))
        )
        assert direct == distilled
        scratch = [weights_of(out / f"arms/scratch/seed-{seed}/student") for out in (generations, finished)]
        assert scratch[0] == scratch[1]


def test_the_students_hear_the_last_of_the_chain(npz: Path, tmp_path: Path, generations: Path):
    last = {"kind": "saved", "path": str(generations / "assistants" / "2")}
    run_tree(tree(npz, tmp_path, teacher=last), allow_weak=True)
    for seed in (0, 1):
        name = f"arms/distilled/seed-{seed}/student"
        assert weights_of(tmp_path / name) == weights_of(generations / name)


def interrupting(stage: str) -> Callable[[Progress], None]:
    """A watcher that presses Ctrl-C when a stage gives its first sign of life."""
    press = Interrupting(1)

    def watch(progress: Progress) -> None:
        if progress.stage == stage:
            press(progress)

    return watch


@pytest.mark.parametrize(
    ("stage", "done"),
    [
        ("teacher 0", []),
        ("assistant-1 0", ["teacher 0"]),
        ("assistant-2 0", ["teacher 0", "assistant-1 0"]),
        ("direct 0", ["teacher 0", "assistant-1 0", "assistant-2 0", "distilled 0", "scratch 0"]),
    ],
)
def test_a_chain_that_was_interrupted_ends_in_the_same_bits(
    npz: Path, tmp_path: Path, generations: Path, stage: str, done: list[str]
):
    values, heard = chained(npz, tmp_path), Heard()
    with pytest.raises(Interrupted):
        run_tree(values, watch=interrupting(stage))
    record = run_tree(values, resume=True, watch=heard)
    assert not set(done) & {progress.stage for progress in heard}
    whole = read_record(generations)
    assert measured(record) == measured(whole)
    assert record["assistants"] == whole["assistants"]


def test_a_finished_chain_is_only_read(npz: Path, tmp_path: Path):
    values, heard = chained(npz, tmp_path), Heard()
    values["student"]["generations"] = 2
    record = run_tree(values)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert run_tree(values, resume=True, watch=heard) == record
    assert not heard
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before
    weights = tmp_path / "assistants" / "1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match="sha256"):
        run_tree(values, resume=True)


def test_the_arm_direct_can_be_added_to_a_chain(npz: Path, tmp_path: Path, generations: Path):
    run_tree(chained(npz, tmp_path, proof={"seeds": [0, 1], "arms": ["distilled", "scratch"]}))
    heard = Heard()
    record = run_tree(chained(npz, tmp_path), resume=True, watch=heard)
    assert {progress.stage for progress in heard} == {"direct 0", "direct 1"}
    assert measured(record) == measured(read_record(generations))


def test_another_chain_is_another_recipe(npz: Path, tmp_path: Path):
    values = chained(npz, tmp_path)
    run_tree(values)
    with pytest.raises(RecipeError, match=r"student\.generations: 3 -> 2"):
        run_tree(values, {"student.generations": 2}, resume=True)
    with pytest.raises(RecipeError, match=r"student\.assistants"):
        run_tree(values, {"student.assistants": [STUDENT["model"]]}, resume=True)


def test_overwrite_deletes_the_assistants_too(npz: Path, tmp_path: Path):
    run_tree(chained(npz, tmp_path))
    run_tree(tree(npz, tmp_path), overwrite=True)
    assert not (tmp_path / "assistants").exists()


def test_assistants_of_unlike_architectures_come_before_the_generations(npz: Path, tmp_path: Path):
    between = [{"name": "convnet", "channels": [4, 8]}, {"name": "mlp", "hidden": [12]}]
    values = chained(npz, tmp_path, student={**STUDENT, "assistants": between, "generations": 2})
    record = run_tree(values)
    specs = [load_model(tmp_path / "assistants" / number).spec for number in "123"]
    assert specs == [ConvNet(channels=(4, 8)), Mlp(hidden=(12,)), Mlp(hidden=(8,))]
    sizes = [assistant["parameters"] for assistant in record["assistants"]]
    assert len(set(sizes)) == 3
    assert sizes[2] == record["arms"]["direct"][0]["parameters"]


def test_a_chain_that_is_asked_live(npz: Path, tmp_path: Path):
    changes = {"student.generations": 2, "distill.views": "live", "fit.augment": {"shift": 1}, "proof.seeds": [0]}
    record = run_tree(chained(npz, tmp_path), changes)
    assert len(record["assistants"]) == 1
    plain = run_tree(chained(npz, tmp_path / "plain"), {**changes, "distill.views": 1})
    assert record["assistants"][0]["identity"] != plain["assistants"][0]["identity"]


def test_a_chain_passes_on_features_too(npz: Path, tmp_path: Path):
    teacher = {**member(), "model": {"name": "convnet", "channels": [6, 8]}}
    student = {**CONVNET, "assistants": [{"name": "convnet", "channels": [5, 8]}]}
    values = chained(npz, tmp_path, teacher=teacher, student=student, distill={"terms": [HINT]})
    record = run_tree(values)
    assert len(record["assistants"]) == 1
    assert [term["name"] for term in record["arms"]["direct"][0]["loss"]][-1] == "term0_hint"
    saved = load_model(tmp_path / "assistants" / "1").module
    assert set(saved.state_dict()) == set(ConvNet().build((1, 8, 8), 3).state_dict())  # no projector inside


# --- what is refused, before anything is trained ---------------------------------------------------------------------


def hint(student: str, teacher: str) -> dict[str, Any]:
    return {"terms": [{"weight": 1.0, "objective": {"name": "hint", "student": student, "teacher": teacher}}]}


@pytest.mark.parametrize(
    ("student", "distill", "words"),
    [
        (CONVNET, hint("conv9", "conv1"), "the tap 'conv9' is no part of the student; did you mean 'conv"),
        (CONVNET, hint("conv1", "conv9"), "the tap 'conv9' is no part of the teacher; did you mean 'conv"),
        (CONVNET, hint("conv1", "head"), "term0_hint cannot be formed"),
        ({**CONVNET, "assistants": [STUDENT["model"]]}, hint("conv1", "conv1"), "the tap 'conv1' is no part of"),
    ],
    ids=["student", "teacher", "shapes", "assistant"],
)
def test_a_chain_that_cannot_learn_is_refused_before_the_teacher_is_trained(
    npz: Path, tmp_path: Path, student: dict[str, Any], distill: dict[str, Any], words: str
):
    teacher, heard = {**member(), "model": {"name": "convnet", "channels": [6, 8]}}, Heard()
    with pytest.raises(RecipeError, match=words):
        run_tree(tree(npz, tmp_path, teacher=teacher, student=student, distill=distill), watch=heard)
    assert not heard
    assert not (tmp_path / "teacher").exists()


def test_a_batch_too_small_for_an_assistant_is_refused_before_the_teacher_is_trained(npz: Path, tmp_path: Path):
    heard = Heard()
    values = tree(npz, tmp_path, student={**STUDENT, "assistants": [{"name": "resnet8x4"}]})
    with pytest.raises(RecipeError, match=r"fit\.batch_size 4 for 4 micro-batches"):
        run_tree(values, {"fit.batch_size": 4, "fit.accumulate": 4}, watch=heard)
    assert not heard


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"proof.arms": ARMS}, "the arm direct leaves out assistants and generations, and there are none"),
        (
            {"teacher": ensemble(member(), member()), "distill": hint("conv1", "conv1")},
            "an ensemble has no parts to tap",
        ),
        ({"student.generations": 0}, "generations must be 1 or more, not 0"),
        ({"teacher": ensemble()}, "an ensemble has at least one member, not none"),
        ({"teacher": ensemble(member(), weights=[1, 2])}, "an ensemble of 1 has 1 weights above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(npz: Path, changes: dict[str, Any], words: str):
    with pytest.raises(RecipeError) as caught:
        recipe_from_tree(tree(npz, "OUT"), changes, where="the test")
    assert words in caught.value.came


def test_a_path_to_an_ensemble_says_where_its_members_lie(tmp_path: Path):
    (tmp_path / "teacher" / "member-0").mkdir(parents=True)
    with pytest.raises(DataError, match="holds an ensemble of 1") as caught:
        SavedTeacher(path=str(tmp_path / "teacher")).open(Audience(None, None))
    assert "member-0" in caught.value.do


@pytest.mark.parametrize("views", [3, "live"])
def test_a_run_with_mixed_views_is_a_run_like_another(npz: Path, tmp_path: Path, views: Any):
    arms = ["distilled", "scratch", "hard-teacher", *(["shuffled-teacher"] if views == 3 else [])]
    changes = {"distill.views": views, "fit.augment": {"shift": 1, "mixup": 0.4}, "proof.arms": arms}
    changes["distill.terms"] = [{"weight": 0.1, "objective": {"name": "hint", "student": "head", "teacher": "head"}}]
    first, again = (run_tree(tree(npz, tmp_path / name), changes) for name in ("first", "again"))
    assert measured(first) == measured(again)
    assert first["labels"]["views"] == (3 if views == 3 else 1)

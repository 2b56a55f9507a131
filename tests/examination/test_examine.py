"""Every fault is found, and a sound set-up raises none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import COUNT, Bands, amiss, bands, examined, of, pictures, sound_logits
from torch import nn

from limbeck.data import UNLABELLED, ImagePreprocess, Preprocess, from_arrays, key_examples
from limbeck.examination import examine
from limbeck.examination.alternatives import better_preprocess
from limbeck.examination.data import contradictions
from limbeck.examination.teacher import interval
from limbeck.guess import guess
from limbeck.preparation import Materials
from limbeck.recipe import read_recipe, recipe_from_tree
from limbeck.teachers import CallableTeacher, ModuleTeacher, ask_some
from running import run_tree, tree

INPUTS, LABELS = pictures(0)
LOGITS = sound_logits(LABELS)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """How long a step takes is nothing to these tests."""
    monkeypatch.setattr("limbeck.estimate.TRIED", 0.0)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_sound_recipe_raises_nothing(out):
    found = examined(out)
    assert amiss(found) == []
    assert found.status == 0
    assert found.estimate is not None
    assert not out.exists()


# --- the teacher's answers -------------------------------------------------------------------------------------------


def test_accuracy_is_said_beside_chance_with_its_interval(out):
    says = of(examined(out), "accuracy").says
    right = int((LOGITS.argmax(1) == torch.from_numpy(LABELS)).sum())
    low, high = interval(right, COUNT)
    assert f"{right / COUNT:.1%} of 400 training" in says
    assert f"{low:.1%} to {high:.1%}" in says
    assert "10.0%" in says
    assert "flatters" in says


def test_the_interval_by_hand():
    """Wilson's interval of 8 of 10, from the table of Agresti and Coull 1998."""
    assert interval(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert interval(10, 10)[1] == pytest.approx(1.0)
    assert interval(0, 10)[0] == pytest.approx(0.0)


def test_with_validation_examples_accuracy_is_measured_on_them(out):
    found = of(examined(out, data__validation=100), "accuracy")
    assert found.severity == "ok"
    assert "100 validation" in found.says
    assert "flatters" not in found.says


def test_a_teacher_no_better_than_chance_is_a_problem_of_status_3(out):
    found = examined(out, teacher=5 * torch.randn(COUNT, 10, generator=torch.Generator().manual_seed(1)))
    assert amiss(found) == ["accuracy"]
    assert found.status == 3
    assert "preprocessing" in of(found, "accuracy").do


def test_a_head_that_was_never_trained_is_called_so(out):
    found = of(
        examined(out, teacher=0.1 * torch.randn(COUNT, 10, generator=torch.Generator().manual_seed(1))), "accuracy"
    )
    assert found.severity == "problem"
    assert "never trained" in found.do


def test_no_label_is_no_problem(out):
    found = examined(out, teacher=LOGITS, train=(INPUTS, np.full(COUNT, UNLABELLED)), proof__arms=["distilled"],
                     data__labelled=None, distill__alpha=0.0, test=pictures(1, 100))  # fmt: skip
    assert of(found, "accuracy").severity == "note"
    assert "label" in of(found, "accuracy").says


def test_a_teacher_too_sure_of_itself_is_told_by_how_much(out):
    calm, loud = (of(examined(out, teacher=s * LOGITS, data__validation=200), "calibration") for s in (1.0, 6.0))
    assert (calm.severity, loud.severity) == ("ok", "note")
    assert "too sure" in loud.says
    assert "too sure" not in calm.says


def test_a_teacher_too_modest_is_told_so(out):
    assert "surer than it says" in of(examined(out, teacher=0.3 * LOGITS), "calibration").says


@pytest.mark.parametrize(
    ("temperature", "severity", "words"), [(2.0, "ok", ""), (0.2, "note", "first choice"), (60.0, "note", "even")]
)
def test_the_temperature_of_the_recipe_is_held_against_the_suggested_ones(out, temperature, severity, words):
    found = of(examined(out, distill__temperature=temperature), "temperature")
    assert found.severity == severity
    assert f"the recipe has {temperature:g}" in found.says
    assert words in found.says


def test_a_temperature_that_the_run_will_guess_is_told_beforehand(out):
    found = of(examined(out, distill__temperature="auto", distill__alpha="auto"), "temperature")
    assert found.severity == "ok"
    assert f"auto would be about {guess(LOGITS, torch.from_numpy(LABELS)).temperature:.2g}" in found.says


def test_a_temperature_of_standardised_logits_is_another_matter(out):
    objective = {"name": "soft-targets", "temperature": 90.0, "standardise": True}
    found = of(examined(out, distill={"objective": objective}), "temperature")
    assert found.severity == "ok"
    assert "90" not in found.says


def test_two_exchanged_outputs_of_ten_are_named(out):
    swapped = LOGITS[:, [0, 1, 3, 2, 4, 5, 6, 7, 8, 9]]
    found = examined(out, teacher=swapped)
    assert amiss(found) == ["class order"]
    assert found.status == 3
    assert "3 -> 2" in of(found, "class order").says
    assert "2 -> 3" in of(found, "class order").says


def test_a_class_that_is_never_named_is_told(out):
    mute = LOGITS.clone()
    mute[:, 4] = -20.0
    found = examined(out, teacher=mute)
    assert amiss(found) == ["accuracy"]
    assert "never names 4" in of(found, "accuracy").says


@pytest.mark.parametrize(
    ("turn", "severity", "words"),
    [
        (lambda z: z, "ok", "logits"),
        (lambda z: z.softmax(1), "ok", "log max(p, 0.0001)"),
        (lambda z: z.log_softmax(1), "ok", "log-probabilities"),
        (lambda z: z.sigmoid(), "warning", "sigmoid"),
    ],
)
def test_what_the_teacher_gives_is_found_out(out, turn, severity, words):
    found = of(examined(out, teacher=turn(LOGITS)), "answers")
    assert found.severity == severity
    assert words in found.says


def test_a_failing_teacher_is_a_problem_in_words(out):
    found = examined(out, teacher=nn.Sequential(nn.Flatten(), nn.Linear(7, 10)))
    assert amiss(found) == ["teacher"]
    assert "shape (1, 4, 4)" in of(found, "teacher").says
    assert found.estimate is None


def test_members_of_an_ensemble_are_looked_at_each(out):
    found = examined(out, teacher=[LOGITS, LOGITS[:, [1, 0, *range(2, 10)]]])
    assert "member 1: class order" in amiss(found)
    assert "member 0: class order" not in amiss(found)


def test_a_precision_that_the_teacher_bears_is_told_and_another_is_a_problem(out):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    assert of(examined(out, teacher=network, labels__precision="auto"), "precision").severity == "ok"
    found = examined(out, labels__precision="bf16")  # a table of answers has no network
    assert amiss(found) == ["precision"]
    assert found.status == 3
    assert "labels.precision: fp32" in of(found, "precision").do


# --- preprocessing ---------------------------------------------------------------------------------------------------


def looked(out, teacher=None, channels=1, **preprocess):
    splits_of = {"train": bands(0, channels=channels), "test": bands(1, 100, channels=channels)}
    values = {
        "data": {"source": "python"},
        "teacher": {"kind": "python", "what": "a test"},
        "student": {"model": {"name": "mlp", "hidden": [4]}},
        "fit": {"epochs": 1, "batch_size": 50, "threads": 1},
        "proof": {"seeds": [0]},
        "out": str(out),
    }
    materials = Materials(
        from_arrays(splits_of["train"], splits_of["test"]), teacher or Bands(), None, Preprocess(**preprocess)
    )
    return examine(recipe_from_tree(values, {}, where="the test"), materials)


def test_the_right_preprocessing_is_left_alone(out):
    found = looked(out, scale=255.0)
    assert amiss(found) == []
    assert of(found, "preprocess").severity == "ok"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale": 1.0}, "with scale 255 it"),
        ({"scale": 255.0, "mean": (0.9,), "std": (0.2,)}, "with scale 255 it"),
    ],
)
def test_other_preprocessing_with_which_the_teacher_is_better_is_named(out, wrong, words):
    found = looked(out, **wrong)
    assert "preprocess" in amiss(found)
    assert words in of(found, "preprocess").says
    assert found.status == 3


def test_a_network_of_three_channels_is_tried_with_three_numbers_on_grey_images():
    class Normal(Bands):
        def forward(self, inputs):
            mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            return super().forward(inputs * std[:, None, None] + mean[:, None, None])

    splits = from_arrays(bands(0), bands(1, 100))
    wrong = ImagePreprocess(channels=3, scale=1.0)
    teacher = ModuleTeacher(Normal(), wrong, torch.device("cpu"))
    better = better_preprocess(ask_some(teacher, splits.train))
    assert better is not None
    assert better.words == "scale 255, ImageNet's mean and std"


def test_inputs_of_the_other_polarity_are_found(out):
    class Negative(Bands):
        def forward(self, inputs):
            return super().forward(159 / 255 - inputs)

    assert "light and dark" in of(looked(out, Negative(), scale=255.0), "preprocess").says


def test_red_and_blue_exchanged_is_found(out):
    assert of(looked(out, Bands(), channels=3, scale=255.0), "preprocess").severity == "ok"
    assert "red and blue" in of(looked(out, Bands(channel=2), channels=3, scale=255.0), "preprocess").says


# --- the data --------------------------------------------------------------------------------------------------------


def test_duplicates_and_labels_that_contradict_each_other_are_told_apart(out):
    inputs, labels = INPUTS.copy(), LABELS.copy()
    inputs[10] = inputs[0]  # row 10 has the label of row 0
    found = of(examined(out, train=(inputs, labels)), "duplicates")
    assert (found.severity, "1 training examples repeat" in found.says) == ("note", True)
    inputs[3] = inputs[0]
    found = of(examined(out, train=(inputs, labels)), "duplicates")
    assert found.severity == "warning"
    assert "rows 0, 3, 10" in found.says


def test_an_unlabelled_twin_contradicts_nobody():
    inputs = torch.zeros(4, 2)
    inputs[3] = 1
    labels = torch.tensor([1, UNLABELLED, 1, 0])
    assert contradictions(key_examples(inputs, labels, ("a", "b"))).tolist() == []
    assert contradictions(key_examples(inputs, torch.tensor([1, UNLABELLED, 0, 0]), ("a", "b"))).tolist() == [0, 2]


def test_overlap_is_a_warning_until_it_is_dropped(out):
    images, labels = pictures(1, 100)
    images[:7] = INPUTS[:7]
    found = of(examined(out, test=(images, labels)), "overlap")
    assert (found.severity, found.says[:1]) == ("warning", "7")
    assert "drop_overlap" in found.do
    assert of(examined(out, test=(images, labels), data__drop_overlap=True), "overlap").severity == "ok"


def test_labels_of_the_test_set_are_nothing_to_it(out):
    images, labels = pictures(1, 100)

    def facts(found):
        return [(f.name, f.severity, f.says) for f in found.findings]

    assert facts(examined(out, test=(images, labels))) == facts(examined(out, test=(images, labels[::-1].copy())))


def test_data_that_cannot_be_used_end_the_examination(out):
    found = examined(out, data__labelled=5000)
    assert [finding.name for finding in found.findings] == ["data"]
    assert found.status == 2


# --- students, terms, out, labels ------------------------------------------------------------------------------------


def test_a_student_that_does_not_fit_is_a_problem_of_status_2(out):
    found = examined(out, student=lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 9)),
                     student__model={"name": "python", "what": "a test"})  # fmt: skip
    assert amiss(found) == ["student"]
    assert found.status == 2


def test_a_student_as_large_as_its_teacher_is_noted(out):
    big, small = nn.Sequential(nn.Flatten(), nn.Linear(16, 10)), nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    assert of(examined(out, teacher=big, student__model__hidden=[64]), "student").severity == "note"
    assert of(examined(out, teacher=small, student__model__hidden=[2]), "student").severity == "ok"


def test_a_tap_that_is_not_there_is_a_problem_of_status_2(out):
    hint = {"weight": 1.0, "objective": {"name": "hint", "student": "linear1", "teacher": "nowhere"}}
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    found = examined(out, teacher=teacher, distill__terms=[hint])
    assert "nowhere" in of(found, "terms").says
    assert of(found, "terms").status == 2
    assert found.estimate is None


def test_a_batch_that_cannot_be_parted_is_a_problem(out):
    coupled = {"weight": 1.0, "objective": {"name": "dist"}}
    found = examined(out, distill__terms=[coupled], fit__accumulate=2)
    assert amiss(found) == ["student"]
    assert "fit.accumulate" in of(found, "student").do


def changed(recipe: Path, **changes):
    plan = read_recipe(recipe, {key.replace("__", "."): value for key, value in changes.items()})
    return plan, examine(plan, Materials())


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_a_run_goes_through_all_its_states_and_nothing_in_it_is_touched(recipe, tmp_path, unsynced):
    plan, before = changed(recipe)
    assert amiss(before) == []
    assert of(before, "teacher").severity == "note"
    assert of(before, "out").severity == "ok"
    assert not (tmp_path / "run").exists()

    run_tree(tree(plan.data.source.path, plan.out))
    kept = contents(tmp_path)
    _, after = changed(recipe)
    assert contents(tmp_path) == kept
    assert of(after, "out").severity == "note"
    assert of(after, "accuracy").severity == "note"
    assert of(after, "labels").severity == "ok"
    assert "all 150" in of(after, "labels").says

    _, other = changed(recipe, distill__temperature=9.0)
    assert of(other, "out").severity == "warning"
    assert "another recipe" in of(other, "out").says
    assert of(other, "teacher").severity == "note", "that run's teacher is another one's"

    _, elsewhere = changed(
        recipe, out=str(recipe.parent / "x"), teacher={"kind": "saved", "path": f"{plan.out}/teacher"}
    )
    assert of(elsewhere, "labels").says.startswith("none yet of 150")


def test_a_store_that_was_cut_short_or_damaged_is_told(recipe, tmp_path, unsynced):
    plan, _ = changed(recipe)
    run_tree(tree(plan.data.source.path, plan.out))
    (store,) = (tmp_path / "run" / "labels").iterdir()
    (shard,) = store.glob("shard-*")
    manifest = (store / "manifest.json").read_bytes()

    (store / "manifest.json").unlink()
    found = of(changed(recipe)[1], "labels")
    assert found.severity == "note"
    assert "150 of 150" in found.says
    assert "not sealed" in found.says

    (store / "manifest.json").write_bytes(manifest)
    whole = bytearray(shard.read_bytes())
    whole[-1] ^= 1
    shard.write_bytes(whole)
    found = changed(recipe)[1]
    assert amiss(found) == ["labels"]
    assert found.status == 3


def test_a_directory_that_is_no_run_is_a_problem(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "diary.txt").write_text("dear diary")
    found = changed(recipe)[1]
    assert amiss(found) == ["out"]
    assert found.status == 2


def test_a_device_that_is_not_there_is_a_problem_of_status_4(recipe):
    found = changed(recipe, device="cuda:99")[1]
    assert found.status == 4


def test_a_disk_that_is_too_small_is_a_problem_of_status_74(out, monkeypatch):
    monkeypatch.setattr("limbeck.estimate.free_bytes", lambda path: 1000)
    found = examined(out)
    assert amiss(found) == ["disk"]
    assert found.status == 74


def test_a_memory_that_is_too_small_is_warned_of(out, monkeypatch):
    monkeypatch.setattr("limbeck.estimate.memory_bytes", lambda: 1000)
    found = examined(out)
    assert amiss(found) == ["memory"]
    assert found.status == 0


def test_no_more_than_a_thousand_training_examples_are_asked_about(out, monkeypatch):
    asked: set[bytes] = set()
    answer = CallableTeacher.answer

    def remembering(self, inputs, keys):
        asked.update(bytes(key.tolist()) for key in keys)
        return answer(self, inputs, keys)

    monkeypatch.setattr(CallableTeacher, "answer", remembering)
    train = pictures(0, 3000)
    examined(out, teacher=lambda inputs: 9 * inputs.flatten(1)[:, :10], train=train)
    keys = {bytes(key.tolist()) for key in from_arrays(train, pictures(1, 100)).train.keys}
    assert 900 < len(asked & keys) <= 1003, "a look at the terms takes two more, the estimate one"

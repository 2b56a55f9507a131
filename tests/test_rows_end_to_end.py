"""A table from file to verdict."""

import json

import numpy as np
import pytest
import torch

import limbeck
from limbeck.data import Preprocess, Rows
from limbeck.errors import RecipeError
from limbeck.models import Mlp
from limbeck.preparation import Materials, prepare
from limbeck.progress import Stop, unwatched
from limbeck.recipe import recipe_from_tree
from limbeck.recipe_text import write_yaml
from limbeck.teachers import CallableTeacher, label
from running import limbeck_says


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A folder with a table whose label follows from a number and a category, with holes and an id."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    for side, count in (("train", 300), ("test", 120)):
        lines = ["id,hours,work,note,rich"]
        for row in range(count):
            hours, work = rng.normal(40, 12), rng.choice(["office", "field", "none"])
            rich = hours + 20 * (work == "office") > 48
            shown = "" if row % 11 == 3 else f"{hours:.1f}"
            lines.append(f"{row},{shown},{'?' if row % 13 == 5 else work},same,{'yes' if rich else 'no'}")
        (folder / f"{side}.csv").write_text("\n".join(lines))
    return folder


def tree(folder, out="runs/rows", **data):
    return {
        "data": {"source": "rows", "path": str(folder), **data},
        "teacher": {"kind": "train", "model": {"name": "mlp", "hidden": [32]}, "fit": {"epochs": 30}},
        "student": {"model": {"name": "mlp", "hidden": [4]}},
        "fit": {"epochs": 2, "threads": 1},
        "proof": {"seeds": [0, 1]},
        "out": str(out),
    }


def test_a_recipe_on_a_table_tells_its_columns_and_its_verdict(people, tmp_path, unsynced):
    (tmp_path / "recipe.yaml").write_text(write_yaml(tree(people, tmp_path / "run", validation=40)))
    said = limbeck_says("distill", tmp_path / "recipe.yaml")
    assert said.status == 0, said.err
    assert said.out.startswith(
        "columns: label rich (guessed); numeric hours; categorical work; ignored id (numbers that only count or name "
        "the rows), note (one value)\n"
    )
    examined = limbeck_says("doctor", tmp_path / "recipe.yaml")
    assert "label rich (guessed); numeric hours; categorical work; ignored id" in examined.out
    report = (tmp_path / "run" / "report.md").read_text()
    assert "| work | categorical | 3 values | 3 | " in report
    assert "| note | ignore | one value | 1 | 0 | 0 |" in report
    assert "The label is rich (guessed)" in report
    config = json.loads((tmp_path / "run/arms/distilled/seed-0/student/config.json").read_bytes())
    assert [column["name"] for column in config["preprocess"]["columns"]] == ["hours", "work"]
    student = limbeck.load_model(tmp_path / "run/arms/distilled/seed-0/student")
    logits = student.module(student.preprocess(torch.tensor([[float("nan"), 0.0], [50.0, 3.0]])))
    assert logits.shape == (2, 2)
    assert logits.isfinite().all()


def test_what_is_held_out_for_validation_teaches_nothing(people):
    data = prepare(recipe_from_tree(tree(people, validation=100), {}, where="here"), Materials())
    (hours, _) = data.preprocess.columns
    known = data.train.inputs[:, 0][~data.train.inputs[:, 0].isnan()].double()
    assert len(data.train) == 200
    assert hours.mean == pytest.approx(known.mean().item())
    whole = Rows(path=str(people)).load().preprocess.columns[0]
    assert whole.mean != hours.mean
    assert whole.vocabulary == hours.vocabulary


def test_a_preprocess_for_numbers_alone_is_refused(people):
    recipe = recipe_from_tree(tree(people), {"student.preprocess": {"scale": 2.0}}, where="here")
    with pytest.raises(RecipeError, match=r"student\.preprocess came with rows of a table"):
        prepare(recipe, Materials())
    recipe = recipe_from_tree(tree(people), {"teacher.preprocess": {"scale": 2.0}}, where="here")
    with pytest.raises(RecipeError, match=r"teacher\.preprocess came with rows of a table"):
        prepare(recipe, Materials())


def test_a_vocabulary_that_grew_is_asked_about_anew(people, tmp_path, unsynced):
    """The keys stay, but a teacher that answers by codes would mean other values by them."""
    lines = (people / "train.csv").read_text().split("\n")
    grown = tmp_path / "grown.csv"
    stores = []
    for extra in ("", "\n999,40.0,abroad,same,yes"):
        grown.write_text("\n".join(lines) + extra)
        examples = Rows(path=str(grown), test=str(people / "test.csv")).load().train.select(torch.arange(300))
        teacher = CallableTeacher(lambda inputs: inputs.nan_to_num()[:, [1, 0]], Preprocess())
        stores.append((examples, label(tmp_path / "labels", teacher, examples, watch=unwatched, stop=Stop())))
    (before, one), (after, other) = stores
    assert torch.equal(before.keys, after.keys)
    assert not torch.equal(before.inputs[:, 1], after.inputs[:, 1])
    assert one.directory != other.directory
    said = other.signals.fetch(torch.arange(300), after.inputs, torch.zeros(300, dtype=torch.int64))
    assert torch.equal(said.logits[:, 0].float(), after.inputs[:, 1])


def test_a_function_in_python_is_shown_the_encoded_rows(people, tmp_path, unsynced):
    shapes = set()

    def teacher(inputs):
        shapes.add(tuple(inputs.shape[1:]))
        assert inputs.isfinite().all()
        richer = (
            inputs[:, 0] + 2.0 * inputs[:, 3]
        )  # hours, whether they are missing, whether work is, field, none, office
        return torch.stack([-richer, richer], dim=1)

    result = limbeck.distill(
        teacher=teacher,
        student=Mlp(hidden=(4,)),
        train=Rows(path=str(people)),
        epochs=1,
        seeds=1,
        out=tmp_path / "run",
        allow_weak_teacher=True,
    )
    assert shapes == {(6,)}
    assert result.preprocess.output_shape((2,)) == (6,)


def test_networks_are_made_for_images_as_they_are_resized(npz, tmp_path, unsynced):
    preprocess = {"scale": 255.0, "size": [4, 6], "channels": 3}
    plan = {
        "data": {"source": "npz", "path": str(npz)},
        "teacher": {"kind": "train", "model": {"name": "mlp", "hidden": [8]}, "fit": {"epochs": 2}},
        "student": {"model": {"name": "mlp", "hidden": [4]}, "preprocess": preprocess, "generations": 2},
        "fit": {"epochs": 1, "threads": 1},
        "proof": {"seeds": [0]},
        "out": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(write_yaml(plan))
    said = limbeck_says("distill", tmp_path / "recipe.yaml", "--allow-weak-teacher")
    assert said.status == 0, said.err
    student = limbeck.load_model(tmp_path / "run/arms/distilled/seed-0/student")
    assert student.preprocess == Preprocess(scale=255.0, size=(4, 6), channels=3)
    assert student.module.linear1.in_features == 3 * 4 * 6

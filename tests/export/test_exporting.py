"""Export end to end: what is delivered, what is refused, and what is left of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import limbeck
from limbeck.bundle import MODEL_FILES, described, read_bundle
from limbeck.conversion.converted import Converted
from limbeck.errors import DataError, MissingError, RecipeError
from limbeck.export import FORMATS, making
from limbeck.files import MANIFEST, read_json, verify
from limbeck.recipe_text import parse_yaml
from limbeck.teachers import load_model, save_model
from running import images, limbeck_says, run_tree, save_npz, tell, tree

pytestmark = pytest.mark.usefixtures("unsynced")

MLP_FORMATS = ("onnx", "onnx-int8", "torch-export")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures of three kinds, with a student of the catalogue."""
    place = tmp_path_factory.mktemp("run")
    run_tree(tree(save_npz(place / "data.npz"), place / "out"))
    return place / "out"


@pytest.fixture(scope="module")
def delivered(run: Path) -> dict[str, dict[str, Any]]:
    said = limbeck_says("export", run, "--to", ",".join(MLP_FORMATS), "--licence", "MIT", "--json")
    assert said.status == 0, said.err
    return {one["format"]: one for one in json.loads(said.out)}


@pytest.mark.parametrize("kind", MLP_FORMATS)
def test_a_bundle_is_whole(run: Path, delivered: dict[str, Any], kind: str):
    place = run / "export" / kind
    assert delivered[kind]["directory"] == str(place)
    assert {path.name for path in place.iterdir()} == {
        MODEL_FILES[kind], "config.json", "labels.json", "golden.npz", "parity.json", "README.md", MANIFEST,
    }  # fmt: skip
    bundle = read_bundle(place)
    assert bundle.description.classes == ("0", "1", "2")
    assert bundle.description.licence == "MIT"
    assert bundle.description.inputs == {"kind": "images", "levels": 255.0}
    assert bundle.description.preprocess["scale"] == 255.0
    assert read_json(place / "labels.json") == {"0": "0", "1": "1", "2": "2"}
    assert bundle.golden.inputs.dtype == np.uint8
    assert len(bundle.golden.inputs) == 32
    assert limbeck.load_bundle(place).logits(bundle.golden.inputs) == pytest.approx(bundle.golden.logits, abs=1e-3)


def test_what_is_told_of_a_student_is_inside_its_file(run: Path, delivered: dict[str, Any]):
    for kind in ("onnx", "onnx-int8"):
        model = onnx.load(run / "export" / kind / "model.onnx")
        inside = {entry.key: json.loads(entry.value) for entry in model.metadata_props if entry.key != "seal"}
        assert described(inside) == read_bundle(run / "export" / kind).description
        assert (model.graph.input[0].name, model.graph.output[0].name) == ("inputs", "logits")


def test_the_student_stands_behind_the_numbers(run: Path, delivered: dict[str, Any]):
    record = read_json(run / "record.json")
    own = record["arms"]["distilled"][0]["accuracy"]
    for kind, found in delivered.items():
        assert found["original_accuracy"] == own
        assert found["examples"] == 60
        assert found == read_json(run / "export" / kind / "parity.json") | {
            "format": kind, "directory": str(run / "export" / kind),
        }  # fmt: skip
    assert delivered["onnx"]["agreement"] == 1.0
    assert delivered["onnx"]["largest_error"] < 1e-4 * max(delivered["onnx"]["range"], 1)


def test_no_trace_of_the_machine_is_in_a_bundle(run: Path, delivered: dict[str, Any]):
    traces = [str(Path.home()).encode(), str(Path(limbeck.__file__).parent).encode(), str(run).encode()]
    for path in (run / "export").rglob("*"):
        if path.is_file():
            assert not [trace for trace in traces if trace in path.read_bytes()], path


def test_the_card_has_front_matter_and_the_measured_numbers(run: Path, delivered: dict[str, Any]):
    card = (run / "export/onnx/README.md").read_text()
    _, front, body = card.split("---\n", 2)
    tree = parse_yaml(front, where="the card")
    assert tree["library_name"] == "limbeck"
    assert tree["license"] == "MIT"
    assert tree["pipeline_tag"] == "image-classification"
    (result,) = tree["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == delivered["onnx"]["accuracy"]
    record = read_json(run / "record.json")
    for told in (record["verdicts"][0]["sentence"], "the model mlp of", "Limits", "sha256"):
        assert told in body


def test_the_report_shows_what_was_delivered(run: Path, delivered: dict[str, Any]):
    text = (run / "report.md").read_text()
    assert "## Delivered" in text
    assert "| onnx-int8 |" in text
    assert "<h2>Delivered</h2>" in (run / "report.html").read_text()


def test_another_arm_and_seed(run: Path, delivered: dict[str, Any]):
    place = run / "export" / "onnx"
    before = read_bundle(place).description.student
    said = limbeck_says("export", run, "--arm", "scratch", "--seed", "1")
    assert said.status == 0
    assert "agrees with the student on 100.00 % of 60 test examples" in said.out
    assert read_bundle(place).description.student != before
    assert "scratch, seed 1" in (place / "README.md").read_text()
    assert limbeck_says("export", run).status == 0
    assert read_bundle(place).description.student == before


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("--to", "onyx"), 2, "names onyx"),
        (("--to", ","), 2, "one or more of onnx"),
        (("--arm", "direct"), 2, "--arm direct"),
        (("--seed", "7"), 2, "one of 0, 1"),
        (("--least-agreement", "99"), 2, "a share from 0 to 1"),
        (("--most-drop", "200"), 2, "points from 0 to 100"),
    ],
)
def test_what_cannot_be_asked_for(run: Path, words: tuple[str, ...], status: int, told: str):
    said = limbeck_says("export", run, *words)
    assert (said.status, said.out) == (status, "")
    assert told in said.err


def test_no_run(tmp_path: Path):
    said = limbeck_says("export", tmp_path)
    assert said.status == 3
    assert "holds no run that is over" in said.err


def test_a_file_that_answers_otherwise_is_not_delivered(run: Path, delivered: dict[str, Any], monkeypatch: Any):
    honest = FORMATS["torch-export"]
    verify(run / "export/torch-export")
    monkeypatch.setitem(FORMATS, "torch-export", replace(honest, convert=_skewing(honest.convert)))
    said = limbeck_says("export", run, "--to", "onnx,torch-export")
    assert said.status == 5
    assert "torch-export is not the student" in said.err
    assert "Worst: example" in said.err
    assert not (run / "export/torch-export").exists()
    verify(run / "export/onnx")


def _skewing(convert: Any) -> Any:
    def skewed(network: nn.Module, samples: torch.Tensor, metadata: Any) -> Converted:
        other = nn.Sequential(network, nn.Linear(3, 3, bias=False))
        with torch.no_grad():
            other[1].weight.copy_(torch.eye(3).roll(1, dims=0))
        return convert(other, samples, metadata)

    return skewed


def test_a_phone_gets_int8_with_its_speed_beside_float32(run: Path):
    said = limbeck_says("export", run, "--to", "executorch-int8", "--least-agreement", "0.9", "--most-drop", "5")
    assert said.status == 0, said.err
    bundle = read_bundle(run / "export/executorch-int8")
    found = read_json(bundle.directory / "parity.json")
    assert found["notes"][0].startswith("quantised after training")
    assert found["speed"]["sentence"] in found["notes"]
    assert found["speed"]["int8_seconds"] > 0
    assert found["speed"]["sentence"] in said.out
    assert found["speed"]["sentence"] in (bundle.directory / "README.md").read_text()


def test_data_that_have_changed_are_refused(tmp_path: Path):
    run_tree(tree(save_npz(tmp_path / "data.npz"), tmp_path / "out"))
    save_npz(tmp_path / "data.npz", train=120)
    said = limbeck_says("export", tmp_path / "out")
    assert said.status == 3
    assert "have changed since" in said.err


def test_a_student_handed_over_in_python(tmp_path: Path):
    result = tell(tmp_path / "out")
    (one,) = result.export("onnx", licence="MIT")
    assert one.parity["agreement"] == 1.0
    assert read_bundle(one.directory).description.inputs == {"kind": "numbers"}
    said = limbeck_says("export", tmp_path / "out")
    assert said.status == 2
    assert "the student of" in said.err
    assert ".export(...)" in said.err
    again = tell(tmp_path / "out", resume=True)
    assert again.export("onnx", licence="MIT")[0].parity == one.parity
    with pytest.raises(RecipeError, match="names onyx"):
        result.export("onyx")


def test_a_bundle_without_its_manifest_is_none(run: Path, delivered: dict[str, Any], tmp_path: Path):
    for name in ("config.json", "model.onnx"):
        (tmp_path / name).write_bytes((run / "export/onnx" / name).read_bytes())
    with pytest.raises(DataError, match="holds no bundle"):
        read_bundle(tmp_path)


@pytest.fixture(scope="module")
def brittle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose student has a hidden unit as large as no other, which coarse numbers do not bear."""
    out = tmp_path_factory.mktemp("brittle") / "out"
    fit = {"epochs": 60, "threads": 1, "optimizer": {"name": "adamw", "lr": 0.005}}
    values = {
        "format": 1,
        "data": {"source": "digits"},
        "teacher": {"kind": "train", "model": {"name": "mlp", "hidden": [64]}, "fit": fit},
        "student": {"model": {"name": "mlp", "hidden": [32]}},
        "fit": fit,
        "proof": {"seeds": [0], "arms": ["distilled"]},
        "out": str(out),
    }
    run_tree(values)
    place = out / "arms/distilled/seed-0/student"
    saved = load_model(place)
    with torch.no_grad():
        saved.module.linear1.weight[0] *= 300
        saved.module.linear1.bias[0] *= 300
        saved.module.head.weight[:, 0] /= 300
    save_model(place, saved)
    return out


def test_a_student_that_does_not_bear_int8_learns_to(brittle: Path):
    said = limbeck_says("export", brittle, "--to", "onnx-int8", "--least-agreement", 0.97, "--most-drop", 1.5)
    assert said.status == 0, said.err
    found = read_json(brittle / "export/onnx-int8/parity.json")
    assert found["notes"][0].startswith("by quantisation-aware distillation")
    assert "since quantised after training: agreement" in found["notes"][0]
    assert found["agreement"] >= 0.97
    assert found["notes"][0] in (brittle / "export/onnx-int8/README.md").read_text()
    assert found["notes"][0] in (brittle / "report.md").read_text()


def test_where_nothing_helps_nothing_is_delivered(brittle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(making, "quantisation_aware", lambda subject, watch: subject.network)
    said = limbeck_says("export", brittle, "--to", "onnx-int8,onnx")
    assert said.status == 5
    assert "choosing examples: quantised after training: agreement" in said.err
    assert "; by quantisation-aware distillation: agreement" in said.err
    assert "Worst: example" in said.err
    assert not (brittle / "export/onnx-int8").exists()
    assert said.out.startswith(f"{brittle / 'export/onnx'}:")
    verify(brittle / "export/onnx")
    assert "| onnx | distilled, seed 0 |" in (brittle / "report.md").read_text()


def test_what_one_format_lacks_is_not_in_the_way_of_another(run: Path, delivered: Any, monkeypatch: pytest.MonkeyPatch):
    def lacking(*parts: Any) -> Converted:
        raise MissingError("no runtime", expected="one", do="pip install it")

    before = verify(run / "export/onnx-int8")
    monkeypatch.setitem(FORMATS, "onnx-int8", replace(FORMATS["onnx-int8"], convert=lacking))
    said = limbeck_says("export", run, "--to", "onnx-int8,torch-export", "--json")
    assert said.status == 4
    assert "pip install it" in said.err
    assert [one["format"] for one in json.loads(said.out)] == ["torch-export"]
    assert verify(run / "export/onnx-int8") == before


def test_a_student_that_heard_nobody_is_not_called_distilled(tmp_path: Path):
    tell(tmp_path / "out").export(arm="scratch")
    card = (tmp_path / "out/export/onnx/README.md").read_text()
    assert "learnt from labels alone" in card
    assert "knowledge" not in card
    assert "--arm scratch --seed 0" in card
    assert read_bundle(tmp_path / "out/export/onnx").description.teacher.startswith("nobody")


def test_a_damaged_bundle_is_named_and_the_others_reported(tmp_path: Path):
    result = tell(tmp_path / "out")
    result.export("onnx", "torch-export")
    with open(tmp_path / "out/export/onnx/parity.json", "a") as file:
        file.write("x")
    assert limbeck_says("report", tmp_path / "out").status == 0
    text = (tmp_path / "out/report.md").read_text()
    assert "- onnx is left out: " in text
    assert "| torch-export | distilled, seed 0 |" in text


def test_pictures_are_not_taken_for_values_beyond_black_and_white(tmp_path: Path):
    (pixels, labels), (others, known) = images(0, 150), images(1, 60)
    scaled, also = ((each[:, None].astype(np.float32) - 100) / 50 for each in (pixels, others))
    result = limbeck.distill(
        teacher=lambda x: x.mean(dim=(2, 3)).repeat(1, 3),
        student=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
        train=(scaled, labels), test=(also, known), out=tmp_path / "out", epochs=1, seeds=1, allow_weak_teacher=True,
    )  # fmt: skip
    (one,) = result.export()
    assert read_bundle(one.directory).description.inputs == {"kind": "images", "levels": None}

"""Whole measurements, of small runs and for a moment."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from limbeck.benchmark import bench as benching
from limbeck.benchmark import capacity, contenders, machine, turns
from limbeck.benchmark.contenders import field_of
from limbeck.benchmark.machine import available_bytes, device, versions
from limbeck.data import UNLABELLED
from limbeck.errors import DataError
from limbeck.finished import Chosen
from limbeck.finished import finished as finished_run
from limbeck.measurement import Times
from limbeck.preparation import Materials
from limbeck.record import memory_bytes, read_bench
from limbeck.teachers import Ensemble, OnnxTeacher
from running import TEST, TRAIN, Heard, limbeck_says, module_teacher, rows, tell, true_logits


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Less of everything, on one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(turns, "LASTS", 0.001)
        patch.setattr(turns, "BATCHES", (1, 4))
        patch.setattr(benching, "COLD", 1)
        for name, value in {"SHORT": 0.05, "LONG": 0.1, "ALONE": 0.05, "PER_PROCESS": 3}.items():
            patch.setattr(capacity, name, value)
        yield


@pytest.fixture(scope="module")
def told(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A copy of a small run with a bundle of one of its students, measured; and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "benched"
    shutil.copytree(finished, out)
    assert limbeck_says("export", out, "--arm", "scratch", "--seed", "1").status == 0
    said = limbeck_says("bench", out, "--arm", "scratch", "--seed", "1", "--price", "0.5", "--json")
    assert said.status == 0, said.err
    return out, json.loads(said.out)


@pytest.fixture
def unconverted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """No network can be converted, which takes a second; what is said of one, by its name."""

    def refuse(*_: Any) -> Any:
        raise DataError("an operator of its own", expected="another", do="nothing")

    monkeypatch.setattr(contenders, "to_onnx", refuse)
    return "The {} is not measured as ONNX, which it could not be converted to: an operator of its own.".format


def by_runtime(bench: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["name"], each["runtime"]): each for each in bench["contenders"]}


def test_teacher_and_student_are_measured_in_torch_and_as_onnx_and_nothing_else_is_left(told, finished: Path):
    out, bench = told
    assert bench == read_bench(out)
    assert {path.name for path in out.iterdir()} == {path.name for path in finished.iterdir()} | {
        "export",
        "bench.json",
    }
    found = by_runtime(bench)
    assert list(found) == [("teacher", "torch"), ("teacher", "onnx"), ("student", "torch"), ("student", "onnx")]
    assert found["teacher", "torch"]["macs"] == 64 * 16 + 16 * 3
    assert found["student", "onnx"]["macs"] == 64 * 8 + 8 * 3
    assert found["student", "torch"]["parameters"] == 64 * 8 + 8 + 8 * 3 + 3
    for each in found.values():
        assert each["latency"]["1"]["runs"] >= bench["method"]["enough"]
        assert 0 < each["latency"]["1"]["p50"] <= each["latency"]["1"]["p99"]
        assert each["throughput"]["batch"] in (1, 4)
        assert [len(turn) for turn in each["microseconds"]["1"]] == [42] * bench["method"]["turns"]
        assert each["file_bytes"] > 4 * each["parameters"]
        assert each["cold"]["seconds"] > 0
        assert each["cost"]["in_batches"] == pytest.approx(0.5e6 / 3600 / each["throughput"]["per_second"])
    assert {(each["teacher"], each["student"]) for each in bench["ratios"]} == {("torch", "torch"), ("onnx", "onnx")}
    assert bench["capacity"]["student"]["processes"] == 1
    assert bench["left_out"] == []


def test_times_are_kept_one_by_one_as_they_came():
    turns = ((0.00123456, 0.001, 0.002), tuple(n / 1e6 for n in range(50, 0, -1)))
    assert benching._one_by_one(Times(turns)) == [[1234.6, 1000.0, 2000.0], [float(n) for n in range(50, 8, -1)]]


def test_the_student_is_the_one_that_was_asked_for(told):
    student = told[1]["student"]
    assert (student["arm"], student["seed"]) == ("scratch", 1)
    assert all(name.startswith("arms/scratch/seed-1/student/") for name in student["files"])


def test_a_bundle_is_measured_as_it_lies_there(told):
    out, bench = told
    assert by_runtime(bench)["student", "onnx"]["file_bytes"] == (out / "export/onnx/model.onnx").stat().st_size


def test_bundles_of_another_student_or_damaged_are_named_and_left_out(told, tmp_path: Path):
    out = tmp_path / "run"
    shutil.copytree(told[0], out)
    shutil.copytree(out / "export/onnx", out / "export/torch-export")
    (out / "export/torch-export/model.onnx").write_bytes(b"")
    field = field_of(finished_run(out, Materials()), Chosen(arm="distilled"), tmp_path)
    assert [(each.name, each.runtime) for each in field.contenders[2:]] == [("student", "torch"), ("student", "onnx")]
    assert field.contenders[3].file == tmp_path / "student.onnx"  # converted for the measurement
    first, second = field.left_out
    assert first == "export/onnx is not measured: it was made of another student."
    assert second.startswith("export/torch-export is not measured: ")


def test_a_student_in_another_precision_is_that_of_its_bundle(tmp_path: Path):
    class Precise(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.eye(3, 6, dtype=torch.float64))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(inputs, self.weight.to(inputs.dtype))

    result = tell(tmp_path / "run", student=Precise, seeds=1)
    result.export()
    field = field_of(finished_run(result.directory, result.materials, result.recipe), Chosen(), tmp_path)
    assert field.contenders[-1].file == result.directory / "export/onnx/model.onnx"
    assert not any("another student" in line for line in field.left_out)


def test_a_report_has_it_from_then_on(told):
    out, _ = told
    text = (out / "report.md").read_text()
    assert "## Cost" in text
    assert "<h2>Cost</h2>" in (out / "report.html").read_text()
    assert limbeck_says("report", out).out == text


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--price", "0"), 2, "--price 0"),
        (("--price", "nan"), 2, "--price nan"),
        (("--seconds", "-1"), 2, "--seconds -1"),
        (("--arm", "nobody"), 2, "--arm nobody"),
        (("--seed", "7"), 2, "--seed 7"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(finished: Path, words, status: int, says: str):
    said = limbeck_says("bench", finished, *words)
    assert said.status == status
    assert says in said.err


def test_no_run_is_said_so(tmp_path: Path):
    said = limbeck_says("bench", tmp_path)
    assert said.status == 3
    assert "holds no run that is over" in said.err


# --- teachers that are no networks -----------------------------------------------------------------------------------


def test_a_function_of_python_is_measured_as_it_is_asked(tmp_path: Path):
    result = tell(tmp_path / "run", teacher=true_logits, seeds=1)
    heard = Heard()
    bench = result.bench(seconds=1, watch=heard)
    found = by_runtime(bench)
    assert found["teacher", "its own library"]["macs"] is None
    assert found["teacher", "its own library"]["cold"] is None
    assert found["student", "torch"]["cold"] is None  # its class is in this process alone
    assert found["student", "onnx"]["cold"]["seconds"] > 0
    assert {each["of"] for each in bench["ratios"]} == {"latency with preprocessing"}
    assert any("no single network" in line for line in bench["left_out"])
    assert {each.stage for each in heard} >= {"batches", "timing", "students where the teacher stood"}
    said = limbeck_says("bench", tmp_path / "run")
    assert said.status == 2
    assert "python" in said.err


def test_a_table_of_answers_is_left_out_and_the_rest_measured(tmp_path: Path):
    answers = true_logits(torch.from_numpy(rows(0, TRAIN)[0])).numpy()
    bench = tell(tmp_path / "run", teacher=answers, seeds=1).bench(seconds=1)
    assert {name for name, _ in by_runtime(bench)} == {"student"}
    assert bench["ratios"] == []
    assert bench["capacity"] is None
    assert "table of answers" in bench["left_out"][0]


def estimator() -> Any:
    return LogisticRegression().fit(*rows(0, TRAIN))


@pytest.mark.parametrize(
    ("teacher", "parameters"),
    [
        (lambda: Ensemble([module_teacher(), true_logits]), None),
        (lambda: Ensemble([module_teacher(), module_teacher()]), 36),
        (estimator, None),
    ],
    ids=["ensemble", "ensemble of networks", "estimator"],
)
def test_teachers_with_a_library_of_their_own_are_asked_as_a_run_asks_them(
    tmp_path: Path, teacher: Callable[[], Any], parameters: int | None, unconverted: Callable[[str], str]
):
    result = tell(tmp_path / "run", teacher=teacher(), seeds=1, test=rows_without_labels())
    field = field_of(finished_run(result.directory, result.materials), Chosen(), tmp_path)
    first = field.contenders[0]
    assert (first.name, first.runtime, first.kind) == ("teacher", "its own library", None)
    assert (first.parameters, first.macs, first.file_bytes) == (parameters, None, None)
    assert field.left_out[1:] == (unconverted("student"),)
    stored = field.stored
    answers = first.open(1)(first.see(stored))
    assert answers.shape == (len(stored), 3)
    assert (answers.argmax(dim=1) == true_logits(stored).argmax(dim=1)).float().mean() > 0.9


def rows_without_labels() -> tuple[np.ndarray, np.ndarray]:
    points, labels = rows(1, TEST)
    return points, np.full_like(labels, UNLABELLED)


def test_the_teacher_of_the_proof_of_a_search_is_opened_where_it_lies(
    told, tmp_path: Path, unconverted: Callable[[str], str]
):
    proof = tmp_path / "run/tune/proof/0001"
    shutil.copytree(told[0], proof)
    (proof / "teacher").rename(tmp_path / "run/teacher")
    field = field_of(finished_run(proof, Materials()), Chosen(arm="scratch", seed=1), tmp_path)
    first = field.contenders[0]
    assert (first.name, first.kind, first.file) == ("teacher", "torch", tmp_path / "run/teacher")
    assert field.contenders[-1].file == proof / "export/onnx/model.onnx"
    assert field.left_out == (unconverted("teacher"),)


def test_a_network_handed_over_stays_as_it_was_and_is_measured_without_onnx_where_that_fails(
    tmp_path: Path, unconverted: Callable[[str], str]
):
    teacher = torch.nn.Linear(6, 3).train()
    result = tell(tmp_path / "run", teacher=teacher, allow_weak_teacher=True, seeds=1)
    field = field_of(finished_run(result.directory, result.materials, result.recipe), Chosen(), tmp_path)
    first = field.contenders[0]
    assert (first.name, first.runtime, first.kind, first.macs) == ("teacher", "torch", None, 18)
    first.open(1)(first.see(field.stored))
    assert teacher.training
    assert {each.runtime for each in field.contenders} == {"torch"}
    assert field.left_out == (unconverted("teacher"), unconverted("student"))


def test_a_teacher_in_an_onnx_file_is_the_output_that_teaches(tmp_path: Path):
    """One of two outputs; the other gives what no runner could choose between."""
    names = {"x": 6, "y": 3, "p": 3}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in names.items()}
    weights = numpy_helper.from_array(4 * np.eye(6, 3, dtype=np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Neg", ["y"], ["p"])]
    graph = helper.make_graph(nodes, "g", [values["x"]], [values["y"], values["p"]], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "teacher.onnx").write_bytes(model.SerializeToString())
    result = tell(tmp_path / "run", teacher=OnnxTeacher(path=str(tmp_path / "teacher.onnx"), output="y"), seeds=1)
    field = field_of(finished_run(result.directory, result.materials), Chosen(), tmp_path)
    first = field.contenders[0]
    assert (first.name, first.runtime, first.parameters, first.macs) == ("teacher", "onnx", 18, None)
    np.testing.assert_allclose(first.open(1)(first.see(field.stored)), 4 * field.stored.numpy()[:, :3], rtol=1e-6)
    assert not field.left_out


# --- the machine -----------------------------------------------------------------------------------------------------


def test_the_machine_is_described():
    found = device()
    assert found["cores"] == 1
    assert 0 < available_bytes() <= memory_bytes() == found["memory_bytes"]
    assert versions()["torch"] == torch.__version__


def test_power_and_warmth_are_those_that_linux_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "_POWER", tmp_path)
    monkeypatch.setattr(machine, "_THERMAL", tmp_path)

    def tells(place: str, **files: str) -> None:
        (tmp_path / place).mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / place / name).write_text(f"{text}\n")

    def told() -> tuple[Any, Any]:
        found = device()
        return found["power"], found["celsius"]

    assert told() == (None, None)
    tells("mouse", type="Battery", scope="Device", online="1")
    assert told() == (None, None)
    tells("thermal_zone0", temp="41500")
    tells("thermal_zone1", temp="68000")
    tells("BAT0", type="Battery")
    tells("AC", type="Mains", online="0")
    assert told() == ("battery", 68.0)
    tells("AC", online="1")
    assert told() == ("mains", 68.0)

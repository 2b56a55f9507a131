import json
from pathlib import Path
from typing import Any

import pytest
from benches import attempt, bench, compared, contender, fitting, times

from limbeck.errors import DataError
from limbeck.record import BENCH, write_bench
from limbeck.report import bench_markdown, write_report


def told(**changes: Any) -> str:
    return bench_markdown(bench(**changes))


def test_tables_have_as_many_cells_as_their_heads():
    contenders = [priced("teacher", "torch", 6.0), priced("student", "onnx", 0.5)]
    tables = [part.splitlines() for part in told(price=0.5, contenders=contenders).split("\n\n") if part[0] == "|"]
    assert len(tables) == 2
    for lines in tables:
        assert len(lines) == 4
        assert len({line.count("|") for line in lines}) == 1


def test_milliseconds_have_three_digits_that_count():
    row = next(line for line in told().splitlines() if line.startswith("| teacher"))
    assert row == "| teacher | torch | 20 / 30 / 40 | 20 / 30 / 40 | 40 | 500 | 64, 2 |"


def test_small_and_large_numbers_have_no_powers_of_ten():
    quick = contender(
        "student", "onnx", 1e-9, throughput={**contender("", "", 1.0)["throughput"], "per_second": 12345678}
    )
    row = next(line for line in told(contenders=[quick]).splitlines() if line.startswith("| student"))
    assert "| 0.000001 / 0.0000015 / 0.000002 |" in row
    assert "| 12,300,000 |" in row


def test_what_was_not_measured_is_a_dash():
    text = told(contenders=[contender("student", "torch", 0.001, cold=None, macs=None, file_bytes=None)])
    assert "| student | torch | – | – | – | – | 1,000 | – |" in text


@pytest.mark.parametrize(
    ("ratio", "says"),
    [
        (compared("latency", 20.0, 18.0, 22.0), "the teacher's latency is 20 [18, 22] times as long, 1 thread."),
        (compared("throughput", 15.0, 14.0, 16.0), "15 [14, 16] times the teacher's throughput, each with its best"),
        (compared("latency", 1.1, 0.9, 1.2), "no difference in latency from the teacher, 1 thread (1.1 [0.9, 1.2])"),
        (compared("throughput", 1.0, 1.0, 1.2), "no difference in throughput from the teacher (1 [1, 1.2])"),
        (compared("latency", 20.0, 15.0, 30.0), "the teacher's latency is 20 [15, 30] times as long, 1 thread."),
    ],
)
def test_ratios_are_told_with_their_spread(ratio: dict[str, Any], says: str):
    text = told(ratios=[{**ratio, "teacher": "onnx", "student": "onnx"}])
    assert "The student in onnx: " in text
    assert says in text


@pytest.mark.parametrize(
    ("ratio", "says"),
    [
        (
            compared("latency", 428.0, 2.22, 574.0),
            "too unsteady to tell in latency, 1 thread: from 2.22 to 574 times as quick as the teacher in a turn.",
        ),
        (
            compared("throughput", 1.0, 0.6, 1.3),
            "too unsteady to tell in throughput: from 0.6 to 1.3 times as quick as the teacher in a turn.",
        ),
    ],
)
def test_a_ratio_that_turns_do_not_agree_on_is_no_finding(ratio: dict[str, Any], says: str):
    text = told(ratios=[{**ratio, "teacher": "onnx", "student": "onnx"}])
    assert f"- The student in onnx: {says}" in text
    assert f"{ratio['ratio']:g} [" not in text


def test_a_ratio_across_runtimes_is_said_to_be_one():
    ratio = compared("latency with preprocessing", 30.0, 29.0, 31.0)
    text = told(ratios=[{**ratio, "teacher": "its own library", "student": "onnx"}])
    assert "The student in onnx, across runtimes (its own library): the teacher's latency with preprocessing" in text


@pytest.mark.parametrize(
    ("gain", "says"),
    [
        (
            compared("latency", 0.5, 0.4, 0.8),
            "onnx-int8 is not faster here: it is 2 [1.25, 2.5] times as slow as float32",
        ),
        (
            compared("latency", 1.02, 0.97, 1.1),
            "onnx-int8 is not faster here: no difference in latency, 1 thread (1.02",
        ),
        (compared("throughput", 1.8, 1.7, 1.9), "onnx-int8 is 1.8 [1.7, 1.9] times as fast as float32 in throughput."),
        (
            compared("latency", 3.0, 1.1, 9.0),
            "onnx-int8: too unsteady to tell in latency, 1 thread: from 1.1 to 9 times as fast as float32 in a turn.",
        ),
    ],
)
def test_int8_is_not_called_faster_where_it_is_not(gain: dict[str, Any], says: str):
    assert says in told(int8=[{**gain, "runtime": "onnx-int8"}])


def test_the_students_that_fit_are_told_with_what_failed():
    text = told(capacity=fitting(attempt(40, 0.021), attempt(41, 0.05)))
    assert "**40 students fit where one teacher stood**" in text
    assert (
        "the teacher alone (torch, 2 threads) answered 40 requests a second one by one, 99 of 100 within 30 ms" in text
    )
    assert "within 21 ms, waiting included (3,000 requests in 6 s); with 41, 99 of 100 took up to 50 ms." in text


@pytest.mark.parametrize(
    ("capacity", "says"),
    [
        (fitting(attempt(1, 0.02), attempt(2, None, 2930)), "**1 student fits where"),
        (fitting(attempt(1, 0.02), attempt(2, None, 2930)), "with 2, 70 of 3,000 requests were left waiting."),
        (fitting(None, attempt(1, 0.05)), "Not one student (onnx) fits where the teacher stood"),
        (fitting(attempt(1000, 0.02), None), "**At least 1,000 students fit"),
        (fitting(attempt(1000, 0.02), None, "memory"), "1,000 were the most that was tried, for want of memory."),
    ],
)
def test_ends_of_the_count(capacity: dict[str, Any], says: str):
    assert says in told(capacity=capacity)


def priced(name: str, runtime: str, cost: float) -> dict[str, Any]:
    return contender(name, runtime, 0.02, cost={"one_by_one": cost, "in_batches": cost / 100})


def test_costs_are_told_for_the_cheapest_runtimes():
    teachers = [priced("teacher", "torch", 6.0), priced("teacher", "onnx", 4.0)]
    students = [priced("student", "torch", 1.0), priced("student", "onnx", 0.5)]
    text = told(price=0.4, contenders=teachers + students)
    assert (
        "At a price of 0.4 an hour of this machine, one million predictions one by one cost 0.5 with the student "
        "(onnx); the teacher (onnx) costs 4, 8 times that." in text
    )
    assert "in batches cost 0.005" in text
    assert "price" not in told()


def test_too_few_runs_are_admitted():
    slow = contender("teacher", "torch", 1.0, latency={"1": times(1.0, 21), "2": times(1.0, 300)})
    assert "Timed fewer than 300 times, for want of time (--seconds gives more): teacher, torch (21)." in told(
        contenders=[slow]
    )
    assert "fewer" not in told()


@pytest.mark.parametrize(("load", "told_of"), [(0.1, False), (0.6, True), (3.0, True)])
def test_a_busy_machine_is_told_of(load: float, told_of: bool):
    text = told(device={**bench()["device"], "load": load})
    assert (f"**Other work was running** when this began (load {load} on 2 cores)" in text) is told_of


def test_what_makes_the_same_machine_slower_is_told_where_it_is_known():
    warm = told(device={**bench()["device"], "governor": "powersave", "power": "battery", "celsius": 71.6})
    assert "2 cores, governor powersave, power from battery, 72 °C, Linux; load 0.1" in warm
    assert "2 cores, governor unknown, Linux; load 0.1" in told()


def test_what_was_left_out_is_told():
    assert "- The teacher is not measured: it is a table." in told(
        left_out=["The teacher is not measured: it is a table."]
    )


# --- in the directory of a run ---------------------------------------------------------------------------------------


def report(directory: Path, record: dict[str, Any]) -> str:
    return write_report(directory, record).read_text()


def test_a_run_that_was_not_measured_has_no_section(tmp_path: Path, record: dict[str, Any]):
    assert "## Cost" not in report(tmp_path, record)
    write_bench(tmp_path, bench())
    assert "## Cost\n\nThe student of distilled, seed 0, on Some CPU (avx512_vnni), 2 cores" in report(tmp_path, record)


def test_the_cost_of_another_student_is_not_shown(tmp_path: Path, record: dict[str, Any]):
    name = next(name for name in record["files"] if name.startswith("arms/distilled/seed-0/"))
    student = {"arm": "distilled", "seed": 0, "files": {name: record["files"][name]["sha256"]}}
    write_bench(tmp_path, bench(student=student))
    assert "Some CPU" in report(tmp_path, record)
    student["files"][name] = "0" * 64
    write_bench(tmp_path, bench(student=student))
    text = report(tmp_path, record)
    assert "Some CPU" not in text
    assert "bench.json is about another student than this run has now" in text


def test_an_edited_or_foreign_file_is_refused(tmp_path: Path, record: dict[str, Any]):
    write_bench(tmp_path, bench())
    path = tmp_path / BENCH
    path.write_text(path.read_text().replace("Some CPU", "A better CPU"))
    with pytest.raises(DataError, match="does not match its own checksum"):
        report(tmp_path, record)
    write_bench(tmp_path, {name: value for name, value in bench().items() if name != "capacity"})
    with pytest.raises(DataError, match="lacks capacity"):
        report(tmp_path, record)
    assert json.loads(path.read_bytes())["format"] == 1

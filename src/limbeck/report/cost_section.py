"""What a run's bench.json says: what answers cost on one machine, in tables and sentences."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from limbeck.errors import DataError
from limbeck.measurement import UNSTEADY, unsteady
from limbeck.record import BENCH, read_bench
from limbeck.report.parts import DASH, Record, count, table

QUIET = 0.25
"""Share of the cores that other work may take without a word."""
LEAST_P99 = 0.001
"""Seconds: whoever answers sooner than that is disturbed by everything."""
_HOLDS = ("student", "device", "versions", "method", "contenders", "left_out", "ratios", "int8", "capacity", "price")


def bench_section(directory: Path, record: Record) -> str:
    """What the student of a run costs as a section of its report; nothing where it was not measured.

    Raises:
        DataError: bench.json is damaged.
    """
    if not (directory / BENCH).exists():
        return ""
    bench = read_bench(directory)
    missing = [name for name in _HOLDS if name not in bench]
    if missing:
        raise DataError(
            f"{directory / BENCH} lacks {', '.join(missing)}",
            expected="a file as limbeck bench wrote it",
            do=f"limbeck bench {directory} writes it anew",
        )
    files = {name: facts["sha256"] for name, facts in record["files"].items()}
    if any(files.get(name) != sha256 for name, sha256 in bench["student"]["files"].items()):
        return f"## Cost\n\n{BENCH} is about another student than this run has now; limbeck bench measures it again."
    return bench_markdown(bench)


def bench_markdown(bench: Record) -> str:
    """The section of a report that a bench.json makes."""
    parts = ("## Cost", _about(bench), _times(bench), _sizes(bench), bench_sentences(bench), _method(bench))
    return "\n\n".join(filter(None, parts))


def bench_sentences(bench: Record) -> str:
    """What was found, a line each."""
    found = [
        *_ratio_sentences(bench),
        *_capacity_sentences(bench["capacity"]),
        *_int8_sentences(bench["int8"]),
        *_cost_sentences(bench),
        *_short_sentences(bench),
        *_busy_sentences(bench["device"]),
        *bench["left_out"],
    ]
    return "\n".join(f"- {sentence}" for sentence in found)


# --- tables ----------------------------------------------------------------------------------------------------------


def _about(bench: Record) -> str:
    device, student = bench["device"], bench["student"]
    flags = ", ".join(device["flags"]) or "no flags of interest"
    governor = device["governor"] or "unknown"
    power = "" if device["power"] is None else f", power from {device['power']}"
    warmth = "" if device["celsius"] is None else f", {device['celsius']:.0f} °C"
    versions = ", ".join(f"{name} {version}" for name, version in bench["versions"].items() if version)
    return (
        f"The student of {student['arm']}, seed {student['seed']}, on {device['processor']} ({flags}), "
        f"{device['cores']} cores, governor {governor}{power}{warmth}, {device['platform']}; load "
        f"{device['load']:.1f} from other work when it began. {versions}."
    )


def _times(bench: Record) -> str:
    threads = list(bench["contenders"][0]["latency"]) if bench["contenders"] else []
    head = (
        "",
        "runtime",
        *(f"latency ms, {_threads(number)}: p50 / p90 / p99" for number in threads),
        "p50 with preprocessing",
        "examples a second",
        "at batch, threads",
    )
    rows = [
        (
            each["name"],
            each["runtime"],
            *(" / ".join(_ms(each["latency"][number][name]) for name in ("p50", "p90", "p99")) for number in threads),
            _ms(each["with_preprocessing"]["p50"]),
            _short(each["throughput"]["per_second"]),
            f"{each['throughput']['batch']}, {each['throughput']['threads']}",
        )
        for each in bench["contenders"]
    ]
    return table(head, rows)


def _sizes(bench: Record) -> str:
    priced = bench["price"] is not None
    start_of = ("cold start ms", "peak memory MB", "above the bare runtime MB")
    size_of = ("file bytes", "parameters", "multiply-accumulates")
    head = ("", "runtime", *start_of, *size_of, *(("a million one by one", "in batches") if priced else ()))
    rows = []
    for each in bench["contenders"]:
        cold, cost = each["cold"], each["cost"]
        start = (DASH, DASH, DASH)
        if cold:
            above = cold["peak_bytes"] - cold["bare_bytes"]
            start = (_ms(cold["seconds"]), _mb(cold["peak_bytes"]), _mb(above))
        sizes = (count(each["file_bytes"]), count(each["parameters"]), count(each["macs"]))
        costs = (_short(cost["one_by_one"]), _short(cost["in_batches"])) if priced else ()
        rows.append((each["name"], each["runtime"], *start, *sizes, *costs))
    return table(head, rows)


# --- sentences -------------------------------------------------------------------------------------------------------


def _ratio_sentences(bench: Record) -> list[str]:
    found = []
    for each in bench["ratios"]:
        across = "" if each["teacher"] == each["student"] else f", across runtimes ({each['teacher']})"
        threads = _with(each["threads"])
        student = f"The student in {each['student']}{across}"
        if unsteady(each):
            found.append(f"{student}: {_unsteady_words(each, 'as quick as the teacher')}.")
        elif not _differs(each):
            found.append(f"{student}: no difference in {each['of']} from the teacher{threads} ({_ratio(each)}).")
        elif each["of"] == "throughput":
            found.append(
                f"{student}: {_ratio(each)} times the teacher's throughput, each with its best batch and threads."
            )
        else:
            found.append(f"{student}: the teacher's {each['of']} is {_ratio(each)} times as long{threads}.")
    return found


def _capacity_sentences(capacity: Record | None) -> list[str]:
    if capacity is None:
        return []
    teacher, student = capacity["teacher"], capacity["student"]
    stood = (
        f"the teacher alone ({teacher['runtime']}, {_threads(teacher['threads'])}) answered {_short(teacher['rate'])} "
        f"requests a second one by one, 99 of 100 within {_ms(teacher['p99'])} ms"
    )
    # A request that comes at its time waits whenever the machine does something else.
    quick = ", as other work of the machine lets requests wait that long" * (teacher["p99"] < LEAST_P99)
    fits, fails, limit = capacity["fits"], capacity["fails"], capacity["limit"]
    if fits is None:
        return [
            f"Not one student ({student['runtime']}) fits where the teacher stood: {stood}; {_failed(fails)}{quick}."
        ]
    many = "student fits" if fits["students"] == 1 else "students fit"
    least = f"At least {fits['students']:,}" if fails is None else f"{fits['students']:,}"
    more = (
        f"{limit['students']:,} were the most that was tried, for want of {limit['by']}"
        if fails is None
        else _failed(fails)
    )
    return [
        f"**{least} {many} where one teacher stood**: {stood}; so many "
        f"({student['runtime']}, {student['processes']} processes of one thread), each asked as often, answered 99 of "
        f"100 within {_ms(fits['p99'])} ms, waiting included ({fits['requests']:,} requests in {capacity['seconds']:g} "
        f"s); {more}."
    ]


def _failed(attempt: Record) -> str:
    many = f"with {attempt['students']:,}"
    if attempt["p99"] is None:
        left = attempt["requests"] - attempt["answered"]
        return f"{many}, {left:,} of {attempt['requests']:,} requests were left waiting"
    return f"{many}, 99 of 100 took up to {_ms(attempt['p99'])} ms"


def _int8_sentences(gains: list[Record]) -> list[str]:
    found = []
    for each in gains:
        of = each["of"] + _with(each["threads"])
        if unsteady(each):
            found.append(f"{each['runtime']}: {_unsteady_words(each, 'as fast as float32')}.")
        elif not _differs(each):
            found.append(f"{each['runtime']} is not faster here: no difference in {of} ({_ratio(each)}).")
        elif each["ratio"] > 1:
            found.append(f"{each['runtime']} is {_ratio(each)} times as fast as float32 in {of}.")
        else:
            inverse = {"ratio": 1 / each["ratio"], "low": 1 / each["high"], "high": 1 / each["low"]}
            slower = f"it is {_ratio(inverse)} times as slow as float32 in {of}"
            found.append(f"{each['runtime']} is not faster here: {slower}.")
    return found


def _cost_sentences(bench: Record) -> list[str]:
    if bench["price"] is None:
        return []
    found = []
    for key, how in (("one_by_one", "one by one"), ("in_batches", "in batches")):
        best: dict[str, Any] = {}
        for each in bench["contenders"]:
            cost = each["cost"][key]
            if each["name"] not in best or cost < best[each["name"]]["cost"][key]:
                best[each["name"]] = each
        student = best["student"]
        said = (
            f"At a price of {bench['price']:g} an hour of this machine, one million predictions {how} cost "
            f"{_short(student['cost'][key])} with the student ({student['runtime']})"
        )
        if "teacher" in best:
            teacher = best["teacher"]
            times = teacher["cost"][key] / student["cost"][key]
            said += (
                f"; the teacher ({teacher['runtime']}) costs {_short(teacher['cost'][key])}, {_short(times)} times that"
            )
        found.append(f"{said}. Each is in its cheapest runtime.")
    return found


def _short_sentences(bench: Record) -> list[str]:
    enough = bench["method"]["enough"]
    few = [
        f"{each['name']}, {each['runtime']} ({runs})"
        for each in bench["contenders"]
        if (runs := min(times["runs"] for times in each["latency"].values())) < enough
    ]
    if not few:
        return []
    return [f"Timed fewer than {enough} times, for want of time (--seconds gives more): {', '.join(few)}."]


def _busy_sentences(device: Record) -> list[str]:
    if device["load"] < QUIET * device["cores"]:
        return []
    return [
        f"**Other work was running** when this began (load {device['load']:.1f} on {device['cores']} cores): long "
        "answers, all threads and the number of students suffer most. Measure again when the machine is quiet."
    ]


def _method(bench: Record) -> str:
    method = bench["method"]
    shape = " x ".join(map(str, method["input_shape"]))
    return (
        f"Latency: one real example at a time, {shape} {method['input_dtype']} as stored, {method['examples']} of them "
        "in turn, preprocessing apart but for its own column (one thread). All were timed in one process in "
        f"{method['turns']} turns of shuffled order, each turn with a fresh session and {method['warm']} runs to warm "
        f"up, at least {method['enough']} timed runs in all. In brackets the least and the most of a turn: where these "
        f"lie on both sides of 1, no difference is claimed, and where the most is above {UNSTEADY} times the least, "
        "nothing is. Cold start: a fresh process opens the file, which may be in the disk's cache, and answers once; "
        "imports are not counted."
    )


# --- words for numbers -----------------------------------------------------------------------------------------------


def _differs(each: Record) -> bool:
    return not each["low"] <= 1 <= each["high"]


def _unsteady_words(each: Record, compared: str) -> str:
    turns = f"from {_short(each['low'])} to {_short(each['high'])} times {compared} in a turn"
    return f"too unsteady to tell in {each['of']}{_with(each['threads'])}: {turns}"


def _ratio(each: Record) -> str:
    return f"{_short(each['ratio'])} [{_short(each['low'])}, {_short(each['high'])}]"


def _with(threads: int | None) -> str:
    """Behind what is compared; throughput is that of the best number of threads."""
    return "" if threads is None else f", {_threads(threads)}"


def _threads(number: int | str) -> str:
    return f"{number} thread{'s' * (str(number) != '1')}"


def _short(value: float) -> str:
    """Three digits that count, without powers of ten."""
    return f"{Decimal(f'{value:.3g}'):,f}"


def _ms(seconds: float) -> str:
    return _short(1000 * seconds)


def _mb(number: int) -> str:
    return f"{number / 2**20:.1f}"

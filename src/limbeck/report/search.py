"""The report on a search, as a page of Markdown: a pure function of its record and landscape.json.

Every figure stands after its message in words and before a table that says the same.
"""

import shlex
from typing import Any

from limbeck.measurement import Verdict
from limbeck.report.figures import TITLES, Landscape, Trial, best_of, no_teacher, shown, taught
from limbeck.report.parts import DASH, Record, arms_table, data_notes, made_with, number, percent, table

_MOST = 10
_MEANING = {
    "BEATS": ", so the search helped",
    "NO DIFFERENCE SHOWN": ", so the search was not shown to help",
    "WORSE": ", so the search chose worse than the recipe does by itself",
    "NOT COMPARED": "",
}
_BARE = ("scratch", "own-scratch")
"""Arms that hear no teacher."""


def search_markdown(record: Record, landscape: Landscape) -> str:
    """The report on a search.

    Args:
        record: of the search, as `limbeck.record.read_record` gives it.
        landscape: the content of landscape.json beside it.
    """
    sections = (
        _head(record, landscape),
        _space(landscape),
        _best(landscape),
        _surface(landscape),
        _trials(record, landscape),
        _importances(landscape),
        _front(landscape),
        _proof(record, landscape),
        _budget(record),
        _notes(record),
        _again(record),
    )
    return "\n\n".join(filter(None, sections)) + "\n"


def search_sentence(record: Record, landscape: Landscape) -> str:
    """Whether the search helped, whether a teacher was of any use, and which temperatures are as good as the best."""
    verdict = Verdict.from_dict(record["verdict"])
    plateau = landscape["plateau"].get("temperature", {"sentence": ""})["sentence"]
    said = filter(None, (_without_teacher(record, landscape), _upper(plateau)))
    return " ".join([f"{verdict.arm} {verdict}{_MEANING[verdict.word]}.", *(f"{sentence}." for sentence in said)])


def _without_teacher(record: Record, landscape: Landscape) -> str:
    """Where a student did better without a teacher than with the best setting; nothing where it did not."""
    found, bare = [], no_teacher(landscape)
    if bare is not None and landscape["best"] is not None and bare["value"] > best_of(landscape)["value"]:
        highest = max(trial["value"] for trial in taught(landscape))
        than = "any setting that was tried" if bare["value"] > highest else "the best setting"
        found.append(f"got {percent(bare['value'])} on validation, more than with {than}")
    worse = [verdict for verdict in record["verdicts"] if (verdict["arm"], verdict["word"]) == ("tuned", "WORSE")]
    if lost := [verdict["difference"] for verdict in worse if verdict["against"] in _BARE]:
        set_ = f"the {record['data']['measured_on']} set"
        found.append(f"did better on {set_} than with the best setting, by {number(-min(lost), 100, 1)} points")
    return f"Without a teacher the student {', and '.join(found)}" * bool(found)


def search_lines(record: Record, landscape: Landscape) -> list[str]:
    """What a terminal is told: the best setting, what is as good, every verdict, and whether the search helped."""
    best = best_of(landscape)
    measured = f"{percent(best['value'])} of {landscape['examples']:,} validation examples"
    as_good = [one["sentence"] for name, one in landscape["plateau"].items() if name != "temperature"]
    verdicts = [f"{verdict['arm']} {verdict['sentence']}" for verdict in record["verdicts"][1:]]
    found = f"best setting: {_of(best['setting'])}; {measured}"
    return [found, *as_good, *verdicts, search_sentence(record, landscape)]


def _head(record: Record, landscape: Landscape) -> str:
    return f"# limbeck tune: {record['recipe']['out']}\n\n**{search_sentence(record, landscape)}**"


def _space(landscape: Landscape) -> str:
    rows = [(name, *_looked_for(facts)) for name, facts in landscape["space"].items()]
    return f"## What was searched\n\n{table(('parameter', 'values', 'scale'), rows)}"


def _looked_for(facts: dict[str, Any]) -> tuple[str, str]:
    if "choices" in facts:
        return ", ".join(f"`{choice}`" for choice in facts["choices"]), "alternatives"
    return f"{facts['low']:g} to {facts['high']:g}", "logarithmic" if facts["log"] else "linear"


# --- what was found --------------------------------------------------------------------------------------------------


def _best(landscape: Landscape) -> str:
    """The best setting, what is as good, and what it is compared with on validation."""
    if landscape["best"] is None:
        return "## The best setting\n\nNo trial with a teacher ran to its end, so there is none."
    best = best_of(landscape)
    by_number = {trial["number"]: trial for trial in landscape["trials"]}
    named = {
        "best": best,
        "recipe's own": by_number.get(landscape["own"]),
        "first guess": by_number.get(landscape["guess"]),
    }
    rows = [_row_of(name, trial) for name, trial in named.items() if trial is not None]
    if (bare := no_teacher(landscape)) is not None:
        rows.append(_row_of("no teacher", bare))
    outside = ("recipe's own setting", landscape["own"]), ("first guess", landscape["guess"])
    missing = [f"The {name} lies outside of what was searched." for name, trial in outside if trial is None]
    note = (
        "The smoothed accuracy is what all trials together say of a setting; with one training for each setting, the "
        "highest value alone is the luckiest. "
    ) * (best["smoothed"] != best["value"])
    return "\n\n".join(
        [
            f"## The best setting\n\n{_setting(best)} (trial {best['number']}).",
            *filter(None, ["\n".join(f"- {_upper(entry['sentence'])}." for entry in landscape["plateau"].values())]),
            table(("", "trial", "setting", "accuracy on validation %", "smoothed %"), rows),
            f"{note}{' '.join([*missing, _yardstick(landscape)])}",
        ]
    )


def _row_of(name: str, trial: Trial) -> tuple[str, ...]:
    state = "" if trial["state"] == "complete" else f" ({trial['state']})"
    setting = _setting(trial) if trial["setting"] else DASH
    return name, f"{trial['number']}{state}", setting, number(trial["value"], 100, 2), number(trial["smoothed"], 100, 2)


def _yardstick(landscape: Landscape) -> str:
    error = f"{100 * landscape['standard_error']:.2g} points"
    return (
        f"One standard error is {error}: what the search does not know of the best, and the luck of "
        f"{landscape['examples']:,} validation examples."
    )


def _surface(landscape: Landscape) -> str:
    """The figure of the surface, its message before and its numbers after."""
    surface = landscape["surface"]
    if not surface:
        return ""
    names = [axis["name"] for axis in surface["axes"]]
    others = {name: value for name, value in best_of(landscape)["setting"].items() if name not in names}
    at = f" Other settings are the best trial's: {_of(others)}." if others else ""
    means = surface["mean"] if len(names) == 2 else [[mean] for mean in surface["mean"]]
    lowest, highest = min(map(min, means)), max(map(max, means))
    message = (
        f"Over {' and '.join(names)} the smoothed accuracy lies between {percent(lowest)} and {percent(highest)}.{at}"
        + f" Whatever lies below {percent(surface['foot'])} is shown as that." * (lowest < surface["foot"] + 0.001)
    )
    down = _spread_out(surface["axes"][0]["values"], 6)
    across = _spread_out(surface["axes"][1]["values"], 5) if len(names) == 2 else [0]
    head = [f"{names[1]} {surface['axes'][1]['values'][j]:.2g}" for j in across] if len(names) == 2 else ["smoothed %"]
    rows = [(f"{surface['axes'][0]['values'][i]:.3g}", *(number(means[i][j], 100, 2) for j in across)) for i in down]
    return f"## The landscape\n\n{message}\n\n{_figure('landscape')}\n\n{table((names[0], *head), rows)}"


def _spread_out(values: list[float], count: int) -> list[int]:
    """Places of so many values from the first to the last, evenly."""
    return [round(i * (len(values) - 1) / (count - 1)) for i in range(count)]


def _trials(record: Record, landscape: Landscape) -> str:
    """How the search went, and its best trials."""
    search = record["search"]
    message = (
        f"Of {search['trials']} trials {search['complete']} ran to their end, {search['pruned']} were stopped early "
        f"and {search['failed']} failed."
    )
    found = taught(landscape)
    complete = [trial for trial in found if trial["state"] == "complete"]
    parts = ["## Trials"]
    if complete:
        top = max(complete, key=lambda trial: trial["value"])
        after = sum(trial["number"] > top["number"] for trial in found)
        message += (
            f" The highest value, {percent(top['value'], 2)}, came at trial {top['number']}; {after} followed it."
        )
    parts.append(message)
    if "history" in shown(landscape):
        parts.append(_figure("history"))
    names = list(landscape["space"])
    ranked = sorted(complete, key=lambda trial: (-trial["smoothed"], trial["number"]))[:_MOST]
    rows = [
        (
            str(trial["number"]),
            trial["origin"],
            *(_value(trial["setting"].get(name)) for name in names),
            number(trial["value"], 100, 2),
            number(trial["smoothed"], 100, 2),
            f"{trial['seconds']:.1f}",
        )
        for trial in ranked
    ]
    if rows:
        parts.append(table(("trial", "origin", *names, "accuracy %", "smoothed %", "seconds"), rows))
    failed = [f"- trial {t['number']} failed: `{t['reason']}`" for t in landscape["trials"] if t["state"] == "failed"]
    return "\n\n".join([*parts, *filter(None, ["\n".join(failed)])])


def _importances(landscape: Landscape) -> str:
    shares = landscape["importances"]
    if "importances" not in shown(landscape):
        return ""
    first = next(iter(shares))
    message = (
        f"{_upper(first)} matters most within what was searched: it takes part in {percent(shares[first], 0)} of the "
        "variation of the smoothed accuracy (Sobol's total indices, made to sum to 100 %)."
    )
    rows = [(name, percent(share, 1)) for name, share in shares.items()]
    return f"## What mattered\n\n{message}\n\n{_figure('importances')}\n\n{table(('parameter', 'share'), rows)}"


def _front(landscape: Landscape) -> str:
    entries = landscape["front"]
    if "front" not in shown(landscape):
        return ""
    rows = [
        (
            str(place),
            f"`{entry['student']}`",
            f"{entry['parameters']:,}",
            number(entry["latency_ms"], 1, 3),
            str(entry["trial"]),
            number(entry["smoothed"], 100, 2),
            " and ".join(word for key, word in _COSTS.items() if entry[f"front_by_{key}"]) or DASH,
        )
        for place, entry in enumerate(entries, start=1)
    ]
    head = ("", "student", "parameters", "latency ms", "best trial", "smoothed %", "on the front by")
    message = _upper(landscape["plateau"]["student"]["sentence"])
    return f"## Accuracy and cost\n\n{message}.\n\n{_figure('front')}\n\n{table(head, rows)}"


_COSTS = {"parameters": "parameters", "latency_ms": "latency"}


# --- what it rests on ------------------------------------------------------------------------------------------------


def _proof(record: Record, landscape: Landscape) -> str:
    data, seeds = record["data"], record["recipe"]["proof"]["seeds"]
    verdicts = "\n".join(f"- {verdict['arm']} {Verdict.from_dict(verdict)}" for verdict in record["verdicts"])
    note = (
        f"Mean ± standard deviation over {len(seeds)} fresh seed{'s' * (len(seeds) != 1)} on {data['measured']:,} "
        f"{data['measured_on']} examples."
    )
    return f"## The proof\n\n{verdicts}\n\n{arms_table(record)}\n\n{note}{_whose(record, landscape)}"


def _whose(record: Record, landscape: Landscape) -> str:
    """Of which student and learning rate scratch is, where these are searched: it is no control of its own choosing."""
    names = [word for name, word in (("student", "student"), ("lr", "learning rate")) if name in landscape["space"]]
    if not names or "scratch" not in record["arms"]:
        return ""
    both = " and ".join(names)
    own = f"; own-scratch hears no teacher either, and has the recipe's own {both}" * ("own-scratch" in record["arms"])
    return f" The arm scratch has the {both} of the best setting, chosen for what hears the teacher, not for it{own}."


def _budget(record: Record) -> str:
    search = record["search"]
    share = search["student_epochs"] / search["grid_epochs"]
    return (
        f"## Budget\n\nThe search took {search['student_epochs']:,.0f} student-epochs, {percent(share)} of the "
        f"{search['grid_epochs']:,.0f} that an exhaustive 8 x 8 grid takes, and its trials {search['seconds']:,.0f} s, "
        f"{search['jobs']} side by side. The teacher was asked once for all of them."
    )


def _notes(record: Record) -> str:
    held = record["search"]["labels_held_out"]
    notes = [
        f"Settings were chosen on {held:,} labelled examples held out of training. Their labels count as labels: no "
        "student learnt from them, but they have decided what it learns.",
        f"The {record['data']['measured_on']} set was read once, after the search, by the students of the proof.",
        *data_notes(record["data"]),
    ]
    return "## Notes\n\n" + "\n".join(f"- {note}" for note in notes)


def _again(record: Record) -> str:
    out, threads = record["recipe"]["out"], record["recipe"]["fit"]["threads"]
    lines = (
        f"limbeck tune {shlex.quote(out + '/recipe.resolved.yaml')} --set fit.threads={threads} --set out=runs/again",
        f"limbeck distill {shlex.quote(out + '/tune/best.yaml')}",
    )
    return "## Reproduce\n\n" + "\n".join(f"    {line}" for line in lines) + f"\n\n{made_with(record)}"


# --- words -----------------------------------------------------------------------------------------------------------


def _figure(name: str) -> str:
    return f"![{TITLES[name]}]({name}.svg)"


def _setting(trial: Trial) -> str:
    return _of(trial["setting"])


def _of(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in setting.items())


def _value(value: Any) -> str:
    if value is None:
        return DASH
    return f"{value:g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

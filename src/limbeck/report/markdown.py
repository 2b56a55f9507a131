"""A record as a page of Markdown: a pure function, so that a report can be deleted and made again."""

import shlex
from collections.abc import Sequence
from statistics import mean
from typing import Any

from limbeck.measurement import Verdict
from limbeck.report.columns import columns_rows
from limbeck.report.parts import Record, arms_table, count, data_notes, made_with, number, percent, table


def report_markdown(record: Record, beside: Sequence[str] = ()) -> str:
    """The report on a run.

    Args:
        record: of the run, as `limbeck.record.read_record` gives it.
        beside: sections on what else lies in its directory; empty ones are left out.
    """
    first = (_head, _arms, _verdicts)
    then = (_setting, _columns, _teacher, _assistants, _seeds, _notes, _reproduce)
    sections = [*(section(record) for section in first), *beside, *(section(record) for section in then)]
    return "\n\n".join(filter(None, sections)) + "\n"


_PLACED = {
    "hard-teacher": {
        "BEATS": "and the teacher's doubts taught more than its answers alone",
        "NO DIFFERENCE SHOWN": "but the teacher's answers alone, without its doubts, were not shown to teach less",
        "WORSE": "but the teacher's answers alone, without its doubts, taught more",
        "NOT COMPARED": "and was not compared with the teacher's answers alone",
    },
    "direct": {
        "BEATS": "and the assistants taught more than the teacher by itself",
        "NO DIFFERENCE SHOWN": "but the teacher by itself, without assistants, was not shown to teach less",
        "WORSE": "but the teacher by itself, without assistants, taught more",
        "NOT COMPARED": "and was not compared with the teacher by itself",
    },
}
"""What a verdict against a control means for a gain over scratch."""


def closing_sentence(record: Record) -> str:
    """What the run has shown, in one sentence, with the controls that put it in its place."""
    verdict = Verdict.from_dict(record["verdict"])
    clauses = [f"{verdict.arm} {verdict}"]
    if verdict.word == "BEATS":
        distilled = [other for other in _all(record) if other.arm == "distilled"]
        clauses += [_PLACED[other.against][other.word] for other in distilled if other.against in _PLACED]
    return ", ".join(clauses) + "."


def _all(record: Record) -> list[Verdict]:
    return [Verdict.from_dict(verdict) for verdict in record["verdicts"]]


def _head(record: Record) -> str:
    return f"# limbeck: {record['recipe']['out']}\n\n**{closing_sentence(record)}**"


def _arms(record: Record) -> str:
    data, seeds = record["data"], record["recipe"]["proof"]["seeds"]
    note = (
        f"Mean ± standard deviation over {len(seeds)} seed{'s' * (len(seeds) != 1)} on {data['measured']:,} "
        f"{data['measured_on']} examples. The share of the gap between scratch and teacher is given only where that "
        "gap's interval excludes 0."
    )
    return f"## Arms\n\n{arms_table(record)}\n\n{note}"


def _verdicts(record: Record) -> str:
    lines = [f"- {verdict.arm} {verdict}" for verdict in _all(record)]
    rule = (
        "Difference: the mean over seeds of paired differences. Half-width of the interval: "
        "sqrt((t · sd of seeds / sqrt(S))² + (1.96 · standard error over examples)²)."
    )
    return "## Verdicts\n\n" + "\n".join(lines) + f"\n\n{rule}"


def _setting(record: Record) -> str:
    data = record["data"]
    lines = [
        f"- **{name}**: `{_equation(fits[0]['loss'])}`; {fits[0]['distinct_examples']:,} examples"
        + "; the signals are the teacher's own" * (name == "direct")
        for name, fits in record["arms"].items()
    ]
    fit = next(iter(record["arms"].values()))[0]
    budget = f"{fit['steps']:,} steps of {fit['batch_size']} examples, the same in every arm"
    held = f" {data['validation_labels']:,} labelled examples were held out for validation." * bool(
        data["validation_labels"]
    )
    return (
        f"## What was compared\n\nBudget: {budget}. The arms of a seed began with the same weights; arms that see the "
        f"same examples saw them in the same order. Students saw {data['student_labelled']:,} labels on "
        f"{data['student_train']:,} examples; the training set has {data['teacher_labelled']:,} on "
        f"{data['teacher_train']:,}.{held}\n\n" + "\n".join(lines) + _guess(record["teacher"].get("guess"))
    )


_GUESSED = {
    "doubts": "where its doubts are a third of those of one who knows nothing (at 1 they are {doubts})",
    "calibration": "where its probabilities fit the labels best",
    "usual": "the usual one, since no temperature makes its doubts a third of those of one who knows nothing",
}
"""By the rule of a first guess, why it is this temperature."""


def _guess(guess: Record | None) -> str:
    """What `auto` was settled as, and why; nothing where nothing was auto."""
    if guess is None:
        return ""
    why = _GUESSED[guess["rule"]].format(doubts=percent(guess["doubts"]))
    words = {
        "temperature": f"temperature {guess['temperature']:g}, {why}",
        "alpha": f"alpha {guess['alpha']:g}, the share of examples whose label the teacher contradicts, 0.1 at most",
    }
    settled = "; ".join(words[name] for name in guess["settles"])
    about = f"from the teacher's answers to {guess['examples']:,} training examples"
    return f"\n\nA first guess in the place of `auto`, {about}: {settled}."


def _columns(record: Record) -> str:
    """What the columns of a table were taken for; nothing where the data are no table."""
    data = record["data"]
    if "columns" not in data:
        return ""
    head = ("column", "role", "why", "values", "missing", "unknown in test")
    note = (
        f"The label is {data['label']['name']} ({data['label']['why']}). Vocabularies, means and deviations were "
        "learnt on training rows alone; `data.roles` changes a role."
    )
    return f"## Columns\n\n{table(head, columns_rows(data))}\n\n{note}"


def _teacher(record: Record) -> str:
    teacher, labels = record["teacher"], record["labels"]
    student = next(iter(record["arms"].values()))[0]
    size = teacher.get("parameters")
    ratio = f", {size / student['parameters']:.1f} times the student's" if size else ""
    accuracy = f"{percent(teacher['train_accuracy'])} on {teacher['asked']:,} training examples in the preflight, "
    return (
        f"## Teacher\n\nParameters: {count(size)}{ratio} {count(student['parameters'])}. Accuracy: {accuracy}"
        f"{percent(teacher['accuracy'])} on the measured ones. It gives {teacher['gives']}. It was asked once about "
        f"{labels['distinct']:,} distinct examples; the answers are kept in {labels['encoding']} "
        f"({labels['bytes']:,} bytes, largest error of a logit {labels['largest_error']:.2g})."
        f"{_doubts(teacher)}{_members(teacher)}{_gap(teacher)}"
    )


def _doubts(teacher: Record) -> str:
    """What the preflight saw in its logits; nothing in records of before it looked."""
    words = ""
    if teacher.get("temperatures"):
        low, high = teacher["temperatures"]
        words += f" Its doubts are heard at temperatures from {low:.2g} to {high:.2g}, as a rule of thumb."
    return words + "".join(f"\n\n**Odd:** {remark}." for remark in teacher.get("remarks", ()))


def _members(teacher: Record) -> str:
    """What an ensemble is made of."""
    if "members" not in teacher:
        return ""
    identity = teacher["identity"]
    members = zip(identity["weights"], teacher["members"], strict=True)
    lines = [
        f"- weight {weight:.3g}, {percent(found['train_accuracy'])} on {found['asked']:,} training examples"
        for weight, found in members
    ]
    head = f"The mean of the {identity['mean']} of {len(lines)} member{'s' * (len(lines) != 1)}:"
    return f"\n\n{head}\n\n" + "\n".join(lines)


def _gap(teacher: Record) -> str:
    """What the teacher has over the student's own labels, the most there is to pass on."""
    return f"\n\nThe teacher {Verdict.from_dict(teacher['verdict'])}." if teacher["verdict"] else ""


def _assistants(record: Record) -> str:
    """Who stands between the teacher and the students; nothing where nobody does."""
    found = record.get("assistants", ())
    if not found:
        return ""
    student = record["recipe"]["student"]
    named = [f"`{_settings(model)}`" for model in student["assistants"]]
    own = student["model"].get("what") or _settings(student["model"])  # handed over in Python, or of the catalogue
    named += [f"`{own}`, generation {i} of {student['generations']}" for i in range(1, student["generations"])]
    rows = [
        (str(place), name, count(one["parameters"]), number(one["accuracy"], 100, 2), number(one.get("nll"), 1, 3))
        for place, (name, one) in enumerate(zip(named, found, strict=True), start=1)
    ]
    note = (
        "Each was taught by the one before it, the first by the teacher, with the loss and the budget of the arm "
        "distilled; all arms but direct that hear a teacher heard the last of them. They were trained once: intervals "
        "cover the luck of the students' seeds, not that of the chain."
    )
    return f"## Assistants\n\n{table(('', 'model', 'parameters', 'accuracy %', 'NLL (nats)'), rows)}\n\n{note}"


def _seeds(record: Record) -> str:
    seeds = record["recipe"]["proof"]["seeds"]
    head = ("arm", *(f"seed {seed}" for seed in seeds), "gradient norms of the weighted terms at the start (seed mean)")
    rows = []
    for name, fits in record["arms"].items():
        accuracies = [number(fit["accuracy"], 100, 2) for fit in fits]
        norms = {term: mean(fit["gradient_norms"][term] for fit in fits) for term in fits[0]["gradient_norms"]}
        rows.append((name, *accuracies, ", ".join(f"{term} {norm:.3g}" for term, norm in norms.items())))
    text = f"## Seeds\n\nAccuracy in %.\n\n{table(head, rows)}"
    tests = [
        f"- {arm}: " + ", ".join(f"seed {seed} p = {p:.2g}" for seed, p in by_seed.items())
        for arm, by_seed in record["mcnemar"].items()
    ]
    if not tests:
        return text
    return f"{text}\n\nMcNemar's exact test against scratch, a description only:\n\n" + "\n".join(tests)


def _notes(record: Record) -> str:
    data, recipe = record["data"], record["recipe"]
    notes = data_notes(data)
    if any(recipe["fit"]["augment"].values()) and recipe["distill"]["views"] == 1:
        notes.append("Students saw augmented views; the teacher's labels are those of the plain images.")
    if recipe["distill"]["views"] not in (1, "live"):
        notes.append(
            f"Students that hear the teacher saw {recipe['distill']['views']} recorded views of each example in turn, "
            "each with the teacher's answer to it; the others saw fresh views."
        )
    if recipe["distill"]["views"] == "live":
        notes.append("The teacher was also asked at every step, about the very view that the student saw.")
    if data["measured_on"] == "validation":
        notes.append("Measured on validation examples: the test set was not read.")
    if recipe["student"]["model"]["name"] == "python":
        notes.append("The student was handed over in Python.")
    if unseen := data["teacher_labelled"] - data["student_labelled"]:
        notes.append(
            f"The training set has {unseen:,} labels that students do not see: if the teacher learnt from them, part "
            "of any gain over scratch is that knowledge."
        )
    return "## Notes\n\n" + ("\n".join(f"- {note}" for note in notes) or "None.")


def _reproduce(record: Record) -> str:
    recipe = record["recipe"]
    again = f"limbeck distill {shlex.quote(recipe['out'] + '/recipe.resolved.yaml')} --set out=runs/again"
    if "python" in (recipe["data"]["source"], recipe["teacher"]["kind"], recipe["student"]["model"]["name"]):
        again = "limbeck.distill(...)  # the same call in Python, with another out"
    return f"## Reproduce\n\n    {again}\n\n{made_with(record)}"


# --- words for numbers ---------------------------------------------------------------------------------------------


def _equation(terms: list[dict[str, Any]]) -> str:
    return "loss = " + " + ".join(f"{_weight(term)} · {_formula(term)}" for term in terms)


def _weight(term: dict[str, Any]) -> str:
    schedule = _schedule(term, "weight")
    return f"[{_path(schedule)}]" if schedule else f"{term['weight']:g}"


def _schedule(term: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What changes a term's weight or temperature, if anything does."""
    return (term.get("schedule") or {}).get(name)


def _path(schedule: dict[str, Any]) -> str:
    """The values that a schedule goes through."""
    values = [schedule["start"], schedule["end"]] if "start" in schedule else [v for _, v in schedule["points"]]
    return f"{' -> '.join(f'{value:g}' for value in values)} ({schedule['name']})"


def _formula(term: dict[str, Any]) -> str:
    objective = dict(term["objective"])
    temperature = _schedule(term, "temperature")
    if temperature:
        objective["temperature"] = _path(temperature)
    plain = not objective.get("standardise")
    match objective["name"], objective.get("divergence"):
        case "soft-targets", "forward-kl" | "reverse-kl" as divergence if plain:
            sides = ("teacher", "student") if divergence == "forward-kl" else ("student", "teacher")
            if temperature:
                return f"T² KL({sides[0]} at T ‖ {sides[1]} at T), T {objective['temperature']}"
            t = f"{objective['temperature']:g}"
            return f"{t}² KL({sides[0]} at T {t} ‖ {sides[1]} at T {t})"
        case "hard-targets", _:
            return "CE(teacher's first choice)"
        case "cross-entropy", _:
            smoothing = objective["smoothing"]
            return f"CE(labels smoothed by {smoothing:g})" if smoothing else "CE(labels)"
        case _:
            return _settings(objective)


def _settings(entry: dict[str, Any]) -> str:
    """An entry of a catalogue with its settings, but for those that are off."""
    settings = ", ".join(_setting_text(key, value) for key, value in entry.items() if key != "name" and _is_on(value))
    return f"{entry['name']}({settings})" if settings else str(entry["name"])


def _is_on(value: Any) -> bool:
    return value is not None and value is not False


def _setting_text(key: str, value: Any) -> str:
    if value is True:
        return key
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"

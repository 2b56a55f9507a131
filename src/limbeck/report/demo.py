"""The demo's story in Markdown, told from its two records and a peek."""

from statistics import mean
from typing import Any

from limbeck.measurement import Verdict
from limbeck.report.parts import arms_table
from limbeck.report.peek import Peek, peek_text

Record = dict[str, Any]


def demo_markdown(look: Peek, whisper: Record, more: Record) -> str:
    """What one digit sounds like, what its whisper teaches, and what more there is to hear.

    Args:
        look: a peek into the label store of the first run.
        whisper: the record of the run on labelled images alone.
        more: the record of the run that also hears the teacher on unlabelled images.
    """
    seen, heard = whisper["data"], more["data"]
    sections = (
        "# limbeck demo: handwritten digits",
        f"A teacher of {whisper['teacher']['parameters']:,} parameters learnt {seen['teacher_train']:,} labelled "
        f"images and is right on {100 * whisper['teacher']['accuracy']:.1f} % of {seen['measured']:,} it never saw. "
        f"The student has {_student(whisper)['parameters']:,} parameters and sees {seen['student_labelled']} labels: "
        "what it gains from the teacher is what the teacher learnt from all the others.",
        "## 1. What the teacher says about one digit",
        "At temperature 1 it is sure. The higher the temperature, the louder the whisper behind the answer: which "
        "other digits this one resembles.",
        f"```\n{peek_text(look)}\n```",
        "## 2. The whisper",
        f"The same student, the same {seen['student_train']} labelled images, the same {_student(whisper)['steps']:,} "
        "steps; only the labels differ.",
        _story(whisper),
        "## 3. More to hear",
        f"Now the student also hears the teacher on {heard['student_train'] - heard['student_labelled']} images "
        "without a label. `hard-teacher` hears only the teacher's first choice there: what it gains is free labels, "
        "not dark knowledge.",
        _story(more),
        closing(whisper, more),
    )
    return "\n\n".join(sections) + "\n"


def closing(whisper: Record, more: Record) -> str:
    """One sentence on both runs, whatever they have shown."""
    first, rival = Verdict.from_dict(whisper["verdict"]), _against(more, "hard-teacher")
    shares = {arm: 100 * mean(fit["accuracy"] for fit in fits) for arm, fits in more["arms"].items()}
    means = {
        "BEATS": "so its doubts taught more than its answers alone",
        "WORSE": "so with that much to hear its answers alone taught more than its doubts",
        "NO DIFFERENCE SHOWN": "so with that much to hear no difference between its doubts and its answers was shown",
        "NOT COMPARED": "which were not compared",
    }
    return (
        f"**On the same {whisper['data']['student_train']} images the distilled student {first}; with the unlabelled "
        f"images it reached {shares['distilled']:.1f} %, and with the teacher's bare answers to them "
        f"{shares['hard-teacher']:.1f} %, {means[rival.word]}.**"
    )


def _story(record: Record) -> str:
    verdicts = "\n".join(f"- {verdict['arm']} {verdict['sentence']}" for verdict in record["verdicts"])
    return f"{arms_table(record)}\n\n{verdicts}"


def _student(record: Record) -> dict[str, Any]:
    fit: dict[str, Any] = record["arms"]["distilled"][0]
    return fit


def _against(record: Record, control: str) -> Verdict:
    verdicts = [Verdict.from_dict(verdict) for verdict in record["verdicts"]]
    return next(v for v in verdicts if (v.arm, v.against) == ("distilled", control))

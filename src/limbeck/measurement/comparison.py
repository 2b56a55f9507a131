"""The verdict: whether one arm is shown to be better than another.

Dimension key: S seeds, N examples.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from scipy import special
from torch import Tensor

Word = Literal["BEATS", "NO DIFFERENCE SHOWN", "WORSE", "NOT COMPARED"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One arm beside another, with the interval that the word rests on.

    Args:
        word: BEATS and WORSE when the interval lies on one side of 0.
        arm: the arm judged.
        against: the arm it is judged by.
        difference: arm - against, as a share (0.013 is 1.3 points); None when not compared.
        interval: low and high end at 95 %; None when not compared.
        unit: what the difference is a difference of.
        seeds: those that both arms were trained with.
        examples: labelled test examples.
        reason: why the arms were not compared; None when they were.
    """

    word: Word
    arm: str
    against: str
    difference: float | None
    interval: tuple[float, float] | None
    unit: Literal["accuracy"] = "accuracy"
    seeds: tuple[int, ...]
    examples: int
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form in a record, of JSON's types only."""
        interval = None if self.interval is None else list(self.interval)
        return asdict(self) | {"interval": interval, "seeds": list(self.seeds)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """The verdict of a record; keys of a later version are ignored."""
        interval = record["interval"]
        return cls(
            word=record["word"],
            arm=record["arm"],
            against=record["against"],
            difference=record["difference"],
            interval=None if interval is None else (interval[0], interval[1]),
            unit=record["unit"],
            seeds=tuple(record["seeds"]),
            examples=record["examples"],
            reason=record.get("reason"),
        )

    def __str__(self) -> str:
        if self.difference is None or self.interval is None:
            return f"{self.word} with {self.against}: {self.reason}"
        low, high = self.interval
        basis = f"{len(self.seeds)} seeds, n = {self.examples:,}"
        if self.word == "WORSE":
            # "by" speaks of the size of the loss, and so must the interval.
            low, high = -high, -low
        interval = f"(95 % interval {_points(low)} to {_points(high)}; {basis})"
        if self.word == "NO DIFFERENCE SHOWN":
            return f"{self.word} from {self.against}: {_points(self.difference, sign='+')} points {interval}"
        than = "WORSE than" if self.word == "WORSE" else self.word
        return f"{than} {self.against} by {_points(abs(self.difference))} points {interval}"


def compare(correct_a: Tensor, correct_b: Tensor, *, arm: str, against: str, seeds: tuple[int, ...]) -> Verdict:
    """Judge arm a by arm b; the one rule of DESIGN.md, section 4, in `paired_interval`.

    Args:
        correct_a: [S, N], bool, whether the arm's student of each seed is right; labelled examples only.
        correct_b: [S, N], the same for the other arm: same seeds, same examples, same order.
        arm: a's name.
        against: b's name.
        seeds: S of them.

    Raises:
        ValueError: shapes that do not fit.
    """
    if correct_a.ndim != 2 or correct_a.shape != correct_b.shape or len(seeds) != len(correct_a):
        raise ValueError(
            f"expected [S, N] from both arms with S = {len(seeds)} seeds, got {tuple(correct_a.shape)} from "
            f"{arm} and {tuple(correct_b.shape)} from {against}: give both the same seeds and examples"
        )
    basis: dict[str, Any] = {
        "arm": arm,
        "against": against,
        "seeds": tuple(seeds),
        "examples": correct_a.shape[1],
    }
    reason = _not_comparable(*correct_a.shape)
    if reason is not None:
        return Verdict(word="NOT COMPARED", difference=None, interval=None, reason=reason, **basis)
    difference, half_width = paired_interval(correct_a, correct_b)
    interval = (difference - half_width, difference + half_width)
    return Verdict(word=_word(*interval), difference=difference, interval=interval, **basis)


def paired_interval(correct_a: Tensor, correct_b: Tensor) -> tuple[float, float]:
    """The mean difference a - b and the half-width of its interval at 95 %.

    Half-width = sqrt((t_{S-1} sd_seeds / sqrt(S))^2 + (1.96 se_examples)^2). Another training and another
    test set would both give another difference, and the two errors add. Either alone covers the truth too
    seldom; the sum counts the examples' noise within each seed twice and so covers it in more than 95 %.

    Args:
        correct_a: [S, N], bool, S >= 2, N >= 2.
        correct_b: [S, N], paired with a by seed and by example.
    """
    difference_SN = correct_a.double() - correct_b.double()
    seeds, examples = difference_SN.shape
    of_seed_S, of_example_N = difference_SN.mean(dim=1), difference_SN.mean(dim=0)
    from_seeds = special.stdtrit(seeds - 1, 0.975) * of_seed_S.std().item() / math.sqrt(seeds)
    from_examples = 1.96 * of_example_N.std().item() / math.sqrt(examples)
    return of_seed_S.mean().item(), math.hypot(from_seeds, from_examples)


def gap_share(teacher_correct_N: Tensor, arm_correct_SN: Tensor, scratch_correct_SN: Tensor) -> float | None:
    """The share of the gap to the teacher that the arm closes: (arm - scratch) / (teacher - scratch).

    None where the teacher is not shown to be better than scratch, by the rule of the verdict: the ratio to a
    gap that may be 0 can be anything, and a teacher that is worse has no gap to close.

    Args:
        teacher_correct_N: [N], bool.
        arm_correct_SN: [S, N].
        scratch_correct_SN: [S, N].
    """
    if _not_comparable(*scratch_correct_SN.shape) is not None:
        return None
    gap, half_width = paired_interval(teacher_correct_N.expand_as(scratch_correct_SN), scratch_correct_SN)
    if gap - half_width <= 0:
        return None
    gain, _ = paired_interval(arm_correct_SN, scratch_correct_SN)
    return gain / gap


def mcnemar(correct_a_N: Tensor, correct_b_N: Tensor) -> float:
    """The p value of McNemar's exact test: two students of one seed differ on as many examples either way.

    Descriptive: it knows nothing of other seeds, so no verdict rests on it.

    Args:
        correct_a_N: [N], bool.
        correct_b_N: [N], bool, the same examples.
    """
    only_a, only_b = int((correct_a_N & ~correct_b_N).sum()), int((correct_b_N & ~correct_a_N).sum())
    if only_a + only_b == 0:
        return 1.0
    # Twice the smaller tail of a fair coin: `scipy.stats.binomtest` says the same and takes a second to import.
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def _not_comparable(seeds: int, examples: int) -> str | None:
    """Why there is no interval, in words; None when there is one."""
    if examples == 0:
        return "no labels to measure accuracy by; give the test data labels"
    if examples == 1:
        return "one labelled example, whose spread is unknown; give at least 2"
    if seeds < 2:
        return "one seed, so the spread between trainings is unknown; train at least 2, better 5"
    return None


def _word(low: float, high: float) -> Word:
    if low > 0:
        return "BEATS"
    return "WORSE" if high < 0 else "NO DIFFERENCE SHOWN"


def _points(share: float, sign: Literal["+", "-"] = "-") -> str:
    """A share in percentage points to one digit; + 0.0 makes of a rounded -0.0 a plain zero."""
    return format(round(100 * share, 1) + 0.0, f"{sign}.1f")

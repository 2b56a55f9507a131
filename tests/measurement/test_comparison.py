import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.measurement import Verdict, compare, gap_share, mcnemar, paired_interval


def table(*rows):
    """[S, N] from one string of 1 (right) and 0 (wrong) per seed."""
    return torch.tensor([[answer == "1" for answer in row] for row in rows])


def judged(correct_a, correct_b):
    return compare(correct_a, correct_b, arm="distilled", against="scratch", seeds=tuple(range(len(correct_a))))


def test_interval_by_hand():
    difference, half_width = paired_interval(table("1100", "1111"), table("1000", "0011"))

    # Differences 0 1 0 0 and 1 1 0 0: 1/4 and 1/2 by seed; 1/2 1 0 0 by example.
    sd_seeds = math.sqrt(2) / 8
    sd_examples = math.sqrt((0.125**2 + 0.625**2 + 2 * 0.375**2) / 3)
    t_1 = 12.7062047
    assert difference == 0.375
    assert half_width == pytest.approx(
        math.sqrt((t_1 * sd_seeds / math.sqrt(2)) ** 2 + (1.96 * sd_examples / math.sqrt(4)) ** 2)
    )


def test_the_interval_covers_the_true_difference():
    covered = [_covers(torch.Generator().manual_seed(trial)) for trial in range(400)]

    assert 0.93 <= sum(covered) / len(covered) <= 1.0


def _covers(generator):
    """One study of two arms, 3 points apart in the world at large; new examples and new seeds in each."""
    seeds, examples, truth = 5, 500, 0.03
    easiness_N = 0.4 + 0.5 * torch.rand(examples, generator=generator)
    luck_a, luck_b = 0.02 * torch.randn(2, seeds, 1, generator=generator)
    draw_a, draw_b = torch.rand(2, seeds, examples, generator=generator)
    difference, half_width = paired_interval(draw_a < easiness_N + truth + luck_a, draw_b < easiness_N + luck_b)
    return abs(difference - truth) <= half_width


@st.composite
def tables(draw):
    seeds, examples = draw(st.integers(2, 4)), draw(st.integers(2, 12))
    answers = st.lists(st.booleans(), min_size=seeds * examples, max_size=seeds * examples)
    return [torch.tensor(draw(answers)).reshape(seeds, examples) for _ in range(2)]


@settings(deadline=None)
@given(tables())
def test_swapped_arms_flip_the_sign(pair):
    forth, back = judged(*pair), judged(*reversed(pair))

    assert forth.difference == -back.difference
    assert forth.interval == (-back.interval[1], -back.interval[0])
    flipped = {"BEATS": "WORSE", "WORSE": "BEATS", "NO DIFFERENCE SHOWN": "NO DIFFERENCE SHOWN"}
    assert back.word == flipped[forth.word]


def test_equal_answers_show_no_difference():
    same = table("1101", "1001")

    verdict = judged(same, same)

    assert (verdict.word, verdict.difference, verdict.interval) == ("NO DIFFERENCE SHOWN", 0.0, (0.0, 0.0))
    assert str(verdict).startswith("NO DIFFERENCE SHOWN from scratch: +0.0 points (95 % interval 0.0 to 0.0;")


def test_a_difference_in_every_example_and_seed_is_shown():
    right, wrong = table("111", "111"), table("000", "000")

    assert judged(right, wrong).word == "BEATS"
    assert judged(wrong, right).word == "WORSE"


def test_one_seed_is_not_compared():
    verdict = judged(table("1111"), table("0000"))

    assert (verdict.word, verdict.difference, verdict.interval) == ("NOT COMPARED", None, None)
    assert str(verdict) == (
        "NOT COMPARED with scratch: one seed, so the spread between trainings is unknown; train at least 2, better 5"
    )


@pytest.mark.parametrize(("examples", "words"), [(0, "no labels"), (1, "one labelled example")])
def test_too_few_labels_are_not_compared(examples, words):
    verdict = judged(torch.ones(3, examples, dtype=torch.bool), torch.zeros(3, examples, dtype=torch.bool))

    assert verdict.word == "NOT COMPARED"
    assert words in verdict.reason


def test_unlike_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) from distilled and \(2, 2\) from scratch"):
        judged(table("111", "111"), table("11", "11"))


def verdict_of(word, difference, low, high):
    return Verdict(
        word=word,
        arm="distilled",
        against="scratch",
        difference=difference,
        interval=(low, high),
        seeds=(0, 1, 2, 3, 4),
        examples=10000,
    )


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (
            verdict_of("BEATS", 0.013, 0.006, 0.020),
            "BEATS scratch by 1.3 points (95 % interval 0.6 to 2.0; 5 seeds, n = 10,000)",
        ),
        (
            verdict_of("NO DIFFERENCE SHOWN", 0.002, -0.003, 0.007),
            "NO DIFFERENCE SHOWN from scratch: +0.2 points (95 % interval -0.3 to 0.7; 5 seeds, n = 10,000)",
        ),
        (
            verdict_of("NO DIFFERENCE SHOWN", -0.0001, -0.003, 0.0028),
            "NO DIFFERENCE SHOWN from scratch: +0.0 points (95 % interval -0.3 to 0.3; 5 seeds, n = 10,000)",
        ),
        (
            verdict_of("WORSE", -0.013, -0.020, -0.006),
            "WORSE than scratch by 1.3 points (95 % interval 0.6 to 2.0; 5 seeds, n = 10,000)",
        ),
    ],
)
def test_in_words(verdict, words):
    assert str(verdict) == words


@pytest.mark.parametrize("verdict", [verdict_of("BEATS", 0.013, 0.006, 0.020), judged(table("1111"), table("0000"))])
def test_a_record_gives_the_verdict_back(verdict):
    record = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))

    assert record == verdict.as_dict()
    assert Verdict.from_dict(record | {"a key of": "a later version"}) == verdict


def test_the_record_has_the_keys_of_the_design():
    assert verdict_of("BEATS", 0.013, 0.006, 0.020).as_dict() == {
        "word": "BEATS",
        "arm": "distilled",
        "against": "scratch",
        "difference": 0.013,
        "interval": [0.006, 0.020],
        "unit": "accuracy",
        "seeds": [0, 1, 2, 3, 4],
        "examples": 10000,
        "reason": None,
    }


def test_share_of_the_gap_by_hand():
    scratch = table("0" * 80 + "1" * 20, "0" * 80 + "1" * 20)  # 20 %
    arm = table("0" * 50 + "1" * 50, "0" * 60 + "1" * 40)  # 45 % on average
    teacher = table("0" * 30 + "1" * 70)[0]  # 70 %

    assert gap_share(teacher, arm, scratch) == pytest.approx((0.45 - 0.20) / (0.70 - 0.20))


@pytest.mark.parametrize(
    ("teacher", "scratch"),
    [
        ("1100", ("1100", "0110")),  # no gap shown
        ("0000", ("1111", "1111")),  # a gap the wrong way round
        ("1111", ("0000",)),  # one seed
    ],
)
def test_no_share_of_a_gap_that_is_not_shown(teacher, scratch):
    assert gap_share(table(teacher)[0], table(*scratch), table(*scratch)) is None


@pytest.mark.parametrize(
    ("correct_a", "correct_b", "p"),
    [
        ("1111", "1111", 1.0),
        ("11111", "00000", 2 / 2**5),
        ("111110", "000001", 2 * (1 + 6) / 2**6),
        ("1100", "0011", 1.0),
    ],
)
def test_mcnemar_by_hand(correct_a, correct_b, p):
    assert mcnemar(table(correct_a)[0], table(correct_b)[0]) == pytest.approx(p)

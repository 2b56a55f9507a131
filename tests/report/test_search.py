import copy
import re

import pytest
from searches import landscape_of, plain, recorded, trials, verdict, with_students
from test_write import tags
from typer.testing import CliRunner

from limbeck.cli import app
from limbeck.errors import DataError
from limbeck.files import write_json
from limbeck.record import write_record
from limbeck.report import landscape_of as read_landscape
from limbeck.report import record_of, search_lines, search_sentence, write_report
from limbeck.report.search import search_markdown
from made_trials import drawn, trial


@pytest.fixture
def search(record):
    return recorded(record)


def section(text, title):
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def test_it_says_whether_the_search_helped(search):
    text = search_markdown(search, plain())
    assert (
        "**tuned BEATS own by 0.4 points (95 % interval 0.2 to 0.6; 2 seeds, n = 10,000), so the search helped. "
        in text
    )
    ends = {
        "NO DIFFERENCE SHOWN": ", so the search was not shown to help. ",
        "WORSE": ", so the search chose worse than the recipe does by itself. ",
    }
    for word, end in ends.items():
        search["verdict"] = verdict(word, -0.001)
        assert end in search_sentence(search, plain())


def test_the_first_line_says_which_temperatures_are_as_good(search):
    made = plain()
    said = made["plateau"]["temperature"]["sentence"]
    assert search_sentence(search, made).endswith(f"Any{said[3:]}.")
    del made["plateau"]["temperature"]
    assert search_sentence(search, made).endswith("so the search helped.")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0.938, ""),
        (0.955, " Without a teacher the student got 95.5 % on validation, more than with the best setting."),
        (0.99, " Without a teacher the student got 99.0 % on validation, more than with any setting that was tried."),
    ],
)
def test_it_says_where_no_teacher_is_better_on_validation(search, value, says):
    made = plain()
    made["trials"][0]["value"] = value
    made["trials"][5]["value"] = 0.96
    assert made["trials"][made["best"]]["value"] < 0.955
    assert search_sentence(search, made).startswith(
        f"{search['verdict']['arm']} {search['verdicts'][0]['sentence']}, so the search helped.{says} Any temperature "
    )


@pytest.mark.parametrize("against", ["scratch", "own-scratch"])
def test_it_says_where_no_teacher_is_better_on_test(search, against):
    search["verdicts"][1] = verdict("WORSE", -0.0091, against=against)
    made = plain()
    says = " Without a teacher the student did better on the test set than with the best setting, by 0.9 points. "
    assert says in search_lines(search, made)[-1]
    assert says in search_markdown(search, made).split("\n\n")[1]
    made["trials"][0]["value"] = 0.99
    assert (
        "Without a teacher the student got 99.0 % on validation, more than with any setting that was tried, and did "
        "better on the test set than with the best setting, by 0.9 points. "
    ) in search_sentence(search, made)
    search["verdicts"][1] = verdict("WORSE", -0.0091, arm="own", against=against)
    assert "on the test set than" not in search_sentence(search, made)


@pytest.mark.parametrize(
    ("searched", "words"),
    [
        (("temperature",), None),
        (("lr",), "the learning rate of the best setting"),
        (("student", "lr"), "the student and learning rate of the best setting"),
    ],
)
def test_it_says_whose_student_and_learning_rate_scratch_has(search, searched, words):
    made = plain() | {"space": {name: {"low": 1, "high": 2, "log": False} for name in searched}}
    found = section(search_markdown(search, made), "The proof")
    assert ("The arm scratch has" in found) == (words is not None)
    if words is None:
        return
    assert f"The arm scratch has {words}, chosen for what hears the teacher, not for it." in found
    search["arms"]["own-scratch"] = search["arms"]["scratch"]
    search["verdicts"].append(verdict("BEATS", 0.01, arm="own", against="own-scratch"))
    found = section(search_markdown(search, made), "The proof")
    assert found.rstrip().endswith(f"and has the recipe's own {words.removeprefix('the ').split(' of ')[0]}.")
    assert "| own-scratch | " in found
    assert "- own BEATS own-scratch by 1.0 points" in found


def test_a_setting_of_its_own_that_is_the_best_is_not_compared(search):
    none = {
        "word": "NOT COMPARED",
        "difference": None,
        "interval": None,
        "reason": "the recipe's own setting is the best",
    }
    search["verdict"] = {**search["verdict"], **none}
    search["verdicts"] = search["verdicts"][1:]
    del search["arms"]["own"]
    text = search_markdown(search, plain())
    assert "**tuned NOT COMPARED with own: the recipe's own setting is the best. " in text
    assert "| own |" not in text


def test_every_figure_has_a_sentence_before_it_and_a_table_after(search):
    text = search_markdown(search, with_students())
    parts = text.split("\n\n")
    figures = [place for place, part in enumerate(parts) if part.startswith("![")]
    assert [re.search(r"\((\w+)\.svg\)", parts[place])[1] for place in figures] == [
        "landscape",
        "history",
        "importances",
        "front",
    ]
    for place in figures:
        assert parts[place - 1].endswith(".")
        assert parts[place + 1].startswith("| ")
    for line in text.splitlines():
        assert "None" not in line
        assert "nan" not in line.split()


def test_tables_have_as_many_cells_as_their_heads(search):
    for block in search_markdown(search, plain()).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_the_best_stands_beside_the_other_settings(search):
    made = plain()
    found = section(search_markdown(search, made), "The best setting")
    best = made["trials"][made["best"]]
    assert f"| best | {best['number']} | temperature {best['setting']['temperature']:g}, alpha " in found
    assert "| recipe's own | 1 |" in found
    assert "| first guess | 2 |" in found
    assert "| no teacher | 0 | – | 93.80 | – |" in found
    assert "- Any temperature from " in found
    assert " points: what the search does not know of the best, and the luck of 10,000 validation examples." in found
    made = landscape_of(trials(), own=None, guess=None)
    found = section(search_markdown(search, made), "The best setting")
    assert "The recipe's own setting lies outside of what was searched." in found
    assert "The first guess lies outside of what was searched." in found


def test_the_best_trials_are_listed_by_what_all_trials_say_of_them(search):
    made = plain()
    lines = [
        line.split(" | ") for line in section(search_markdown(search, made), "Trials").splitlines() if line[:3] > "| 0"
    ]
    rows = [line for line in lines if line[0].strip("| ").isdigit()]
    assert len(rows) == 10
    assert rows[0][0] == f"| {made['best']}"
    smoothed = [float(row[5]) for row in rows]
    assert smoothed == sorted(smoothed, reverse=True)


def test_the_surface_in_numbers(search):
    made = plain()
    found = section(search_markdown(search, made), "The landscape")
    assert "| temperature | alpha 0 | alpha 0.25 | alpha 0.5 | alpha 0.75 | alpha 1 |" in found
    last = f"| 20 | {100 * made['surface']['mean'][40][0]:.2f} |"
    assert last in found
    assert len([line for line in found.splitlines() if line.startswith("| ")]) == 8


def test_what_it_cost_and_what_it_rests_on(search):
    text = search_markdown(search, plain())
    assert "512 student-epochs, 13.3 % of the 3,840 that an exhaustive 8 x 8 grid takes" in text
    assert "its trials 81 s, 2 side by side" in text
    assert "Settings were chosen on 10,000 labelled examples held out of training." in text
    assert "The test set was read once" in text
    assert f"    limbeck distill {search['recipe']['out']}/tune/best.yaml" in text
    assert "share of the gap" not in text


def test_a_failed_trial_says_why(search):
    failed = trial(31, {"temperature": 2.0, "alpha": 0.1}, None, state="failed", reason="the loss is not finite")
    assert "- trial 31 failed: `the loss is not finite`" in search_markdown(search, landscape_of([*trials(), failed]))


@pytest.mark.parametrize(
    "results",
    [[], [trial(1, {"temperature": 2.0, "alpha": 0.1}, None, state="failed", reason="no")], drawn(0, trials=2)],
    ids=["none", "failed", "two"],
)
def test_a_search_that_found_little_has_a_report(search, results):
    text = search_markdown(search, landscape_of(results))
    assert ("No trial with a teacher ran to its end" in text) == (len(results) < 2)
    assert "## The proof" in text


def test_alternatives_alone(search):
    space = {"objective": {"choices": ["soft-targets", "dkd"]}}
    results = [trial(n, {"objective": ("soft-targets", "dkd")[n % 2]}, 0.9 + 0.01 * (n % 2)) for n in range(1, 9)]
    text = search_markdown(search, landscape_of(results, space, own=None, guess=None))
    assert "| objective | `soft-targets`, `dkd` | alternatives |" in text
    assert "## The landscape" not in text


def test_it_is_a_pure_function(search):
    made, before = plain(), copy.deepcopy(search)
    assert search_markdown(search, made) == search_markdown(search, made)
    assert (search, made) == (before, plain())


# ------------------------------------------------------------------------------------------------- on the disk


def test_both_reports_and_the_figures_are_written(tmp_path, search):
    write_json(tmp_path / "landscape.json", with_students())
    assert write_report(tmp_path, search) == tmp_path / "report.md"
    names = {"landscape.svg", "history.svg", "importances.svg", "front.svg"}
    assert {path.name for path in tmp_path.iterdir()} == {"landscape.json", "report.md", "report.html", *names}
    page = (tmp_path / "report.html").read_text()
    found = tags(tmp_path / "report.html")
    assert {"svg", "table"} <= found.seen
    assert not {"script", "img", "link", "iframe", "b"} & found.seen
    assert not [value for name, value in found.attributes if name == "src"]
    for name in names:
        assert (tmp_path / name).read_text() in page
        assert f"]({name})" in (tmp_path / "report.md").read_text()
    assert "@page" in page


def test_the_verb_writes_it_anew(tmp_path, search):
    write_record(tmp_path, search)
    write_json(tmp_path / "landscape.json", plain())
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.stdout == (tmp_path / "report.md").read_text()
    assert (tmp_path / "landscape.svg").exists()


@pytest.mark.parametrize(
    ("text", "came"),
    [
        (None, r"landscape\.json does not exist"),
        ('{"format": 1', r"landscape\.json is not readable JSON"),
        ("[]", "is no object"),
        ('{"format": 1, "trials": {}}', "lacks examples, steps, space, trials"),
    ],
)
def test_without_its_landscape_there_is_no_report(tmp_path, search, text, came):
    if text is not None:
        (tmp_path / "landscape.json").write_text(text)
    before = list(tmp_path.iterdir())
    with pytest.raises(DataError, match=came) as caught:
        write_report(tmp_path, search)
    assert caught.value.do == "limbeck tune RECIPE --resume writes it anew"
    assert list(tmp_path.iterdir()) == before


def test_every_landscape_can_be_read_again(tmp_path):
    for made in (plain(), with_students(), landscape_of([]), landscape_of(drawn(0, trials=1), own=None)):
        write_json(tmp_path / "landscape.json", made)
        assert read_landscape(tmp_path) == made


def test_a_landscape_of_a_newer_format_is_left_to_a_newer_limbeck(tmp_path):
    write_json(tmp_path / "landscape.json", plain() | {"format": 2})
    with pytest.raises(DataError, match="has format 2"):
        read_landscape(tmp_path)


@pytest.mark.parametrize("over", [True, False])
def test_what_has_no_report_names_the_search_that_has(tmp_path, search, over):
    out = tmp_path / "run"
    for name in ("trials/0007", "proof/own"):
        (out / "tune" / name).mkdir(parents=True)
    (out / "tune/search.json").write_text("{}")
    if over:
        write_record(out / "tune", search)
    tune = out / "tune"
    for directory in (out, tune / "trials/0007", tune / "proof/own", *([] if over else [tune])):
        done = CliRunner().invoke(app, ["report", str(directory)])
        assert isinstance(done.exception, DataError)
        if over:
            assert done.exception.came == f"{directory} has no report of its own, only the search in {tune}"
            assert done.exception.do == f"limbeck report {tune}"
        else:
            assert done.exception.came == f"{tune} is not over"


def test_what_is_no_run_has_no_record(tmp_path):
    with pytest.raises(DataError, match=r"record\.json does not exist"):
        record_of(tmp_path)

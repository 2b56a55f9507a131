import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import pytest
from searches import SIZES, landscape_of, plain, trials, with_students

from limbeck.report.charts import charts
from limbeck.report.figures import shown
from made_trials import SPACE, drawn, trial

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def drawn_figures():
    return charts(with_students())


def test_a_search_over_students_has_all_figures(drawn_figures):
    assert list(drawn_figures) == ["landscape", "history", "importances", "front"]


def test_the_figures_are_the_same_each_time(drawn_figures):
    before = dict(mpl.rcParams)
    assert charts(with_students()) == drawn_figures
    assert dict(mpl.rcParams) == before


def test_a_figure_stands_in_any_page(drawn_figures):
    seen = set()
    for name, svg in drawn_figures.items():
        root = ElementTree.fromstring(svg)
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        assert root.get("aria-label") == root.find(f"{SVG}title").text
        assert not {f"{SVG}script", f"{SVG}image", f"{SVG}metadata"} & {element.tag for element in root.iter()}
        identities = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(set(identities)) == len(identities)
        assert not seen & set(identities)
        seen |= set(identities)
        used = {value[1:] for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")}
        clips = {e.get("clip-path").removeprefix("url(#").removesuffix(")") for e in root.iter() if e.get("clip-path")}
        assert used | clips <= set(identities), name
        addresses = svg.count("http")
        assert addresses == svg.count('xmlns="http://www.w3.org/2000/svg"') + svg.count("http://www.w3.org/1999/xlink")


def test_names_of_the_user_stay_text(drawn_figures):
    assert "3: mlp(hidden 32)" in texts(drawn_figures["front"])
    assert "1: <b>$x^2$_|学生" in texts(drawn_figures["front"])


def test_the_map_tells_what_its_marks_are():
    found = texts(charts(plain())["landscape"])
    own, guess = (trials()[number].setting for number in (1, 2))
    assert {"temperature", "alpha", "smoothed accuracy, %", "pruned (14)", "complete (16)"} <= set(found)
    assert f"own: {own['temperature']:g}, {own['alpha']:g}" in found
    assert f"first guess: {guess['temperature']:g}, {guess['alpha']:g}" in found
    assert "no teacher: 93.8 %" in found
    assert "within one standard error of the best" in found
    assert [tick for tick in ("1", "2", "5", "10", "20") if tick in found] == ["1", "2", "5", "10", "20"]


def test_where_there_is_nothing_to_show_there_is_no_figure():
    assert charts(landscape_of([])) == {}
    assert charts(landscape_of([trial(0, {}, 0.9, origin="no teacher")])) == {}
    assert list(charts(landscape_of(drawn(0, trials=3)))) == ["history"]
    assert charts(landscape_of(drawn(0, trials=1))) == {}


def test_one_axis_is_a_line():
    results = [trial(n, {"alpha": n / 12}, 0.9 + 0.05 * n / 12) for n in range(12)]
    found = charts(landscape_of(results, {"alpha": SPACE["alpha"]}, own=None, guess=None))
    assert list(found) == ["landscape", "history"]
    assert "one standard error below the best" in texts(found["landscape"])


def test_equal_values_are_drawn():
    flat = landscape_of([trial(n, {"temperature": 1.0 + n, "alpha": 0.1 * n}, 0.9) for n in range(1, 8)], SPACE)
    assert list(charts(flat)) == ["landscape", "history"]


def test_a_front_without_latencies_has_one_panel():
    sizes = {name: facts | {"latency_ms": None} for name, facts in SIZES.items()}
    space = {**SPACE, "student": {"choices": list(sizes)}}
    made = landscape_of(trials(students=tuple(sizes)), space, sizes)
    assert "front" in shown(made)
    found = texts(charts(made)["front"])
    assert "parameters" in found
    assert "latency of one example, ms" not in found

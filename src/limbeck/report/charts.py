"""The figures of a search as SVG, drawn from landscape.json alone.

They are made to be read on a screen, in black and white, and 10 cm wide: shape tells apart before colour does.

Dimension key: X and Y places along the axes of the surface.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from limbeck.report.figures import TITLES, Landscape, Trial, best_of, no_teacher, shown, taught

Floats = NDArray[np.float64]

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "text.parse_math": False,  # names are the user's
    "axes.formatter.useoffset": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
}
_WIDTH = 4.9
"""Inches: at 10 cm the letters still have 7 points."""
_DARK, _GREY, _BLUE = "#111111", "#767676", "#00306f"
_HALO = [withStroke(linewidth=2.4, foreground="white")]
_MARKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "ms": 5, "mfc": "white", "mec": _DARK, "mew": 0.8},
    "pruned": {"marker": "x", "ms": 4, "mec": _DARK, "mew": 0.9, "path_effects": _HALO},
    "no teacher": {"marker": "D", "ms": 5, "mfc": "white", "mec": _DARK, "mew": 1.1},
    "best": {"marker": "*", "ms": 14, "mfc": "white", "mec": _DARK, "mew": 1.1},
    "own": {"marker": "s", "ms": 7.5, "mfc": "white", "mec": _DARK, "mew": 1.4},
    "first guess": {"marker": "^", "ms": 8.5, "mfc": "white", "mec": _DARK, "mew": 1.4},
}


def charts(landscape: Landscape) -> dict[str, str]:
    """The SVG of each figure that has something to show, by its name.

    Args:
        landscape: the content of landscape.json.
    """
    draw = {"landscape": _landscape, "history": _history, "importances": _importances, "front": _front}
    found = {}
    for name in shown(landscape):
        with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
            found[name] = _svg(draw[name](landscape), name)
    return found


# --- the surface -----------------------------------------------------------------------------------------------------


def _landscape(landscape: Landscape) -> Figure:
    return _map(landscape) if len(landscape["surface"]["axes"]) == 2 else _curve(landscape)


def _map(landscape: Landscape) -> Figure:
    """Filled contours of the smoothed accuracy, and a mark for each trial."""
    figure, (across, up) = _figure(4.3), landscape["surface"]["axes"]
    ax = figure.add_subplot()
    mean_XY = 100 * np.array(landscape["surface"]["mean"])
    levels = _levels(mean_XY)
    filled = ax.contourf(across["values"], up["values"], mean_XY.T, levels=levels, cmap="cividis")
    bar = figure.colorbar(filled, ax=ax, ticks=levels[::2], pad=0.02, aspect=26)
    bar.set_label("smoothed accuracy, %")
    bar.outline.set_linewidth(0.7)
    edge = 100 * (best_of(landscape)["smoothed"] - landscape["standard_error"])
    handles = []
    if mean_XY.min() < edge < mean_XY.max():
        for colour, width, style in (("white", 3.0, "solid"), (_DARK, 1.3, "dashed")):
            ax.contour(
                across["values"],
                up["values"],
                mean_XY.T,
                levels=[edge],
                colors=colour,
                linewidths=width,
                linestyles=style,
            )
        handles.append(Line2D([], [], color=_DARK, lw=1.3, ls="dashed", label="within one standard error of the best"))
    handles += _dots(ax, landscape, lambda trial: (trial["setting"][across["name"]], trial["setting"][up["name"]]))
    if (bare := no_teacher(landscape)) is not None:
        value = 100 * bare["value"]
        bar.ax.plot([0.5], [np.clip(value, *levels[[0, -1]])], clip_on=False, zorder=5, **_MARKS["no teacher"])
        handles.append(_handle("no teacher", f"no teacher: {value:.1f} %"))
    _scale(ax, landscape["space"][across["name"]])
    ax.set(xlabel=across["name"], ylabel=up["name"])
    for spine in ax.spines.values():
        spine.set_visible(False)
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    return figure


def _curve(landscape: Landscape) -> Figure:
    """The smoothed accuracy along the one axis that was searched."""
    figure, surface = _figure(3.4), landscape["surface"]
    ax, (axis,) = figure.add_subplot(), surface["axes"]
    mean_X, sd_X = 100 * np.array(surface["mean"]), 100 * np.array(surface["sd"])
    ax.fill_between(axis["values"], mean_X - sd_X, mean_X + sd_X, color="#d8d8d8", lw=0)
    ax.plot(axis["values"], mean_X, color=_BLUE, lw=1.5)
    edge = 100 * (best_of(landscape)["smoothed"] - landscape["standard_error"])
    ax.axhline(edge, color=_DARK, lw=1, ls="dashed")
    handles = [
        Line2D([], [], color=_BLUE, lw=1.5, label="smoothed, ± its deviation"),
        Line2D([], [], color=_DARK, lw=1, ls="dashed", label="one standard error below the best"),
    ]
    ends = [100 * t["value"] for t in landscape["trials"] if t["state"] == "complete" and t["setting"]]
    low = min(*ends, float((mean_X - sd_X).min()))
    handles += _dots(ax, landscape, lambda trial: (trial["setting"][axis["name"]], max(100 * trial["value"], low)))
    _scale(ax, landscape["space"][axis["name"]])
    ax.set(xlabel=axis["name"], ylabel="accuracy on validation, %")
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    return figure


def _dots(ax: Axes, landscape: Landscape, place: Callable[[Trial], tuple[float, float]]) -> list[Line2D]:
    """A mark for each trial that has a place; returns what the legend needs."""
    names = [axis["name"] for axis in landscape["surface"]["axes"]]
    placed = [t for t in landscape["trials"] if t["value"] is not None and all(name in t["setting"] for name in names)]
    handles = []
    for state in ("pruned", "complete"):
        points = [place(trial) for trial in placed if trial["state"] == state]
        if points:
            ax.plot(*zip(*points, strict=True), ls="none", zorder=3, clip_on=False, **_MARKS[state])
            handles.append(_handle(state, f"{state} ({len(points)})"))
    for zorder, (mark, number) in enumerate(_named(landscape), start=4):
        for trial in placed:
            if trial["number"] == number:
                ax.plot(*place(trial), ls="none", zorder=zorder, clip_on=False, **_MARKS[mark])
                setting = ", ".join(f"{trial['setting'][name]:g}" for name in names)
                handles.append(_handle(mark, f"{mark}: {setting}"))
    return handles


# --- the other figures -----------------------------------------------------------------------------------------------


def _history(landscape: Landscape) -> Figure:
    """The value of each trial in their order, and the best so far."""
    trials = taught(landscape)
    complete = [t for t in trials if t["state"] == "complete"]
    figure, bare = _figure(3.2), no_teacher(landscape)
    ax = figure.add_subplot()
    marked = [100 * t["value"] for t in [*complete, *filter(None, [bare])]]
    low = min(marked) - 0.12 * (max(marked) - min(marked)) - 0.2
    handles = []
    so_far = np.maximum.accumulate([100 * t["value"] for t in complete])
    numbers = [t["number"] for t in complete]
    ax.step([*numbers, trials[-1]["number"]], [*so_far, so_far[-1]], where="post", color=_BLUE, lw=1.4)
    handles.append(Line2D([], [], color=_BLUE, lw=1.4, label="best so far"))
    for state in ("pruned", "complete"):
        points = [(t["number"], 100 * t["value"]) for t in trials if t["state"] == state and 100 * t["value"] >= low]
        if points:
            ax.plot(*zip(*points, strict=True), ls="none", zorder=3, **_MARKS[state])
            handles.append(_handle(state, f"{state}, at its last step" if state == "pruned" else state))
    below = [t["number"] for t in trials if 100 * t["value"] < low]
    if below:
        ax.plot(below, [low] * len(below), ls="none", marker="v", ms=3.5, color=_GREY, clip_on=False, zorder=3)
        handles.append(Line2D([], [], ls="none", marker="v", ms=3.5, color=_GREY, label="pruned, further below"))
    if bare is not None:
        ax.axhline(100 * bare["value"], color=_DARK, lw=1, ls=(0, (1, 2)))
        handles.append(Line2D([], [], color=_DARK, lw=1, ls=(0, (1, 2)), label="no teacher"))
    best = best_of(landscape)
    ax.plot(best["number"], 100 * best["value"], ls="none", zorder=4, **_MARKS["best"])
    handles.append(_handle("best", f"best: trial {best['number']}"))
    ax.set(xlabel="trial", ylabel="accuracy on validation, %", ylim=(low, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure


def _importances(landscape: Landscape) -> Figure:
    shares = landscape["importances"]
    figure = _figure(0.7 + 0.27 * len(shares))
    ax = figure.add_subplot()
    bars = ax.barh(list(shares), [100 * share for share in shares.values()], color=_BLUE, height=0.6)
    ax.bar_label(bars, [f"{100 * share:.0f} %" for share in shares.values()], padding=4)
    ax.invert_yaxis()
    ax.set(xlim=(0, 110), xlabel="share of the variation of accuracy, %")
    ax.xaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
    ax.tick_params(axis="y", length=0)
    return figure


def _front(landscape: Landscape) -> Figure:
    """Accuracy over what each student costs: its parameters and, where it is known, its latency."""
    entries = landscape["front"]
    costs = {"parameters": "parameters", "latency_ms": "latency of one example, ms"}
    if sum(entry["latency_ms"] is not None for entry in entries) < 2:
        del costs["latency_ms"]
    figure = _figure(0.8 + 2.1 * len(costs) + 0.2 * len(entries))
    for ax, (key, label) in zip(figure.subplots(len(costs), squeeze=False)[:, 0], costs.items(), strict=True):
        _students(ax, entries, key)
        edge = 100 * (max(entry["smoothed"] for entry in entries) - landscape["standard_error"])
        ax.axhline(edge, color=_DARK, lw=1, ls="dashed", zorder=1)
        ax.set(xlabel=label, ylabel="smoothed accuracy, %")
    handles = [
        Line2D([], [], color=_BLUE, lw=1.2, marker="o", ms=8, label="no student has more for less"),
        Line2D([], [], color=_DARK, lw=1, ls="dashed", label="one standard error below the best"),
        *(Line2D([], [], ls="none", label=f"{n}: {entry['student']}") for n, entry in enumerate(entries, start=1)),
    ]
    figure.legend(handles=handles, loc="outside lower left")
    return figure


def _students(ax: Axes, entries: Sequence[dict[str, Any]], key: str) -> None:
    """A numbered point for each student, and a line through those of the front."""
    known = [
        (entry[key], 100 * entry["smoothed"], entry[f"front_by_{key}"], n)
        for n, entry in enumerate(entries, 1)
        if entry[key] is not None
    ]
    on = sorted((cost, accuracy) for cost, accuracy, front, _ in known if front)
    ax.step(*zip(*on, strict=True), where="post", color=_BLUE, lw=1.2, zorder=2)
    for cost, accuracy, front, number in known:
        ax.plot(cost, accuracy, marker="o", ms=11, mfc=_BLUE if front else "white", mec=_BLUE, zorder=3)
        colour = "white" if front else _BLUE
        ax.annotate(str(number), (cost, accuracy), ha="center", va="center_baseline", color=colour, fontsize=7.5)
    low, high = min(cost for cost, *_ in known) / 1.5, max(cost for cost, *_ in known) * 1.5
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.margins(y=0.18)
    ax.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


# --- parts -----------------------------------------------------------------------------------------------------------


def _figure(height: float) -> Figure:
    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _named(landscape: Landscape) -> list[tuple[str, int | None]]:
    return [("own", landscape["own"]), ("first guess", landscape["guess"]), ("best", landscape["best"])]


def _handle(mark: str, label: str) -> Line2D:
    return Line2D([], [], ls="none", label=label, **_MARKS[mark])


def _levels(values: Floats) -> Floats:
    """Round levels from below the lowest to above the highest."""
    low, high = float(values.min()), float(values.max())
    room = max(0.05 - (high - low) / 2, 0.0)
    return np.asarray(MaxNLocator(nbins=11, steps=[1, 2, 2.5, 5, 10]).tick_values(low - room, high + room))


def _scale(ax: Axes, facts: dict[str, Any]) -> None:
    """The scale that the parameter across was searched on."""
    if facts["log"]:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(_ticks(facts["low"], facts["high"])))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 ... within a range, fewer where it is wide."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    found = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in found if low <= tick * 1.0001 and tick <= high * 1.0001]


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element that stands in any page: no address, no date, ids of its own."""
    file, canvas = io.StringIO(), FigureCanvasSVG(figure)
    with warnings.catch_warnings():
        # A name may hold letters that Matplotlib's font lacks; the text stays text, and readers have their own fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        canvas.print_svg(file, metadata=dict.fromkeys(("Format", "Type", "Creator", "Date")))  # type: ignore[no-untyped-call]
    text = re.sub(r"<!--.*?-->\n?", "", file.getvalue(), flags=re.DOTALL)
    text = re.sub(r"<\w[^>]*>", lambda tag: re.sub(r'( id="|url\(#|href="#)', rf"\1{name}-", tag[0]), text)
    text = text[text.index("<svg") :].replace("'DejaVu Sans', sans-serif", "'DejaVu Sans', Verdana, sans-serif")
    title = TITLES[name]
    return re.sub(r"(<svg[^>]*)>", rf'\1 role="img" aria-label="{title}">\n <title>{title}</title>', text, count=1)

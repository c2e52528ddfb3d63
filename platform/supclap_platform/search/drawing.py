"""The figures of a search, drawn with matplotlib. The same study gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from supclap_platform.experiment.search_section import ParameterSection
from supclap_platform.search.points import Picture, Point, logarithmic, numeric, short

Files = dict[str, bytes]  # ending -> content

BLUE, RED, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#8a8a8a"
COLOURS = "viridis"
LEAST = 6  # points that a landscape needs
_SETTINGS = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
}


def history(shown: Picture) -> Files | None:
    """Value by trial, and the best so far."""
    if not shown.points:
        return None

    def draw(figure: Figure) -> None:
        for at, axes in enumerate(_panels(figure, len(shown.objectives))):
            objective = shown.objectives[at]
            if at == 0:
                _scatter(axes, [p for p in shown.points if p.stopped], _number, at)
            done = shown.finished
            _scatter(axes, done, _number, at)
            best: list[float] = []
            for point in done:
                value = point.values[at]
                better = not best or objective.better(value, best[-1])
                best.append(value if better else best[-1])
            axes.step([p.number for p in done], best, where="post", color=BLACK, lw=1)
            axes.set(xlabel="trial", ylabel=objective.metric)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return _files("history", draw, width=3.6 * len(shown.objectives))


def intermediate(shown: Picture) -> Files | None:
    """What each trial reported, epoch by epoch; those stopped early end where they were stopped."""
    curves = [point for point in shown.points if point.curve]
    if len(shown.objectives) > 1 or not curves:
        return None
    winner = shown.best[0].number if shown.best else None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for point in curves:
            colour = RED if point.stopped else BLUE
            steps, values = list(point.curve), list(point.curve.values())
            wide = point.number == winner
            axes.plot(steps, values, color=BLACK if wide else colour, lw=2 if wide else 0.8,
                      alpha=1 if wide else 0.6, zorder=3 if wide else 2)  # fmt: skip
            if point.stopped:
                axes.plot(steps[-1], values[-1], "x", color=RED, ms=4)
        axes.set(xlabel="epoch (seeds one after another)", ylabel=shown.objectives[0].metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return _files("intermediate", draw)


def importance(shown: Picture) -> Files | None:
    """Bars: how much each parameter matters, for each objective."""
    if not any(shown.importances):
        return None
    names = [name for name in shown.space.parameters if name in shown.importances[0]]
    names.sort(key=lambda name: shown.importances[0][name][0])
    labels = short(list(shown.space.parameters))

    def draw(figure: Figure) -> None:
        for at, axes in enumerate(_panels(figure, len(shown.objectives))):
            shares = [shown.importances[at][name][0] for name in names]
            counts = [shown.importances[at][name][1] for name in names]
            axes.barh([labels[n] for n in names], shares, color=BLUE)
            for place, (share, count) in enumerate(zip(shares, counts, strict=True)):
                axes.text(share, place, f" {100 * share:.0f} % ({count})", va="center", fontsize=7)
            axes.set(xlim=(0, 1.15 * max([*shares, 0.1])), title=shown.objectives[at].metric)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)

    width = 3.2 + 2.6 * len(shown.objectives)
    return _files("importance", draw, width=width, height=0.8 + 0.25 * len(names))


def slices(shown: Picture) -> Files | None:
    """Value against each parameter; darker is later."""
    names = [n for n, p in shown.space.parameters.items() if p.kind != "fixed"]
    if not shown.finished:
        return None
    labels = short(list(shown.space.parameters))

    def draw(figure: Figure) -> None:
        for axes, name in zip(_panels(figure, len(names), 4), names, strict=True):
            own = [p for p in shown.points if name in p.params]
            choice = shown.space.parameters[name].kind == "choice"

            def where(point: Point, name: str = name, choice: bool = choice) -> Any:
                return str(point.params[name]) if choice else point.params[name]

            _scatter(axes, [p for p in own if p.stopped], where, 0)
            _scatter(axes, [p for p in own if not p.stopped], where, 0)
            _scale(axes, "x", shown.space.parameters[name])
            axes.set(xlabel=labels[name], ylabel=shown.objectives[0].metric)

    rows = math.ceil(len(names) / 4)
    return _files("slice", draw, width=2.2 * min(4, len(names)) + 0.6, height=1.9 * rows + 0.3)


def contour(shown: Picture) -> Files | None:
    """The landscape over the two ranges that matter most, among those that apply together."""
    labels = short(list(shown.space.parameters))
    for first, second in combinations(numeric(shown), 2):
        own = [p for p in shown.finished if first in p.params and second in p.params]
        if len(own) >= LEAST:
            break
    else:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        spots: list[Any] = [[p.params[name] for p in own] for name in (first, second)]
        for name, place in ((first, "x"), (second, "y")):
            _scale(axes, place, shown.space.parameters[name])
        values = [p.values[0] for p in own]
        if len(set(zip(*spots, strict=True))) >= LEAST:
            surface = axes.tricontourf(
                spots[0], spots[1], values, levels=12, cmap=COLOURS, alpha=0.7
            )
            figure.colorbar(surface, label=shown.objectives[0].metric)
        axes.scatter(spots[0], spots[1], s=12, c=BLACK)
        axes.set(xlabel=labels[first], ylabel=labels[second])

    return _files("contour", draw, width=4.6, height=3.4)


def parallel(shown: Picture) -> Files | None:
    """A line for each trial through its setting, the better the brighter; gaps where a parameter
    does not apply."""
    names = [n for n, p in shown.space.parameters.items() if p.kind != "fixed"]
    if len(names) < 2 or not shown.finished:
        return None
    labels = short(list(shown.space.parameters))
    values = [p.values[0] for p in shown.points]
    low, span = min(values), (max(values) - min(values)) or 1.0
    up = shown.objectives[0].direction == "maximize"
    colours = matplotlib.colormaps[COLOURS]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for point in sorted(shown.points, key=lambda p: p.values[0], reverse=not up):
            share = (point.values[0] - low) / span
            heights = [_height(shown, name, point) for name in names]
            axes.plot(range(len(names)), heights, color=colours(share if up else 1 - share),
                      lw=0.8 if point.stopped else 1.6, alpha=0.45 if point.stopped else 0.95,
                      ls=":" if point.stopped else "-", marker=".", ms=3)  # fmt: skip
        for at, name in enumerate(names):
            bottom, top = _ends(shown, name)
            axes.text(at, -0.04, bottom, ha="center", va="top", fontsize=7)
            axes.text(at, 1.03, top, ha="center", va="bottom", fontsize=7)
            axes.axvline(at, color=GREY, lw=0.5, zorder=0)
        axes.set(ylim=(-0.02, 1.02), yticks=[])
        axes.set_xticks(range(len(names)), [f"\n{labels[n]}" for n in names])
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    return _files("parallel", draw, width=1.1 * len(names) + 1, height=3.2)


def pareto(shown: Picture) -> Files | None:
    """The objectives against each other; the front is numbered."""
    pairs = list(combinations(range(len(shown.objectives)), 2))
    if not pairs or not shown.finished:
        return None
    front = {one.number for one in shown.best}

    def draw(figure: Figure) -> None:
        for axes, (one, other) in zip(_panels(figure, len(pairs)), pairs, strict=True):
            for point in shown.finished:
                at = (point.values[one], point.values[other])
                chosen = point.number in front
                axes.plot(*at, "o", color=RED if chosen else GREY, ms=5 if chosen else 3)
                if chosen:
                    axes.annotate(str(point.number), at, (3, 3), textcoords="offset points")
            axes.set(xlabel=str(shown.objectives[one]), ylabel=str(shown.objectives[other]))

    return _files("pareto", draw, width=3.4 * len(pairs))


def _panels(figure: Figure, count: int, most: int = 3) -> list[Any]:
    columns = min(count, most)
    axes = list(figure.subplots(math.ceil(count / columns), columns, squeeze=False).flat)
    for empty in axes[count:]:
        empty.set_visible(False)
    return axes[:count]


def _scale(axes: Any, place: str, parameter: ParameterSection) -> None:
    """A parameter's axis: whole numbers as such, a logarithmic one with few marks in plain numbers.

    Three decades and more have room for one mark each.
    """
    axis = getattr(axes, f"{place}axis")
    if not logarithmic(parameter):
        if parameter.kind == "integer":
            axis.set_major_locator(MaxNLocator(integer=True))
        return
    ends = parameter.log_uniform or parameter.integer
    assert ends is not None
    getattr(axes, f"set_{place}scale")("log")
    marks = (1.0,) if ends[1] / ends[0] >= 1000 else (1.0, 3.0)
    axis.set_major_locator(LogLocator(subs=marks, numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _number(point: Point) -> int:
    return point.number


def _scatter(axes: Any, points: Sequence[Point], where: Callable[[Point], Any], at: int) -> None:
    if not points:
        return
    x, y = [where(p) for p in points], [p.values[at] for p in points]
    if points[0].stopped:
        axes.scatter(x, y, s=12, marker="x", c=RED, lw=0.8, alpha=0.6)
    else:
        axes.scatter(x, y, s=14, c=BLUE, edgecolors="white", lw=0.4, zorder=3)


def _height(shown: Picture, name: str, point: Point) -> float:
    """Where a setting's line crosses a parameter's axis: 0 to 1, not a number for a gap."""
    if name not in point.params:
        return math.nan
    parameter, value = shown.space.parameters[name], point.params[name]
    if parameter.kind == "choice":
        assert parameter.choice is not None
        return parameter.choice.index(value) / max(1, len(parameter.choice) - 1)
    ends = parameter.uniform or parameter.log_uniform or parameter.integer
    assert ends is not None
    low, high = ends
    if logarithmic(shown.space.parameters[name]):
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _ends(shown: Picture, name: str) -> tuple[str, str]:
    parameter = shown.space.parameters[name]
    if parameter.kind == "choice":
        assert parameter.choice is not None
        return str(parameter.choice[0]), str(parameter.choice[-1])
    ends = parameter.uniform or parameter.log_uniform or parameter.integer
    assert ends is not None
    return f"{ends[0]:g}", f"{ends[1]:g}"


def _files(
    name: str, draw: Callable[[Figure], None], width: float = 4.4, height: float = 2.8
) -> Files:
    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        svg, pdf = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None}, transparent=True)
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
        return {"svg": svg.getvalue(), "pdf": pdf.getvalue()}

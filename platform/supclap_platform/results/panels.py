"""Panels of a figure, drawn with matplotlib: all of them in one picture, or each in its own."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from supclap_platform.experiment.method import Method
from supclap_platform.results.curves import DISTRIBUTION, Line
from supclap_platform.results.fonts import families_for
from supclap_platform.results.styles import Style

Size = tuple[float | None, float | None]  # inches: width and height
ENDINGS = ("svg", "pdf", "png")
DOTS = 200  # an inch, of PNG
WIDTH, HEIGHT = 7.2, 2.9  # inches: the width of a page's text, the height of a row of panels
LOW = 2.1  # height of each of several rows
LOWEST = 1.0  # of a row of panels in a figure whose height is given
# Inches: a letter of a legend or title, one of the sentence below; a legend's line before its name.
LETTER, SMALL, HANDLE = 0.07, 0.055, 0.65
SINGLE = (3.6, 2.7)  # inches, of a panel on its own: readable at the width of a phone
MARGINS = {"left": 0.18, "right": 0.97, "bottom": 0.16, "top": 0.9}  # of it, fixed: 2 x as fast
MARKED = 12  # markers on a line, at most


@dataclass(frozen=True)
class Panel:
    """What a panel shows; ``least`` and ``most`` bound what its quantity can be."""

    metric: str
    title: str
    unit: str
    below: str = "epoch"
    least: float = -math.inf
    most: float = math.inf


COSINE: dict[str, Any] = {"least": -1.0, "most": 1.0}
PERCENT: dict[str, Any] = {"least": 0.0, "most": 100.0}
PANELS = {
    "drift": (
        Panel(
            "drift_cosine.text",
            "Cosine of drift, text anchors",
            "cosine of update and pull",
            **COSINE,
        ),
        Panel(
            "drift_cosine.audio",
            "Cosine of drift, audio anchors",
            "cosine of update and pull",
            **COSINE,
        ),
    ),
    "radius": (
        Panel("radius.text.mean", "Semantic radius, text anchors", "radius R"),
        Panel("radius.audio.mean", "Semantic radius, audio anchors", "radius R"),
    ),
    "similarity": (
        Panel(DISTRIBUTION, "Captions and their clips, test", "density", "cosine similarity", 0.0),
        Panel("similarity.positive", "Mean over training batches", "cosine similarity", **COSINE),
    ),
    "convergence": (
        Panel("val.t2a.R@1", "Text to audio, validation", "R@1 (%)", **PERCENT),
        Panel("val.a2t.R@1", "Audio to text, validation", "R@1 (%)", **PERCENT),
    ),
}


def panels_of(figure: str, method: Method) -> tuple[Panel, ...]:
    """The panels of a figure: of a method of the user's, those of its own metrics."""
    if not method.convergence:
        return PANELS[figure]
    return tuple(Panel(metric, metric, "value") for metric in method.convergence)


_SETTINGS: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "pdf.fonttype": 42,
}
_UNDATED: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


def draw_whole(
    name: str,
    panels: Sequence[Panel],
    groups: Sequence[str | None],
    lines: Mapping[str, Sequence[Line]],
    styles: Mapping[str, Style],
    endings: Sequence[str],
    labels: Mapping[str, str] | None = None,
    size: Size = (None, None),
) -> dict[str, bytes]:
    """A figure with its legend, ending -> content: a row of panels for each group.

    The panels of one metric share their axes, so that groups compare.

    Args:
        name: of the figure; it seeds the names inside an SVG.
        lines: metric -> its lines; ``styles``: row -> its style.
        labels: row -> what stands for it in the legend; its name, where there is none.
        size: width and height in inches, of the whole; None: as is usual.
    """
    with matplotlib.rc_context(
        _settings(name, [*styles, *(labels or {}).values(), *filter(None, groups)])
    ):
        figure = whole_figure(panels, groups, lines, styles, labels, size)
        return {ending: _saved(figure, ending) for ending in endings}


def open_figure(
    name: str,
    panels: Sequence[Panel],
    groups: Sequence[str | None],
    lines: Mapping[str, Sequence[Line]],
    styles: Mapping[str, Style],
    labels: Mapping[str, str],
    size: Size,
) -> Figure:
    """The figure that `draw_whole` saves, open for more to be drawn into it."""
    words = [*styles, *labels.values(), *filter(None, groups)]
    with matplotlib.rc_context(_settings(name, words)):
        return whole_figure(panels, groups, lines, styles, labels, size)


def draw_single(
    name: str,
    panel: Panel,
    group: str | None,
    lines: Mapping[str, Sequence[Line]],
    styles: Mapping[str, Style],
) -> bytes:
    """One panel as an SVG of its own: no legend, no background; axes as in the whole figure."""
    salt = f"{name} {group} {panel.metric}"
    with matplotlib.rc_context(_settings(salt, [group or ""])):
        figure = Figure(figsize=SINGLE)
        figure.subplots_adjust(**MARGINS)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for line in lines[panel.metric]:  # other groups' too, unseen: the axes are shared
            _draw_line(axes, panel, line, styles[line.row], seen=line.group == group)
        _dress(axes, panel, group)
        _bound(axes, panel)
        return _saved(figure, "svg", transparent=True)


def _settings(salt: str, words: Sequence[str]) -> dict[Any, Any]:
    """matplotlib's, for a figure with these words. Where no font here has their signs, an SVG keeps
    its words as text: whoever opens it may have one."""
    families, missing = families_for(words)
    chosen: dict[Any, Any] = {"font.family": families, "svg.hashsalt": salt}
    if len(families) > 1:
        chosen["pdf.fonttype"] = 3  # the usual kind cannot hold the outlines of such fonts
    if missing:
        chosen["svg.fonttype"] = "none"
    return _SETTINGS | chosen


def _saved(figure: Figure, ending: str, transparent: bool = False) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():  # of signs that no font has: `figures` notes them
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(
            out, format=ending, dpi=DOTS, metadata=_UNDATED[ending], transparent=transparent
        )
    return out.getvalue()


def whole_figure(
    panels: Sequence[Panel],
    groups: Sequence[str | None],
    lines: Mapping[str, Sequence[Line]],
    styles: Mapping[str, Style],
    named: Mapping[str, str] | None = None,
    size: Size = (None, None),
) -> Figure:
    """The figure that `draw_whole` saves."""
    drawn = [line for panel in panels for line in lines[panel.metric]]
    rows = dict.fromkeys(line.row for line in drawn)
    labels = {row: label(row, drawn, (named or {}).get(row)) for row in rows}
    width = size[0] or WIDTH
    widest = max(map(len, labels.values()))
    columns = min(len(labels), 3 if widest < 32 else 2)
    if size[0] is not None:
        columns = max(1, min(columns, int(width / (LETTER * widest + HANDLE))))
    bands = textwrap.fill(on_bands(drawn), int(width / SMALL))
    line_height = 0.12 * bands.count("\n")
    below = 0.17 * -(-len(labels) // columns) + 0.25 + line_height  # legend, sentence on bands
    height = HEIGHT if len(groups) == 1 else LOW * len(groups)
    if size[1] is not None:  # of the whole, but never less than something can be seen in
        height = max(size[1] - below, LOWEST * len(groups))
    whole = height + below
    layout = ConstrainedLayoutEngine(rect=(0, below / whole, 1, height / whole))
    figure = Figure(figsize=(width, whole), layout=layout)
    FigureCanvasAgg(figure)
    places = figure.subplots(len(groups), len(panels), sharex="col", sharey="col", squeeze=False)
    handles: dict[str, Line2D] = {}
    for across, group in zip(places, groups, strict=True):
        for axes, panel in zip(across, panels, strict=True):
            for line in lines[panel.metric]:
                if line.group == group:
                    handles[line.row] = _draw_line(axes, panel, line, styles[line.row])
            _dress(axes, panel, group)
            room = int((width / len(panels) - 0.45) / LETTER)  # beside the axis and its numbers
            axes.set_title(textwrap.fill(axes.get_title(), max(8, room)))
    for axes in places[:-1].flat:
        axes.set_xlabel("")
    for across in places:  # when all is drawn: the rows share their axes
        for axes, panel in zip(across, panels, strict=True):
            _bound(axes, panel)
    figure.legend(
        [handles[row] for row in labels],
        [plain(text) for text in labels.values()],
        loc="lower center",
        bbox_to_anchor=(0.5, (0.18 + line_height) / whole),
        ncols=columns,
        frameon=False,
        handlelength=4,
    )
    figure.text(0.5, 0.05 / whole, bands, ha="center", fontsize=7)
    return figure


def on_bands(lines: Sequence[Line]) -> str:
    """What the lines of a figure are, in one sentence."""
    counts = sorted({line.seeds for line in lines})
    if counts == [1]:
        return "One seed: no band."
    number = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    return f"Mean over {number} seeds; bands: ± one sample standard deviation, where that can be."


def label(row: str, lines: Sequence[Line], name: str | None = None) -> str:
    """A row's name, or the given one in its place; where any of its lines lacks runs, with the
    fewest that one rests on."""
    own = [line for line in lines if line.row == row and line.seeds < line.wanted]
    name = row if name is None else name
    if not own:
        return name
    least = min(own, key=lambda line: line.seeds / line.wanted)
    return f"{name} ({least.seeds}/{least.wanted} runs)"


def plain(text: str) -> str:
    """Text that matplotlib does not take for the beginning of a formula."""
    return text.replace("$", r"\$")


def _dress(axes: Axes, panel: Panel, group: str | None) -> None:
    axes.set_title(panel.title if group is None else f"{plain(group)}: {panel.title}")
    axes.set_xlabel(panel.below)
    axes.set_ylabel(panel.unit)
    if panel.below == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _bound(axes: Axes, panel: Panel) -> None:
    """Keeps the margin of the axis from going where the quantity cannot be."""
    low, high = axes.get_ylim()
    if low < panel.least or high > panel.most:
        axes.set_ylim(max(low, panel.least), min(high, panel.most))


def _draw_line(axes: Axes, panel: Panel, line: Line, style: Style, seen: bool = True) -> Line2D:
    if line.seeds > 1:
        # No density is negative and no recall above 100 %, however far a deviation reaches.
        spread = list(zip(line.means, line.stds, strict=True))
        lows = [max(panel.least, mean - std) for mean, std in spread]
        highs = [min(panel.most, mean + std) for mean, std in spread]
        band = axes.fill_between(line.places, lows, highs, color=style.colour, alpha=0.15)
        band.set(linewidth=0, visible=seen)
    (handle,) = axes.plot(
        line.places,
        line.means,
        color=style.colour,
        marker=style.marker,
        markersize=4,
        markevery=max(1, len(line.places) // MARKED),
        linewidth=1.4,
        linestyle=(0, style.dashes) if style.dashes else "solid",
        visible=seen,
    )
    return handle

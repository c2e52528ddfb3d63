"""Figures: how drift, radius, similarity and recall go over the epochs, with a band over seeds.

After the paper's Figures 1 (drift), 3, 6 and 7 (radius), 4 (similarity) and 5 (convergence).
Drawn from the events that finished runs keep; the same events give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from supclap_platform.experiment import Experiment
from supclap_platform.ledger import Ledger
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.statistics import summarise
from supclap_platform.results.styles import Style, styles_of

ENDINGS = ("svg", "pdf", "png")
DOTS = 200  # an inch, of PNG
WIDTH, HEIGHT = 7.2, 3.1  # inches: the width of a page's text


@dataclass(frozen=True)
class Panel:
    metric: str
    title: str
    unit: str


PANELS = {
    "drift": (
        Panel("drift.text", "Drift, text anchors", "cosine of update and pull"),
        Panel("drift.audio", "Drift, audio anchors", "cosine of update and pull"),
    ),
    "radius": (
        Panel("radius.text.mean", "Semantic radius, text anchors", "radius R"),
        Panel("radius.audio.mean", "Semantic radius, audio anchors", "radius R"),
    ),
    "similarity": (
        Panel("similarity.positive", "Pairs that belong together", "cosine similarity"),
        Panel("similarity.negative", "All other pairs", "cosine similarity"),
    ),
    "convergence": (
        Panel("val.t2a.R@1", "Text to audio, validation", "R@1 (%)"),
        Panel("val.a2t.R@1", "Audio to text, validation", "R@1 (%)"),
    ),
}


@dataclass(frozen=True)
class Line:
    """One variant in one panel: mean and sample deviation over ``seeds`` runs of ``wanted``.

    An epoch is drawn where all those runs report a finite value; ``left_out`` counts the others.
    """

    variant: str
    epochs: tuple[int, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]  # NaN with one seed
    seeds: int
    wanted: int
    left_out: int


@dataclass(frozen=True)
class Drawing:
    """A figure: its files by name, what they show, and what they lack."""

    name: str
    lines: dict[str, tuple[Line, ...]]  # metric -> one for each variant that reports it
    notes: tuple[str, ...]
    files: dict[str, bytes]  # empty where no finished run reports anything to draw


def draw_figures(
    experiment: Experiment, ledger: Ledger, endings: Sequence[str] = ENDINGS
) -> tuple[Drawing, ...]:
    """The figures that an experiment declares, from what the ledger holds now.

    Args:
        endings: which of `ENDINGS` to make.
    """
    if not experiment.figures:
        return ()
    evidence = Evidence(experiment, ledger)
    return tuple(_drawing(name, experiment, evidence, endings) for name in experiment.figures)


def figure_files(drawings: Iterable[Drawing]) -> dict[str, bytes]:
    """The files of all figures, by name below the experiment's folder."""
    return {
        f"figures/{name}": content
        for drawing in drawings
        for name, content in drawing.files.items()
    }


def _drawing(
    name: str, experiment: Experiment, evidence: Evidence, endings: Sequence[str]
) -> Drawing:
    panels = PANELS[name]
    variants = [variant.name for variant in experiment.variants]
    lines = {
        panel.metric: tuple(
            line
            for line in (_line(variant, panel.metric, evidence) for variant in variants)
            if line is not None
        )
        for panel in panels
    }
    notes = tuple(_notes(name, variants, lines, evidence))
    if not any(lines.values()):
        return Drawing(name, lines, notes, {})
    drawn = [panel for panel in panels if lines[panel.metric]]
    return Drawing(name, lines, notes, _files(name, drawn, lines, styles_of(variants), endings))


def _line(variant: str, metric: str, evidence: Evidence) -> Line | None:
    curves = [curve for curve in evidence.curves(variant, metric).values() if curve]
    if not curves:
        return None
    seen = sorted({epoch for curve in curves for epoch in curve})
    epochs = [e for e in seen if all(isfinite(curve.get(e, nan)) for curve in curves)]
    if not epochs:
        return None
    summaries = [summarise([curve[epoch] for curve in curves]) for epoch in epochs]
    return Line(
        variant,
        tuple(epochs),
        tuple(summary.mean for summary in summaries),
        tuple(nan if summary.std is None else summary.std for summary in summaries),
        seeds=len(curves),
        wanted=len(evidence.runs(variant)),
        left_out=len(seen) - len(epochs),
    )


def _notes(
    name: str,
    variants: Sequence[str],
    lines: dict[str, tuple[Line, ...]],
    evidence: Evidence,
) -> Iterable[str]:
    for metric, found in lines.items():
        drawn = {line.variant for line in found}
        unfinished = [v for v in variants if not evidence.results(v)]
        absent = [v for v in variants if v not in drawn and v not in unfinished]
        if unfinished:
            yield f"{name}, {metric}: no finished run of {', '.join(unfinished)}"
        if absent:
            yield f"{name}, {metric}: not reported by {', '.join(absent)}"
        for line in found:
            if line.seeds < line.wanted:
                yield f"{name}, {metric}: {line.variant} rests on {line.seeds}/{line.wanted} runs"
            if line.left_out:
                yield (
                    f"{name}, {metric}: {line.left_out} epoch(s) of {line.variant} left out, which "
                    "not all its runs report as a number"
                )


def _files(
    name: str,
    panels: Sequence[Panel],
    lines: dict[str, tuple[Line, ...]],
    styles: dict[str, Style],
    endings: Sequence[str],
) -> dict[str, bytes]:
    settings: dict[Any, Any] = {
        "svg.hashsalt": name,  # names of clip paths are random otherwise
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
        "font.size": 8,
        "axes.titlesize": 9,
        "pdf.fonttype": 42,
    }
    bare = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    with matplotlib.rc_context(settings):
        figure = _figure(panels, lines, styles)
        files = {}
        for ending in endings:
            out = io.BytesIO()
            figure.savefig(out, format=ending, dpi=DOTS, metadata=bare[ending])
            files[f"{name}.{ending}"] = out.getvalue()
    return files


def _figure(
    panels: Sequence[Panel], lines: dict[str, tuple[Line, ...]], styles: dict[str, Style]
) -> Figure:
    entries = list(dict.fromkeys(line.variant for p in panels for line in lines[p.metric]))
    columns = 3 if max(len(entry) for entry in entries) < 32 else 2
    rows = -(-len(entries) // columns)
    below = 0.17 * rows + 0.25  # inches that the legend and the line on bands take
    whole = HEIGHT + below
    layout = ConstrainedLayoutEngine(rect=(0, below / whole, 1, HEIGHT / whole))
    figure = Figure(figsize=(WIDTH, whole), layout=layout)
    FigureCanvasAgg(figure)
    handles: dict[str, Line2D] = {}
    labels: dict[str, str] = {}
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place)
        for line in lines[panel.metric]:
            handles[line.variant] = _draw_line(axes, line, styles[line.variant])
            labels[line.variant] = _label(line)
        axes.set_title(panel.title)
        axes.set_xlabel("epoch")
        axes.set_ylabel(panel.unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    counts = sorted({line.seeds for p in panels for line in lines[p.metric]})
    figure.legend(
        [handles[entry] for entry in entries],
        [labels[entry] for entry in entries],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.18 / whole),
        ncols=min(columns, len(entries)),
        frameon=False,
        handlelength=4,
    )
    figure.text(0.5, 0.05 / whole, _on_bands(counts), ha="center", fontsize=7)
    return figure


def _on_bands(counts: Sequence[int]) -> str:
    if counts == [1]:
        return "One seed: no band."
    told = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    return f"Mean over {told} seeds; bands: ± one sample standard deviation."


def _label(line: Line) -> str:
    plain = line.variant.replace("$", r"\$")  # not the beginning of a formula
    return plain if line.seeds == line.wanted else f"{plain} ({line.seeds}/{line.wanted} runs)"


def _draw_line(axes: Axes, line: Line, style: Style) -> Line2D:
    lows = [mean - std for mean, std in zip(line.means, line.stds, strict=True)]
    highs = [mean + std for mean, std in zip(line.means, line.stds, strict=True)]
    if line.seeds > 1:
        axes.fill_between(line.epochs, lows, highs, color=style.colour, alpha=0.15, linewidth=0)
    (handle,) = axes.plot(
        line.epochs,
        line.means,
        color=style.colour,
        marker=style.marker,
        markersize=4,
        markevery=max(1, len(line.epochs) // 12),
        linewidth=1.4,
        linestyle=(0, style.dashes) if style.dashes else "solid",
    )
    return handle

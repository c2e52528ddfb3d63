"""Figures of an experiment: how drift, radius, similarity and recall go, with a band over seeds.

After the paper's Figures 1 (drift), 3, 6 and 7 (radius), 4 (similarity) and 5 (convergence).
Drawn from what finished runs keep; the same content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supclap.progress import activity
from supclap.wording import counted
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.variants import Variant
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.curves import DISTRIBUTION, Line, line_of
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.fonts import families_for
from supclap_platform.results.panels import (
    ENDINGS,
    Panel,
    draw_single,
    draw_whole,
    open_figure,
    panels_of,
)
from supclap_platform.results.styles import Style, styles_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 24  # rows in a figure: nobody can follow more lines

CAPTIONS = {
    "drift": (
        "The cosine of an anchor's update and its pull: the higher, the less it drifts (after the "
        "paper's Figure 1)."
    ),
    "radius": "The semantic radius over training (after the paper's Figures 3, 6 and 7).",
    "similarity": (
        "Similarity of pairs that belong together (after the paper's Figure 4): its distribution "
        "over the test captions when training ends, and its mean over the training batches."
    ),
    "convergence": "Recall on the validation split over training (after the paper's Figure 5).",
}


@dataclass(frozen=True)
class Drawing:
    """A figure: its files by name, what they show, and what they lack."""

    name: str
    groups: tuple[str | None, ...]  # rows of panels, top to bottom
    panels: tuple[Panel, ...]  # those with anything to draw, left to right
    lines: dict[str, tuple[Line, ...]]  # metric -> one for each variant that reports it
    styles: dict[str, Style]  # row -> how it is drawn
    labels: dict[str, str]  # row -> what stands for it, where that is not its name
    notes: tuple[str, ...]
    files: dict[str, bytes]  # empty where no finished run reports anything to draw

    @property
    def drawn(self) -> tuple[Line, ...]:
        """The lines of all panels."""
        return tuple(line for panel in self.panels for line in self.lines[panel.metric])

    def single(self, panel: Panel, group: str | None) -> bytes:
        """One of its panels as an SVG without legend."""
        return draw_single(self.name, panel, group, self.lines, self.styles)


@activity("drawing the figures")
def draw_figures(
    experiment: Experiment,
    ledger: Ledger,
    endings: Sequence[str] = ENDINGS,
    evidence: Evidence | None = None,
) -> tuple[Drawing, ...]:
    """The figures that an experiment declares, from what the ledger holds now.

    Args:
        endings: which of `panels.ENDINGS` to make.
        evidence: of the experiment, where it is at hand.
    """
    if not experiment.figures:
        return ()
    evidence = evidence or Evidence(experiment, ledger)
    return tuple(_drawing(name, experiment, evidence, endings) for name in experiment.figures)


@activity("writing the figures")
def figure_files(drawings: Iterable[Drawing]) -> dict[str, bytes]:
    """The files of all figures, by name below the experiment's folder."""
    return {
        f"figures/{name}": content
        for drawing in drawings
        for name, content in drawing.files.items()
    }


def figure_of(
    name: str, experiment: Experiment, evidence: Evidence
) -> tuple[Figure | None, tuple[str, ...]]:
    """A figure to go on with, whether the experiment declares it or not, and what it lacks.

    None where no finished run reports anything to draw.
    """
    drawing = _drawing(name, experiment, evidence, ())
    if not drawing.panels:
        return None, drawing.notes
    layout = experiment.layout.of_figure(name)
    size = (layout.width, layout.height)
    parts = (drawing.panels, drawing.groups, drawing.lines, drawing.styles, drawing.labels, size)
    return open_figure(name, *parts), drawing.notes


def rows_drawn(experiment: Experiment, figure: str = "") -> tuple[str, ...]:
    """The rows that a figure shows: those that the file names for it; else all, or baselines and
    the first of the others."""
    named = experiment.layout.of_figure(figure).rows
    if named:
        return tuple(row for row in experiment.rows if row in named)
    first = dict.fromkeys([*experiment.baselines.values(), *experiment.rows])
    kept = set(list(first)[:MOST])
    return tuple(row for row in experiment.rows if row in kept)


def _drawing(
    name: str, experiment: Experiment, evidence: Evidence, endings: Sequence[str]
) -> Drawing:
    layout = experiment.layout.of_figure(name)
    asked = panels_of(name, experiment.method)
    rows = rows_drawn(experiment, name)
    variants = [variant for variant in experiment.variants if variant.row in rows]
    lines = {
        panel.metric: tuple(
            line
            for line in (line_of(variant, panel.metric, evidence) for variant in variants)
            if line is not None
        )
        for panel in asked
    }
    notes = [*_notes(name, variants, lines, evidence)]
    if len(rows) < len(experiment.rows) and not layout.rows:
        notes.append(
            f"{name}: {len(rows)} of {len(experiment.rows)} rows are drawn, baselines and the first"
        )
    labels = {r: experiment.layout.labels[r] for r in rows if r in experiment.layout.labels}
    shown = [labels.get(row, row) for row in rows]
    _, missing = families_for([*shown, *experiment.groups])
    if missing:
        notes.append(
            f"{name}: no font of this machine has the signs {' '.join(missing)}: PDF and PNG show "
            "boxes in their place; install one (such as Noto Sans CJK), or give the row a label"
        )
    panels = tuple(panel for panel in asked if lines[panel.metric])
    met = {line.group for found in lines.values() for line in found}
    groups = tuple(group for group in experiment.groups or (None,) if group in met)
    styles = styles_of(experiment.rows)
    files = {}
    if panels and endings:
        drawn = draw_whole(
            name, panels, groups, lines, styles, endings, labels, (layout.width, layout.height)
        )
        files = {f"{name}.{ending}": content for ending, content in drawn.items()}
    return Drawing(name, groups, panels, lines, styles, labels, tuple(notes), files)


def _notes(
    name: str,
    variants: Sequence[Variant],
    lines: dict[str, tuple[Line, ...]],
    evidence: Evidence,
) -> Iterable[str]:
    names = [variant.name for variant in variants]
    unfinished = [variant for variant in names if not evidence.results(variant)]
    for metric, found in lines.items():
        drawn = {line.variant for line in found}
        absent = [variant for variant in names if variant not in drawn | set(unfinished)]
        where = f"{name}, {_words_of(metric)}"
        if unfinished:
            yield f"{where}: no finished run of {', '.join(unfinished)}"
        if absent:
            yield f"{where}: not reported by {', '.join(absent)}"
        for line in found:
            if line.seeds < line.wanted:
                yield f"{where}: {line.variant} rests on {line.seeds}/{line.wanted} runs"
            if line.left_out:
                yield (
                    f"{where}: {counted(line.left_out, 'epoch')} of {line.variant} left out, which "
                    "not all its runs report as a number"
                )


def _words_of(metric: str) -> str:
    return "distribution" if metric == DISTRIBUTION else metric

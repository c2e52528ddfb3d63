"""Figures as the report shows them: those that the file declares, and those of a search.

matplotlib is imported only where a file declares figures: a short grid waits for its report.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.marks import swatch
from supclap_platform.results.search_figures import SearchFigure, search_figures

if TYPE_CHECKING:
    from supclap_platform.results.figures import Drawing

WIDE = 0


@dataclass(frozen=True)
class Figure:
    """A figure as the page shows it: pictures of its panels, and a legend that is text."""

    name: str
    caption: str
    bands: str
    panels: tuple[tuple[str, str], ...]  # what it shows in words, the picture as a data URI
    columns: int  # WIDE: one picture over the whole width
    legend: tuple[tuple[Markup, str], ...]
    notes: tuple[str, ...]
    pdf: str  # the whole figure as a data URI: the page is often sent alone; empty: there is none


def pictures_of(
    experiment: Experiment,
    ledger: Ledger,
    evidence: Evidence,
    drawings: Sequence[Drawing] | None = None,
) -> tuple[Figure, ...]:
    """The figures of an experiment, from what the ledger holds now.

    Args:
        drawings: its declared figures with their PDF, where they are drawn from the same content.
    """
    drawn: list[Figure] = []
    if experiment.figures:
        from supclap_platform.results.figures import draw_figures

        if drawings is None:
            drawings = draw_figures(experiment, ledger, ("pdf",), evidence)
        drawn = [_drawn(one) for one in drawings]
    searched = [_of_search(one) for one in search_figures(experiment, ledger)]
    return (*drawn, *searched)


def _drawn(drawing: Drawing) -> Figure:
    from supclap_platform.results.figures import CAPTIONS
    from supclap_platform.results.panels import label, on_bands

    panels = []
    for group in drawing.groups if drawing.panels else ():
        for panel in drawing.panels:
            title = panel.title if group is None else f"{group}: {panel.title}"
            panels.append((title, _uri("image/svg+xml", drawing.single(panel, group))))
    rows = dict.fromkeys(line.row for line in drawing.drawn)
    return Figure(
        drawing.name,
        CAPTIONS[drawing.name],
        on_bands(drawing.drawn) if rows else "",
        tuple(panels),
        len(drawing.panels),
        tuple(
            (swatch(drawing.styles[row]), label(row, drawing.drawn, drawing.labels.get(row)))
            for row in rows
        ),
        drawing.notes,
        _uri("application/pdf", drawing.files.get(f"{drawing.name}.pdf")),
    )


def _of_search(figure: SearchFigure) -> Figure:
    return Figure(
        f"search-{figure.name}",
        f"{figure.title}. {figure.caption}",
        "",
        ((figure.title, _uri("image/svg+xml", figure.svg)),),
        WIDE,
        (),
        (),
        _uri("application/pdf", figure.pdf),
    )


def _uri(kind: str, content: bytes | None) -> str:
    """Content as an address that holds it; empty where there is none."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}" if content else ""

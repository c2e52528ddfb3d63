"""What a search says of its space, as figures beside the experiment's others.

<storage>/experiments/<name>/figures/search-….svg
<storage>/experiments/<name>/figures/search.json   which there are, their titles and captions
<storage>/experiments/<name>/trials.csv            every trial with its setting and values
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.ledger import Ledger

if TYPE_CHECKING:
    from supclap_platform.search.study import Book

INDEX = "figures/search.json"
TRIALS = "trials.csv"
TITLES = {
    "history": ("History", "Each trial's value (×: stopped early, its last) and the best so far."),
    "intermediate": (
        "Trials by epoch",
        "What each trial would have been worth had it ended there; red ends at × where it was "
        "stopped early, black is the best.",
    ),
    "importance": (
        "Importance of the parameters",
        "PED-ANOVA: how far the best quarter of the finished trials lies from all of them, in "
        "shares; in brackets the trials in which the parameter applies.",
    ),
    "slice": ("Value against each parameter", "×: stopped early, with its last value."),
    "contour": (
        "Landscape of the two most important ranges",
        "Interpolated between the finished trials, and no more certain than they are.",
    ),
    "parallel": (
        "Settings side by side",
        "A line for each trial, the better the brighter, dotted where it was stopped early; a gap "
        "where a parameter does not apply.",
    ),
    "pareto": (
        "Pareto front",
        "Red, numbered: no other trial is better in one objective and as good in the others.",
    ),
}


@dataclass(frozen=True)
class SearchFigure:
    """A figure of a search, for the report."""

    name: str
    title: str
    caption: str
    svg: bytes


def explain(book: Book, ledger: Ledger) -> list[str]:
    """Draws what the study has to show into the experiment's folder; the files' names."""
    from supclap_platform.search import drawing  # Optuna and matplotlib: not for every command
    from supclap_platform.search.points import as_csv, picture

    shown = picture(book)
    draw = {
        "history": drawing.history,
        "intermediate": drawing.intermediate,
        "importance": drawing.importance,
        "slice": drawing.slices,
        "contour": drawing.contour,
        "parallel": drawing.parallel,
        "pareto": drawing.pareto,
    }
    folder = ledger.experiment_folder(book.trials.experiment.name)
    index = []
    for name, make in draw.items():
        content = make(shown)
        if content is None:
            continue
        title, caption = TITLES[name]
        file = f"figures/search-{name}.svg"
        folder.write(file, content)
        index.append({"name": name, "title": title, "caption": caption, "file": file})
    folder.write(TRIALS, as_csv(shown))
    folder.write(INDEX, json.dumps(index, indent=1).encode())
    return [str(one["file"]) for one in index]


def search_figures(experiment: Experiment, ledger: Ledger) -> tuple[SearchFigure, ...]:
    """The figures that the experiment's search has left, in the order to show them; none without
    a search, or before its end."""
    if experiment.search is None:
        return ()
    folder = ledger.experiment_folder(experiment.name)
    try:
        index = json.loads(folder.read(INDEX))
    except FileNotFoundError:
        return ()
    return tuple(
        SearchFigure(one["name"], one["title"], one["caption"], folder.read(one["file"]))
        for one in index
    )


def search_files(experiment: Experiment, ledger: Ledger) -> dict[str, bytes]:
    """What a search adds to the files of an experiment, for MLflow: figures and trials."""
    files = {f"figures/search-{f.name}.svg": f.svg for f in search_figures(experiment, ledger)}
    folder = ledger.experiment_folder(experiment.name)
    if experiment.search is not None and folder.exists(TRIALS):
        files[TRIALS] = folder.read(TRIALS)
    return files

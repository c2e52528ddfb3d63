"""Draws what a search says of its space into the experiment's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.search_figures import INDEX, TRIALS, index_file

if TYPE_CHECKING:
    from supclap_platform.search.study import Book

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


def explain(book: Book, ledger: Ledger) -> list[str]:
    """Draws what the study has to show into the experiment's folder; the files' names."""
    from supclap_platform.search import drawing  # Optuna and matplotlib: not for every command
    from supclap_platform.search.points import picture, trials_csv

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
        drawn = make(shown)
        if drawn is None:
            continue
        title, caption = TITLES[name]
        file = f"figures/search-{name}.svg"
        for ending, content in drawn.items():  # the index names the SVG; the PDF lies beside it
            folder.write(f"figures/search-{name}.{ending}", content)
        index.append({"name": name, "title": title, "caption": caption, "file": file})
    folder.write(TRIALS, trials_csv(shown))
    folder.write(INDEX, index_file(index))
    return [str(one["file"]) for one in index]

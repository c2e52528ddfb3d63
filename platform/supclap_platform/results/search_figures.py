"""What a search has left of figures and trials, as the report and MLflow show them.

<storage>/experiments/<name>/figures/search-….svg
<storage>/experiments/<name>/figures/search.json   which there are, their titles and captions
<storage>/experiments/<name>/trials.csv            every trial with its setting and values
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.ledger import Ledger

INDEX = "figures/search.json"
TRIALS = "trials.csv"


@dataclass(frozen=True)
class SearchFigure:
    """A figure of a search, for the report."""

    name: str
    title: str
    caption: str
    svg: bytes


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

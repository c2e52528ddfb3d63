"""What a search has left of figures and trials, as the report and MLflow show them.

<storage>/experiments/<name>/figures/search-….svg, .pdf
<storage>/experiments/<name>/figures/search.json   which there are, their titles and captions
<storage>/experiments/<name>/trials.csv            every trial with its setting and values
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, read_content, read_values, sealed
from supclap_platform.experiment.experiment import Experiment
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
    pdf: bytes | None  # None: a search of an earlier version drew none


def search_figures(experiment: Experiment, ledger: Ledger) -> tuple[SearchFigure, ...]:
    """The figures that the experiment's search has left, in the order to show them; none without
    a search, or before its end."""
    if experiment.search is None:
        return ()
    return ledger.spared(lambda: _figures(ledger.experiment_folder(experiment.name))) or ()


@dataclass(frozen=True)
class _Listed:
    """A figure as the index lists it."""

    name: str
    title: str
    caption: str
    file: str


@dataclass(frozen=True)
class _Index:
    figures: tuple[_Listed, ...]


def index_file(figures: Sequence[Mapping[str, str]]) -> bytes:
    """The index's content, of figures with name, title, caption and file."""
    return sealed({"figures": list(figures)}, indent=1)


def _figures(folder: Folder) -> tuple[SearchFigure, ...]:
    where = folder.uri_of(INDEX)
    try:
        index = as_kind(read_values(folder, INDEX), _Index, where)
    except FileNotFoundError:
        return ()
    found = []
    for one in index.figures:
        if one.file != f"figures/search-{one.name}.svg":
            raise Damaged(where, f"names the file {one.file!r}")
        try:
            svg = read_content(folder, one.file)
            ElementTree.fromstring(svg)
        except FileNotFoundError:
            raise Damaged(where, f"{one.file} is absent") from None
        except ElementTree.ParseError as error:
            raise Damaged(folder.uri_of(one.file), f"not SVG: {error}") from None
        printable = f"figures/search-{one.name}.pdf"
        pdf = read_content(folder, printable) if folder.exists(printable) else None
        if pdf is not None and not pdf.startswith(b"%PDF-"):
            raise Damaged(folder.uri_of(printable), "not PDF")
        found.append(SearchFigure(one.name, one.title, one.caption, svg, pdf))
    return tuple(found)


def search_files(experiment: Experiment, ledger: Ledger) -> dict[str, bytes]:
    """What a search adds to the files of an experiment, for MLflow: figures and trials."""
    drawn = search_figures(experiment, ledger)
    files = {f"figures/search-{one.name}.svg": one.svg for one in drawn}
    files |= {f"figures/search-{one.name}.pdf": one.pdf for one in drawn if one.pdf is not None}
    folder = ledger.experiment_folder(experiment.name)
    if experiment.search is not None and folder.exists(TRIALS):
        files[TRIALS] = folder.read(TRIALS)
    return files

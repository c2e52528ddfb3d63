"""A training loop of one's own, as docs/own_loop.md shows it, and its cells in this process."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.kept_code import keep_code
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.ending import Ending
from supclap_platform.running.task import Report, task_of

PAGE = Path(__file__).parents[2] / "docs" / "own_loop.md"


def shown(language: str) -> str:
    """The page's first block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def write_loop(folder: Path, edit: Callable[[str], str] = str, file: str = "") -> Path:
    """The page's experiment file with its loop beside it, edited; or another file."""
    (folder / "my_loop.py").write_text(edit(shown("python")), encoding="utf-8")
    path = folder / "rings.yaml"
    path.write_text(file or shown("yaml"), encoding="utf-8")
    return path


def replaced(old: str, new: str) -> Callable[[str], str]:
    """An edit of the loop: one text in the place of another, which must be there."""

    def edit(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return edit


def prepared(path: Path) -> tuple[list[Cell], Ledger]:
    """The cells of a file, and a ledger beside it that knows of them."""
    experiment, ledger = load_experiment(path), open_ledger(path.parent / "storage")
    remember(make_plan(experiment, ledger), ledger)
    keep_code(experiment, ledger)
    return cells_of(experiment), ledger


def attempt(
    cell: Cell, ledger: Ledger, report: Report | None = None, experiment: str = "rings"
) -> Ending:
    """One attempt at a cell."""
    return run_cell(task_of(cell, ledger, experiment), report)

"""A command makes one table from one reading of the ledger, whatever it shows of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.results import tables
from supclap_platform.testing import finish

pytestmark = pytest.mark.heavy

FILE = """
experiment: shown
base: {epochs: 1}
variants: {A: {}, B: {loss.name: siglip}}
seeds: 2
claims: [B > A on t2a.R@1]
table: {columns: [t2a.R@1]}
"""


@pytest.mark.parametrize("command", ["table", "report", "run"])
def test_one_table_from_one_reading(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    ledger = open_ledger(tmp_path / "storage", writing=True)
    for cell in cells_of(load_experiment(path)):
        finish(ledger, cell, {"test.t2a.R@1": 41.5}, code="earlier")
    made: list[str] = []

    def counted(place: Any, name: str) -> None:
        whole = getattr(place, name)

        def call(*arguments: Any, **more: Any) -> Any:
            if threading.current_thread() is threading.main_thread():  # MLflow's makes its own
                made.append(name)
            return whole(*arguments, **more)

        monkeypatch.setattr(place, name, call)

    counted(tables, "notes_of")  # the last that every table needs
    counted(Ledger, "overview")
    done = CliRunner().invoke(main, [command, str(path), "--storage", str(tmp_path / "storage")])
    assert done.exit_code == 3, done.output
    assert "stale: 4 " in done.output
    assert made.count("notes_of") == 1
    if command != "run":  # where the plan reads too, and MLflow's thread
        assert made.count("overview") == 1

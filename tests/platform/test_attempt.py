"""One attempt at a cell, in this process: what a refused one leaves in the cell's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.ledger.records import State
from supclap_platform.running.attempt import Ending, run_cell, task_of
from tiny_grid import write_experiment


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return cells_of(load_experiment(write_experiment(tmp_path, epochs=1, seeds=1)))[0]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = open_ledger(tmp_path / "storage")
    remember(make_plan(load_experiment(tmp_path / "tiny.yaml"), ledger), ledger)
    return ledger


def attempt(cell: Cell, ledger: Ledger) -> Ending:
    return run_cell(task_of(cell, ledger, "tiny"))


@pytest.mark.heavy
def test_a_refused_cell_leaves_its_log_alone_and_runs_once_the_data_are_there(
    cell: Cell, ledger: Ledger, tmp_path: Path
) -> None:
    """The same signature: where a collection lies is no part of it."""
    elsewhere = cell.config.data.model_copy(update={"folder": str(tmp_path / "nowhere")})
    wrong = replace(cell, config=cell.config.model_copy(update={"data": elsewhere}))
    ending = attempt(wrong, ledger)
    assert (ending.kind, ending.configuration) == ("failed", True)
    assert "nowhere: not a prepared collection" in ending.error
    assert ledger.folder(cell.signature).names() == ["log.txt"]
    assert ledger.state(cell.signature) is State.TO_RUN
    assert attempt(cell, ledger).kind == "done"


def test_a_cell_goes_on_with_its_data_in_another_place(
    cell: Cell, ledger: Ledger, tmp_path: Path
) -> None:
    stored = cell.config.model_copy(update={"checkpoint_steps": 1})
    folder = ledger.folder(cell.signature)
    folder.write("config.json", json.dumps(stored.model_dump(mode="json")).encode())
    (tmp_path / "tones").rename(tmp_path / "moved")
    moved = cell.config.data.model_copy(update={"folder": str(tmp_path / "moved")})
    config = cell.config.model_copy(update={"data": moved})
    assert attempt(replace(cell, config=config), ledger).kind == "done"
    assert json.loads(folder.read("config.json")) == config.model_dump(mode="json")

"""Runs without training leave what true ones do."""

import json
from pathlib import Path

import numpy as np
import pytest
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.schema import Resources
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Failure, State
from supclap_platform.testing import fail, finish, interrupt
from tiny_run import make_collection, tiny_config

from supclap.storage import Folder
from supclap.training import fit


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    config = tiny_config(make_collection(tmp_path_factory.mktemp("tones") / "collection"))
    return Cell("InfoNCE", 0, config, "a" * 16, Resources())


@pytest.mark.heavy
def test_a_finished_run_leaves_the_files_and_the_keys_of_a_true_one(
    cell: Cell, ledger: Ledger, tmp_path: Path
) -> None:
    true, ranks = Folder.at(tmp_path / "true"), {"t2a_ranks": np.array([0, 3])}
    for _ in fit(cell.config, true):
        pass
    finish(ledger, cell, {"test.t2a.R@1": 41.0}, ranks=ranks, code="c", seconds=8.0)
    made = ledger.folder(cell.signature)
    assert {*made.names(), "model"} == set(true.names())  # a fake one has no model
    assert made.read("config.json") == true.read("config.json")
    of_both = [
        [json.loads(line) for line in folder.read("events.jsonl").splitlines()]
        for folder in (made, true)
    ]
    for mine, theirs in zip(*of_both, strict=True):
        assert mine.keys() == theirs.keys()
        assert (mine["kind"], mine.get("epoch")) == (theirs["kind"], theirs.get("epoch"))
    mine, theirs = (json.loads(folder.read("result.json")) for folder in (made, true))
    assert mine.keys() == theirs.keys()
    result = ledger.result(cell.signature)
    assert result is not None
    assert result.metrics == {"test.t2a.R@1": 41.0}
    assert (result.code, result.seconds, result.epochs) == ("c", 8.0, cell.config.epochs)
    assert ledger.ranks(result)["t2a_ranks"].tolist() == [0, 3]


def test_interrupted_and_failed_runs_are_seen_as_such(cell: Cell, ledger: Ledger) -> None:
    interrupt(ledger, cell, epochs=1)
    assert ledger.state(cell.signature) is State.RESUMABLE
    assert [event.kind for event in ledger.events(cell.signature)] == ["started", "epoch"]
    noted = fail(ledger, cell, "not finite", ["last line"], attempts=3)
    assert ledger.state(cell.signature) is State.FAILED
    assert ledger.failure(cell.signature) == noted
    assert noted == Failure("not finite", ("last line",), 3, False)

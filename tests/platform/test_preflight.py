"""What a node says that it lacks, asked in this process."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.staleness import code_of_package
from supclap_platform.running.preflight import Answers, Questions, answer
from supclap_platform.running.task import task_of
from tiny_grid import write_experiment

pytestmark = pytest.mark.heavy  # makes a collection


@pytest.fixture
def asked(tmp_path: Path) -> Questions:
    """Of a storage on which nothing was ever run: nodes are asked before anything is noted."""
    ledger = open_ledger(tmp_path / "storage", writing=True)
    ledger.storage.write("preflight-1", b"")
    (cell, *_) = cells_of(load_experiment(write_experiment(tmp_path)))
    tasks = ((cell.data, task_of(cell, ledger, "tiny")),)
    return Questions(ledger.storage.place, "preflight-1", code_of_package(), tasks)


def test_a_node_that_has_all_lacks_nothing_also_where_nothing_was_ever_run(
    asked: Questions, tmp_path: Path
) -> None:
    assert answer(asked) == Answers()
    assert [one.name for one in (tmp_path / "storage").iterdir() if one.is_file()] == [asked.marker]


def test_each_thing_that_is_missing_is_named(asked: Questions, tmp_path: Path) -> None:
    (kind, task) = asked.tasks[0]
    unseen = answer(replace(asked, marker="preflight-2"))
    assert "does not see the driver's storage" in unseen.lacks
    assert "it has SupCLAP " in answer(replace(asked, tasks=(), code="0123456789ab")).lacks
    other = replace(task, code=dict.fromkeys(task.code, "0"), host="driver")
    assert "has other code than the driver" in answer(replace(asked, tasks=((kind, other),))).lacks
    shutil.rmtree(tmp_path / "tones")
    for fetching in (True, False):
        found = answer(replace(asked, fetching=fetching))
        assert found.lacks == ""
        assert str(tmp_path / "tones") in found.data[kind]


def test_the_doctor_has_nothing_fetched(asked: Questions, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(replace(asked, fetching=False)) == Answers()
    far = SimpleNamespace(awaited=lambda seconds: "3 files", fault=lambda: pytest.fail("fetched"))
    monkeypatch.setattr(type(asked.tasks[0][1].method), "needs", lambda self, config: [far])
    assert answer(replace(asked, fetching=False)) == Answers()

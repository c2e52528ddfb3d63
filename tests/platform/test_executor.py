"""What the executor makes of a process that has ended, without Ray: its answers are given here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.records import State
from supclap_platform.running.ending import Ending
from supclap_platform.running.place import Place

pytestmark = pytest.mark.heavy  # imports Ray

FILE = """
experiment: shown
base: {epochs: 1}
variants: {A: {}}
table: {columns: [t2a.R@1]}
"""


class OneNode:
    """A fleet whose only node is blamed for nothing."""

    def look(self) -> list[Any]:
        return []

    def judged(self, cell: Cell, node: str, ending: Ending) -> Ending:
        return ending


class Standing:
    """A cluster that somebody else has started."""

    own, daemons = False, ()

    def check(self) -> None: ...

    def resources(self) -> dict[str, float]:
        return {"CPU": 1.0}


def ended(cell: Cell, ledger: Ledger, error: Exception, patch: pytest.MonkeyPatch) -> Ending:
    """How an attempt ends of which Ray says an error; a process of another host had the cell."""
    import ray
    from supclap_platform.running import executor as module

    patch.setattr(module, "Fleet", lambda *_: OneNode())
    patch.setattr(ray, "wait", lambda running, **_: (running, []))
    found = module.RayExecutor(Standing(), ledger, "shown")
    said = iter(["reference"])

    def get(_: str) -> None:
        raise error

    patch.setattr(ray, "get", get)
    attempt = module._Attempt(cell, 0.0, Place("n", "p", "elsewhere", 7))
    found._running[said] = attempt
    ((signature, ending),) = found.wait(0)
    assert signature == cell.signature
    return ending


@pytest.mark.parametrize(
    ("name", "kind"), [("NodeDiedError", "lost"), ("WorkerCrashedError", "crashed")]
)
def test_a_process_that_ray_calls_dead_holds_its_cell_no_longer(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another host nobody could know that it is dead until its lease has run out."""
    import ray.exceptions

    path = tmp_path / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage", writing=True)
    (cell,) = cells_of(load_experiment(path))
    ledger.folder(cell.signature).write(str(LeaseName("elsewhere", 7, 1, "0")), b"{}")
    assert ledger.state(cell.signature) is State.RUNNING
    error = getattr(ray.exceptions, name)("it is dead")
    assert ended(cell, ledger, error, monkeypatch).kind == kind
    assert ledger.state(cell.signature) is State.TO_RUN


def test_a_cell_that_was_cancelled_gives_itself_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.exceptions

    path = tmp_path / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage", writing=True)
    (cell,) = cells_of(load_experiment(path))
    ledger.folder(cell.signature).write(str(LeaseName("elsewhere", 7, 1, "0")), b"{}")
    error = ray.exceptions.TaskCancelledError()
    assert ended(cell, ledger, error, monkeypatch).kind == "crashed"
    assert ledger.state(cell.signature) is State.RUNNING

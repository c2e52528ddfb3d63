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


def test_nodes_that_never_answer_leave_no_file_when_nothing_is_left_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from supclap_platform.running import executor as module
    from supclap_platform.running import fleet

    monkeypatch.setattr(fleet, "keep_knocking", lambda nodes: None)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(ray, "wait", lambda running, **_: ([], running))
    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda bundles: None)
    ledger = open_ledger(tmp_path, writing=True)
    executor = module.RayExecutor(Standing(), ledger, "shown")
    assert executor.fleet is not None
    assert fleet._asked([], ledger, executor.fleet._marker) == {}
    executor.fleet._asked = {"answer": None}
    assert len(list(tmp_path.iterdir())) == 1
    executor.want([])
    assert list(tmp_path.iterdir()) == []
    assert executor.fleet.look() == []


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


class Attempts:
    """Ray's answers on attempts: each says these words in turn, the last of them after a kill where
    it does not end by itself."""

    def __init__(self, words: dict[str, list[Any]], stubborn: str) -> None:
        self.words, self.stubborn = words, stubborn
        self.cancelled: list[tuple[str, bool]] = []

    def cancel(self, said: str, force: bool = False) -> None:
        self.cancelled.append((said, force))

    def wait(self, running: list[str], **_: Any) -> tuple[list[str], list[str]]:
        """As `ray.wait`: a stream is ready when it has a next word."""
        ready = [
            said
            for said in running
            if len(self.words[said])
            > (said == self.stubborn and (said, True) not in self.cancelled)
        ]
        return ready[:1], running

    def heard(self, said: str) -> Any:
        return self.words[said].pop(0)


def test_a_run_that_is_stopped_waits_until_each_cell_has_given_its_lease_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says only now where it is has not ended, though Ray has a word of it; one that has
    to be killed gives nothing back, nor does one whose process has died."""
    import ray
    from supclap_platform.running import executor as module

    path = tmp_path / "e.yaml"
    path.write_text(FILE.replace("{A: {}}", "{A: {}}\nseeds: 3"), encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage", writing=True)
    names = ["late", "stubborn", "dead"]
    cells = dict(zip(names, cells_of(load_experiment(path)), strict=True))
    places = {name: Place("n", "p", "elsewhere", pid) for pid, name in enumerate(names, 1)}
    for name, cell in cells.items():
        lease = LeaseName("elsewhere", places[name].pid, 1, "0")
        ledger.cell(cell.signature).write(str(lease), b"{}")
    gone = module._Dead("crashed", "the process of the cell ended")
    words = {
        "late": [places["late"], Ending("crashed", "cancelled")],
        "stubborn": [places["stubborn"], Ending("crashed", "cancelled")],
        "dead": [places["dead"], gone],
    }
    ours = Attempts(words, "stubborn")
    monkeypatch.setattr(module, "Fleet", lambda *_: OneNode())
    monkeypatch.setattr(module, "_heard", ours.heard)
    monkeypatch.setattr(ray, "wait", ours.wait)
    monkeypatch.setattr(ray, "cancel", ours.cancel)
    found = module.RayExecutor(Standing(), ledger, "shown")
    found._running = {name: module._Attempt(cell, 0.0) for name, cell in cells.items()}
    found.cancel()
    assert not any(words.values())  # each was waited for, to its end
    by_force = [said for said, force in ours.cancelled if force]
    assert by_force == ["stubborn"]
    left = {name for name, cell in cells.items() if ledger.cell(cell.signature).names()}
    assert left == {"late"}  # which, living, has taken its own away

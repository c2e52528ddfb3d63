"""What the executor makes of a process that has ended: Ray's answers are given here, but for those
on a process that was asked to end and goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.records import State
from supclap_platform.running.cluster import connected
from supclap_platform.running.ending import Ending
from supclap_platform.running.heartbeats import Sign
from supclap_platform.running.place import Place, end_process
from waiting import is_over, until

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


class Said(str):
    """An attempt by name, in the place of Ray's generator."""

    def completed(self) -> Said:
        return self


class Attempts:
    """Ray's answers on attempts: each says these words in turn, and one ends after a kill alone."""

    def __init__(self, words: dict[str, list[Any]], stubborn: str) -> None:
        self.words, self.stubborn = words, stubborn
        self.cancelled: list[tuple[str, bool]] = []

    def cancel(self, said: str, force: bool = False) -> None:
        self.cancelled.append((said, force))

    def wait(self, running: list[str], **_: Any) -> tuple[list[str], list[str]]:
        """As `ray.wait` of tasks that have been cancelled."""
        ready = [
            said for said in running if said != self.stubborn or (said, True) in self.cancelled
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
    found._running = {Said(name): module._Attempt(cell, 0.0) for name, cell in cells.items()}
    found.cancel()
    assert not any(words.values())  # each was waited for, to its end
    by_force = [said for said, force in ours.cancelled if force]
    assert by_force == ["stubborn"]
    left = {name for name, cell in cells.items() if ledger.cell(cell.signature).names()}
    assert left == {"late"}  # which, living, has taken its own away


class Doubtful(OneNode):
    """A fleet that loses a node of which no attempt has said anything, and notes whom it doubts."""

    def __init__(self) -> None:
        self.lost: list[Any] = []
        self.nodes = SimpleNamespace(silent=lambda node: False)
        self.ended: list[Place] = []
        self.doubts: list[str] = []

    def look(self) -> list[Any]:
        lost, self.lost = self.lost, []
        return lost

    def end(self, place: Place) -> None:
        self.ended.append(place)

    def doubt(self, name: str) -> None:
        self.doubts.append(name)


class Watched:
    """A run of three cells, each an attempt of Ray's by the name of its place."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        import ray
        from supclap_platform.running import executor as module

        path = folder / "e.yaml"
        path.write_text(FILE.replace("{A: {}}", "{A: {}}\nseeds: 3"), encoding="utf-8")
        self.ledger = open_ledger(folder / "storage", writing=True)
        self.cells = cells_of(load_experiment(path))
        self.fleet = Doubtful()
        self.ready: list[str] = []  # of these Ray has a word that was not heard yet
        self.forgotten: list[str] = []
        self.now = 1000.0
        patch.setattr(module, "Fleet", lambda *_: self.fleet)
        patch.setattr(module, "_forget", self.forgotten.append)
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=lambda seconds: None)
        patch.setattr(module, "time", clock)
        patch.setattr(ray, "wait", lambda said, **_: ([s for s in said if s in self.ready], []))
        patch.setattr(module, "_heard", lambda said: Place("n", "p", "late", 9))
        self.executor = module.RayExecutor(Standing(), self.ledger, "shown")
        self.attempts = dict(zip("abc", self.cells, strict=True))
        for name, cell in self.attempts.items():
            self.executor._running[name] = module._Attempt(cell, self.now)

    def place(self, name: str) -> Place:
        place = Place("n", "p", "elsewhere", ord(name))
        self.executor._running[name].place = place
        lease = LeaseName("elsewhere", place.pid, 1, f"0001-0000000{name}")
        self.ledger.cell(self.attempts[name].signature).write(str(lease), b"{}")
        return place

    def wait(self) -> dict[str, Ending]:
        names = {cell.signature: name for name, cell in self.attempts.items()}
        return {names[signature]: ending for signature, ending in self.executor.wait(0)}


def test_a_cell_that_was_lost_before_it_said_where_it_is_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray holds it for minutes, and nobody knows of which node it was."""
    run = Watched(tmp_path, monkeypatch)
    run.place("a")
    run.now += 60
    assert run.wait() == {}  # waiting for room is no loss
    run.fleet.lost.append(SimpleNamespace(id="another"))
    assert run.wait() == {}
    run.now += 9
    run.ready.append("b")  # it lives
    assert run.wait() == {}
    run.ready.clear()
    run.now += 2
    endings = run.wait()
    assert {name: ending.kind for name, ending in endings.items()} == {"c": "moved"}
    assert run.forgotten == ["c"]
    assert run.fleet.doubts == []


def test_a_cell_whose_process_is_silent_is_taken_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Watched(tmp_path, monkeypatch)
    places = {name: run.place(name) for name in "abc"}
    signs = {"a": Sign.STALE, "b": Sign.TAKEN, "c": Sign.STALE}
    monkeypatch.setattr(run.executor._heartbeats, "look", lambda claims: signs)
    run.ready.append("c")  # it has just ended, or said where it is
    endings = run.wait()
    assert {name: ending.kind for name, ending in endings.items()} == {"a": "lost", "b": "busy"}
    assert endings["a"].error == "its process has not renewed its lease for 60 s"
    assert run.ledger.state(run.attempts["a"].signature) is State.TO_RUN
    assert run.fleet.ended == [places["a"], places["b"]]
    assert run.fleet.doubts == ["n"]
    assert list(run.executor._running) == ["c"]
    signs = {"c": Sign.NEVER}
    run.ready.clear()
    assert run.wait()["c"].kind == "moved"  # none of the cell's own has run


@pytest.mark.parametrize(("title", "killed"), [("ray::85fa", True), ("another", False)])
def test_a_paused_process_of_rays_is_killed_and_no_other(title: str, killed: bool) -> None:
    """By now its number may be that of a process which is none of Ray's."""
    words = ["bash", "-c", f"echo; exec -a {title} sleep 60"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # Between its two programs a process has no words at all.
        until(lambda: psutil.Process(process.pid).cmdline()[:1] == [title])
        process.send_signal(signal.SIGSTOP)
        end_process(Place("n", "p", "elsewhere", process.pid))
        assert process.poll() is None
        end_process(Place("n", "p", LeaseName.own().host, process.pid))
        if killed:
            assert process.wait(60) == -signal.SIGKILL
        assert process.poll() == (-signal.SIGKILL if killed else None)
        process.kill()


def test_a_cell_that_does_not_hear_that_it_is_to_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Python drops the interruption: the run that is stopped must not wait for its end."""
    import ray
    from supclap_platform.running import executor as module

    def deaf(_: Any) -> Any:
        import time

        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                begun.touch()
                time.sleep(300)
            except KeyboardInterrupt:
                continue

    path, begun = tmp_path / "e.yaml", tmp_path / "begun"
    path.write_text(FILE, encoding="utf-8")
    ledger = open_ledger(tmp_path / "storage", writing=True)
    (cell,) = cells_of(load_experiment(path))
    monkeypatch.setattr(module, "GRACE", 1.0)
    with connected(None, 1) as cluster:
        found = module.RayExecutor(cluster, ledger, "shown", deaf)
        found.submit(cell)
        (said,) = found._running
        until(lambda: found.wait(0.2) == [] and found._running[said].place is not None)
        until(begun.exists)  # before that it would hear
        place = found._running[said].place
        assert place is not None
        began = time.monotonic()
        found.cancel()
        assert time.monotonic() - began < 60
        until(lambda: is_over(place.pid))
        assert ray.wait([said.completed()], timeout=0)[0]

"""Terms: whose files of a cell count, and what goes on from one holder to the next."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.holding import Held
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.ledger.records import State
from supclap_platform.running import group
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.task import task_of
from tiny_grid import write_experiment

from supclap.errors import TakenOver
from supclap.run_files import publish
from supclap.storage import Folder

A = "a" * 16
EARLIER = Path(__file__).parent / "golden/version_0_1_0/storage"
INTERRUPTED = "6ae0d7ab79904a93"  # there: a run that was killed after its first epoch


def taken(ledger: Ledger, signature: str = A) -> Held:
    held = ledger.take(signature)
    assert held is not None
    return held


def lost(ledger: Ledger, held: Held) -> None:
    """Makes a holder one of another host that has been silent for an hour."""
    cell = ledger.cell(A)
    away = LeaseName("elsewhere", 1, 1, held.term)
    cell.write(str(away), b"{}")
    old = time.time() - 3600
    os.utime(Path(cell.base, str(away)), (old, old))
    cell.delete_file(str(held.name))


def test_who_finishes_first_decides_and_the_other_is_shut_out(ledger: Ledger) -> None:
    first = taken(ledger)
    publish(first.folder, b"whole")
    lost(ledger, first)  # paused between its result and the end of its lease
    assert ledger.take(A) is None
    assert ledger.state(A) is State.DONE
    ledger.discard(A)
    second = taken(ledger)
    lost(ledger, second)
    third = taken(ledger)
    with pytest.raises(TakenOver):
        publish(second.folder, b"late")
    assert ledger.state(A) is State.RUNNING
    publish(third.folder, b"whole")
    third.release(published=True)
    assert ledger.folder(A).base == third.folder.base


def test_a_cell_that_was_discarded_does_not_come_back(ledger: Ledger) -> None:
    paused = taken(ledger)
    lost(ledger, paused)
    other = taken(ledger)
    publish(other.folder, b"whole")
    other.release(published=True)
    ledger.discard(A)
    for late in (paused, other):
        with pytest.raises(TakenOver):
            publish(late.folder, b"late")
    assert ledger.state(A) is State.TO_RUN
    assert ledger.result(A) is None
    assert ledger.folder(A).names() == ["result.json"]


def test_a_holder_of_whom_nothing_but_the_lease_was_seen_is_shut_out(ledger: Ledger) -> None:
    paused = taken(ledger)
    assert ledger.cell(A).names() == [str(paused.name)]
    lost(ledger, paused)
    other = taken(ledger)
    with pytest.raises(TakenOver):
        publish(paused.folder, b"late")
    assert paused.over()
    assert not other.over()
    other.release()


def test_what_a_run_goes_on_from_is_carried_over_and_only_logs_stay(ledger: Ledger) -> None:
    first = taken(ledger)
    for name in ("config.json", "events.jsonl", "doing.json", "log.txt", "own/notes/a.csv"):
        first.folder.write(name, name.encode())
    for name in ("00000001.pt", "00000004.pt", "latest.json"):
        first.folder.write(f"checkpoints/{name}", name.encode())
    first.folder.write("model/weights.safetensors", b"of an end that was not reached")
    first.release()
    assert ledger.state(A) is State.RESUMABLE
    second = taken(ledger)
    assert second.folder.names() == ["checkpoints", "config.json", "events.jsonl", "own"]
    assert second.folder.names("checkpoints") == ["00000001.pt", "00000004.pt", "latest.json"]
    assert second.folder.read("own/notes/a.csv") == b"own/notes/a.csv"
    assert first.folder.names() == ["log.txt", "result.json"]
    assert first.folder.read("result.json") == b""
    assert [first.term[:5], second.term[:5]] == ["0001-", "0002-"]
    second.release()


@pytest.mark.parametrize("group", [False, True])
def test_what_an_attempt_left_that_was_killed_before_its_run_began_is_removed(
    ledger: Ledger, group: bool
) -> None:
    first = taken(ledger)
    first.folder.write("ray-train/0a1b2c3d/.validate_storage_marker", b"")
    first.folder.write("doing.json", b"{}")
    first.folder.write("log.txt", b"begun")
    lost(ledger, first)
    second = taken(ledger)
    if group:
        second.folder.write("ray-train/4e5f/.validate_storage_marker", b"")
        ledger.begin_group(A, second.term)
        assert second.folder.names() == ["ray-train"]  # it goes on
    assert sorted(first.folder.names()) == ["log.txt", "result.json"]


def test_each_group_of_workers_has_a_term_and_the_last_one_counts(ledger: Ledger) -> None:
    held = taken(ledger)
    one = ledger.begin_group(A, held.term)
    one.write("checkpoints/1.pt", b"1")
    one.write("checkpoints/latest.json", b"{}")
    two = ledger.begin_group(A, held.term)  # the first one's host was cut off, and comes back
    assert two.read("checkpoints/1.pt") == b"1"
    with pytest.raises(TakenOver):
        publish(one, b"late")
    publish(two, b"whole")
    assert ledger.state(A) is State.DONE
    assert ledger.begin_group(A, held.term).base == two.base  # restarted after its end: it is whole
    assert two.read("result.json") == b"whole"
    held.release(published=True)


@pytest.mark.heavy
def test_workers_that_are_restarted_after_their_result_leave_it_as_it_is(
    cell: Cell, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Train restarts a group of which one worker is lost, though the first has the result: a
    second beginning in the log of a finished cell would say that it was run again."""
    held = ledger.take(cell.signature)
    assert held is not None
    done = ledger.begin_group(cell.signature, held.term)
    done.write("log.txt", b"--- attempt 1\n")
    publish(done, b"whole")

    def files() -> dict[str, bytes]:
        top = Path(ledger.cell(cell.signature).base)
        return {str(f.relative_to(top)): f.read_bytes() for f in top.rglob("*") if f.is_file()}

    before = files()
    monkeypatch.setattr("ray.train.get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0))
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("they train"))
    monkeypatch.setattr(group, "_end_with", lambda lease, folder: None)
    task = task_of(cell, ledger, "tiny")
    group._work({"task": task, "lease": str(held.name)})
    after = files()
    assert {name: after[name] for name in before} == before
    (new,) = after.keys() - before.keys()  # nothing of the second group's but its name
    assert new.endswith("/holder")
    held.release(published=True)


def test_workers_of_an_attempt_that_has_lost_the_cell_begin_nothing(ledger: Ledger) -> None:
    held = taken(ledger)
    group = ledger.begin_group(A, held.term)
    lost(ledger, held)
    other = taken(ledger)
    with pytest.raises(TakenOver):
        publish(group, b"late")
    with pytest.raises(TakenOver):
        ledger.begin_group(A, held.term)
    assert ledger.state(A) is State.RUNNING
    other.release()


@pytest.fixture
def cell(tmp_path: Path, ledger: Ledger) -> Cell:
    path = write_experiment(tmp_path, seeds=1)
    remember(make_plan(load_experiment(path), ledger), ledger)
    return cells_of(load_experiment(path))[0]


@pytest.mark.heavy
def test_a_run_writes_nowhere_but_in_its_term(
    cell: Cell, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a run's process writes goes through these; each of them is watched."""
    written: list[str] = []
    top = ledger.cell(cell.signature).base

    def watched(name: str) -> None:
        work = getattr(Folder, name)

        def call(self: Folder, *given: object) -> object:
            path = f"{self.base}/{given[1] if name == 'copy' else given[0]}"
            if path.startswith(top):
                written.append(path[len(top) + 1 :])
            return work(self, *given)

        monkeypatch.setattr(Folder, name, call)

    for name in ("write", "first", "renew", "copy", "delete", "delete_file", "delete_folder"):
        watched(name)
    assert run_cell(task_of(cell, ledger, "tiny")).kind == "done"
    (term,) = {path.partition("/")[0] for path in written if "/" in path}
    beside = {path.partition("~")[0] for path in written if "/" not in path}
    assert beside == {"lease", "failure.json"}  # that one is removed when there is a result
    names = {path.partition("/")[2] for path in written if path.startswith(term)}
    wanted = {"config.json", "events.jsonl", "result.json", "ranks.npz", "checkpoints/latest.json"}
    assert wanted <= names
    assert ledger.folder(cell.signature).base == f"{top}/{term}"


@pytest.mark.heavy
def test_a_run_that_is_taken_over_ends_without_a_word_of_failure(
    cell: Cell, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it meets then: here the checkpoint that was just cleared away."""
    folders: list[Folder] = []
    work = Folder.write

    def write(self: Folder, name: str, content: bytes) -> None:
        if name == "latest.json" and not folders:
            folders.append(self)
            term = self.base.split("/")[-2]
            ledger.cell(cell.signature).first(f"{term}/result.json", b"")
            raise FileNotFoundError(name)
        work(self, name, content)

    monkeypatch.setattr(Folder, "write", write)
    assert run_cell(task_of(cell, ledger, "tiny")).kind == "busy"
    assert ledger.failure(cell.signature) is None


@pytest.mark.heavy
def test_a_result_says_where_it_was_trained(cell: Cell, ledger: Ledger) -> None:
    assert run_cell(task_of(cell, ledger, "tiny")).kind == "done"
    result = ledger.result(cell.signature)
    assert result is not None
    wanted = {"host": os.uname().nodename, "device": "CPU", "process": str(os.getpid())}
    assert result.ran_on == wanted
    log = ledger.folder(cell.signature).read("log.txt").decode().splitlines()[0]
    assert log.endswith(f"host {wanted['host']}, CPU, process {wanted['process']} ---")


def test_a_cell_of_an_earlier_version_goes_on_in_a_term(tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "storage")
    ledger = open_ledger(tmp_path / "storage")
    old = ledger.cell(INTERRUPTED)
    before = {name: old.read(name) for name in ("config.json", "events.jsonl")}
    pointed = json.loads(old.read("checkpoints/latest.json"))["file"]
    weights = old.read(f"checkpoints/{pointed}")
    assert ledger.folder(INTERRUPTED).base == old.base
    assert ledger.state(INTERRUPTED) is State.RESUMABLE
    held = taken(ledger, INTERRUPTED)
    assert held.folder.read(f"checkpoints/{pointed}") == weights
    assert {name: held.folder.read(name) for name in before} == before
    assert old.names() == sorted([held.term, str(held.name)])
    held.release()
    assert ledger.state(INTERRUPTED) is State.RESUMABLE

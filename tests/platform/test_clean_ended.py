"""What `supclap clean` finds of processes that were killed, or woke when all was over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger import leases
from supclap_platform.ledger.drivers import announce
from supclap_platform.ledger.holding import Held
from supclap_platform.ledger.leases import acquire
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.leftovers import Leftover, leftovers, remove
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.ledger.records import State
from supclap_platform.testing import finish, interrupt

from supclap.storage import Folder

FILE = "experiment: e\nvariants: {A: {}}\nseeds: 2\n"
WAKES = """
import os, signal, sys, time
from supclap.storage import Folder
from supclap_platform.ledger.ledger import Ledger
held = Ledger(Folder.at(sys.argv[1])).take(sys.argv[2])
held.folder.write("log.txt", b"it began")
os.kill(os.getpid(), signal.SIGSTOP)
for number in range(5):
    held.folder.write(f"model/{number}.bin", b"m" * 1000)
print("written", flush=True)
time.sleep(600)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(tmp_path / "s", writing=True)


@pytest.fixture
def cells(ledger: Ledger, tmp_path: Path) -> list[Cell]:
    path = tmp_path / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    experiment = load_experiment(path)
    remember(make_plan(experiment, ledger), ledger)
    return list(cells_of(experiment))


def taken(ledger: Ledger, cell: Cell) -> Held:
    held = ledger.take(cell.signature)
    assert held is not None
    return held


def finished_in_its_term(ledger: Ledger, cell: Cell, held: Held) -> None:
    """Gives a cell the result of a run whose files lie in the term of its holder."""
    held.folder.write("model/weights.bin", b"w" * 700)
    finished_in(held.folder, ledger, cell)
    held.release(published=True)


def finished_in(folder: Folder, ledger: Ledger, cell: Cell) -> None:
    folder.write("events.jsonl", b"")  # what has reported last is what is finished
    finish(ledger, cell, {"test.t2a.R@1": 40.0})
    assert ledger.folder(cell.signature).base == folder.base
    assert ledger.state(cell.signature) is State.DONE


def clean(tmp_path: Path, *words: str) -> str:
    done = CliRunner().invoke(main, ["clean", "--storage", str(tmp_path / "s"), *words])
    assert done.exit_code == 0, done.output
    return done.output


def tree(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.heavy
def test_the_model_of_a_process_that_woke_too_late_goes_and_its_log_stays(
    ledger: Ledger, cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells[0]
    command = [sys.executable, "-c", WAKES, str(tmp_path / "s"), cell.signature]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        os.waitpid(process.pid, os.WUNTRACED)
        with monkeypatch.context() as there:  # on another machine, a minute later
            there.setattr(leases, "_host", lambda: "elsewhere")
            there.setattr(leases, "STALE_AFTER", -1.0)
            held = taken(ledger, cell)
        finished_in_its_term(ledger, cell, held)
        needed = tree(tmp_path / "s")
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
    finally:
        process.kill()
        process.wait()
    before = tree(tmp_path / "s")
    assert len(before) == len(needed) + 5
    (line,) = [line for line in clean(tmp_path).splitlines() if line.startswith("ended")]
    assert line.split()[1:5] == ["1", "place", "5.0", "kB"]
    assert tree(tmp_path / "s") == before
    assert "removed 1 place, 5.0 kB" in clean(tmp_path, "--yes")
    assert tree(tmp_path / "s") == needed
    assert ledger.last_log(cell.signature) == ("it began",)
    assert "nothing to remove" in clean(tmp_path)


def test_of_terms_without_the_result_logs_and_ends_stay(
    ledger: Ledger, cells: list[Cell], tmp_path: Path
) -> None:
    """The attempt of a group whose driver was killed has no end: its workers' term is finished."""
    cell, other = cells
    first = taken(ledger, cell)
    first.folder.write("log.txt", b"first")
    first.release()
    attempt = taken(ledger, cell)
    group = ledger.begin_group(cell.signature, attempt.term)
    attempt.folder.write("log.txt", b"second")
    finished_in(group, ledger, cell)
    attempt.release(published=True)
    interrupted = taken(ledger, other)
    interrupted.folder.write("model/weights.bin", b"of an attempt that can go on")
    interrupted.release()
    interrupt(ledger, other)
    needed = tree(tmp_path / "s")
    attempt.folder.write("ray-train/0a/snapshot.json", b"s" * 300)
    attempt.folder.write("stop", b"")
    first.folder.write("model/weights.bin", b"m" * 500)
    first.folder.write("events.jsonl.7.part", b"p" * 20)
    first.folder.write("checkpoints/1.pt", b"c" * 40)
    group.write("ray-train/0a/snapshot.json", b"s" * 7)
    lines = {line.split()[0]: line.split()[1:5] for line in clean(tmp_path).splitlines()}
    assert lines["ended"] == ["4", "places", "807", "B"]
    assert lines["checkpoints"] == ["2", "places", "60", "B"]
    assert "removed 6 places, 867 B" in clean(tmp_path, "--yes")
    assert tree(tmp_path / "s") == needed


def test_files_of_an_earlier_version_go_only_where_a_term_is_finished(
    ledger: Ledger, cells: list[Cell], tmp_path: Path
) -> None:
    """It wrote into the cell's folder itself, without terms."""
    new, old = cells
    finished_in_its_term(ledger, new, taken(ledger, new))
    late = taken(ledger, old)
    finish(ledger, old, {"test.t2a.R@1": 40.0})
    late.release(published=True)
    ledger.cell(old.signature).write("model/weights.bin", b"w" * 10)
    needed = tree(tmp_path / "s")
    ledger.cell(new.signature).write("model/weights.bin", b"w" * 20)
    ledger.cell(new.signature).write("events.jsonl", b"e" * 3)
    late.folder.write("model/weights.bin", b"w" * 30)
    assert "removed 3 places, 53 B" in clean(tmp_path, "--only", "ended", "--yes")
    assert tree(tmp_path / "s") == needed


def test_what_became_the_result_between_the_two_looks_is_left(
    ledger: Ledger, cells: list[Cell]
) -> None:
    cell = cells[0]
    held = taken(ledger, cell)
    finish(ledger, cell, {"test.t2a.R@1": 40.0})
    held.folder.write("model/weights.bin", b"w" * 10)
    held.release(published=True)
    found, _ = leftovers(ledger)
    assert [one.kind for one in found] == ["ended"]
    own = Path(ledger.cell(cell.signature).base)
    (own / "result.json").rename(own / held.term / "result.json")
    removed: list[Leftover] = []
    remove(ledger, found, removed.append)
    assert not removed
    assert held.folder.exists("model/weights.bin")


def test_tunes_files_go_where_nobody_drives_the_search(ledger: Ledger, tmp_path: Path) -> None:
    folder = ledger.experiment_folder("e")
    folder.write("ray-tune/0a/trial/params.json", b"t" * 400)
    folder.write("cells.txt", b"not Tune's")
    driver = acquire(folder.below("search"))
    assert driver is not None
    found, _ = leftovers(ledger)
    assert found == []
    driver.release()
    found, _ = leftovers(ledger)
    assert [(one.kind, one.place, one.size) for one in found] == [
        ("strays", "experiments/e/ray-tune", 400)
    ]
    removed: list[Leftover] = []
    driver = acquire(folder.below("search"))
    assert driver is not None
    with driver:
        remove(ledger, found, removed.append)
    assert not removed
    assert "removed 1 place, 400 B" in clean(tmp_path, "--only", "strays", "--yes")
    assert folder.names() == ["cells.txt", "search"]


def test_old_files_that_only_tried_the_storage_go(ledger: Ledger, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    old = ["preflight-0011aabb", "preflight-0011aabb-22334455", "probe-66778899"]
    theirs = ["preflight-notes", "probe-1", "preflight-ccddeeff"]
    for name in (*old, *theirs):
        ledger.storage.write(name, b"")
        os.utime(storage / name, (time.time() - 3700,) * 2)
    (storage / "preflight-ccddeeff").write_bytes(b"somebody's text")
    os.utime(storage / "preflight-ccddeeff", (time.time() - 3700,) * 2)
    ledger.storage.write("preflight-99999999", b"")  # a node is being asked
    with announce(ledger, "e"):
        output = clean(tmp_path, "--yes")
        assert "left as they are: strays: e: being run" in output
    assert "removed 3 places" in clean(tmp_path, "--yes")
    left = {path.name for path in storage.iterdir() if path.is_file()}
    assert left == {*theirs, "preflight-99999999"}
    assert Folder.at(storage).exists("experiments")

"""A disk that is full when a run ends: one line, the right exit code, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.commands import run as module
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.search import phase
from supclap_platform.search.study import Book
from supclap_platform.search.trials import Trials
from supclap_platform.search.winner import read_findings, write_findings
from supclap_platform.testing import finish

from supclap.code import code_version

pytestmark = pytest.mark.heavy

FILE = """
experiment: shown
base: {epochs: 1}
variants: {A: {}, B: {loss.name: siglip}}
seeds: 1
table: {columns: [t2a.R@1]}
"""


SEARCH = """
search:
  space: {optimizer.lr: {log_uniform: [1e-4, 1e-2]}}
  objective: val.t2a.R@1
  trials: 2
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    if os.getuid():
        pytest.skip("needs the right to mount a disk")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path: Path) -> None:
    """Writes until the disk takes no more."""
    with open(path, "ab", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


@contextmanager
def kept_full(path: Path) -> Iterator[None]:
    """Within it the disk stays full, whatever a database gives back meanwhile."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.001):
            fill(path)

    fill(path)
    keeping = threading.Thread(target=keep)
    keeping.start()
    try:
        yield
    finally:
        over.set()
        keeping.join()


def test_the_last_words_of_a_run_need_no_room(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    ledger = open_ledger(disk / "storage")
    for cell in cells_of(load_experiment(path)):
        finish(ledger, cell, {"test.t2a.R@1": 41.5}, code=code_version(cell.config))
    filler = disk / "filler"
    conclude = module._conclude

    def when_full(*arguments: Any, **more: Any) -> Any:
        with kept_full(filler):
            return conclude(*arguments, **more)

    call = ["run", str(path), "--storage", str(disk / "storage")]
    with monkeypatch.context() as full:
        full.setattr(module, "_conclude", when_full)
        done = CliRunner().invoke(main, call)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    assert "41.50" in done.output
    own = disk / "storage" / "experiments" / "shown"
    assert f"{own}: cannot be written: No space left on device; every cell's result" in done.output
    assert not (own / "report.html").exists()
    filler.unlink()
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert "41.50" in (own / "table.txt").read_text()
    assert not list((disk / "storage").rglob("*.part"))


def test_the_last_words_of_a_search_need_no_room(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its trials are over; what is left is to say so, and to write it down."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "e.yaml"
    path.write_text(f"{FILE}{SEARCH}")
    ledger = open_ledger(disk / "storage", writing=True)
    book = Book(Trials(load_experiment(path)), ledger)
    book.prepare()
    for number in range(2):
        trial = book.ask()
        assert trial is not None
        book.params(trial)
        book.complete(trial, [40.0 + number])
    own = disk / "storage" / "experiments" / "shown"
    filler = disk / "filler"

    def when_full(*arguments: Any, **more: Any) -> None:
        with kept_full(filler):
            write_findings(*arguments, **more)

    call = ["run", str(path), "--storage", str(disk / "storage")]
    with monkeypatch.context() as full:
        full.setattr(phase, "write_findings", when_full)
        done = CliRunner().invoke(main, call)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert "best: trial 1: val.t2a.R@1 (max) 41" in done.output
    assert lines[-1] == (
        f"{own}: cannot be written: No space left on device; what the search has found so far is "
        "kept: make room, and the same command goes on"
    )
    assert load_winner(path, ledger) == []
    filler.unlink()
    done = CliRunner().invoke(main, [*call, "--address", "127.0.0.1:1"])  # the grid asks for Ray
    assert "best: trial 1" in done.output
    assert load_winner(path, ledger) == [1]


def load_winner(path: Path, ledger: Ledger) -> list[int]:
    """The number of the trial that the ledger has as the winner of a file's search."""
    found = read_findings(load_experiment(path), ledger)
    return [one.number for one in found.best[:1]] if found else []


def test_a_full_disk_at_the_start_is_one_line(tmp_path: Path, disk: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    fill(disk / "filler")
    for command in ("run", "table"):
        call = [command, str(path), "--storage", str(disk / "storage"), "--cpus", "1"]
        done = CliRunner().invoke(main, call[: 4 if command == "table" else 6])
        assert done.exit_code == 2
        assert "No space left on device" in done.output.splitlines()[-1]
        assert "Traceback" not in done.output

"""A disk that is full when a run ends: one line, the right exit code, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.commands import run as module
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
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
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


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
        fill(filler)
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
    assert not (own / "table.txt").exists()
    filler.unlink()
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert "41.50" in (own / "table.txt").read_text()
    assert not list((disk / "storage").rglob("*.part"))


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

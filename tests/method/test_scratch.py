"""What processes leave of temporary files: removed only where it is known that nobody uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from supclap import scratch as module
from supclap.scratch import LOCK, START, held_folder, scratch_folder, sweep

PREFIX = f"{START}ray-"
HOLD = """
import sys, time
from pathlib import Path
from supclap.scratch import held_folder
with held_folder("ray", Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def holder(parent: Path, *before: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a folder below ``parent``."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.heavy
def test_the_folder_of_a_live_process_stays_and_a_killed_ones_goes(tmp_path: Path) -> None:
    process, folder = holder(tmp_path)
    try:
        # As another container sees it: under a process number that is nobody's here.
        moved = folder.rename(tmp_path / f"{PREFIX}4194304-seen")
        sweep([tmp_path])
        assert (moved / LOCK).exists()
    finally:
        process.kill()
        process.wait()
    sweep([tmp_path])
    assert not moved.exists()


@pytest.mark.heavy
def test_what_cannot_be_known_to_be_dead_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / f"{PREFIX}4194304-of-an-earlier-version"
    silent.mkdir()
    begun = tmp_path / f"{PREFIX}4194304-just-made"  # its process is about to take the lock
    begun.mkdir()
    (begun / LOCK).write_text("")
    process, folder = holder(tmp_path)
    process.kill()
    process.wait()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, "kernel", lambda: "another machine's")
        sweep([tmp_path])
    assert folder.exists()
    sweep([tmp_path])
    assert (silent.exists(), begun.exists(), folder.exists()) == (True, True, False)


def test_a_folder_is_empty_at_first_and_removed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder("log") as folder:
        assert list(folder.iterdir()) == []  # all that lies there may be sent elsewhere
        (folder / "log.txt").write_text("a word")
        sweep()
        assert (folder / "log.txt").exists()
    with pytest.raises(ZeroDivisionError), scratch_folder("log"):
        raise ZeroDivisionError
    with held_folder("ray", tmp_path) as held:
        assert [path.name for path in held.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_a_process_in_a_container_of_its_own_is_left_alone(tmp_path: Path) -> None:
    alone = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if os.getuid() or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("needs the right to make a namespace of processes")
    process, folder = holder(tmp_path, *alone)
    try:
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        assert int(number) < 10  # it counts its processes from 1
        sweep([tmp_path])
        assert (folder / LOCK).exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 10
    while folder.exists() and time.monotonic() < until:
        sweep([tmp_path])
        time.sleep(0.1)
    assert not folder.exists()


SAVES = """
import sys, time
from pathlib import Path
from supclap.record import Record
from supclap.storage import Folder

class Model:
    def save(self, folder):
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"w" * 1000)
        print(folder, flush=True)
        time.sleep(600)

Record(Folder.at(sys.argv[1])).finish(Model(), {}, [], None, None)
"""


@pytest.mark.heavy
def test_a_model_that_was_being_saved_goes_after_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    process = subprocess.Popen(
        [sys.executable, "-c", SAVES, str(tmp_path / "run")],
        env={**os.environ, "TMPDIR": str(own)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        model = Path(process.stdout.readline().strip())
        sweep()
        assert (model / "weights.safetensors").exists()
    finally:
        process.kill()
        process.wait()
    assert (model / "weights.safetensors").exists()
    sweep()
    assert list(own.iterdir()) == []


# They last beyond a context: a page that the browser shows, what a notebook holds, and a model that
# MLflow opens, by code that it keeps apart from this package.
OTHERS = {"opening.py", "pyfunc_model.py", "report.py", "scratch.py"}


def test_no_other_temporary_folder_stays_when_its_process_is_killed() -> None:
    root = Path(module.__file__).parents[1]
    words = ("TemporaryDirectory(", "mkdtemp(", "mkstemp(", "NamedTemporaryFile(")
    paths = [*(root / "supclap").rglob("*.py"), *(root / "platform").rglob("*.py")]
    assert len(paths) > 300
    found = {p.name for p in paths if any(w in p.read_text(encoding="utf-8") for w in words)}
    assert found == OTHERS

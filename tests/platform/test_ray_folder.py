"""What drivers leave in /tmp: removed only where it is known that nobody uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from supclap_platform.running import ray_folder as module
from supclap_platform.running.ray_folder import LOCK, PREFIX, ray_folder, sweep

pytestmark = pytest.mark.heavy

HOLD = """
import sys, time
from pathlib import Path
from supclap_platform.running import ray_folder as module
module.PARENT = Path(sys.argv[1])
with module.ray_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "PARENT", tmp_path)
    return tmp_path


def driver(parent: Path, *before: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a folder below ``parent``."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.heavy
def test_a_live_drivers_folder_stays_and_a_killed_ones_goes(parent: Path) -> None:
    process, folder = driver(parent)
    try:
        # As another container sees it: under a process number that is nobody's here.
        moved = folder.rename(parent / f"{PREFIX}4194304-seen")
        sweep()
        assert (moved / LOCK).exists()
    finally:
        process.kill()
        process.wait()
    sweep()
    assert not moved.exists()


@pytest.mark.heavy
def test_what_cannot_be_known_to_be_dead_stays(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = parent / f"{PREFIX}4194304-of-an-earlier-version"
    silent.mkdir()
    begun = parent / f"{PREFIX}4194304-just-made"  # its driver is about to take the lock
    begun.mkdir()
    (begun / LOCK).write_text("")
    process, folder = driver(parent)
    process.kill()
    process.wait()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, "_kernel", lambda: "another machine's")
        sweep()
    assert folder.exists()
    sweep()
    assert (silent.exists(), begun.exists(), folder.exists()) == (True, True, False)


def test_a_folder_is_removed_at_the_end(parent: Path) -> None:
    with ray_folder() as folder:
        sweep()
        assert Path(folder, LOCK).exists()
    assert list(parent.iterdir()) == []


def test_a_driver_in_a_container_of_its_own_is_left_alone(parent: Path) -> None:
    alone = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if os.getuid() or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("needs the right to make a namespace of processes")
    process, folder = driver(parent, *alone)
    try:
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        assert int(number) < 10  # it counts its processes from 1
        sweep()
        assert (folder / LOCK).exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 10
    while folder.exists() and time.monotonic() < until:
        sweep()
        time.sleep(0.1)
    assert not folder.exists()

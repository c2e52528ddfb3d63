"""Waiting for what another process or thread does, on a machine of any speed and load."""

import subprocess
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil

# Seconds after which a wait is given up. No test measures by it: only one that fails lasts so long.
PATIENCE = 600.0


def until(
    condition: Callable[[], object],
    process: subprocess.Popen[Any] | None = None,
    pause: float = 0.05,
) -> None:
    """Waits until a condition holds; fails at once where ``process``, which is to bring it about,
    has ended without, and shows what it printed."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None:
            assert condition(), process.communicate()[0]  # its last act may have been that
            return
        assert time.monotonic() < end, f"not within {PATIENCE:g} s"
        time.sleep(pause)


def is_over(pid: int) -> bool:
    """Whether a process has; one that nobody has asked how is still listed."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(url: str) -> bool:
    """Whether a server answers at a URL, as whatever it answers."""
    try:
        with urlopen(url, timeout=30):
            return True
    except HTTPError:
        return True
    except OSError:
        return False

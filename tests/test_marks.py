"""What is not marked `heavy` starts no process, so that `make quick` stays quick."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable

import pytest


def child(kind: str) -> None:
    process: multiprocessing.Process = multiprocessing.get_context(kind).Process(target=print)  # type: ignore[attr-defined]
    process.start()
    process.join()


WAYS: dict[str, Callable[[], object]] = {
    "program": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
    "shell": lambda: os.system("true"),
    "posix_spawn": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "spawn": lambda: child("spawn"),
    "forkserver": lambda: child("forkserver"),
    "fork": lambda: child("fork"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_unmarked_test_that_starts_a_process_fails(way: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"starts a process .*mark it `heavy`"):
        WAYS[way]()


@pytest.mark.heavy
@pytest.mark.parametrize("way", WAYS)
def test_a_marked_one_may(way: str) -> None:
    WAYS[way]()

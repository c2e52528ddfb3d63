"""The cache of made data: whole or not there, with several builders, kills and a full disk."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE, until

from supclap.config import DataConfig
from supclap.data.cache import build_once, cache_folder
from supclap.data.soundscenes import soundscenes_collection
from supclap.errors import InputError
from supclap.made_clips import made_clips

MAKE = """
import sys
from pathlib import Path
from supclap.config import DataConfig
from supclap.data.soundscenes import soundscenes_collection
made = soundscenes_collection(DataConfig(clips=16), Path(sys.argv[1]), workers=2)
print(made.folder.name, made.content_hash())
"""


def run(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def left(cache: Path) -> list[str]:
    """All but locks, and what is kept of modules' syntax."""
    names = (path.name for path in cache.iterdir())
    return sorted(n for n in names if not n.endswith(".lock") and not n.startswith("syntax-"))


def test_the_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("SUPCLAP_CACHE")
    assert cache_folder() == Path("/two/supclap")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/supclap")


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    target = tmp_path / "data"

    def fail(scratch: Path) -> None:
        (scratch / "half").write_text("half")
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        build_once(target, fail)
    assert left(tmp_path) == []
    build_once(target, lambda scratch: (scratch / "whole").touch())
    assert left(tmp_path) == ["data"]
    build_once(target, fail)  # not called: it is there


def test_a_cache_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot keep made data here: .*SUPCLAP_CACHE"):
        build_once(tmp_path / "file" / "data", lambda scratch: None)


@pytest.mark.heavy
def test_two_that_ask_at_once_get_the_same_whole_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies where a plan says that it will, and takes about what that says."""
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path))
    place, size = made_clips(DataConfig(clips=16))
    both = [run(MAKE, tmp_path) for _ in range(2)]
    answers = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    name, content = answers[0][0].split()
    assert left(tmp_path) == [name]
    assert place == tmp_path / name
    assert size == pytest.approx(sum(f.stat().st_size for f in place.iterdir()), rel=0.1)
    alone = soundscenes_collection(DataConfig(clips=16), tmp_path / "alone", workers=1)
    assert alone.content_hash() == content


@pytest.mark.heavy
def test_a_killed_build_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    code = MAKE.replace("clips=16", "clips=400")
    first = run(code, tmp_path)
    until(lambda: list(tmp_path.glob(".*.building-*/*.arrow*")), pause=0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (scratch,) = left(tmp_path)
    assert ".building-" in scratch
    # The next one clears it away; only its own few clips are made.
    key = scratch[1:].split(".building-")[0]
    build_once(tmp_path / key, lambda folder: (folder / "new").touch())
    assert left(tmp_path) == [key]


@pytest.mark.heavy
def test_processes_that_make_clips_end_with_their_parent(tmp_path: Path) -> None:
    code = """
        import sys, time
        from supclap.data.soundscenes import processes
        started = processes._start
        def start():
            child = started()
            print(child.pid, flush=True)
            return child
        processes._start = start
        list(processes.ordered_map(time.sleep, [0.05] * 4000, 2))
    """
    parent = run(code)
    children = [int(parent.stdout.readline()) for _ in range(2)]
    time.sleep(0.5)  # while they are at work
    parent.kill()
    parent.communicate()
    until(lambda: not any(map(alive, children)))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.heavy
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        from pathlib import Path
        from supclap.config import DataConfig
        from supclap.data.soundscenes import soundscenes_collection
        from supclap.errors import InputError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            soundscenes_collection(DataConfig(clips=40), Path(sys.argv[1]), workers=1)
        except InputError as error:
            print(error)
    """
    process = run(code, tmp_path / "cache")
    told, trouble = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, trouble
    assert "cannot keep made data here" in told
    assert told.count("\n") == 1
    assert left(tmp_path / "cache") == []


@pytest.mark.heavy
def test_an_exception_in_a_process_comes_out_as_it_is() -> None:
    from supclap.data.soundscenes.processes import ordered_map

    assert list(ordered_map(abs, range(-100, 0), 3)) == list(range(100, 0, -1))
    with pytest.raises(ValueError, match="invalid literal"):
        list(ordered_map(int, ["1"] * 40 + ["x"], 2))


@pytest.mark.heavy
def test_a_process_that_is_killed_is_told_of() -> None:
    from supclap.data.soundscenes.processes import ordered_map

    with pytest.raises(RuntimeError, match="ended early"):
        list(ordered_map(os._exit, [3] * 40, 2))

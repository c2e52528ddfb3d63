"""Several workers are one run: real processes over gloo, against the run of one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import everything, tiny_config
from waiting import PATIENCE, until

from supclap.config import RunConfig
from supclap.errors import InputError
from supclap.events import EpochEnded, Event, Finished
from supclap.launcher import WorkerLost, launch
from supclap.storage import Folder
from supclap.training import TrainingError, fit

pytestmark = pytest.mark.heavy


def figures(events: list[Event]) -> list[dict[str, float]]:
    return [event.metrics for event in events if isinstance(event, EpochEnded | Finished)]


def alike(one: list[Event], other: list[Event]) -> None:
    for mine, theirs in zip(figures(one), figures(other), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3, abs=1e-4)


def test_two_workers_reach_the_metrics_of_one(data: Path, tmp_path: Path) -> None:
    # Batches of 7 are uneven for two workers; val and test (12 clips) are not for five.
    # The workers agree without a word on whose captions a clip bears, and on hard negatives.
    config = tiny_config(
        data,
        batch_size=7,
        model__dropout=0.0,
        data__noise=0.25,
        data__hard_negatives=3,
        also={"shift": {"split": "shifted"}, "single": {"split": "events"}},
    )
    one = list(fit(config, Folder.at(tmp_path / "one")))
    two = list(launch(config, str(tmp_path / "two"), 2))
    alike(one, two)
    with np.load(tmp_path / "one/ranks.npz") as mine, np.load(tmp_path / "two/ranks.npz") as theirs:
        assert mine.files == theirs.files
        assert all(len(mine[name]) == len(theirs[name]) for name in mine.files)


@pytest.mark.parametrize("multilingual", [None, "kcl"])
def test_a_group_of_one_worker_is_no_group_to_the_bit(
    data: Path, tmp_path: Path, multilingual: str | None
) -> None:
    config = tiny_config(data, loss__multilingual=multilingual, data__languages=["eng", "deu"])
    list(fit(config, Folder.at(tmp_path / "alone")))
    list(launch(config, str(tmp_path / "group"), 1))
    alone, group = (everything(Folder.at(tmp_path / name)) for name in ("alone", "group"))
    assert "model/weights.safetensors" in alone
    assert group == alone


def test_with_chunks_that_divide_alike_dropout_is_the_same_too(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, chunk=2, model__dropout=0.2, loss__svr__radius="static")
    alike(
        list(fit(config, Folder.at(tmp_path / "one"))),
        list(launch(config, str(tmp_path / "two"), 2)),
    )


def test_a_run_of_three_workers_goes_on_with_one(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, model__dropout=0.0, epochs=2)
    undisturbed = list(fit(config, Folder.at(tmp_path / "one")))
    stream = launch(config, str(tmp_path / "many"), 3)
    next(stream), next(stream)
    stream.close()
    alike(undisturbed, list(fit(config, Folder.at(tmp_path / "many"))))


def test_a_killed_worker_ends_the_run_and_a_restart_ends_it_bit_identical(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    process_type = multiprocessing.get_context("spawn").Process
    start = process_type.start

    def noting(self: Any) -> None:
        start(self)
        started.append(self.pid)

    monkeypatch.setattr(process_type, "start", noting)
    config = tiny_config(data, epochs=3)
    list(launch(config, str(tmp_path / "undisturbed"), 2))
    stream = launch(config, str(tmp_path / "run"), 2)
    next(stream), next(stream)
    began = time.monotonic()
    os.kill(started[-1], signal.SIGKILL)
    with pytest.raises(WorkerLost, match=r"worker 1 of 2 was killed \(SIGKILL\)"):
        list(stream)
    assert time.monotonic() - began < 60, "the other worker waited for the dead one"
    assert not _alive(started[-2])
    list(launch(config, str(tmp_path / "run"), 2))
    found, expected = (everything(Folder.at(tmp_path / name)) for name in ("run", "undisturbed"))
    # The package may be edited between the two runs' starts: that is another test's matter.
    for files in (found, expected):
        files["events.jsonl"][0].pop("code")
        files["result.json"].pop("code")
    assert found == expected


def test_faults_of_any_worker_are_told_as_of_one(data: Path, tmp_path: Path) -> None:
    diverging = tiny_config(data, optimizer={"lr": 1e30, "warmup": 0.0})
    with pytest.raises(TrainingError, match="loss or gradient is not finite"):
        list(launch(diverging, str(tmp_path / "diverging"), 2))
    with pytest.raises(InputError, match="no split 'valid'"):
        list(launch(tiny_config(data, data__val="valid"), str(tmp_path / "wrong"), 2))


def test_it_joins_the_group_that_torchrun_describes(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, model__dropout=0.0, epochs=1)
    one = list(fit(config, Folder.at(tmp_path / "one")))
    (tmp_path / "run.json").write_text(config.model_dump_json())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    code = (
        "import atexit, glob, json, os, sys\n"
        "from supclap.config import parse_config\n"
        "from supclap.storage import Folder\n"
        "from supclap.training import fit\n"
        "def left():\n"  # a thread of gloo's that is left may abort the process as it ends
        "    names = [open(name).read() for name in glob.glob('/proc/self/task/*/comm')]\n"
        "    if any('gloo' in name for name in names): print(names, file=sys.stderr); os._exit(3)\n"
        "atexit.register(left)\n"  # registered first, called last
        "list(fit(parse_config(json.load(open(sys.argv[1]))), Folder.at(sys.argv[2])))"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "run.json"), str(tmp_path / "two")],
            env={**os.environ, **group, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    assert [worker.wait(PATIENCE) for worker in workers] == [0, 0]
    alike(one, list(fit(config, Folder.at(tmp_path / "two"))))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_do_not_outlive_the_process_that_started_them(data: Path, tmp_path: Path) -> None:
    config: RunConfig = tiny_config(data, epochs=2000)
    (tmp_path / "run.json").write_text(config.model_dump_json())
    code = (
        "import json, sys; from multiprocessing import active_children\n"
        "from supclap.config import parse_config; from supclap.launcher import launch\n"
        "if __name__ == '__main__':\n"
        "    events = launch(parse_config(json.load(open(sys.argv[1]))), sys.argv[2], 2)\n"
        "    next(events); next(events)\n"
        "    print(*(child.pid for child in active_children()), flush=True)\n"
        "    list(events)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen(
        [
            sys.executable,
            str(tmp_path / "parent.py"),
            str(tmp_path / "run.json"),
            str(tmp_path / "r"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    until(lambda: not any(map(_alive, children)))

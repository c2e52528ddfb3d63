"""One attempt at a cell, in this process: what a refused one leaves in the cell's folder."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.run import RunError
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.ledger.records import State
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.ending import Ending
from supclap_platform.running.group import _for_good
from supclap_platform.running.task import task_of
from tiny_grid import write_experiment
from tiny_run import everything

from supclap.errors import InputError
from supclap.storage import Folder


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return cells_of(load_experiment(write_experiment(tmp_path, epochs=1, seeds=1)))[0]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = open_ledger(tmp_path / "storage")
    remember(make_plan(load_experiment(tmp_path / "tiny.yaml"), ledger), ledger)
    return ledger


def attempt(cell: Cell, ledger: Ledger) -> Ending:
    return run_cell(task_of(cell, ledger, "tiny"))


@pytest.mark.parametrize(
    ("error", "text", "wrong"),
    [
        (InputError("data: none"), "data: none", True),
        (RunError("step 3: not finite"), "step 3: not finite", False),
        (
            torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be late"),
            "AcceleratorError: CUDA error: out of memory",
            False,
        ),
        (RuntimeError("device-side assert triggered"), None, False),
        (OSError("disk"), None, False),
    ],
)
def test_of_several_workers_what_new_ones_would_meet_again_ends_the_cell(
    error: Exception, text: str | None, wrong: bool
) -> None:
    left = _for_good(error, "s3://key:secret@bucket")
    if text is None:
        assert left is None
    else:
        assert left is not None
        assert (left.error.startswith(text), left.input) == (True, wrong)


@pytest.mark.heavy
def test_a_refused_cell_leaves_its_log_alone_and_runs_once_the_data_are_there(
    cell: Cell, ledger: Ledger, tmp_path: Path
) -> None:
    """The same signature: where a collection lies is no part of it."""
    elsewhere = cell.config.data.model_copy(update={"folder": str(tmp_path / "nowhere")})
    wrong = replace(cell, config=cell.config.model_copy(update={"data": elsewhere}))
    ending = attempt(wrong, ledger)
    assert (ending.kind, ending.configuration) == ("failed", True)
    assert "nowhere: not a prepared collection" in ending.error
    assert ledger.folder(cell.signature).names() == ["log.txt", "result.json"]
    assert ledger.folder(cell.signature).read("result.json") == b""  # its term is over
    assert ledger.state(cell.signature) is State.TO_RUN
    assert attempt(cell, ledger).kind == "done"


def test_a_cell_goes_on_with_its_data_in_another_place(
    cell: Cell, ledger: Ledger, tmp_path: Path
) -> None:
    stored = cell.config.model_copy(update={"checkpoint_steps": 1})
    folder = ledger.folder(cell.signature)
    folder.write("config.json", json.dumps(stored.model_dump(mode="json")).encode())
    (tmp_path / "tones").rename(tmp_path / "moved")
    moved = cell.config.data.model_copy(update={"folder": str(tmp_path / "moved")})
    config = cell.config.model_copy(update={"data": moved})
    assert attempt(replace(cell, config=config), ledger).kind == "done"
    folder = ledger.folder(cell.signature)
    assert json.loads(folder.read("config.json")) == config.model_dump(mode="json")


ALONE = """
import sys
from pathlib import Path
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.task import task_of

experiment, ledger = load_experiment(Path(sys.argv[1])), open_ledger(Path(sys.argv[2]))
remember(make_plan(experiment, ledger), ledger)
assert run_cell(task_of(cells_of(experiment)[-1], ledger, "tiny")).kind == "done"
"""


@pytest.mark.heavy
def test_a_cell_after_others_in_one_process_is_that_of_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of Ray runs one cell after another: nothing of one may reach the next."""
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    path = write_experiment(tmp_path, seeds=1)
    frozen = "  heads: {model: {audio.freeze: true, text.freeze: true}, loss.svr: {radius: static}}"
    text = path.read_text(encoding="utf-8").replace("seeds: 1", f"{frozen}\nseeds: 1")
    path.write_text(text, encoding="utf-8")
    *others, last = cells_of(load_experiment(path))
    assert last.config.model.audio.freeze
    ledger = open_ledger(tmp_path / "storage")
    remember(make_plan(load_experiment(path), ledger), ledger)
    elsewhere = last.config.data.model_copy(update={"folder": str(tmp_path / "nowhere")})
    broken = replace(last, config=last.config.model_copy(update={"data": elsewhere}))

    def state() -> list[object]:
        drawn = [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]
        return [*drawn, torch.get_num_threads(), torch.get_default_dtype(), os.getcwd()]

    torch.set_num_threads(1)  # as a cell of one core has it
    before = state()
    kinds = [attempt(cell, ledger).kind for cell in (*others, broken, last)]
    assert kinds == ["done"] * len(others) + ["failed", "done"]
    assert state() == before

    alone = tmp_path / "alone"
    subprocess.run([sys.executable, "-c", ALONE, str(path), str(alone)], check=True)
    folders = [
        Ledger(Folder.at(place)).folder(last.signature) for place in (tmp_path / "storage", alone)
    ]
    one, other = (everything(folder) for folder in folders)
    one.pop("log.txt"), other.pop("log.txt")  # that of the failed attempt too
    assert one == other


@pytest.mark.heavy  # imports Ray
def test_cells_of_other_code_of_the_users_get_processes_of_their_own() -> None:
    """Ray runs a task in a process of an earlier one where both have the same environment."""
    from supclap_platform.running import executor

    none, one, other = (executor._processes_for(code) for code in ("", "a" * 12, "b" * 12))
    assert none == {}  # SupCLAP's own cells share theirs
    environments = [options["runtime_env"]["env_vars"] for options in (one, other)]
    assert environments[0] != environments[1]
    assert one == executor._processes_for("a" * 12)

"""What a plan says of memory and disk, beside what there is."""

from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.method import Footprint
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.forecast import Estimates
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan
from supclap_platform.ledger.room import Room, room
from tiny_grid import write_experiment

import supclap.footprint
import supclap.timing
from supclap.config import RunConfig
from supclap.timing import Estimate

Usage = namedtuple("Usage", "total used free")
Memory = namedtuple("Memory", "available")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cells: 500 MB a worker, a model of 100 MB, checkpoints of 300 MB, 50 MB in the cache."""

    def estimate(config: RunConfig, workers: int, threads: int, gpu: bool) -> Estimate:
        return Estimate(10.0, 1.0, 0.0, 3, supclap.footprint.Footprint(500.0, 100.0, 300.0, 50.0))

    monkeypatch.setattr(supclap.timing, "estimate", estimate)
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    return write_experiment(tmp_path)


def lines(file: Path, monkeypatch: pytest.MonkeyPatch, memory: float, disk: float) -> list[str]:
    """The last lines of a plan on a machine with so many GB free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(int(memory * 1e9)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, int(disk * 1e9)))
    arguments = ["plan", str(file), "--storage", str(file.parent / "s"), "--at-once", "2"]
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False)
    return shown.stdout.splitlines()[-3:]


def test_memory_and_disk_stand_beside_what_there_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, disk, forecast = lines(file, monkeypatch, 8, 100)
    assert memory == (
        "memory: 500.00 MB a worker (an estimate from one step), 1.00 GB with 2 at once, of "
        "8.00 GB that are free here"
    )
    # Four models, and two checkpoints of each of the two cells that run at once.
    assert disk == (
        f"disk: 1.60 GB (4 models, and checkpoints while cells run) in {file.parent}/s, of "
        f"100.00 GB that are free; 50.00 MB in {file.parent}/cache, of 100.00 GB"
    )
    assert forecast.startswith("forecast: 4 cells take")
    short, full, _ = lines(file, monkeypatch, 0.9, 1.5)
    assert short.endswith(
        "of 900.00 MB that are free here: it does not fit; fewer at once (run --cpus 1), or lower "
        "batch_size, or set chunk"
    )
    assert full.endswith(": it does not fit; `supclap clean`, or --storage ELSEWHERE")


def test_finished_cells_know_their_memory_better_and_fewer_models_take_less(
    file: Path,
) -> None:
    ledger = open_ledger(file.parent / "s")
    plan = make_plan(load_experiment(file), ledger, code_of=lambda _: "now")
    form = plan.cells[0].shape
    size = Footprint(500.0, 100.0, 600.0, 50.0)
    first = Estimates({form: 1.0}, 1, of={form: "data"}, footprints={form: size})
    assert room(plan, 2, first) == Room(500.0, 1000.0, 0, 4 * 100 + 2 * 2 * 300, 4, 50.0)
    assert room(plan, 2, None) is None
    keep = plan.experiment.keep.model_copy(update={"models": "none"})
    without = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, keep=keep))
    found = room(without, 1, first)
    assert found is not None
    assert (found.disk, found.models) == (2 * 300.0, 0)

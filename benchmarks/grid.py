"""What running a grid costs: `supclap run` against a bare loop, and the driver with 1,000 cells.

    python -m benchmarks.grid                      both parts
    python -m benchmarks.grid --cells 8 --epochs 6 --at-once 2
    python -m benchmarks.grid --only driver

Aim: wall time at most 1.10 times that of the same runs in a bare Python loop at the same
concurrency, for cells of 20 s. Both sides start from nothing: interpreter, imports, processes. On
the side of `supclap run` that includes Ray, the live view, the table and MLflow's mirror.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan
from supclap_platform.running.cluster import connected
from supclap_platform.running.ending import Ending
from supclap_platform.running.executor import RayExecutor
from supclap_platform.running.grid import Grid, Phase
from supclap_platform.running.monitor import Monitor
from supclap_platform.running.task import Task
from supclap_platform.running.view import View

from benchmarks.machine import describe, print_table, spent_by
from supclap.data import open_data

AIM = 1.10
SIZES = (10, 100, 1000)
FILE = """
experiment: cost
base: {{data: {{name: soundscenes, clips: {clips}}}, batch_size: 32, epochs: {epochs}}}
variants: {{InfoNCE: {{}}}}
seeds: {seeds}
"""


def main() -> None:
    """Prints one table for each part."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--cells", type=int, default=6)
    options.add_argument("--clips", type=int, default=1000)
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--at-once", type=int, default=2)
    options.add_argument("--only", choices=("loop", "driver"))
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of each cell, on both sides
    print(describe() + "\n")
    if given.only != "driver":
        against_a_loop(given.cells, given.clips, given.epochs, given.at_once)
    if given.only != "loop":
        driver(given.at_once)


def against_a_loop(cells: int, clips: int, epochs: int, at_once: int) -> None:
    """The same runs by `supclap run` and by a pool of processes; both from nothing."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "cost.yaml")
        path.write_text(FILE.format(clips=clips, epochs=epochs, seeds=cells), encoding="utf-8")
        configs = [cell.config for cell in cells_of(load_experiment(path))]
        open_data(configs[0].data)  # made once, before either side is timed
        arguments = [place, str(at_once), *(c.model_dump_json() for c in configs)]
        loop = _timed(["-m", "benchmarks.bare_loop", *arguments], Path(place), "loop-*")
        run = ["run", str(path), "--storage", f"{place}/storage", "--cpus", str(at_once)]
        ours = _timed(["-m", "supclap_platform", *run], Path(place), "storage/cells/*/[0-9]*")
    sides = {"bare loop": loop, "supclap run": ours}
    print(f"{cells} cells, {at_once} at once, {loop.seconds_of_a_cell:.1f} s each in the loop")
    print_table(
        ["", "wall s", "against the loop", "start", "cells", "end", "processor s", "of a cell, s"],
        [
            [
                name,
                f"{side.wall:.1f}",
                f"{side.wall / loop.wall:.2f}",
                f"{side.start:.1f}",
                f"{side.cells:.1f}",
                f"{side.wall - side.start - side.cells:.1f}",
                f"{side.processor:.1f}",
                f"{side.seconds_of_a_cell:.1f}",
            ]
            for name, side in sides.items()
        ],
    )
    steady = ours.cells / loop.cells
    print(
        f"aim: wall at most {AIM:.2f} for cells of 20 s. From the first cell's first step to the "
        f"last one's end alone: {steady:.2f}\n"
    )


@dataclass(frozen=True)
class Side:
    """What one way to run the cells took, in seconds."""

    wall: float
    start: float  # until the first cell has its data and model
    cells: float  # until the last cell's end
    processor: float  # of all its processes
    seconds_of_a_cell: float  # mean


def driver(at_once: int) -> None:
    """Cells that do nothing, as real Ray tasks: what is left is the driver's own cost."""
    rows = []
    with connected(cpus=at_once) as cluster, tempfile.TemporaryDirectory() as place:
        for size in SIZES:
            path = Path(place, "cost.yaml")
            path.write_text(FILE.format(clips=1000, epochs=1, seeds=size), encoding="utf-8")
            ledger = open_ledger(Path(place, str(size)))
            before = psutil.Process().memory_info().rss
            plan = make_plan(load_experiment(path), ledger)
            executor = RayExecutor(cluster, ledger, "cost", work=nothing)
            grid = Grid(plan, ledger, executor)
            monitor = Monitor(plan, grid, ledger, at_once)
            start = time.perf_counter()
            with View(Console(file=io.StringIO())) as view:
                for _ in grid.run():
                    if view.due():
                        view.show(monitor.progress())
            seconds = time.perf_counter() - start
            assert len(grid.of(Phase.DONE)) == size
            grown = (psutil.Process().memory_info().rss - before) / 2**20
            whole = psutil.Process().memory_info().rss / 2**20
            per_cell = f"{1000 * seconds / size:.1f}"
            rows.append([str(size), f"{seconds:.2f}", per_cell, f"{grown:.1f}", f"{whole:.0f}"])
    print_table(["empty cells", "s", "ms a cell", "MB more", "MB in all"], rows)


def nothing(task: Task) -> Ending:
    """An empty cell."""
    return Ending("done")


def _timed(arguments: list[str], place: Path, folders: str) -> Side:
    began = time.time()
    spent = spent_by(arguments)
    events = [_events(folder) for folder in place.glob(folders)]
    first = min(lines[0]["time"] for lines in events)
    last = max(lines[-1]["time"] for lines in events)
    seconds = sum(lines[-1]["seconds"] for lines in events) / len(events)
    return Side(spent.wall, first - began, last - first, spent.processor, seconds)


def _events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    main()

"""What the platform costs at size: thousands of cells that train nothing, from the shell and back.

    python -m benchmarks.scale                      # 1,000 cells: some minutes
    python -m benchmarks.scale --cells 10000 --only done

Two tables. *run*: `supclap run` of a training loop that returns at once, so that all that is left
is the platform: Ray, leases, events, results, MLflow, table and report. *done*: `supclap plan`,
`run` (with nothing to do; the first time it shows MLflow all of them), `status` and `report` of an
experiment whose cells are all done, and `sync` between, until MLflow shows all and the report leads
to it: the last of the runs is the one that has nothing to do.
Processor seconds are of the command with all its processes; other work on the machine does not
count in them, while it does in the wall's.

Aims: at most 0.05 s a cell, and 6 s for the run of 10,000 cells that has nothing to do.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.kept_code import keep_code
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.testing import finish

from benchmarks.machine import Spent, describe, print_table, spent_by

A_CELL, NOTHING_TO_DO = 0.05, 6.0  # seconds: the aims
SEEDS = 5
LOOP = """
from pydantic import BaseModel


class Mine:
    class Config(BaseModel):
        epochs: int = 1
        width: int = 1

    reports = {"val.accuracy": "high", "test.accuracy": "high"}
    select = "val.accuracy"

    def fit(self, config, run):
        run.report(1, {"val.accuracy": float(config.width % 100)})
        return {"test.accuracy": float((config.width + run.seed) % 100)}
"""
FILE = """
experiment: scale
method: loop.py:Mine
base: {{epochs: 1}}
variants:
{rows}
seeds: {seeds}
baseline: row 1
table: {{columns: [test.accuracy]}}
claims: [row 2 > row 1 on test.accuracy]
"""


def main() -> None:
    """Prints one table for each part."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--cells", type=int, default=1000, help="a multiple of the seeds")
    options.add_argument("--seeds", type=int, default=SEEDS)
    options.add_argument("--only", choices=("run", "done"))
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"{describe()}; load before {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as place:
        path = write_experiment(Path(place), given.cells, given.seeds)
        if given.only != "done":
            run(path, given.cells)
        if given.only != "run":
            done(path, given.cells)


def write_experiment(folder: Path, cells: int, seeds: int) -> Path:
    """An experiment file with a loop beside it that trains nothing."""
    (folder / "loop.py").write_text(LOOP, encoding="utf-8")
    rows = "\n".join(f"  row {n}: {{width: {n}}}" for n in range(1, cells // seeds + 1))
    path = folder / "scale.yaml"
    path.write_text(FILE.format(rows=rows, seeds=seeds), encoding="utf-8")
    return path


def run(path: Path, cells: int) -> None:
    """A grid from nothing, of two cells first: what is left of it is start and end."""
    small = write_experiment(_made(path.parent / "small"), 2 * SEEDS, SEEDS)
    least, whole = (
        _command("run", one, "--storage", one.parent / "run", "--cpus", 2) for one in (small, path)
    )
    each = (whole.wall - least.wall) / (cells - 2 * SEEDS)
    processor = (whole.processor - least.processor) / (cells - 2 * SEEDS)
    print_table(
        ["supclap run", "wall s", "processor s", "peak MB"],
        [
            [f"{2 * SEEDS} cells", *_row(least)],
            [f"{cells:,} cells", *_row(whole)],
            ["each cell more", f"{each:.3f}", f"{processor:.3f}", ""],
        ],
    )
    print(f"aim: {A_CELL} s a cell\n")


def done(path: Path, cells: int) -> None:
    """Commands that find every cell done."""
    storage = path.parent / "done"
    finish_all(path, storage)
    rows: list[list[str]] = []
    runs = ("run: MLflow is given all", "run: the report leads to it", "run: nothing to do")
    for name in ("plan", runs[0], "sync", *runs[1:], "status", "report"):
        command = name.partition(":")[0]
        own = () if command == "sync" else (path,)
        rows.append([name, *_row(_command(command, *own, "--storage", storage))])
    print_table([f"{cells:,} cells done", "wall s", "processor s", "peak MB"], rows)
    print(f"aim: {NOTHING_TO_DO:.0f} s for a run of 10,000 cells with nothing to do")


def finish_all(path: Path, storage: Path) -> None:
    """Every cell as a finished run leaves it, written without syncing to the disk."""
    experiment, ledger = load_experiment(path), open_ledger(storage, writing=True)
    remember(make_plan(experiment, ledger), ledger)
    keep_code(experiment, ledger)
    with patch("os.fsync"):
        for cell in cells_of(experiment):
            accuracy = float(cell.seed % 100)
            values = {"val.accuracy": accuracy, "test.accuracy": accuracy}
            finish(ledger, cell, values, code=cell.method.version(cell.config))


def _row(spent: Spent) -> list[str]:
    return [f"{spent.wall:.1f}", f"{spent.processor:.1f}", f"{spent.peak:.0f}"]


def _command(name: str, *arguments: object) -> Spent:
    return spent_by(["-m", "supclap_platform", name, *map(str, arguments)])


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()

"""What planning costs: 1,000 cells of which 1,000 are done, and how it grows from 10.

    python -m benchmarks.planning               # half a minute
    python -m benchmarks.planning --sizes 10    # in seconds

Aim: a plan of 1,000 finished cells in under 2 s, from the experiment file to the last line. The
command's own start (imports) is shown apart. Memory is what the process grows by.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.forecast import forecast
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.logs import LOG
from supclap_platform.ledger.plan import Status, make_plan, remember
from supclap_platform.results.formats import as_text
from supclap_platform.results.tables import build_table
from supclap_platform.testing import finish

from supclap.run_files import MODEL
from supclap.storage import Folder

SEEDS = 5
ROUNDS = 3
AIM = 2.0  # seconds, for 1,000 cells
METRICS = {f"test.{w}.{m}": 41.5 for w in ("t2a", "a2t") for m in ("R@1", "R@5", "R@10", "mAP10")}


def main() -> None:
    """Prints one row for each number of cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="cells")
    sizes = parser.parse_args().sizes
    memory = psutil.Process()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"best of {ROUNDS}; seconds; every cell is done and has 12 files\n")
    head = ("cells", "read file", "signatures", "plan", "forecast", "table", "all", "MB more")
    print("".join(f"{name:>11}" for name in head))
    whole = 0.0
    for size in sizes:
        with tempfile.TemporaryDirectory() as place:
            path = _experiment(Path(place), size)
            ledger = Ledger(Folder.at(Path(place, "storage")))
            _finish_all(path, ledger)
            before = memory.memory_info().rss
            experiment, read = _best(partial(load_experiment, path))
            _, signed = _best(partial(cells_of, experiment))
            plan, planned = _best(
                partial(make_plan, experiment, ledger, code_of=lambda config: "c")
            )
            assert plan.count(Status.DONE) == size
            _, forecasting = _best(partial(forecast, plan, ledger))
            _, shown = _best(partial(_table, experiment, ledger))
            whole = read + planned + forecasting  # a plan computes the signatures itself
            grown = (memory.memory_info().rss - before) / 2**20
            numbers = "".join(
                f"{x:11.3f}" for x in (read, signed, planned, forecasting, shown, whole)
            )
            print(f"{size:>11}{numbers}{grown:11.1f}")
            if size == sizes[-1]:
                print(
                    f"\n`supclap plan` of {size} done cells, as a command: {_command(path):.2f} s"
                )
    print(f"aim: under {AIM:.0f} s for 1,000 cells; measured for {sizes[-1]:,}: {whole:.2f} s")


def _table(experiment: Experiment, ledger: Ledger) -> str:
    return as_text(build_table(experiment, ledger))


def _best(call: Callable[[], Any]) -> tuple[Any, float]:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def _experiment(folder: Path, cells: int) -> Path:
    rows = "\n".join(
        f"  row {n}: {{loss.svr: {{alpha: {0.1 + n / 1000}}}}}" for n in range(cells // SEEDS)
    )
    path = folder / "e.yaml"
    path.write_text(f"experiment: bench\nvariants:\n{rows}\nseeds: {SEEDS}\n", encoding="utf-8")
    return path


def _finish_all(path: Path, ledger: Ledger) -> None:
    """Every cell's folder as a finished run leaves it, written without syncing to the disk."""
    experiment = load_experiment(path)
    remember(make_plan(experiment, ledger, code_of=lambda config: "c"), ledger)
    others = [LOG, *(f"{MODEL}/{n}" for n in range(7))]
    with patch("os.fsync"):
        for cell in cells_of(experiment):
            for name in others:
                ledger.folder(cell.signature).write(name, b"{}\n")
            finish(ledger, cell, METRICS, ranks={}, code="c")


def _command(path: Path) -> float:
    storage = str(path.parent / "storage")
    start = time.perf_counter()
    code = "from supclap_platform.cli import main; main()"
    call = [sys.executable, "-c", code, "plan", str(path), "--storage", storage]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

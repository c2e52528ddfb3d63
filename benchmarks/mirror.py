"""How many runs a second MLflow is shown: a ledger of finished cells, into an empty database.

    python -m benchmarks.mirror                            # 1,000 cells: two minutes
    python -m benchmarks.mirror --cells 10000 --calls 100
    python -m benchmarks.mirror --only sqlite --models none

Aim: at least 20 runs a second, models included, on SQLite and on PostgreSQL. "MLflow's calls" is
what was before: each run by the public client, with its model copied; of fewer cells, as it takes
long. PostgreSQL is Debian's, on loopback, with its data in a temporary folder and written through
to the disk (without it that part is left out). A cell has three epochs of 30 metrics, 10 metrics at
its end, and a model; five cells are a row.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories, History
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror import mirror as module
from supclap_platform.mirror.gathered import Direct
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.store import Store, default_store, preload
from supclap_platform.testing import finish

from benchmarks.machine import describe, print_table
from benchmarks.postgres import MISSING, postgres, programs
from supclap.config import ModelConfig
from supclap.model.clap import build_model
from supclap.run_files import MODEL
from supclap.storage import Folder

SEEDS = 5
AIM = 20  # runs a second
EPOCHS = [{f"val.t2a.R@{k}": 40.0 + e for k in range(1, 31)} for e in range(3)]
METRICS = {f"test.{w}.R@{k}": 41.5 + k for w in ("t2a", "a2t") for k in (1, 5, 10, 20, 50)}


def main() -> None:
    """Prints one row for each database, way and number of cells."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--cells", type=int, default=1000)
    options.add_argument("--calls", type=int, default=50, help="cells for MLflow's own calls")
    options.add_argument("--only", choices=("sqlite", "postgresql"))
    options.add_argument("--models", choices=("all", "none"), default="all")
    given = options.parse_args()
    print(f"{describe()}; load before {os.getloadavg()[0]:.1f}\n")
    preload()
    rows = []
    if given.only != "postgresql":
        for cells, calls in ((given.calls, True), (given.cells, False)):
            with tempfile.TemporaryDirectory() as place:
                store = default_store(Path(place, "storage"))
                rows.append(_row("SQLite", store, Path(place), cells, calls, given.models))
    if given.only != "sqlite" and programs() is None:
        print(MISSING)
    elif given.only != "sqlite":
        with postgres() as server:
            for cells, calls in ((given.calls, True), (given.cells, False)):
                with tempfile.TemporaryDirectory() as place:
                    name = f"cells{cells}{calls}"
                    server.make(name)
                    store = Store(server.uri(name), Path(place, "artifacts").as_uri())
                    rows.append(_row("PostgreSQL", store, Path(place), cells, calls, given.models))
    heads = [
        "database",
        "way",
        "cells",
        "runs",
        "s",
        "runs a second",
        "processor ms a run",
        "again, s",
    ]
    print_table(heads, rows)
    print(f"aim: {AIM} runs a second; 'again': a new look at all, with nothing to do")
    print("processor time is this process's; a database server of its own is not in it")


def _row(name: str, store: Store, place: Path, cells: int, calls: bool, models: str) -> list[str]:
    ledger = Ledger(Folder.at(place / "storage"))
    history = _filled(ledger, place, cells, "copy" if calls else "link", models == "all")
    store.connect()
    with _by_calls() if calls else _as_it_is():
        seconds, processor = [], []
        for _ in range(2):
            mirror = Mirror(ledger, store, history)
            start, spent = time.perf_counter(), time.process_time()
            assert mirror.wait_and_catch_up()
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - spent)
    runs = 1 + cells + cells // SEEDS
    way = "MLflow's calls, copies" if calls else "gathered, links"
    numbers = [f"{cells:,}", f"{runs:,}", f"{seconds[0]:.1f}", f"{runs / seconds[0]:.1f}"]
    of_a_run = f"{1000 * processor[0] / runs:.1f}"
    return [name, way, *numbers, of_a_run, f"{seconds[1]:.1f}"]


@contextmanager
def _by_calls() -> Iterator[None]:
    with patch.object(module, "gathering", Direct):
        yield


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _filled(ledger: Ledger, place: Path, cells: int, how: str, models: bool) -> History:
    """Finished cells, as files that are not synced to the disk; their models are one."""
    rows = "\n".join(
        f"  row {n}: {{loss.svr: {{alpha: {0.1 + n / 10000}}}}}" for n in range(cells // SEEDS)
    )
    path = place / "e.yaml"
    path.write_text(
        f"experiment: bench\nbase: {{epochs: 3}}\nvariants:\n{rows}\nseeds: {SEEDS}\n"
        f"keep: {{mlflow: {how}}}\nbaseline: row 0\ntable: {{columns: [t2a.R@1, a2t.R@1]}}\n",
        encoding="utf-8",
    )
    experiment = load_experiment(path)
    config = ModelConfig.model_validate(
        {"audio": {"width": 8, "layers": 1}, "text": {"width": 32, "layers": 1}, "dim": 8}
    )
    build_model(config, ["a dog barks"], seconds=1.0, seed=0).save(place / "a-model")
    with patch("os.fsync"):
        remember(make_plan(experiment, ledger), ledger)
        every = cells_of(experiment)
        for cell in every:
            finish(ledger, cell, METRICS, epochs=EPOCHS)
            if models:
                folder = Path(ledger.folder(cell.signature).base)
                shutil.copytree(place / "a-model", folder / MODEL, copy_function=os.link)
        return Histories(ledger).begin(experiment, every)


if __name__ == "__main__":
    main()

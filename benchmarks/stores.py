"""What an object store is asked: a count of requests to an S3 server of its own (moto), and times.

    python -m benchmarks.stores                      # 200 finished cells, 50 ms a request: minutes
    python -m benchmarks.stores --cells 20 --delay 0

Aims, of 200 finished cells at 50 ms a request: `plan` 20 requests, a `run` with nothing to do 60
and 3 s; two cells of three epochs, trained one after the other in this process, 150 with the
driver's part. The server runs in this process and takes its share of the
processor; the processor's time of the thread that asks is shown beside.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
from click.testing import CliRunner
from supclap_platform.cli import main as supclap
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.task import task_of
from supclap_platform.testing import finish

from benchmarks.machine import describe, print_table

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))
FILES = 8  # of a model, beside what `finish` leaves
GRID = """
experiment: stored
variants: {{InfoNCE: {{}}, SVR: {{loss.svr: {{sides: both, radius: static}}}}}}
seeds: {seeds}
baseline: InfoNCE
claims: [SVR > InfoNCE on t2a.R@1]
table: {{columns: [t2a.R@1]}}
"""
TRAINED = """
experiment: trained
base: {data: {name: soundscenes, clips: 60}, batch_size: 16, epochs: 3}
variants: {InfoNCE: {}}
seeds: 2
"""


def main() -> None:
    """Prints requests and seconds of each command, then those of two cells."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--cells", type=int, default=200)
    options.add_argument("--delay", type=float, default=0.05, help="seconds before each answer")
    given = options.parse_args()
    from s3_server import s3_server

    load = os.getloadavg()[0]
    print(f"{describe()}; {load:.1f} processes at work; {given.delay * 1000:.0f} ms a request\n")
    rows = []
    with tempfile.TemporaryDirectory() as scratch, s3_server() as server:
        with patch.dict(os.environ, {"SUPCLAP_CACHE": f"{scratch}/cache"}):
            path = Path(scratch, "grid.yaml")
            path.write_text(GRID.format(seeds=given.cells // 2), encoding="utf-8")
            _finish_all(path, server.place())
            server.delay = given.delay
            for words in ("plan", "plan", "run", "run", "plan", "table", "report"):
                server.take()
                start, own = time.perf_counter(), time.thread_time()
                called = [words, str(path), "--storage", server.place()]
                done = CliRunner().invoke(supclap, called)
                spent = time.perf_counter() - start, time.thread_time() - own
                if done.exit_code:
                    raise SystemExit(done.output)
                rows.append(_row(f"{words}, {given.cells} done", server.take(), *spent))
        rows += [_row(*one) for one in _trained(Path(scratch), server)]
    kinds = ["PUT", "GET", "HEAD", "LIST", "DELETE", "others"]
    print_table(["", "requests", *kinds, "s", "own CPU s"], rows)


def _finish_all(path: Path, place: str) -> None:
    ledger, chance = open_ledger(place), np.random.default_rng(0)
    for cell in cells_of(load_experiment(path)):
        for number in range(FILES):
            ledger.folder(cell.signature).write(f"model/{number}", b"{}")
        ranks = {"t2a_ranks": chance.integers(0, 9, 100), "t2a_clips": np.arange(100)}
        finish(ledger, cell, {"test.t2a.R@1": float(chance.normal(50, 5))}, ranks=ranks)


def _trained(scratch: Path, server: object) -> list[tuple[str, Counter[str], float, float]]:
    """Two cells as a worker trains them, after what the driver notes before."""
    from s3_server import S3Server

    assert isinstance(server, S3Server)
    path = scratch / "trained.yaml"
    path.write_text(TRAINED, encoding="utf-8")
    server.take()
    start, own = time.perf_counter(), time.thread_time()
    ledger = open_ledger(server.place("bucket/trained"), writing=True)
    experiment = load_experiment(path)
    remember(make_plan(experiment, ledger), ledger)
    spent = time.perf_counter() - start, time.thread_time() - own
    found = [("driver, before the first cell", server.take(), *spent)]
    for cell in cells_of(experiment):
        start, own = time.perf_counter(), time.thread_time()
        ending = run_cell(task_of(cell, ledger, experiment.name))
        if ending.kind != "done":
            raise SystemExit(ending.error)
        spent = time.perf_counter() - start, time.thread_time() - own
        found.append((f"a cell, 3 epochs ({cell.label})", server.take(), *spent))
    return found


def _row(name: str, asked: Counter[str], seconds: float, own: float) -> list[str]:
    kinds = [asked.pop(kind, 0) for kind in ("PUT", "GET", "HEAD", "LIST", "DELETE")]
    counts = [*kinds, sum(asked.values())]
    return [name, str(sum(counts)), *map(str, counts), f"{seconds:.1f}", f"{own:.2f}"]


if __name__ == "__main__":
    main()

"""What a report costs: one page from 1,000 finished runs, as a command, and where the time goes.

    python -m benchmarks.report                     # two minutes
    python -m benchmarks.report --shape 12 2        # in seconds

Aim: under 5 s for the whole command, from the shell's prompt and back. Runs are as `supclap run`
leaves them: ten epochs of 27 metrics, ranks and similarities of 5,000 captions of 1,000 clips; the
file has 20 claims and all four figures. Two shapes: few rows with many seeds, and many rows.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.figures import draw_figures
from supclap_platform.results.report import build_report
from supclap_platform.testing import finish

from benchmarks.machine import describe, print_table
from supclap.storage import Folder

SHAPES = ((20, 50), (200, 5))  # rows, seeds
CLIPS, CAPTIONS, EPOCHS, CLAIMS = 1_000, 5, 10, 20
ROUNDS = 3
AIM = 5.0  # seconds
SIDES = ("text", "audio")
OF_EPOCHS = (
    *("train.loss", "train.base", "train.svr", "distance", "temperature"),
    *("similarity.positive", "similarity.negative"),
    *(f"{name}.{side}" for name in ("drift", "contraction") for side in SIDES),
    *(f"radius.{side}.{part}" for side in SIDES for part in ("mean", "std")),
    *(f"val.{way}.{m}" for way in ("t2a", "a2t") for m in ("R@1", "R@5", "R@10", "R@50")),
    *(f"val.{way}.{m}" for way in ("t2a", "a2t") for m in ("mAP10", "medR")),
)


def main() -> None:
    """Prints one row for each shape: seconds of each step, best of three, and of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--shape", type=int, nargs=2, action="append", metavar=("ROWS", "SEEDS"),
        help=f"may be repeated; default: {SHAPES}; more than {CLAIMS // 2} rows",
    )  # fmt: skip
    shapes = parser.parse_args().shape or SHAPES
    print(f"{describe()}\nbest of {ROUNDS}; seconds; CPU: of the command, all its threads\n")
    heads = ["rows x seeds", "judge", "curves", "page", "command", "CPU", "MB of page"]
    rows = []
    for size, seeds in shapes:
        with tempfile.TemporaryDirectory() as place:
            path = write_experiment(Path(place), size, seeds)
            ledger = Ledger(Folder.at(Path(place, "storage")))
            finish_all(path, ledger)
            experiment = load_experiment(path)
            seen = Snapshot(ledger)
            judged = _best(partial(conclude, experiment, seen))
            drawn = _best(partial(draw_figures, experiment, seen, (), Evidence(experiment, seen)))
            page = _best(partial(build_report, experiment, ledger))
            command, cpu = _command(path)
            written = Path(place, "storage", "experiments", "bench", "report.html")
            steps = [f"{x:.2f}" for x in (judged, drawn, page, command, cpu)]
            size_of_page = f"{written.stat().st_size / 2**20:.1f}"
            rows.append([f"{size} x {seeds}", *steps, size_of_page])
    print_table(heads, rows)
    print(f"\naim: under {AIM:.0f} s for the command")


def write_experiment(folder: Path, rows: int, seeds: int) -> Path:
    """An experiment file with so many rows and seeds."""
    alphas = [0.1 + n / 1000 for n in range(rows)]
    variants = "\n".join(f"  row {n}: {{loss.svr: {{alpha: {a}}}}}" for n, a in enumerate(alphas))
    claims = "\n".join(
        f"  - row {n} > row 0 on {metric}"
        for n in range(1, CLAIMS // 2 + 1)
        for metric in ("t2a.R@1", "a2t.mAP10")
    )
    path = folder / "e.yaml"
    path.write_text(
        f"experiment: bench\nvariants:\n{variants}\nseeds: {seeds}\nbaseline: row 0\n"
        "table: {columns: [t2a.R@1, t2a.mAP10, a2t.R@1, a2t.mAP10]}\n"
        f"claims:\n{claims}\nfigures: [drift, radius, similarity, convergence]\n",
        encoding="utf-8",
    )
    return path


def finish_all(path: Path, ledger: Ledger) -> None:
    """Every cell's folder as a finished run leaves it, written without syncing to the disk."""
    chance = np.random.default_rng(0)
    clips = np.arange(CLIPS)
    for cell in cells_of(load_experiment(path)):
        t2a = chance.geometric(0.05, CLIPS * CAPTIONS) - 1
        a2t = chance.geometric(0.05, CLIPS) - 1
        precision = 1.0 / (1 + a2t)
        metrics = {
            "test.t2a.R@1": float(100.0 * np.mean(t2a < 1)),
            "test.t2a.mAP10": float(np.where(t2a < 10, 100.0 / (t2a + 1), 0.0).mean()),
            "test.a2t.R@1": float(100.0 * np.mean(a2t < 1)),
            "test.a2t.mAP10": float(100.0 * precision.mean()),
        }
        ranks: dict[str, np.ndarray] = {
            "t2a_ranks": t2a,
            "t2a_clips": clips.repeat(CAPTIONS),
            "t2a_similarity": chance.normal(0.5, 0.1, CLIPS * CAPTIONS).astype(np.float32),
            "a2t_ranks": a2t,
            "a2t_precision": precision,
            "a2t_clips": clips,
        }
        epochs = [
            dict(zip(OF_EPOCHS, values, strict=True))
            for values in chance.random((EPOCHS, len(OF_EPOCHS))).tolist()
        ]
        with patch("os.fsync"):
            finish(ledger, cell, metrics, epochs, ranks)


def _best(call: partial) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _command(path: Path) -> tuple[float, float]:
    """Seconds of `supclap report` as a process of its own, by the clock and of processors."""
    code = "from supclap_platform.cli import main; main()"
    storage = str(path.parent / "storage")
    call = [sys.executable, "-c", code, "report", str(path), "--storage", storage]
    found = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        passed = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        worked = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        found.append((passed, worked))
    return min(found)


if __name__ == "__main__":
    main()

"""What `supclap export` costs: 1,000 finished runs as files, and `queries()` beside it.

    python -m benchmarks.export                     # a minute and a half
    python -m benchmarks.export --shape 12 2        # in seconds

Aim: Parquet under 10 s and 1 GB. Runs are those of `benchmarks.report`: ten epochs of 27 metrics,
ranks of 5,000 captions and 1,000 clips.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from supclap_platform.ledger.ledger import Ledger

from benchmarks.machine import describe, print_table
from benchmarks.report import finish_all, write_experiment
from supclap.storage import Folder

SHAPE = (20, 50)  # rows, seeds
AIM = (10.0, 1.0)  # seconds, GB
EXPORT = "from supclap_platform.cli import main; main()"
QUERIES = (
    "import sys, supclap_platform as sp; "
    "frame = sp.open(sys.argv[1], sys.argv[2]).queries(); "
    "print(f'{len(frame):,} rows')"
)


def main() -> None:
    """Prints one row for each kind of files, and one for `queries()`: seconds, memory, size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--shape", type=int, nargs=2, default=SHAPE, metavar=("ROWS", "SEEDS"),
        help="default: %(default)s; more than 10 rows",
    )  # fmt: skip
    rows, seeds = parser.parse_args().shape
    print(f"{describe()}\n{rows} rows x {seeds} seeds; whole commands, their imports included\n")
    found = []
    with tempfile.TemporaryDirectory() as place:
        path, storage = write_experiment(Path(place), rows, seeds), Path(place, "storage")
        finish_all(path, Ledger(Folder.at(storage)))
        for form in ("parquet", "csv"):
            target = Path(place, form)
            call = ["export", path, "--storage", storage, "--to", target, "--format", form]
            used = _measured(EXPORT, call)
            size = sum(file.stat().st_size for file in target.iterdir()) / 1e6
            found.append([f"export --format {form}", *used, f"{size:,.0f}"])
        found.append(["open(...).queries()", *_measured(QUERIES, [path, storage]), ""])
    print_table(["", "seconds", "CPU", "peak GB", "MB of files"], found)
    print(f"\naim: Parquet under {AIM[0]:.0f} s and {AIM[1]:.0f} GB")


def _measured(code: str, arguments: Sequence[object]) -> tuple[str, str, str]:
    """Seconds by the clock and of processors, and the most memory, of a process."""
    start = time.perf_counter()
    words = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    passed, worked = time.perf_counter() - start, used.ru_utime + used.ru_stime
    return f"{passed:.1f}", f"{worked:.1f}", f"{used.ru_maxrss / 2**20:.2f}"


if __name__ == "__main__":
    main()

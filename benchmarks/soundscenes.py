"""Clips of soundscenes per second, on one core and on all: `python -m benchmarks.soundscenes`.

One core means one process with one thread. The time is that of a whole collection, as training
would ask for it: descriptions, sound, captions in eight languages, Arrow files on disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from supclap.config import DataConfig
from supclap.data.soundscenes import soundscenes_collection
from supclap.data.soundscenes.processes import available_cores

TARGET = 5000, 20.0  # clips, seconds on one core


def measure(clips: int, workers: int) -> tuple[int, float, float]:
    """Clips made, seconds by the clock, and seconds of this process's own processor time."""
    with tempfile.TemporaryDirectory() as folder:
        clock, processor = time.perf_counter(), time.process_time()
        made = soundscenes_collection(DataConfig(clips=clips), Path(folder), workers)
        passed = time.perf_counter() - clock, time.process_time() - processor
        return sum(len(made.split(split)) for split in made.splits), *passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000, help="training clips")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wanted, limit = TARGET
    print(f"two-second clips; aim on one core: {wanted} in under {limit:g} s")
    for workers in sorted({1, available_cores()}):
        made, clock, processor = measure(arguments.clips, workers)
        line = f"{workers} process(es): {made} clips in {clock:.1f} s: {made / clock:.0f} clips/s"
        if workers == 1:
            line += (
                f"; {wanted} clips: {wanted / made * clock:.1f} s by the clock, "
                f"{wanted / made * processor:.1f} s of processor time"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()

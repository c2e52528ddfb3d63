"""A large collection: prepared, killed and resumed, opened cold, shared by any number of workers.

    python -m benchmarks.data_size [--clips 20000] [--workers 2] [--folder FOLDER] [--small]

Ten-second clips of noise are written to a folder (20,000: 6.4 GB; with what is prepared of them
some 19 GB), and read by `supclap prepare captions`: once a tenth of them, then all, killed at two
fifths by SIGKILL and resumed. Memory is what the process and its workers hold of their own
(RssAnon, of Linux), at most. The first batch is read by a fresh process, the file's pages dropped
before; its processor's seconds stand beside, which are all of it on an idle machine. ``--small``:
480 clips of a second, in under a minute; its memory is that of the libraries.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import soundfile

from benchmarks.machine import describe
from supclap.batches import batches_of, part_of
from supclap.config import RunConfig, parse_config
from supclap.data.clips import SAMPLE_RATE, Collection
from supclap.data.shards import CLIPS_PER_SHARD

SECONDS, BATCH, COLD = 10, 24, 5.0
SMALL = 480  # clips, of a second
_SUPCLAP = [sys.executable, "-c", "from supclap_platform.cli import main; main()"]
# Of the data alone, and of a run: all that `fit` does before the first step included.
_FIRST_BATCH = """
import sys
from pathlib import Path
from supclap.batches import batches_of
from supclap.config import parse_config
from supclap.data.clips import Collection
from supclap.data.reading import RandomCrop, read_batch
config = parse_config({"data": {"name": "collection", "folder": sys.argv[1]}, "batch_size": 24})
clips = Collection(Path(sys.argv[1])).split("train")
batch = next(iter(batches_of(config, clips).epoch(0)))
print(float(read_batch(clips, batch.rows, 160_000, RandomCrop(0, 0)).abs().sum()))
"""
_FIRST_STEP = """
import os, sys
from supclap import training
from supclap.config import parse_config
from supclap.storage import Folder
class Feed(training.Feed):
    def ahead(self, items):
        next(super().ahead(items))
        os._exit(0)
training.Feed = Feed
data = {"name": "collection", "folder": sys.argv[1], "val": None, "test": None}
values = {"data": data, "batch_size": 24, "epochs": 1, "select": {"split": "last"}}
for _ in training.fit(parse_config(values), Folder.at(sys.argv[2])):
    pass
raise SystemExit("no batch came")
"""


class OwnMemory:
    """The most that a process and its children have held of their own, in MB."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.most = 0.0
        self._process = process
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self._process.poll() is None:
            self.most = max(self.most, sum(map(_anonymous, self._family())))
            time.sleep(0.1)

    def _family(self) -> list[int]:
        try:
            parent = psutil.Process(self._process.pid)
            return [parent.pid, *(child.pid for child in parent.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []


def _anonymous(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = next((line for line in lines if line.startswith("RssAnon")), "RssAnon: 0")
    return int(found.split()[1]) / 1024


def make(folder: Path, clips: int, seconds: int) -> None:
    """A plain folder of so many clips, no two of which sound the same."""
    noise = np.random.default_rng(0).normal(0, 3_000, seconds * SAMPLE_RATE).astype(np.int16)
    (folder / "audio").mkdir(parents=True)
    with open(folder / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption"])
        for number in range(clips):
            name = f"audio/{number:06d}.wav"
            soundfile.write(folder / name, np.roll(noise, 7 * number), SAMPLE_RATE)
            table.writerow([name, f"noise, shifted by {7 * number}"])


def prepared(source: Path, out: Path, workers: int, kill_at: int = 0) -> tuple[float, float]:
    """Seconds and MB that `supclap prepare` takes; it is killed once so many clips are decoded."""
    arguments = ["prepare", "captions", "--source", str(source), "--out", str(out)]
    command = [*_SUPCLAP, *arguments, "--workers", str(workers)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    memory = OwnMemory(process)
    while process.poll() is None:
        done = len(list((out / ".prepare").glob("*.arrow"))) * CLIPS_PER_SHARD
        if kill_at and done >= kill_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.05)
    if process.returncode != (-signal.SIGKILL if kill_at else 0):
        raise SystemExit(f"prepare ended with {process.returncode}")
    return time.monotonic() - began, memory.most


def first_batch(program: str, out: Path) -> tuple[float, float]:
    """Seconds from the start of a process to its first batch, none of the file in memory; and those
    of the processor among them."""
    with open(out / "train.arrow", "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began, before = time.monotonic(), os.times()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", program, str(out), scratch]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"no first batch: {done.stderr.strip()}")
    took, after = time.monotonic() - began, os.times()
    used = after.children_user + after.children_system
    return took, used - before.children_user - before.children_system


def sequential(out: Path) -> bool:
    """Whether the samples lie in the order of the clips, one behind the other, so that a pass over
    the clips reads the file from its beginning to its end."""
    clips = Collection(out).split("train")
    sounds = (clips.audio(row).__array_interface__["data"][0] for row in range(len(clips)))
    places = list(sounds)
    return places == sorted(places)


def orders(out: Path, counts: Sequence[int]) -> dict[int, str]:
    """By number of workers a hash of the clips of an epoch, batch by batch as they read them."""
    values = {"data": {"name": "collection", "folder": str(out)}, "batch_size": BATCH}
    config: RunConfig = parse_config(values)
    clips = Collection(out).split("train")
    found = {}
    for count in counts:
        digest = hashlib.sha256()
        for batch in batches_of(config, clips).epoch(0):
            for rank in range(count):
                digest.update(batch[part_of(len(batch), rank, count)].rows.tobytes())
        found[count] = digest.hexdigest()[:12]
    return found


def measure(folder: Path, clips: int, workers: int, seconds_each: int = SECONDS) -> bool:
    """Prints every figure; whether all hold."""
    began = time.monotonic()
    make(folder / "tenth", max(clips // 10, 2 * BATCH), seconds_each)
    make(folder / "whole", clips, seconds_each)
    print(f"{clips:,} clips of {seconds_each} s written in {time.monotonic() - began:.0f} s")
    seconds, small = prepared(folder / "tenth", folder / "small", workers)
    print(f"a tenth prepared by {workers} workers: {seconds:.0f} s, {small:.0f} MB at most")
    out = folder / "out"
    seconds, before = prepared(folder / "whole", out, workers, kill_at=2 * clips // 5)
    print(f"all, killed at two fifths: {seconds:.0f} s, {before:.0f} MB at most")
    kept = len(list((out / ".prepare").glob("*.arrow"))) * CLIPS_PER_SHARD
    seconds, whole = prepared(folder / "whole", out, workers)
    print(f"resumed with {kept:,} clips decoded: {seconds:.0f} s, {whole:.0f} MB at most")
    count = len(Collection(out).split("train"))
    cold = 0.0
    print(f"first batch of a fresh process, nothing of the file in memory (aim: {COLD:g} s):")
    for what, program in (("of the data alone", _FIRST_BATCH), ("of a run", _FIRST_STEP)):
        for size, place in (("a tenth", folder / "small"), ("all", out)):
            took, used = first_batch(program, place)
            print(f"    {what}, {size}: {took:.2f} s, of the processor {used:.2f} s")
            cold = max(cold, took)
    found = orders(out, (1, 2, 3, 4, 8))
    print(f"an epoch's order with 1, 2, 3, 4 and 8 workers: {', '.join(found.values())}")
    flat = max(before, whole) < 1.5 * small
    right = count == clips and len(set(found.values())) == 1
    lies = sequential(out)
    print(f"samples lie in the order of the clips: {lies}")
    right = right and lies
    print(f"memory flat: {flat}; all clips there, in one order: {right}; cold: {cold < COLD}")
    return flat and right and cold < COLD


def main() -> None:
    parser = argparse.ArgumentParser(description="A large collection, prepared and read.")
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", help="Where there is room.  [default: a temporary one]")
    parser.add_argument("--small", action="store_true", help=f"{SMALL} clips of a second.")
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        size = (SMALL, given.workers, 1) if given.small else (given.clips, given.workers)
        sys.exit(0 if measure(Path(name), *size) else 1)


if __name__ == "__main__":
    main()

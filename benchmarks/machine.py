"""What every benchmark says of the machine, and how it times rivals fairly."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch


def describe() -> str:
    """One line: processor, cores, threads, PyTorch and Python; and where each process compiles
    Python's modules anew, which costs it seconds."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of PyTorch, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
        f"{', which keeps no bytecode' if sys.dont_write_bytecode else ''}"
    )


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def interleaved(rivals: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each rival in each round, after one round of warm-up.

    Rivals take turns within a round, so that a machine that slows down slows them all alike.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds + 1):
        for name, call in rivals.items():
            start = time.perf_counter()
            call()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def median_ratio(times: Mapping[str, list[float]], name: str, rival: str) -> float:
    """Median over the rounds of ``name``'s time by ``rival``'s time in the same round."""
    pairs = zip(times[name], times[rival], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


@dataclass(frozen=True)
class Spent:
    """What a command took, with all the processes that it started."""

    wall: float  # seconds
    processor: float  # seconds
    peak: float  # MB, resident, of its largest process


def spent_by(arguments: Sequence[str]) -> Spent:
    """Runs Python with these arguments, its output thrown away. Raises SystemExit if it fails.

    The processes are looked at four times a second, as some are nobody's children when they end: of
    one that lives for less than that nothing may be seen.
    """
    seconds: dict[int, float] = {}
    peak = 0
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=said
        )
        while process.poll() is None:
            with suppress(psutil.Error):
                root = psutil.Process(process.pid)
                for one in [root, *root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        times = one.cpu_times()
                        seconds[one.pid] = times.user + times.system
                        peak = max(peak, one.memory_info().rss)
            time.sleep(0.25)
        wall = time.perf_counter() - start
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{said.read()}{' '.join(arguments)}: exit code {process.returncode}")
    return Spent(wall, sum(seconds.values()), peak / 2**20)


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        first, *others = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())

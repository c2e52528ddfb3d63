"""What every benchmark says of the machine, and how it times rivals fairly."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def describe() -> str:
    """One line: processor, cores, threads, PyTorch and Python."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of PyTorch, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
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


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        first, *others = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())

"""What a run's process uses of the machine, for those who watch it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch


class Usage:
    """Measures from one call of `measure` to the next, by the system's own accounts."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def measure(self) -> dict[str, float]:
        """Since the last call: ``cpu_percent``, where 100 is one core (all threads of this process
        together); now: ``memory_megabytes`` that it holds, on Linux; on a GPU the most that PyTorch
        has allocated there since the last call, ``gpu_memory_peak_megabytes``."""
        wall, cpu = time.monotonic(), time.process_time()
        found = {"cpu_percent": 100 * (cpu - self._cpu) / max(wall - self._wall, 1e-9)}
        self._wall, self._cpu = wall, cpu
        memory = resident()
        if memory is not None:
            found["memory_megabytes"] = memory
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["gpu_memory_peak_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
            torch.cuda.reset_peak_memory_stats()
        return found


def resident() -> float | None:
    """The memory that this process holds, in MB; None where the system does not tell in /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

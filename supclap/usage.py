"""What a run's process uses of the machine, for those who watch it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from supclap.memory import emptied


class Usage:
    """Measures from one call of `measure` to the next, and the peak of memory since it was made,
    by the system's own accounts."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._on_gpu = self._reserved = 0.0
        self._marked = _reset_mark()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            # What runs before in this process have left to the allocator is not this one's.
            emptied(torch.device("cuda"))
            torch.cuda.reset_peak_memory_stats()

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
            self._on_gpu = max(self._on_gpu, found["gpu_memory_peak_megabytes"])
            self._reserved = max(self._reserved, torch.cuda.max_memory_reserved() / 1e6)
            torch.cuda.reset_peak_memory_stats()
        return found

    def peak(self) -> float | None:
        """The most memory held since this object was made, in MB: on a GPU what PyTorch allocated
        there, else this process's resident memory. None where the system does not say."""
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            return max(self._on_gpu, torch.cuda.max_memory_allocated() / 1e6)
        return _high_water() if self._marked else None

    def reserved(self) -> float | None:
        """The most that PyTorch's allocator has held of a GPU since this object was made, in MB,
        with what it keeps for later: other processes cannot have it. None without a GPU."""
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            return max(self._reserved, torch.cuda.max_memory_reserved() / 1e6)
        return None


def higher(one: float | None, other: float | None) -> float | None:
    """The higher of two peaks; one that is not known does not count."""
    return max((peak for peak in (one, other) if peak is not None), default=None)


def _reset_mark() -> bool:
    """Sets Linux's mark of the most memory this process has held to what it holds now: a process
    may have trained other runs before. False where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water() -> float | None:
    for line in (
        Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    ):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def resident() -> float | None:
    """The memory that this process holds, in MB; None where the system does not say it in /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

"""What a run's process uses of the machine, for those who watch it."""

from __future__ import annotations

import sys
import time

import torch


class Usage:
    """Measures from one call of `measure` to the next, by the system's own accounts."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def measure(self) -> dict[str, float]:
        """Since the last call: processor use, where 100 is one core (all threads of this process
        together), and the process's peak memory so far in MB; on a GPU also the peak that PyTorch
        has allocated there since the last call."""
        wall, cpu = time.monotonic(), time.process_time()
        used = 100 * (cpu - self._cpu) / max(wall - self._wall, 1e-9)
        self._wall, self._cpu = wall, cpu
        found = {"cpu_percent": used}
        peak = peak_memory()
        if peak is not None:
            found["memory_peak_megabytes"] = peak
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["gpu_memory_peak_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
            torch.cuda.reset_peak_memory_stats()
        return found


def peak_memory() -> float | None:
    """The most memory this process has held so far, in MB; None where the system keeps no count."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6

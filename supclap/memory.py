"""Where memory ends: how that is recognised."""

from __future__ import annotations

import re

import torch

# How PyTorch (CPU, CUDA) and NumPy say what could not be had.
_ASKED = re.compile(r"(?:tried to allocate|unable to allocate) ([\d.]+ \w+)", re.IGNORECASE)


def asked_for(error: BaseException) -> str | None:
    """What could not be had, such as "2.30 GiB", where an error says that memory has ended; None
    for every other error. On a CPU it is no class of its own."""
    if not isinstance(error, RuntimeError | MemoryError):
        return None
    found = _ASKED.search(str(error))
    if found is not None:
        return found[1]
    no_more = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return "some memory" if no_more else None


def was_short(error: BaseException | None) -> bool:
    """Whether memory that ended is behind an error, however it was then put in words."""
    while error is not None:
        if asked_for(error) is not None:
            return True
        error = error.__cause__ or error.__context__
    return False

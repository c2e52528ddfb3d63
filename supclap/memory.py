"""Where memory ends: how that is recognised, and said of what is to be made."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from supclap.errors import InputError

# How PyTorch (CPU, CUDA) and NumPy say what could not be had.
_ASKED = re.compile(r"(?:tried to allocate|unable to allocate) ([\d.]+ \w+)", re.IGNORECASE)
# And who says no more than that. Only PyTorch's own allocator has a class for it: where the driver
# or one of its libraries (cuBLAS, cuDNN, cuFFT, cuSOLVER, cuSPARSE, cuRAND, NCCL, Triton) asks for
# memory by itself, often the first time that it is used, the error is any RuntimeError.
_NO_MORE = re.compile(
    r"\b(?:cuda|cudnn|hip)\b[^\n]*\bout of memory\b"
    r"|\b(?:cuda|cudnn|cublas|cusolver|cusparse|cufft|curand|hip\w*|roc\w*)_\w*"
    r"(?:ALLOC_FAILED|ALLOCATION_FAILED|OUT_OF_MEMORY)\b"
    r"|\bcudaErrorMemoryAllocation\b"
    r"|\bstd::bad_alloc\b",
    re.IGNORECASE,
)
SOME = "some memory"
SMALLER = "a smaller model, or shorter clips, take less"


def asked_for(error: BaseException) -> str | None:
    """What could not be had, such as "2.30 GiB", where an error says that memory has ended; None
    for every other error. Mostly it is no class of its own, and not all that say it name a size."""
    if not isinstance(error, RuntimeError | MemoryError):
        return None
    found = _ASKED.search(str(error))
    if found is not None:
        return found[1]
    no_more = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return SOME if no_more or _NO_MORE.search(str(error)) else None


def was_short(error: BaseException | None) -> bool:
    """Whether memory that ended is behind an error, however it was then put in words."""
    while error is not None:
        if asked_for(error) is not None:
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def fitting(part: str, remedy: str = "lower its sizes") -> Iterator[None]:
    """Turns the complaint that there is no memory for a part into an InputError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        asked = asked_for(error)
        if asked is None:
            raise
        tensor = "" if asked == SOME else f" (a single tensor of it takes {asked})"
        raise InputError(f"{part}: does not fit into memory{tensor}; {remedy}") from None


def emptied(device: torch.device) -> None:
    """Gives back to a GPU all that PyTorch keeps of it for later, what waits in reference cycles
    included; of a CPU nothing is kept."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()

"""A process's share of the memory of a device that several processes have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# MB of a device that a process takes beside what PyTorch's allocator reserves there: the driver's
# context, loaded kernels. It cannot be asked for; 500 to 700 MB are usual.
CONTEXT = 1000.0
MB = 1e6


def cards() -> tuple[float, ...]:
    """The memory of each device that this process sees, in MB. It makes a context on the first."""
    import torch

    found = range(torch.cuda.device_count())
    return tuple(torch.cuda.get_device_properties(number).total_memory / MB for number in found)


def hold_to(share: float) -> None:
    """Lets this process have no more than a share of its first device's memory, `CONTEXT` included:
    what goes beyond it fails here, as on a smaller card, and not in a process beside it."""
    import torch

    found = cards()
    if found:
        torch.cuda.set_per_process_memory_fraction(max(0.0, share - CONTEXT / found[0]), 0)


def held_to(device: torch.device) -> str:
    """The share of its device that this process is held to, such as ``1/3``; empty of a whole."""
    if device.type != "cuda":
        return ""
    import torch

    fraction = torch.cuda.get_per_process_memory_fraction(0)
    if fraction >= 1:
        return ""
    return f"1/{round(1 / (fraction + CONTEXT / cards()[0]))}"

"""A process's share of the memory of a device that several processes have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# MB of a device that a process takes beside what PyTorch's allocator reserves there: the driver's
# context, loaded kernels. It cannot be asked for; 500 to 700 MB are usual.
CONTEXT = 1000.0
MB = 1e6
WHOLE = "1"  # in words of shares; of a run that never had less, nothing is said

_trained = [0.0]  # seconds


def trained_before(seconds: float) -> None:
    """Notes for how long the run that this process goes on with was trained before."""
    _trained[0] = seconds


def shares_had(before: str, now: str) -> str:
    """The shares of a device that a run has had, such as ``1 + 1/4 from 3600 s``: at first a whole
    one, and since it was trained for so long a quarter. Empty where it was a whole one all along.

    Args:
        before: the same as the attempts before have said; ``now``: the share of this one.
    """
    before, now = before or WHOLE, now or WHOLE
    if latest_share(before) != latest_share(now):
        before = f"{before} + {now} from {_trained[0]:.0f} s"
    return "" if before == WHOLE else before


def latest_share(had: str) -> str:
    """The last of the shares that a run has had; empty of a whole device."""
    share = had.rpartition(" + ")[2].partition(" ")[0]
    return "" if share == WHOLE else share


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

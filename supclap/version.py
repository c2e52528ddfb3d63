"""What a result was made with, below this package's own code (`supclap.code`)."""

from __future__ import annotations

import os
import platform
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHARE = "share"  # of a device, where a process was held to one


def made_with(device: torch.device) -> dict[str, str]:
    """Versions of Python and PyTorch, and the name of the device, as reports show them."""
    import torch

    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {platform.machine()}"
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": name,
    }


def ran_on(device: torch.device) -> dict[str, str]:
    """Where this process trains: host, device with its number, and process; and its share of the
    device, where it is held to one."""
    from supclap.device_share import held_to

    number = f" {device.index or 0}" if device.type == "cuda" else ""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if number and (device.index or 0) < len(given) and given[device.index or 0]:
        number = f" {given[device.index or 0]}"
    kind = "GPU" if device.type == "cuda" else device.type.upper()
    found = {"host": socket.gethostname(), "device": f"{kind}{number}", "process": str(os.getpid())}
    share = held_to(device)
    return found | ({SHARE: share} if share else {})


def went_on(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Of each thing all that a run has had, in the order in which it had them."""
    from supclap.device_share import shares_had

    found = {
        name: both(before.get(name, value), value, " + ")
        for name, value in now.items()
        if name != SHARE
    }
    share = shares_had(before.get(SHARE, ""), now.get(SHARE, ""))
    return found | ({SHARE: share} if share else {})


def both_modules(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Each module as the parts of a run have had it; nothing, where the first noted none."""
    if not before:
        return {}
    names = sorted(before.keys() | now.keys())
    return {name: both(before.get(name, "none"), now.get(name, "none"), "+") for name in names}


def both(before: str, now: str, sign: str) -> str:
    """What a run that goes on has had before and has now, each once."""
    return before if now in before.split(sign) else before + sign + now

"""A step that does not fit into memory: what is said, and what a run can do about it by itself."""

from __future__ import annotations

import torch

from supclap.config import RunConfig
from supclap.divergence import TrainingError
from supclap.precision import HALF
from supclap.wording import counted


class OutOfMemory(TrainingError):
    """A step does not fit into memory; tried again unchanged it would not fit either."""


def out_of_memory(
    step: int, asked: str, config: RunConfig, rows: int, chunk: int | None, device: torch.device
) -> OutOfMemory:
    """The error for a step that does not fit.

    Args:
        step: counted from 1.
        asked: what could not be had (`asked_for`).
        rows: clips of the batch on this worker.
        chunk: clips of a forward pass; None for all of them.
    """
    sizes = f"{counted(rows, 'clip')} at once"
    if chunk is not None and chunk < rows:
        sizes = f"{counted(rows, 'clip')}, {chunk} at once"
    return OutOfMemory(
        f"out of memory in step {step}: {asked} could not be had{_held(device)}, with {sizes}; "
        f"{remedies(config, rows, chunk)}"
    )


def no_room_for_state(step: int, asked: str) -> OutOfMemory:
    """The error where what the optimizer keeps of each parameter does not fit (Adam: twice its
    size). Some parameters may have changed already, so the step is not tried again."""
    return OutOfMemory(
        f"out of memory in step {step}: {asked} could not be had for the optimizer's state; freeze "
        "layers (model.audio.freeze, model.text.freeze), or set a chunk"
    )


def smaller_chunk(rows: int, chunk: int | None) -> int | None:
    """Half of the clips of a forward pass; None where it was one."""
    half = -(-min(rows, chunk or rows) // 2)
    return half if half < min(rows, chunk or rows) else None


def _held(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, whole = torch.cuda.mem_get_info(device)
    used, name = (whole - free) / 1e9, torch.cuda.get_device_name(device)
    return f" beside {used:.1f} of {whole / 1e9:.1f} GB in use ({name})"


def remedies(config: RunConfig, rows: int, chunk: int | None, fits: int | None = None) -> str:
    """What can be changed, the changes that leave the result as it is first.

    Args:
        rows, chunk: as `out_of_memory` takes them.
        fits: clips of a forward pass that are known to fit; else half of them are tried.
    """
    found = []
    half = fits or smaller_chunk(rows, chunk)
    if half is not None:
        now = f"now {chunk}; " if chunk else ""
        found.append(f"set chunk: {half} ({now}exact)")
        if rows == config.batch_size:  # with one worker, and with no other number
            found[0] += ", or on_oom: chunk, which finds one"
    sides = (("audio", config.model.audio), ("text", config.model.text))
    # Stages of the CNN cannot be computed again, and nothing of a frozen encoder is kept.
    again = [
        f"model.{side}.recompute: true"
        for side, section in sides
        if not section.recompute and section.freeze is not True and section.name != "cnn"
    ]
    found += [f"set {' and '.join(again)} (exact)"] if again else []
    if config.precision not in HALF:
        found.append("set precision: bf16")
    found.append(f"lower batch_size (now {config.batch_size})")
    return " or ".join(found)

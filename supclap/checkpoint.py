"""Checkpoints of a run: whole files, and a pointer that moves last.

    checkpoints/00000310.pt   everything a run needs to go on from step 310
    checkpoints/latest.json   {"file": "00000310.pt"}

A file is written under a new name, and only when it lies there whole does the pointer move to it.
So whenever the writer is killed, the pointer names a file that can be read. What neither the
pointer's file nor its best epoch needs any more is removed afterwards.
"""

from __future__ import annotations

import io
import json
from typing import Any

import torch
from torch import nn

from supclap.errors import InputError
from supclap.run_files import CHECKPOINTS, LATEST
from supclap.storage import Folder
from supclap.wording import gist


class Checkpoints:
    """The checkpoints below a run's folder. One process writes."""

    def __init__(self, run: Folder) -> None:
        self._folder = run.below(CHECKPOINTS)

    def save(self, name: str, state: dict[str, Any], keep: str | None = None) -> None:
        """Writes ``state`` as ``name`` and makes it the latest; of the others only ``keep`` stays.

        ``state`` holds tensors, numbers, strings, lists and dicts of them.

        Raises:
            OSError: a full disk, no rights. The checkpoint before is then still the latest.
        """
        packed = io.BytesIO()
        torch.save(state, packed)
        self._folder.write(name, packed.getvalue())
        self._folder.write(LATEST, json.dumps({"file": name}).encode())
        for other in self._folder.names():
            if other not in (name, keep, LATEST):
                self._folder.delete(other)

    def latest(self) -> str | None:
        """The name of the last good checkpoint, or None."""
        if not self._folder.exists(LATEST):
            return None
        return str(json.loads(self._folder.read(LATEST))["file"])

    def load_latest(self) -> dict[str, Any] | None:
        """The last good checkpoint's state, or None. Raises InputError as `load` does."""
        name = self.latest()
        return None if name is None else self.load(name)

    def load(self, name: str) -> dict[str, Any]:
        """What `save` wrote, on the CPU.

        Raises:
            InputError: the file is gone or damaged, which no kill of the writer can cause.
        """
        try:
            packed = io.BytesIO(self._folder.read(name))
            state: dict[str, Any] = torch.load(packed, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load fails in many ways on damaged bytes
            raise InputError(
                f"{self._folder.uri}/{name}: not a readable checkpoint ({gist(error)}); remove "
                f"{self._folder.uri} to train from the start"
            ) from None
        return state


def learned_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes in a module: learnable parameters, and buffers. A frozen encoder's
    weights come from where they came at the start; by `Started.frozen` others are refused."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: t for name, t in module.state_dict().items() if name not in frozen}


def restore(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Puts a `learned_state` back. Raises KeyError where it is that of another module."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = sorted(set(missing) & set(learned_state(module)))
    if missing or unexpected:
        raise KeyError(f"checkpoint of another module: lacks {missing}, has {unexpected}")

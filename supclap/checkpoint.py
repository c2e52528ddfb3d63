"""Checkpoints of a run: whole files, and a pointer that moves last.

    checkpoints/00000310.pt   everything a run needs to go on from step 310
    checkpoints/latest.json   {"file": "00000310.pt"}

A file is written under a new name, and only when it lies there whole does the pointer move to it.
So whenever the writer is killed, the pointer names a file that can be read. What neither the
pointer's file nor its best epoch needs any more is removed afterwards.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from supclap.errors import InputError
from supclap.regular import NotAFile
from supclap.run_files import CHECKPOINTS, LATEST
from supclap.storage import Folder
from supclap.stored import Damaged, read_values, sealed
from supclap.wording import gist

_NAME = re.compile(r"[\w-]+\.pt")
# What comes of a state that is not the one that a run of this configuration saves.
_UNFIT = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Checkpoints:
    """The checkpoints below a run's folder. One process writes."""

    def __init__(self, run: Folder) -> None:
        self._folder = run.below(CHECKPOINTS)
        self._there: set[str] | None = None  # what `save` has left, where a listing is dear

    def save(self, name: str, state: dict[str, Any], keep: str | None = None) -> None:
        """Writes ``state`` as ``name`` and makes it the latest; of the others only ``keep`` stays.

        ``state`` holds tensors, numbers, strings, lists and dicts of them.

        Raises:
            OSError: a full disk, no rights. The checkpoint before is then still the latest.
        """
        known, self._there = self._there, None
        packed = io.BytesIO()
        torch.save(state, packed)
        self._folder.write(name, packed.getvalue())
        self._folder.write(LATEST, sealed({"file": name}))
        there = set(self._folder.names()) if known is None else known | {name}
        kept = there & {name, keep}
        for other in sorted(there - kept - {LATEST}):
            self._folder.delete_file(other)
        if self._folder.local is None:  # an object store, where no write leaves half a file
            self._there = kept

    def latest(self) -> str | None:
        """The name of the last good checkpoint, or None. Raises Damaged as `load` does."""
        try:
            found = read_values(self._folder, LATEST, self._remedy).get("file")
        except FileNotFoundError:
            return None
        if not isinstance(found, str) or not _NAME.fullmatch(found):
            raise Damaged(self._folder.uri_of(LATEST), "names no checkpoint", self._remedy)
        return found

    def load_latest(self) -> dict[str, Any] | None:
        """The last good checkpoint's state, or None. Raises Damaged as `load` does."""
        name = self.latest()
        return None if name is None else self.load(name)

    def load(self, name: str) -> dict[str, Any]:
        """What `save` wrote, on the CPU.

        Raises:
            Damaged: the file is gone or is not what was written, which no kill of the writer can
                cause.
        """
        try:
            packed = io.BytesIO(self._folder.read(name))
            _check_sums(packed)
            state: Any = torch.load(packed, map_location="cpu", weights_only=True)
        except NotAFile as error:
            raise self._damaged(name, str(error)) from None
        except Exception as error:  # torch.load fails in many ways on damaged bytes
            raise self._damaged(name, f"not a readable checkpoint: {gist(error)}") from None
        if not isinstance(state, dict):
            raise self._damaged(name, "not a readable checkpoint: no mapping")
        return state

    @contextmanager
    def used(self, name: str | None = None) -> Iterator[None]:
        """Names the checkpoint where what it holds does not fit the run: Damaged."""
        try:
            yield
        except InputError:
            raise
        except _UNFIT as error:
            raise self._damaged(
                name or self.latest() or LATEST, f"does not fit the run: {error!r}"
            ) from None

    @property
    def _remedy(self) -> str:
        return f"remove {self._folder.uri} to train from the start"

    def _damaged(self, name: str, how: str) -> Damaged:
        return Damaged(self._folder.uri_of(name), how, self._remedy)


def _check_sums(packed: io.BytesIO) -> None:
    """Raises ValueError where the file is altered: `torch.load` compares no checksum (2.13)."""
    with zipfile.ZipFile(packed) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"{broken} is altered")
    packed.seek(0)


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

"""A model as a folder: weights in safetensors, everything else in JSON, nothing that can run.

::

    model.json            format, configuration, seconds, and the SHA-256 of every other file
    weights.safetensors
    audio/, text/         small files of the encoders, such as text/tokenizer.json
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from uuid import uuid4

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import nn

from supclap.config import ModelConfig, explain
from supclap.errors import InputError
from supclap.later_keys import as_written
from supclap.wording import gist

FORMAT = 1
INDEX, WEIGHTS = "model.json", "weights.safetensors"
SIDES = ("audio", "text")


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds, read and verified."""

    folder: Path
    config: ModelConfig
    seconds: float
    files: dict[str, bytes]

    def files_of(self, side: str) -> dict[str, bytes]:
        """The files that the encoder of a side had asked to keep."""
        start = f"{side}/"
        return {n.removeprefix(start): c for n, c in self.files.items() if n.startswith(start)}

    def pour_into(self, model: nn.Module) -> None:
        """Loads the weights. Raises InputError where the model has other parameters."""
        try:
            model.load_state_dict(tensors_of(self.files[WEIGHTS]))
        except (SafetensorError, RuntimeError) as error:
            raise InputError(
                f"{self.folder / WEIGHTS}: does not fit the model that {INDEX} describes: "
                f"{gist(error)}"
            ) from None


class DualEncoder(Protocol):
    """What is kept of a model (`supclap.model.clap.CLAP`)."""

    config: ModelConfig
    seconds: float
    audio: Any
    text: Any

    def state_dict(self) -> dict[str, torch.Tensor]: ...


def save_model(model: DualEncoder, folder: Path) -> None:
    """Writes the folder under another name and then renames it; an earlier model is replaced.

    Raises:
        InputError: something that is not a model is in the way, or the disk is full.
    """
    if folder.exists() and not (folder / INDEX).is_file() and any_entry(folder):
        raise InputError(f"{folder}: is there and is not a model folder; choose another name")
    weights = {name: value.detach().cpu().contiguous() for name, value in _weights(model).items()}
    files = {WEIGHTS: bytes_of(weights)}
    for side in SIDES:
        files |= {f"{side}/{name}": content for name, content in _own_files(model, side).items()}
    index = {
        "format": FORMAT,
        "seconds": model.seconds,
        "config": model.config.model_dump(mode="json"),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files[INDEX] = (json.dumps(index, indent=1) + "\n").encode()
    scratch = folder.parent / f".{folder.name}.{uuid4().hex[:8]}"
    try:
        for name, content in files.items():
            _write(scratch / name, content)
        _put_in_place(scratch, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_model(folder: Path) -> SavedModel:
    """Reads and verifies a model folder. Raises InputError as `supclap.load` says."""
    index = _read_index(folder)
    try:
        config = ModelConfig.model_validate(as_written(ModelConfig, index["config"]))
        seconds, hashes = float(index["seconds"]), dict(index["files"])
    except ValidationError as error:
        raise InputError(f"{folder / INDEX}: config: {explain(error, ModelConfig)}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / INDEX}: is incomplete or damaged: {error!r}") from None
    if WEIGHTS not in hashes:
        raise InputError(f"{folder / INDEX}: names no {WEIGHTS}")
    files = {name: _verified(folder, name, sha256) for name, sha256 in hashes.items()}
    return SavedModel(folder, config, seconds, files)


def content_hash(module: nn.Module, *more: str) -> str:
    """16 hexadecimal digits over a module's weights and the files of the encoders in it."""
    digest = hashlib.sha256("\0".join(more).encode())
    for name, value in sorted(_weights(module).items()):
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for name, part in module.named_modules():
        if hasattr(part, "files"):
            for file, content in sorted(part.files().items()):
                digest.update(f"\0{name}/{file}\0".encode() + content)
    return digest.hexdigest()[:16]


def any_entry(folder: Path) -> bool:
    return not folder.is_dir() or any(folder.iterdir())


def _weights(module: nn.Module | DualEncoder) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = module.state_dict()
    return weights


def _own_files(model: DualEncoder, side: str) -> dict[str, bytes]:
    encoder: Any = getattr(model, side).encoder
    return encoder.files() if hasattr(encoder, "files") else {}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(scratch: Path, folder: Path) -> None:
    """A full folder cannot be renamed onto another, so an earlier model first steps aside."""
    aside = folder.parent / f".{folder.name}.{uuid4().hex[:8]}.old"
    if folder.exists():
        os.rename(folder, aside)
    os.rename(scratch, folder)
    shutil.rmtree(aside, ignore_errors=True)


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        raise InputError(f"{folder}: not a model folder (no {INDEX}); `supclap train` makes one")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        found = index["format"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is not the index of a supclap model") from None
    if found != FORMAT:
        raise InputError(
            f"{path}: format {found}, and this version of supclap reads format {FORMAT}; "
            "open it with the version that wrote it, or train again"
        )
    return dict(index)


def _verified(folder: Path, name: str, sha256: str) -> bytes:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        raise InputError(f"{folder / INDEX}: file '{name}' does not stay inside the folder")
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: is not what was saved (truncated or altered); copy it again")
    return content

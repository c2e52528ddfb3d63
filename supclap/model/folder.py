"""A model as a folder: weights in safetensors, everything else in JSON, nothing that can run.

::

    model.json            format, configuration, seconds, and the SHA-256 of every other file
    weights.safetensors
    audio/, text/         small files of the encoders, such as text/tokenizer.json
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from uuid import uuid4

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from supclap import registry
from supclap.config import ModelConfig
from supclap.config.values import Seconds
from supclap.copies import local
from supclap.errors import InputError
from supclap.explaining import explain
from supclap.later_keys import as_written
from supclap.model import own_parts
from supclap.regular import read_regular
from supclap.run_files import MODEL_INDEX
from supclap.stored import LARGEST, as_kind, parse_values, sealed
from supclap.wording import gist, spelled

FORMAT = 1
INDEX, WEIGHTS = MODEL_INDEX, "weights.safetensors"
SIDES = ("audio", "text")
COPY = "copy the folder again"
NO_MODEL = "not a model folder; `supclap train` makes one"


# What is made on the way to a model: its weights, their first values, constants such as filters.
_TIMES, _ROOM = 8, 2**26


class _Bound(TorchDispatchMode):
    """Raises InputError instead of making tensors of more than ``left`` numbers in all."""

    def __init__(self, left: int, fault: str) -> None:
        super().__init__()
        self._left, self._fault = left, fault

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        wanted = function._schema.arguments
        if wanted and wanted[0].name == "size" and args:
            self._left -= math.prod(args[0])
            if self._left < 0:
                raise InputError(self._fault)
        return function(*args, **(kwargs or {}))


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

    def bounded(self) -> _Bound:
        """A context in which no model can be made that is far larger than the weights: one of
        absurd sizes would take all memory before it was found not to fit them.

        Raises InputError, in the context too.
        """
        try:
            shapes = [tuple(tensor.shape) for tensor in tensors_of(self.files[WEIGHTS]).values()]
        except SafetensorError as error:
            raise InputError(f"{self.folder / WEIGHTS}: cannot be read: {error}") from None
        numbers = sum(math.prod(shape) for shape in shapes)
        fault = (
            f"{self.folder / INDEX}: describes a larger model than {WEIGHTS} holds, "
            f"{len(shapes):,} tensors of {numbers:,} numbers; {COPY}"
        )
        for side in SIDES:
            section = getattr(self.config, side)
            if registry.own(f"{side} encoder", section.name) is not None:
                continue  # means by its keys what it likes
            default = type(section)()  # where a pretrained folder has given the sizes
            if section.layers > max(len(shapes), default.layers) or max(
                section.width, self.config.dim
            ) > max(numbers, default.width):
                raise InputError(fault)
        return _Bound(_TIMES * numbers + _ROOM, fault)

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

    def saved_weights(self) -> dict[str, torch.Tensor]: ...


def save_model(model: DualEncoder, folder: Path) -> None:
    """Writes the folder under another name and then renames it; an earlier model is replaced.

    Raises:
        InputError: something that is not a model is in the way, or the disk is full.
    """
    if folder.exists() and not (folder / INDEX).is_file() and any_entry(folder):
        raise InputError(f"{folder}: is there and is not a model folder; choose another name")
    weights = {n: value.detach().cpu().contiguous() for n, value in model.saved_weights().items()}
    files = {WEIGHTS: bytes_of(weights)}
    for side in SIDES:
        files |= {f"{side}/{name}": content for name, content in _own_files(model, side).items()}
    index = {
        "format": FORMAT,
        "seconds": model.seconds,
        "config": model.config.model_dump(mode="json"),
        **own_parts.needed(model.config),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files[INDEX] = sealed(index, indent=1)
    scratch = folder.parent / f".{folder.name}.{uuid4().hex[:8]}"
    try:
        for name, content in files.items():
            _write(scratch / name, content)
        _put_in_place(scratch, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def model_at(place: str | Path) -> Path:
    """A model's folder on this machine, fetched from a store where it is not yet. Raises
    InputError as `supclap.copies.local`."""
    return local(place, [INDEX], NO_MODEL)


def read_model(folder: Path) -> SavedModel:
    """Reads and verifies a model folder. Raises InputError as `supclap.load` says."""
    index = _read_index(folder)
    own_parts.refuse_unknown(folder, index.parts, index.user_code)
    try:
        config = ModelConfig.model_validate(as_written(ModelConfig, index.config))
    except ValidationError as error:
        raise InputError(f"{folder / INDEX}: config: {explain(error, ModelConfig)}") from None
    own_parts.refuse_other(folder, config, index.parts, index.user_code)
    return SavedModel(folder, config, index.seconds, _files(folder, index))


def check_model(folder: Path) -> bool:
    """Verifies a model folder without what of the user's code it may need; whether it needs any.

    Raises InputError as `supclap.load` says.
    """
    index = _read_index(folder)
    if index.parts:
        _files(folder, index)
    else:
        read_model(folder)
    return bool(index.parts)


def _files(folder: Path, index: _Index) -> dict[str, bytes]:
    if WEIGHTS not in index.files:
        raise InputError(f"{folder / INDEX}: names no {WEIGHTS}")
    return {name: _verified(folder, name, sha256) for name, sha256 in index.files.items()}


def content_hash(module: nn.Module, *more: str) -> str:
    """16 hexadecimal digits over a module's weights and the files of the encoders in it."""
    digest = hashlib.sha256("\0".join(more).encode())
    _add(digest, (getattr(module, "saved_weights", None) or module.state_dict)())
    for name, part in module.named_modules():
        if hasattr(part, "files"):
            for file, content in sorted(part.files().items()):
                digest.update(f"\0{name}/{file}\0".encode() + content)
    return digest.hexdigest()[:16]


def content_hash_of(weights: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits over some weights by name."""
    digest = hashlib.sha256()
    _add(digest, weights)
    return digest.hexdigest()[:16]


def _add(digest: hashlib._Hash, weights: Mapping[str, Tensor]) -> None:
    for name, value in sorted(weights.items()):
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def any_entry(folder: Path) -> bool:
    return not folder.is_dir() or any(folder.iterdir())


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


@dataclass(frozen=True)
class _Index:
    """What model.json holds."""

    format: int
    seconds: Seconds
    config: dict[str, Any]
    files: dict[str, str]
    parts: dict[str, str] = field(default_factory=dict)  # of the user's, each with its version
    user_code: str = ""  # what a storage keeps them as


def _read_index(folder: Path) -> _Index:
    path = folder / INDEX
    if not path.is_file():
        raise InputError(f"{folder}: not a model folder (no {INDEX}); `supclap train` makes one")
    try:
        values = parse_values(read_regular(path, LARGEST), str(path), COPY)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if "format" not in values:
        raise InputError(f"{path}: is not the index of a supclap model")
    if values["format"] != FORMAT:
        raise InputError(
            f"{path}: format {values['format']!r:.40}, and this version of supclap reads format "
            f"{FORMAT}; open it with the version that wrote it, or train again"
        )
    return as_kind(values, _Index, str(path), COPY)


def _verified(folder: Path, name: str, sha256: str) -> bytes:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\0" in name:
        raise InputError(
            f"{folder / INDEX}: file '{spelled(name)}' does not stay inside the folder"
        )
    path = folder / name
    try:
        content = read_regular(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: is not what was saved (truncated or altered); copy it again")
    return content

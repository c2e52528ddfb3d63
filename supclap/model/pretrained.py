"""A pretrained encoder's folder: its description in JSON and its weights, read whole or refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from supclap.config.pretrained import missing_from
from supclap.errors import InputError
from supclap.wording import gist

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# A number of numpy's beside the tensors, such as a checkpoint's best score, needs these to be read:
# they make numbers and nothing else.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMBERS: tuple[Any, ...] = (
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
)


def check_folder(folder: Path, encoder: str, key: str) -> None:
    """Raises InputError unless the folder that ``key`` names holds the encoder's files."""
    if not folder.is_dir():
        raise InputError(f"{key}: {folder} is not a folder")
    missing = missing_from(encoder, folder)
    if missing is not None:
        raise InputError(f"{key}: {missing}")


def read_file(path: Path) -> bytes:
    """A file of a folder. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_description(content: bytes, kind: str, where: str) -> dict[str, Any]:
    """What a config.json says. Raises InputError where it is none, or that of another kind."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):  # the latter of lists in lists
        raise InputError(f"{where}: is not JSON (truncated?)") from None
    found = values.get("model_type") if isinstance(values, dict) else None
    if found != kind:
        raise InputError(f"{where}: describes a model of type {found!r}, expected {kind!r}")
    return dict(values)


def whole_number(
    values: Mapping[str, Any], key: str, where: str, default: int | None = None
) -> int:
    """A positive whole number of a description. Raises InputError where it is none."""
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{where}: {key}: expected a whole number above 0, found {value!r}")
    return value


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises InputError where it is damaged."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read (truncated? copy it again): {gist(error)}"
        ) from None


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a file that `torch.save` wrote: a state, or one below "model" or
    "state_dict", beside which numbers and words may lie.

    Raises:
        InputError: it is damaged, holds anything but tensors, or needs code, which is never run.
    """
    try:
        with torch.serialization.safe_globals(list(_NUMBERS)):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on damaged bytes
        raise InputError(
            f"{path}: cannot be read as tensors alone (truncated? code in it is never run): "
            f"{gist(error, 100)}"
        ) from None
    for name in ("model", "state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{path}: is no state of a model: expected tensors by name")
    return {str(name): value for name, value in found.items()}


def without_prefix(
    weights: dict[str, Tensor], marker: str, prefixes: Iterable[str]
) -> dict[str, Tensor]:
    """The weights under the names they have below the first prefix at which ``marker`` is found.

    Names that lie elsewhere are kept as they are: `pour` reports them.
    """
    for prefix in prefixes:
        if prefix + marker in weights:
            return {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def pour(weights: Mapping[str, Tensor], module: nn.Module, where: Path) -> None:
    """Copies the weights into the module, in the module's own precision.

    Raises:
        InputError: one name is missing, one too many or one of another shape; nothing is loaded.
    """
    found = difference(weights, module)
    if found:
        raise InputError(f"{where}: is not the model that {CONFIG} describes: {found}")
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(weights[name])


def difference(weights: Mapping[str, Tensor], module: nn.Module) -> str:
    """Which weights of a module are missing, which are too many or of another shape; nothing where
    they are its own."""
    wanted = module.state_dict()
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    faults = [
        listed("missing", sorted(wanted.keys() - weights.keys())),
        listed("unexpected", sorted(weights.keys() - wanted.keys())),
        listed("of another shape", shapes),
    ]
    return "; ".join(fault for fault in faults if fault)


def listed(fault: str, names: list[str], most: int = 3) -> str:
    """``missing a, b, c and 4 more``; nothing of no names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{fault} {', '.join(names[:most])}{more}" if names else ""

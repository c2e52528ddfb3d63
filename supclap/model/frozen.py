"""A frozen encoder's outputs: computed once per data set, kept on disk, read through a memory map.

With the encoder frozen only the projection head trains on that side, so an epoch costs a matrix
product per batch. A loop uses it so::

    outputs = frozen_outputs(
        model.audio, f"{clips.content_hash}-first-{model.samples}", len(clips), waveforms_of_rows
    )
    ...
    model(torch.from_numpy(outputs[rows]), tokens, level="outputs")
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from supclap.code import own_code, version_of
from supclap.data.cache import build_once, cache_folder
from supclap.data.clips import numbers_of
from supclap.errors import InputError
from supclap.model.clap import CLAP, AudioTower, Tower
from supclap.model.folder import content_hash, content_hash_of
from supclap.model.tokens import Tokens
from supclap.part_keys import keys_of_class
from supclap.parts.part import Part
from supclap.progress import activity
from supclap.regular import check_regular
from supclap.user_code.identity import version_of_object
from supclap.wording import gist

ROWS = 64
FILE, ALIKE = "outputs.arrow", "alike.npy"


def frozen_outputs(
    tower: Tower,
    content: str,
    count: int,
    items: Callable[[range], Tensor | Tokens],
    rows_per_batch: int = ROWS,
) -> np.ndarray:
    """Outputs of a frozen encoder for a whole data set: (count, width) float32, memory-mapped.

    They are computed in float32, without dropout, and kept in the cache folder under a key of the
    encoder's weights, files and own keys, of this package's model code and of the files that the
    classes of an encoder of one's own stand in, and of ``content``. Of several processes that ask
    at once, one computes.

    Args:
        tower: a side of the model whose encoder is frozen.
        content: what identifies the items: the data's content hash, and whatever else decides
            what ``items`` returns (split, crop, language).
        count: number of items.
        items: the inputs of some rows: waveforms (n, samples), or tokens of shape (n, L).

    Raises:
        InputError: an output that is not finite, a cache folder that cannot be written, or kept
            outputs that cannot be read (which file to delete is named).
        ValueError: the encoder is not frozen: its outputs would be stale after one step.
    """
    if not tower.frozen:
        raise ValueError("only a frozen encoder's outputs can be kept")
    width = int(tower.encoder.width)

    def build(scratch: Path) -> None:
        raw = scratch / "outputs.raw"
        kept = np.memmap(raw, dtype=np.float32, mode="w+", shape=(count, width))
        side = "audio" if isinstance(tower, AudioTower) else "text"
        with activity(
            f"computing the frozen {side} encoder's outputs, once", count, "items"
        ) as done:
            for start in range(0, count, rows_per_batch):
                rows = range(start, min(start + rows_per_batch, count))
                kept[rows.start : rows.stop] = _compute(tower, items(rows), rows)
                done(rows.stop)
        _write(scratch / FILE, kept)
        del kept
        raw.unlink()

    if count == 0:
        return np.zeros((0, width), np.float32)
    folder = build_once(_folder(tower, content, str(count)), build)
    return _read(folder / FILE, count, width)


def first_alike_kept(
    tower: Tower, content: str, count: int, find: Callable[[], np.ndarray]
) -> np.ndarray:
    """What ``find`` gives, once: for each of the ``count`` items of ``content`` the first one that
    a frozen encoder is given alike, (count,) int64. To find it again, all would be read again.

    Raises:
        InputError: as `frozen_outputs`.
    """

    def build(scratch: Path) -> None:
        np.save(scratch / ALIKE, find(), allow_pickle=False)

    finding = version_of(own_code().under("supclap.duplicates"))
    path = build_once(_folder(tower, content, str(count), ALIKE, finding), build) / ALIKE
    try:
        check_regular(path)
        first: np.ndarray = np.load(path, allow_pickle=False)
        if first.shape != (count,) or first.dtype != np.int64:
            raise ValueError("of another kind")
        if not ((first >= 0) & (first <= np.arange(count))).all():
            raise ValueError("not what was found")
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from None
    return first


def _folder(tower: Tower, *content: str) -> Path:
    """Where in the cache lies what an encoder makes of ``content``."""
    identity = (
        _encoder_hash(tower),
        version_of(own_code().under("supclap.model") | _own_source(type(tower.encoder))),
        *content,
    )
    key = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:24]
    return cache_folder() / "frozen" / key


def frozen_hashes(model: CLAP) -> dict[str, str]:
    """The content hash of what is frozen of each side's encoder: "audio", "text"."""
    found = {}
    towers: tuple[Tower, ...] = (model.audio, model.text)
    for tower in towers:
        if tower.frozen:
            found[tower.side] = _encoder_hash(tower)
            continue
        layers = {n: p for n, p in tower.encoder.named_parameters() if not p.requires_grad}
        if layers:
            found[tower.side] = content_hash_of(layers)
    return found


def _encoder_hash(tower: Tower) -> str:
    """16 hexadecimal digits over an encoder's class, its own keys, weights and files."""
    encoder = tower.encoder
    more = [type(encoder).__qualname__]
    if isinstance(encoder, Part):
        keys = keys_of_class(type(encoder)).model_fields
        more += [f"{name}={getattr(encoder, name)!r}" for name in sorted(keys)]
    return content_hash(encoder, *more)


def _own_source(made: type) -> dict[str, str]:
    """The version of the source behind an encoder of one's own."""
    return {} if made.__module__.startswith("supclap.") else dict([version_of_object(made)])


@torch.inference_mode()
def _compute(tower: Tower, batch: Tensor | Tokens, rows: range) -> np.ndarray:
    device = next(tower.parameters()).device
    training = tower.training
    tower.eval()
    try:
        with torch.autocast(device.type, enabled=False):
            outputs: Tensor = tower.outputs(batch.to(device)).float()
    finally:
        tower.train(training)
    broken = (~torch.isfinite(outputs).all(1)).nonzero().flatten()
    if len(broken):
        raise InputError(
            f"the frozen encoder's output for item {rows.start + int(broken[0])} is not finite"
        )
    found: np.ndarray = outputs.cpu().numpy()
    return found


def _write(path: Path, outputs: np.ndarray) -> None:
    """One record batch, so that the reader's memory map is one array without a copy."""
    count, width = outputs.shape
    values = pa.Array.from_buffers(pa.float32(), count * width, [None, pa.py_buffer(outputs)])
    column = pa.FixedSizeListArray.from_arrays(values, width)
    batch = pa.record_batch([column], schema=_schema(width))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _read(path: Path, count: int, width: int) -> np.ndarray:
    try:
        check_regular(path)
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            if not reader.schema.equals(_schema(width)):
                raise ValueError("of another kind")
            batch = reader.get_batch(0)
        outputs: np.ndarray = numbers_of(batch.column(0).values).reshape(count, width)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _unreadable(path, error) from None
    return outputs


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: kept outputs of a frozen encoder cannot be read ({gist(error)}); delete the "
        "folder of this file, and they are computed again"
    )


def _schema(width: int) -> pa.Schema:
    return pa.schema([("outputs", pa.list_(pa.float32(), width))])

"""Writes features to the folder that training opens (`supclap.data.features.collection`).

Rows are copied in blocks from one file to another, so that memory does not grow with the arrays.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from supclap.data.clips import INDEX as OF_SOUNDS
from supclap.data.features.collection import (
    CAPTIONS,
    CLASSES,
    FORMAT,
    INDEX,
    SCHEMA,
    FeatureCollection,
    array_of,
    scale_of,
    table_of,
)
from supclap.data.features.table import TRAIN, FeatureClip, FeatureTable
from supclap.errors import FULL, InputError
from supclap.storage import Folder
from supclap.stored import sealed

KINDS = ("audio", "text")
BLOCK = 2**22  # bytes of an array in memory at once


def write_features(table: FeatureTable, out: Path) -> FeatureCollection:
    """Writes all splits of a table to the folder ``out``, in the place of what an earlier call has
    written there; the index comes last, so that a call that was stopped leaves no collection.

    Raises:
        InputError: a row that is not finite, a folder that holds something else or cannot be
            written to, a full disk.
    """
    Folder.at(out)  # raises InputError where it cannot be one
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; expected a folder, or nothing yet")
    if (out / OF_SOUNDS).exists():
        raise InputError(f"{out}: holds a collection of sounds already; choose another --out")
    with _disk(out):
        out.mkdir(parents=True, exist_ok=True)
        files = _Files(out)
        try:
            scales = {kind: _scale_of(table, kind) for kind in table.standardize}
            for kind, scale in scales.items():
                with files.written(scale_of(kind)) as file:
                    np.save(file, np.stack([scale.mean, scale.spread]))
            entries = {s: _write_split(files, s, table, scales) for s in table.clips}
            classes = _write_classes(files, table, scales)
            index: dict[str, Any] = {
                "format": FORMAT,
                "name": table.name,
                "widths": [table.audio.shape[1], table.text.shape[1]],
                "splits": {},
                "classes": None,
            }
            earlier = files.earlier()
            # From here to the end nothing is vouched for, and the folder is known as one of ours.
            Folder.at(out).write(INDEX, sealed(index, indent=1, sort=False))
            files.publish(earlier)
            index |= {"splits": entries, "classes": classes}
            Folder.at(out).write(INDEX, sealed(index, indent=1, sort=False))
        finally:
            files.clear()
    return FeatureCollection(out)


class _Files:
    """Files on their way into a folder, each under another name until all are whole."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._scratch: dict[str, Path] = {}

    @contextmanager
    def written(self, name: str) -> Iterator[BinaryIO]:
        self._scratch[name] = self._out / f".{name}.{os.getpid()}"
        with open(self._scratch[name], "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before the rename, or a power cut leaves an empty file

    def facts(self, name: str) -> dict[str, Any]:
        """What a file is recognised by; its time spares the next reader to hash it."""
        with open(self._scratch[name], "rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        return {"bytes": status.st_size, "time": status.st_mtime_ns, "hash": digest}

    def earlier(self) -> set[str]:
        """The files that an earlier call has left. Raises InputError where something stands in the
        place of a file, and is of no earlier call: it may be what somebody has made."""
        if not (self._out / INDEX).exists():
            for name in self._scratch:
                if (self._out / name).exists():
                    raise InputError(
                        f"{self._out / name}: is there, and no earlier call has written it; choose "
                        "another --out"
                    )
            return set()
        found = {CLASSES, *map(scale_of, KINDS)}
        with suppress(InputError):
            for split in FeatureCollection(self._out).splits:
                found |= {table_of(split), *(array_of(split, kind) for kind in KINDS)}
        return found

    def publish(self, earlier: set[str]) -> None:
        """Gives the files their names, and removes those of an earlier call that are none now."""
        for name, scratch in self._scratch.items():
            os.replace(scratch, self._out / name)
        for name in earlier - self._scratch.keys():
            (self._out / name).unlink(missing_ok=True)

    def clear(self) -> None:
        for scratch in self._scratch.values():
            scratch.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Scale:
    """Mean and standard deviation of each column of an array, (width,) float64 each."""

    mean: np.ndarray
    spread: np.ndarray


def _scale_of(table: FeatureTable, kind: str) -> _Scale:
    """Over the clips of the train split, or over their sentences, each once; a column that does
    not vary keeps its spread."""
    clips = table.clips[TRAIN]
    heard = {clip.row: clip.where for clip in clips}
    read = {one.row: one.where for clip in clips for one in clip.sentences}
    source, where = (table.audio, heard) if kind == "audio" else (table.text, read)
    if not where:
        raise InputError(f"standardize: split '{TRAIN}' has no sentence")
    double = np.dtype(np.float64)
    mean = sum(block.sum(axis=0) for block in _blocks(source, where, kind, double)) / len(where)
    squares = (np.square(b - mean).sum(axis=0) for b in _blocks(source, where, kind, double))
    spread = np.sqrt(sum(squares) / len(where))
    return _Scale(mean, np.where(spread > 0, spread, 1.0))


def _write_split(
    files: _Files, split: str, table: FeatureTable, scales: Mapping[str, _Scale]
) -> dict[str, Any]:
    """Writes the files of a split; what the index says of them."""
    clips = table.clips[split]
    sentences: dict[int, int] = {}  # row of the text array -> of the split's own, by first use
    read: dict[int, str] = {}
    for clip in clips:
        for one in clip.sentences:
            sentences.setdefault(one.row, len(sentences))
            read.setdefault(one.row, one.where)
    digest = hashlib.sha256()
    for clip in clips:
        said = [[s.words, s.language, sentences[s.row]] for s in clip.sentences]
        words = json.dumps([clip.clip_id, said, clip.labels], ensure_ascii=False)
        digest.update(words.encode() + b"\0")
    heard = {clip.row: clip.where for clip in clips}
    found = {}
    for kind, source, places in (("audio", table.audio, heard), ("text", table.text, read)):
        name = array_of(split, kind)
        found[kind] = _write_array(files, name, kind, source, places, scales.get(kind))
        digest.update(f"{kind}\0{found[kind]['hash']}\0".encode())
    found["clips"] = _write_table(files, table_of(split), clips, sentences)
    return {"clips": len(clips), "hash": digest.hexdigest()[:16], "files": found}


def _write_classes(
    files: _Files, table: FeatureTable, scales: Mapping[str, _Scale]
) -> dict[str, Any] | None:
    """The sentences of labels, and what the index says of them; None where there are none."""
    if not table.classes:
        return None
    places = {one.row: one.where for said in table.classes.values() for one in said}
    number = {row: at for at, row in enumerate(places)}
    labels = {label: [number[s.row] for s in said] for label, said in table.classes.items()}
    scale = scales.get("text")
    file = _write_array(files, CLASSES, "text", table.text, places, scale)
    return {"labels": labels, "file": file}


def _write_array(
    files: _Files,
    name: str,
    kind: str,
    source: np.ndarray,
    where: Mapping[int, str],
    scale: _Scale | None,
) -> dict[str, Any]:
    """Some rows of an array as an array of their own, of at most 32 bits a number.

    Args:
        where: the rows, in their order, with the lines that name them.
    """
    half = source.dtype.itemsize == 2 and scale is None
    numbers = np.dtype("<f2" if half else "<f4")
    with files.written(name) as file:
        descr = np.lib.format.dtype_to_descr(numbers)
        header = {"descr": descr, "fortran_order": False, "shape": (len(where), source.shape[1])}
        np.lib.format.write_array_header_1_0(file, header)
        read = numbers if scale is None else np.dtype(np.float64)
        for block in _blocks(source, where, kind, read):
            if scale is not None:
                block = ((block - scale.mean) / scale.spread).astype(numbers)
            file.write(block.tobytes())
    return files.facts(name)


def _blocks(
    source: np.ndarray, where: Mapping[int, str], kind: str, numbers: np.dtype
) -> Iterator[np.ndarray]:
    """The rows that ``where`` names, some at a time, as ``numbers``. Raises InputError: a row that
    is not finite as such, with its line."""
    chosen = list(where)
    most = max(1, BLOCK // (source.shape[1] * source.dtype.itemsize))
    for start in range(0, len(chosen), most):
        rows = np.array(chosen[start : start + most])
        with np.errstate(over="ignore"):  # it becomes infinite, and is refused
            block: np.ndarray = source[rows].astype(numbers)
        broken = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(broken):
            row = int(rows[broken[0]])
            raise InputError(
                f"{where[row]}: row {row} of the {kind} array is not finite (NaN or infinite)"
            )
        yield block


def _write_table(
    files: _Files, name: str, clips: Sequence[FeatureClip], sentences: Mapping[int, int]
) -> dict[str, Any]:
    captions = [
        [{"text": s.words, "language": s.language, "row": sentences[s.row]} for s in clip.sentences]
        for clip in clips
    ]
    columns = [
        pa.array([clip.clip_id for clip in clips], pa.string()),
        pa.array(captions, CAPTIONS),
        pa.array([clip.labels for clip in clips], pa.list_(pa.string())),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    with files.written(name) as file, pa.ipc.new_file(file, SCHEMA) as writer:
        writer.write_batch(batch)
    return files.facts(name)


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Turns what a file system complains about into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise InputError(f"{out}: the disk is full; nothing was kept") from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR):
            raise InputError(f"{out}: cannot be written to: {error.strerror}") from None
        raise

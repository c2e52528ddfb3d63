"""Writes features to the folder that training opens (`supclap.data.features.collection`).

Rows are copied in blocks from one file to another, so that memory does not grow with the arrays.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from supclap.data.clips import INDEX as OF_SOUNDS
from supclap.data.features.collection import (
    CAPTIONS,
    FORMAT,
    INDEX,
    SCHEMA,
    FeatureCollection,
    array_of,
    table_of,
)
from supclap.data.features.table import FeatureClip, FeatureTable
from supclap.errors import FULL, InputError
from supclap.storage import Folder
from supclap.stored import sealed

BLOCK = 2**24  # bytes of an array in memory at once


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
        scratch = {split: _Split(out, split) for split in table.clips}
        try:
            entries = {s: scratch[s].write(table, clips) for s, clips in table.clips.items()}
            (out / INDEX).unlink(missing_ok=True)  # from here to its return nothing is vouched for
            for one in scratch.values():
                one.publish()
            index = {
                "format": FORMAT,
                "name": table.name,
                "widths": [table.audio.shape[1], table.text.shape[1]],
                "splits": entries,
            }
            Folder.at(out).write(INDEX, sealed(index, indent=1, sort=False))
        finally:
            for one in scratch.values():
                one.clear()
    return FeatureCollection(out)


class _Split:
    """The files of one split on their way into a folder."""

    def __init__(self, out: Path, split: str) -> None:
        names = {kind: array_of(split, kind) for kind in ("audio", "text")}
        names["clips"] = table_of(split)
        self._final = {kind: out / name for kind, name in names.items()}
        self._scratch = {k: out / f".{name}.{os.getpid()}" for k, name in names.items()}

    def write(self, table: FeatureTable, clips: Sequence[FeatureClip]) -> dict[str, Any]:
        """Writes the files; what the index says of them."""
        sentences: dict[int, int] = {}  # row of the text array -> of the split's own, by first use
        for clip in clips:
            for one in clip.sentences:
                sentences.setdefault(one.row, len(sentences))
        digest = hashlib.sha256()
        for clip in clips:
            said = [[s.words, s.language, sentences[s.row]] for s in clip.sentences]
            words = json.dumps([clip.clip_id, said, clip.labels], ensure_ascii=False)
            digest.update(words.encode() + b"\0")
        where = {clip.row: f"{clip.where}: row" for clip in clips}
        files = {}
        heard = [clip.row for clip in clips]
        files["audio"] = self._array("audio", table.audio, heard, where)
        files["text"] = self._array("text", table.text, list(sentences), _places(clips))
        files["clips"] = self._table(clips, sentences)
        for kind in ("audio", "text"):
            digest.update(f"{kind}\0{files[kind]['hash']}\0".encode())
        return {"clips": len(clips), "hash": digest.hexdigest()[:16], "files": files}

    def publish(self) -> None:
        for kind, scratch in self._scratch.items():
            os.replace(scratch, self._final[kind])

    def clear(self) -> None:
        for scratch in self._scratch.values():
            scratch.unlink(missing_ok=True)

    def _array(
        self, kind: str, source: np.ndarray, chosen: list[int], where: dict[int, str]
    ) -> dict[str, Any]:
        """Some rows of an array as an array of their own, of at most 32 bits a number."""
        numbers = np.dtype("<f2" if source.dtype.itemsize == 2 else "<f4")
        width = source.shape[1]
        most = max(1, BLOCK // (width * source.dtype.itemsize))
        with self._written(kind) as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(numbers),
                "fortran_order": False,
                "shape": (len(chosen), width),
            }
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(chosen), most):
                rows = np.array(chosen[start : start + most])
                with np.errstate(over="ignore"):  # it becomes infinite, and is refused
                    block = source[rows].astype(numbers)
                broken = np.flatnonzero(~np.isfinite(block).all(axis=1))
                if len(broken):
                    row = int(rows[broken[0]])
                    raise InputError(
                        f"{where[row]} {row} of the {kind} array is not finite (NaN or infinite)"
                    )
                file.write(block.tobytes())
        return self._facts(kind)

    def _table(self, clips: Sequence[FeatureClip], sentences: dict[int, int]) -> dict[str, Any]:
        captions = [
            [
                {"text": s.words, "language": s.language, "row": sentences[s.row]}
                for s in clip.sentences
            ]
            for clip in clips
        ]
        columns = [
            pa.array([clip.clip_id for clip in clips], pa.string()),
            pa.array(captions, CAPTIONS),
            pa.array([clip.labels for clip in clips], pa.list_(pa.string())),
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
        with self._written("clips") as file, pa.ipc.new_file(file, SCHEMA) as writer:
            writer.write_batch(batch)
        return self._facts("clips")

    @contextmanager
    def _written(self, kind: str) -> Iterator[BinaryIO]:
        with open(self._scratch[kind], "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before the rename, or a power cut leaves an empty file

    def _facts(self, kind: str) -> dict[str, Any]:
        """What a file is recognised by; its time spares the next reader to hash it."""
        with open(self._scratch[kind], "rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        return {"bytes": status.st_size, "time": status.st_mtime_ns, "hash": digest}


def _places(clips: Sequence[FeatureClip]) -> dict[int, str]:
    """By row of the text array, where it is first named."""
    found: dict[int, str] = {}
    for clip in clips:
        for sentence in clip.sentences:
            found.setdefault(sentence.row, f"{clip.where}: row")
    return found


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

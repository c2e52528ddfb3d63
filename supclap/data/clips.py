"""Clips on disk: one Arrow file per split, read through a memory map.

A *collection* is a folder::

    collection.json      name, format, splits with their clip counts and content hashes
    train.arrow, ...     one Arrow IPC file per split, rows in a fixed order

Audio is 16 kHz mono int16. The Arrow files are uncompressed, so that a clip's samples are a view
into the page cache: however large the collection, reading costs no copy of it in memory.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from supclap.errors import InputError
from supclap.regular import check_regular
from supclap.storage import Folder
from supclap.stored import Count, Damaged, as_kind, read_values, sealed
from supclap.wording import gist, shown

SAMPLE_RATE = 16_000
FORMAT = 1
INDEX = "collection.json"
ROWS_PER_BATCH = 64
SAMPLES_PER_BATCH = 2**25  # at most, but for one longer clip: what a writer holds in memory
ANEW = "prepare it again"  # what helps where a split is damaged; where the index is, this:
INDEX_ANEW = f"remove {INDEX} and {ANEW}"

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("audio", pa.large_list(pa.int16())),
        ("captions", pa.list_(pa.struct([("text", pa.string()), ("language", pa.string())]))),
        ("labels", pa.list_(pa.string())),
        ("source", pa.string()),  # where it came from: a file, or a scene's description
    ]
)


@dataclass(frozen=True)
class Caption:
    text: str
    language: str = "eng"  # ISO 639-3


@dataclass(frozen=True)
class Clip:
    """One recording with everything said of it. ``audio``: (samples,) int16 at 16 kHz, mono."""

    clip_id: str
    audio: np.ndarray
    captions: tuple[Caption, ...] = ()
    labels: tuple[str, ...] = ()
    source: str = ""


class Clips:
    """The clips of one split, in order. Indexing reads one clip; nothing else is in memory.

    All but the samples is verified on opening; to verify those would be to read them all.

    Attributes:
        widths: None; of precomputed features (`supclap.data.features`), which are no sounds, the
            numbers of an audio vector and of a text vector.
        classes: None; of precomputed features the labels that have sentences.
    """

    widths: tuple[int, int] | None = None
    classes: Mapping[str, Any] | None = None

    def __init__(self, path: Path, content_hash: str, words: str = "", remedy: str = ANEW) -> None:
        """``words``: what `_hash_of_words` gave when the file was written; "": not known.

        Raises:
            Damaged: the file is not what was written; it ends with ``remedy``.
        """
        self.path = path
        self.content_hash = content_hash
        table, mapped = _read_table(path, remedy)
        if words and _hash_of_words(table) != words:
            raise Damaged(str(path), "altered: not the clips that its index vouches for", remedy)
        # One view of all samples per record batch, and each clip's batch, start and length.
        chunks = table.column("audio").chunks
        self._samples = [numbers_of(chunk.values) for chunk in chunks]
        bounds = [numbers_of(chunk.offsets) for chunk in chunks]
        sizes = [len(chunk) for chunk in chunks]
        self._batch = np.repeat(np.arange(len(chunks)), sizes)
        self._first = np.concatenate([np.zeros(0, np.int64), *(b[:-1] for b in bounds)])
        self._last = np.concatenate([np.zeros(0, np.int64), *(b[1:] for b in bounds)])
        self.clip_ids: list[str] = table.column("clip_id").to_pylist()
        self.labels: list[list[str]] = table.column("labels").to_pylist()
        self.sources: list[str] = table.column("source").to_pylist()
        self.captions: list[tuple[Caption, ...]] = [
            row for chunk in table.column("captions").chunks for row in captions_of(chunk)
        ]
        mapped.madvise(mmap.MADV_NORMAL)  # samples come by the second

    @property
    def lengths(self) -> np.ndarray:
        """Samples of every clip: (clips,) int64."""
        return self._last - self._first

    def __len__(self) -> int:
        return len(self.clip_ids)

    def audio(self, row: int) -> np.ndarray:
        """Samples of one clip: (samples,) int16, a read-only view into the memory map."""
        samples: np.ndarray = self._samples[self._batch[row]]
        return samples[self._first[row] : self._last[row]]

    def __getitem__(self, row: int) -> Clip:
        return Clip(
            self.clip_ids[row],
            self.audio(row),
            self.captions[row],
            tuple(self.labels[row]),
            self.sources[row],
        )

    def __iter__(self) -> Iterator[Clip]:
        return (self[row] for row in range(len(self)))


def _read_table(path: Path, remedy: str) -> tuple[pa.Table, mmap.mmap]:
    """A split's file as a table whose every offset and text is valid, and its memory map.

    What is not samples is some pages of every few megabytes. The system reads nothing ahead of what
    is asked for, until the map is set back: of 20,000 clips of ten seconds it read half a
    gigabyte of samples along, which was half the time to the first batch.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)
        table = pa.ipc.open_file(pa.py_buffer(mapped)).read_all()
        same = table.schema.equals(SCHEMA)
        if same:
            table.validate(full=True)
            said = [chunk.values for chunk in table.column("captions").chunks]
            parts = [one.field(name) for one in said for name in ("text", "language")]
            same = not any(one.null_count for one in (*table.columns, *said, *parts))
    except (OSError, pa.ArrowException, ValueError) as error:
        why = f"not a readable Arrow file of clips: {gist(error)}"
        raise Damaged(str(path), why, remedy) from None
    if not same:
        why = f"its columns are not those of supclap clips, format {FORMAT}"
        raise Damaged(str(path), why, remedy)
    return table, mapped


def _hash_of_words(table: pa.Table) -> str:
    """A hash over a split's file but for the samples: ids, captions, labels, sources, lengths."""
    digest = hashlib.sha256()
    for name in SCHEMA.names:
        for chunk in table.column(name).chunks:
            arrays = [chunk.offsets] if name == "audio" else [chunk]
            for buffer in (buffer for array in arrays for buffer in array.buffers()):
                digest.update(b"-" if buffer is None else buffer)
    return digest.hexdigest()[:16]


def numbers_of(array: pa.Array) -> np.ndarray:
    """An Arrow array of signed numbers, none of them null, as a view of them, (N,).

    Arrow's own ``to_numpy`` imports pandas where it is installed: half a second of every run.
    """
    kind = "f" if pa.types.is_floating(array.type) else "i"
    dtype = np.dtype(f"{kind}{array.type.bit_width // 8}")
    if not len(array):
        return np.zeros(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def captions_of(column: pa.ListArray) -> list[tuple[Caption, ...]]:
    """The captions of one record batch, whose structs have a text and a language. By column: ten
    times as fast as row by row."""
    spoken = column.values
    texts, languages = (spoken.field(name).to_pylist() for name in ("text", "language"))
    said = [Caption(text, sys.intern(word)) for text, word in zip(texts, languages, strict=True)]
    bounds = column.offsets.to_pylist()
    return [tuple(said[first:last]) for first, last in pairwise(bounds)]


@dataclass(frozen=True)
class _Split:
    """What the index says of a split: how many clips it has, and the hash of their content."""

    clips: Count
    hash: str
    words: str = ""  # `_hash_of_words`; "": an earlier version wrote it


@dataclass(frozen=True)
class _Index:
    format: int
    name: str
    splits: dict[str, _Split | None]


class Collection:
    """A folder of splits. Raises InputError where it is none, or of another format.

    ``remedy``: what helps where it is damaged, if it is not `supclap prepare`.
    """

    def __init__(self, folder: Path, remedy: str = "") -> None:
        self.folder = folder
        self._remedy = remedy or ANEW
        index = folder / INDEX
        if not index.is_file():
            helps = remedy or "`supclap prepare` makes one"
            raise InputError(f"{folder}: not a prepared collection (no {INDEX}); {helps}")
        found = _read_index(folder, remedy or INDEX_ANEW)
        self.name = found.name
        # None: its writer was stopped between the split's file and its entry.
        self._splits = {name: entry for name, entry in found.splits.items() if entry is not None}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def content_hash(self, *splits: str) -> str:
        """One hash over the content of the named splits (all, where none is named)."""
        entries = self._splits
        chosen = [f"{name}:{entries[name].hash}" for name in sorted(splits or entries)]
        return hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:16]

    def split(self, name: str) -> Clips:
        """The clips of a split. Raises InputError where there is none of that name."""
        entry = self._splits.get(name)
        if entry is None:
            raise InputError(
                f"{self.folder}: no split '{name}'; it has {', '.join(self.splits) or 'none'}"
            )
        path = self.folder / f"{name}.arrow"
        clips = _opened(path, entry, self._remedy)
        if len(clips) != entry.clips:
            why = f"{len(clips):,} clips, and {INDEX} says {entry.clips:,}"
            raise Damaged(str(path), why, self._remedy)
        return clips


# The splits that this process has opened last, by what a file must have kept to be the same one:
# runs that follow each other in a process mostly read the same data, and a small run would take
# longer to open them than to train. Nobody changes an opened split.
_open: OrderedDict[tuple[Any, ...], Clips] = OrderedDict()
_OPEN_CLIPS = 12_000  # in all of them; larger splits are opened anew


def _opened(path: Path, entry: _Split, remedy: str) -> Clips:
    """A split's clips. Raises Damaged as `Clips`."""
    try:
        found = path.stat()
    except OSError:  # said where it is read
        return Clips(path, entry.hash, entry.words, remedy)
    same = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    key = (str(path), *same, entry.hash, entry.words, remedy)
    clips = _open.pop(key, None) or Clips(path, entry.hash, entry.words, remedy)
    if len(clips) <= _OPEN_CLIPS:
        _open[key] = clips
        while sum(map(len, _open.values())) > _OPEN_CLIPS:
            _open.popitem(last=False)
    return clips


def _read_index(folder: Path, remedy: str = INDEX_ANEW) -> _Index:
    """A collection's index. Raises InputError where it is damaged or of another format."""
    where = str(folder / INDEX)
    values = read_values(Folder.at(folder), INDEX, remedy)
    if values.get("format", FORMAT) != FORMAT:
        raise InputError(f"{where}: format {shown(values['format'])} is not {FORMAT}; {remedy}")
    return as_kind(values, _Index, where, remedy)


def write_split(folder: Path, name: str, split: str, clips: Iterable[Clip]) -> int:
    """Writes one split of the collection ``name`` and enters it in the index; returns its length.

    The split becomes visible whole or not at all: an interrupted or failed write leaves the
    folder as it was.

    Raises:
        InputError: a clip id twice, or audio that is not (samples,) int16 with samples > 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{split}.arrow"
    scratch = folder / f".{split}.arrow.{os.getpid()}"
    digest = hashlib.sha256()
    seen: set[str] = set()
    try:
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            rows: list[Clip] = []
            held = 0
            for clip in clips:
                _check(clip, seen, f"{folder}, split {split}")
                digest.update(_fingerprint(clip))
                if rows and (
                    len(rows) == ROWS_PER_BATCH or held + len(clip.audio) > SAMPLES_PER_BATCH
                ):
                    writer.write_batch(_record_batch(rows))
                    rows, held = [], 0
                rows.append(clip)
                held += len(clip.audio)
            if rows:
                writer.write_batch(_record_batch(rows))
        with open(scratch, "rb") as written:
            os.fsync(written.fileno())  # before the rename, or a power cut leaves an empty file
        words = _hash_of_words(_read_table(scratch, ANEW)[0])
        if target.is_file():  # from here to `_enter` the index must not vouch for another file
            _enter(folder, name, split, None)
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)
    entry = {"clips": len(seen), "hash": digest.hexdigest()[:16], "words": words}
    _enter(folder, name, split, entry)
    return len(seen)


def _check(clip: Clip, seen: set[str], where: str) -> None:
    if clip.clip_id in seen:
        raise InputError(f"{where}: clip id '{clip.clip_id}' stands twice")
    if clip.audio.dtype != np.int16 or clip.audio.ndim != 1 or not clip.audio.size:
        raise InputError(
            f"{where}: clip '{clip.clip_id}': expected (samples,) int16 audio that is not empty, "
            f"found {clip.audio.dtype} of shape {clip.audio.shape}"
        )
    seen.add(clip.clip_id)


def _fingerprint(clip: Clip) -> bytes:
    """Content of a clip without its source: the same sounds in another folder are the same data."""
    words = json.dumps(
        [clip.clip_id, [[c.text, c.language] for c in clip.captions], list(clip.labels)],
        ensure_ascii=False,
    )
    sound = hashlib.sha256(np.ascontiguousarray(clip.audio).data).digest()
    return words.encode() + b"\0" + sound


def _record_batch(rows: list[Clip]) -> pa.RecordBatch:
    offsets = np.cumsum([0] + [len(clip.audio) for clip in rows])
    samples = np.concatenate([clip.audio for clip in rows])
    audio = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(samples))
    captions = [[{"text": c.text, "language": c.language} for c in clip.captions] for clip in rows]
    columns = [
        pa.array([clip.clip_id for clip in rows], pa.string()),
        audio,
        pa.array(captions, SCHEMA.field("captions").type),
        pa.array([list(clip.labels) for clip in rows], SCHEMA.field("labels").type),
        pa.array([clip.source for clip in rows], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _enter(folder: Path, name: str, split: str, entry: dict[str, Any] | None) -> None:
    index = folder / INDEX
    known = _read_index(folder).splits if index.is_file() else {}
    others = {name: one and asdict(one) for name, one in known.items()}
    splits = {**others, split: entry}
    values = {"name": name, "format": FORMAT, "splits": splits}
    scratch = folder / f".{INDEX}.{os.getpid()}"
    scratch.write_bytes(sealed(values, indent=1, sort=False))
    os.replace(scratch, index)

"""Precomputed features on disk: vectors in the place of sounds and words, memory-mapped.

A folder::

    features.json      name, format, widths, splits with their clip counts and hashes
    train.arrow        a row for each clip: id, captions (words, language, row), labels
    train_audio.npy    (clips, width): a vector for each clip, in the same order
    train_text.npy     (sentences, width): a vector for each distinct sentence
    ...
    classes.npy        vectors of the sentences of labels, where there are any
    audio_scale.npy    (2, width): mean and spread by which the array was standardized, if it was

`FeatureCollection` and `FeatureClips` are what `supclap.data.clips.Collection` and `Clips` are for
sounds, so that batches, noise, further test sets and metrics need not know which they have.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from supclap.data.clips import Caption, Clip, Clips, Collection, captions_of, numbers_of
from supclap.errors import InputError
from supclap.regular import check_regular
from supclap.storage import Folder
from supclap.stored import Count, Damaged, Positive, as_kind, read_values
from supclap.wording import gist, shown

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
INDEX, CLASSES = "features.json", "classes.npy"
ANEW = "prepare it again"

CAPTIONS = pa.list_(
    pa.struct([("text", pa.string()), ("language", pa.string()), ("row", pa.int64())])
)
SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("captions", CAPTIONS),
        ("labels", pa.list_(pa.string())),
    ]
)


def table_of(split: str) -> str:
    """The name of a split's table."""
    return f"{split}.arrow"


def array_of(split: str, kind: str) -> str:
    """The name of a split's array; ``kind``: "audio" or "text"."""
    return f"{split}_{kind}.npy"


def scale_of(kind: str) -> str:
    """The name of the file that says how an array was standardized."""
    return f"{kind}_scale.npy"


@dataclass(frozen=True)
class _File:
    bytes: Count
    time: int  # of its last change, in nanoseconds
    hash: str


@dataclass(frozen=True)
class _Files:
    clips: _File
    audio: _File
    text: _File


@dataclass(frozen=True)
class _Split:
    clips: Count
    hash: str
    files: _Files


@dataclass(frozen=True)
class _Classes:
    """The sentences of each label, as rows of an array of their own."""

    labels: dict[str, list[Count]]
    file: _File


@dataclass(frozen=True)
class _Index:
    format: int
    name: str
    widths: tuple[Positive, Positive]
    splits: dict[str, _Split]
    classes: _Classes | None = None


class FeatureCollection(Collection):
    """A folder of features. Raises InputError where it is none, or of another format.

    Attributes:
        widths: numbers of an audio vector, and of a text vector.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        where = str(folder / INDEX)
        try:
            values = read_values(Folder.at(folder), INDEX, ANEW)
        except FileNotFoundError:
            raise InputError(
                f"{folder}: holds no features (no {INDEX}); `supclap prepare features` makes them"
            ) from None
        if values.get("format", FORMAT) != FORMAT:
            raise InputError(f"{where}: format {shown(values['format'])} is not {FORMAT}; {ANEW}")
        found = as_kind(values, _Index, where, ANEW)
        self.name = found.name
        self.widths: tuple[int, int] = found.widths
        self._entries, self._classes = found.splits, found.classes

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def content_hash(self, *splits: str) -> str:
        """One hash over the content of the named splits (all, where none is named)."""
        chosen = [f"{name}:{self._entries[name].hash}" for name in sorted(splits or self._entries)]
        if self._classes is not None:
            labels = json.dumps(self._classes.labels, ensure_ascii=False, sort_keys=True)
            chosen.append(f"classes:{labels}:{self._classes.file.hash}")
        return hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:16]

    def split(self, name: str) -> FeatureClips:
        """The clips of a split. Raises InputError where there is none, or its files are not what
        was written."""
        entry = self._entries.get(name)
        if entry is None:
            raise InputError(
                f"{self.folder}: no split '{name}'; it has {', '.join(self.splits) or 'none'}"
            )
        table = self.folder / table_of(name)
        places = {"clips": table}
        places |= {kind: self.folder / array_of(name, kind) for kind in ("audio", "text")}
        for kind, path in places.items():
            _check_file(path, getattr(entry.files, kind))
        audio, text = (
            _array(places[kind], width)
            for kind, width in zip(("audio", "text"), self.widths, strict=True)
        )
        clips = FeatureClips(table, entry.hash, audio, text, *self._sentences_of_labels())
        if not len(clips) == len(audio) == entry.clips:
            raise Damaged(str(table), f"{len(clips):,} clips, {len(audio):,} vectors", ANEW)
        return clips

    def _sentences_of_labels(self) -> tuple[dict[str, list[int]], np.ndarray]:
        if self._classes is None:
            return {}, np.zeros((0, self.widths[1]), np.float32)
        path = self.folder / CLASSES
        _check_file(path, self._classes.file)
        array = _array(path, self.widths[1])
        if any(row >= len(array) for rows in self._classes.labels.values() for row in rows):
            raise Damaged(str(self.folder / INDEX), "a label's row is out of range", ANEW)
        return self._classes.labels, array


class FeatureClips(Clips):
    """The clips of one split, in order, as vectors, which are read when they are asked for.

    Attributes:
        classes: the labels that have sentences, with these, as `class_vectors` takes them.
    """

    widths: tuple[int, int]
    classes: dict[str, list[int]]

    def __init__(
        self,
        path: Path,
        content_hash: str,
        audio: np.ndarray,
        text: np.ndarray,
        classes: dict[str, list[int]],
        of_classes: np.ndarray,
    ) -> None:
        self.path = path
        self.content_hash = content_hash
        self._audio, self._text = audio, text
        self.classes, self._of_classes = classes, of_classes
        self.widths = audio.shape[1], text.shape[1]
        table = _read_table(path)
        self.clip_ids: list[str] = table.column("clip_id").to_pylist()
        self.labels: list[list[str]] = table.column("labels").to_pylist()
        self.sources = [""] * len(self.clip_ids)
        self.captions: list[tuple[Caption, ...]] = []
        rows = [np.zeros(0, np.int64)]
        for chunk in table.column("captions").chunks:
            self.captions += captions_of(chunk)
            rows.append(numbers_of(chunk.values.field("row")))
        self._sentences = np.concatenate(rows)  # of all captions, clip after clip
        self._first = np.cumsum([0] + [len(said) for said in self.captions])
        if len(self._sentences) and not 0 <= self._sentences.min() <= self._sentences.max() < len(
            text
        ):
            raise Damaged(str(path), "a caption's row is out of range", ANEW)

    @property
    def lengths(self) -> np.ndarray:
        """Zeros, (clips,) int64: how long the sounds were is not known."""
        return np.zeros(len(self), np.int64)

    def audio(self, row: int) -> np.ndarray:
        raise InputError(f"{self.path}: holds features; there is no sound to hear")

    def __getitem__(self, row: int) -> Clip:
        raise InputError(f"{self.path}: holds features; there is no sound to hear")

    def audio_vectors(self, rows: np.ndarray) -> Tensor:
        """(N,) clips -> (N, width) float32."""
        return _gathered(self._audio, rows)

    def sentences(self, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Captions, by clip and number there -> their sentences, (N,) int64."""
        found: np.ndarray = self._sentences[self._first[rows] + numbers]
        return found

    def text_vectors(self, sentences: np.ndarray) -> Tensor:
        """(N,) sentences -> (N, width) float32."""
        return _gathered(self._text, sentences)

    def class_vectors(self, rows: list[int]) -> Tensor:
        """The sentences of a label, N of them -> (N, width) float32."""
        return _gathered(self._of_classes, np.array(rows))


def _gathered(array: np.ndarray, rows: np.ndarray) -> Tensor:
    import torch  # a plan does not need it

    # Half precision is widened by PyTorch, which does it ten times as fast as NumPy.
    return torch.from_numpy(array.take(rows, axis=0)).float()


def _check_file(path: Path, known: _File) -> None:
    """Raises Damaged unless a file is what was written. As long as size and time are those of the
    writing it is taken for it; a copy, or a file that was changed, is read as a whole."""
    try:
        check_regular(path)
        status = path.stat()
        if status.st_size != known.bytes:
            fault = f"{status.st_size:,} bytes, and {INDEX} says {known.bytes:,}"
        elif status.st_mtime_ns == known.time:
            return
        else:
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest()[:32] == known.hash:
                    return
            fault = "altered: not the file that its index vouches for"
    except OSError as error:
        fault = f"cannot be read: {error.strerror or error}"
    raise Damaged(str(path), fault, ANEW)


def _array(path: Path, width: int) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(str(path), f"not a readable .npy array: {gist(error)}", ANEW) from None
    if found.ndim != 2 or found.shape[1] != width or found.dtype.kind != "f":
        raise Damaged(str(path), f"{found.dtype} of shape {found.shape}", ANEW)
    return np.asarray(found)


def _read_table(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        same = table.schema.equals(SCHEMA)
        if same:
            table.validate(full=True)
    except (OSError, pa.ArrowException, ValueError) as error:
        why = f"not a readable Arrow file of clips: {gist(error)}"
        raise Damaged(str(path), why, ANEW) from None
    if not same:
        raise Damaged(str(path), f"its columns are not those of features, format {FORMAT}", ANEW)
    return table

"""An index of a folder of sounds: one Parquet file of embeddings that a text can search."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supclap.data.clips import SAMPLE_RATE
from supclap.data.sources.files import OTHER, READABLE
from supclap.errors import InputError
from supclap.model.clap import CLAP
from supclap.model.waveform import read_audio, windows
from supclap.wording import gist

FORMAT = "1"
# By these names a file counts as sound. Some are of formats that cannot be read: such a file is
# listed as skipped, where ignoring it would hide it.
SOUNDS = frozenset((*READABLE, *OTHER))
DIGITS = 6
WINDOWS_AT_ONCE = 256  # embedded and written together

Window = tuple[str, int, np.ndarray]  # path, first sample, (samples,) int16


@dataclass(frozen=True)
class EmbedReport:
    """What `embed_folder` did: files and windows in the index, skipped files with their reasons."""

    files: int
    windows: int
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Hit:
    """A found sound: its path below the embedded folder, where in it (seconds), and how near the
    text is there (cosine similarity)."""

    path: str
    start: float
    end: float
    score: float


def embed_folder(
    model: CLAP, folder: Path, out: Path, progress: Callable[[int, int], None] | None = None
) -> EmbedReport:
    """Embeds every sound file below ``folder``, in order of their paths, into a Parquet file.

    A file longer than the model's `seconds` is embedded in windows of that length, one row each, so
    that all of it can be found. Columns: ``path`` (relative to the folder), ``start`` and ``end``
    in seconds, ``embedding`` (d float32). The file's metadata hold the model's content hash and the
    folder it was opened from. It appears whole or not at all.

    Args:
        progress: called with files done and files in all.

    Raises:
        InputError: no such folder, no readable sound in it, or the file cannot be written.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    names = sorted(_sounds(folder))
    skipped: list[tuple[str, str]] = []
    schema = _schema(model)
    scratch = out.parent / f".{out.name}.{uuid4().hex[:8]}"
    files = rows = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(scratch, schema) as writer:
            held: list[Window] = []
            for number, name in enumerate(names, 1):
                cut = _cut(model, folder, name, skipped)
                held += cut
                files += bool(cut)
                if len(held) >= WINDOWS_AT_ONCE or number == len(names):
                    writer.write_table(_table(schema, model, held))
                    rows, held = rows + len(held), []
                if progress:
                    progress(number, len(names))
        if not files:
            first = f"; the first: {': '.join(skipped[0])}" if skipped else ""
            raise InputError(
                f"{folder}: no sound file that can be read ({len(skipped)} skipped{first})"
            )
        os.replace(scratch, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)
    return EmbedReport(files, rows, tuple(skipped))


def search_index(
    model: CLAP, index: Path, query: str, k: int = 5, language: str = "eng"
) -> list[Hit]:
    """The ``k`` files of an index nearest to a text, best first, each at its nearest window.

    Scores that are equal to six digits are in order of path and start.

    Raises:
        InputError: not an index, or one that another model made: its vectors mean something else.
    """
    if k < 1:
        raise InputError(f"k: expected at least 1, found {k}")
    table = _open(index, model)
    flat = pa.concat_arrays([chunk.flatten() for chunk in table.column("embedding").chunks])
    embeddings = flat.to_numpy().reshape(len(table), -1)
    scores = embeddings @ model.encode_text(query, language)[0]
    # The last digit of an embedding depends on the batch it was computed in: it must not decide.
    order = np.argsort(-scores.round(DIGITS), kind="stable")
    paths = np.array(table.column("path").to_pylist())[order]
    # A file's first place in the order is its nearest window.
    best = order[np.sort(np.unique(paths, return_index=True)[1])[:k]]
    chosen = table.select(["path", "start", "end"]).take(pa.array(best)).to_pylist()
    return [Hit(**row, score=float(scores[at])) for row, at in zip(chosen, best, strict=True)]


def model_folder(index: Path) -> Path:
    """Where the model that made an index was opened from.

    Raises:
        InputError: not an index, or its model was never in a folder.
    """
    folder = _metadata(index)[b"supclap.folder"].decode()
    if not folder:
        raise InputError(f"{index}: does not know its model's folder; name it with --model")
    return Path(folder)


def _sounds(folder: Path) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        for name in names:
            if Path(name).suffix.lower() in SOUNDS and not name.startswith("."):
                yield (Path(where) / name).relative_to(folder).as_posix()


def _cut(model: CLAP, folder: Path, name: str, skipped: list[tuple[str, str]]) -> list[Window]:
    try:
        sound = read_audio(folder / name)
    except InputError as error:
        skipped.append((name, str(error).removeprefix(f"{folder / name}: ")))
        return []
    return [(name, start, window) for start, window in windows(sound, model.samples)]


def _schema(model: CLAP) -> pa.Schema:
    return pa.schema(
        [
            ("path", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("embedding", pa.list_(pa.float32(), model.config.dim)),
        ],
        metadata={
            "supclap.index": FORMAT,
            "supclap.model": model.content_hash(),
            "supclap.folder": str(model.folder or ""),
        },
    )


def _table(schema: pa.Schema, model: CLAP, rows: list[Window]) -> pa.Table:
    embeddings = model.encode_audio([window for _, _, window in rows])
    values = pa.array(embeddings.reshape(-1), pa.float32())
    columns = [
        pa.array([name for name, _, _ in rows]),
        pa.array([start / SAMPLE_RATE for _, start, _ in rows]),
        pa.array([(start + len(window)) / SAMPLE_RATE for _, start, window in rows]),
        pa.FixedSizeListArray.from_arrays(values, model.config.dim),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _open(index: Path, model: CLAP) -> pa.Table:
    made_by, given = _metadata(index)[b"supclap.model"].decode(), model.content_hash()
    if made_by != given:
        raise InputError(
            f"{index}: was made by model {made_by}, and this model is {given}; "
            "embed the folder again, or search with the model that made it"
        )
    with _readable(index):
        return pq.read_table(index)


def _metadata(index: Path) -> dict[bytes, bytes]:
    with _readable(index):
        marks: dict[bytes, bytes] = pq.read_schema(index).metadata or {}
    if marks.get(b"supclap.index") != FORMAT.encode():
        raise InputError(f"{index}: not an index of this version; `supclap embed` makes one")
    return marks


@contextmanager
def _readable(index: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{index}: no such index; `supclap embed` makes one") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{index}: not a readable Parquet file: {gist(error)}") from None

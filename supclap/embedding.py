"""An index of a folder of sounds: one Parquet file of embeddings that a text can search."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supclap.data.clips import SAMPLE_RATE, numbers_of
from supclap.data.decode import decode
from supclap.data.faults import Unreadable
from supclap.data.sources.files import OTHER, READABLE, bad_name, no_file, walk
from supclap.errors import InputError
from supclap.model.clap import CLAP
from supclap.model.waveform import windows
from supclap.objects import in_store
from supclap.wording import gist, spelled

FORMAT = "1"
_SOUNDS = frozenset((*READABLE, *OTHER))  # by these suffixes a file counts as sound by its name
DIGITS = 6
AGAIN = "`supclap embed` makes one anew"
WINDOWS_AT_ONCE = 256  # embedded and written together

Window = tuple[str, int, np.ndarray]  # path, first sample, (samples,) int16


Passed = tuple[str, str]  # path below the folder, and why it is not in the index


@dataclass(frozen=True)
class EmbedReport:
    """What `embed_folder` did: files and windows in the index, and all that is not in it.

    ``skipped``: what is sound by its name; ``others``: what else lies in the folder.
    """

    files: int
    windows: int
    skipped: tuple[Passed, ...]
    others: tuple[Passed, ...]


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

    A file is sound if it can be read as such, whatever its name.
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
    if out.exists() and not out.is_file():
        raise InputError(f"{out}: {no_file(out)}; expected a file to write, or nothing yet")
    names, left_out = _found(folder, out)
    schema = _schema(model)
    scratch = out.parent / f".{out.name}.{uuid4().hex[:8]}"
    files = rows = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Python opens a file of any name; pyarrow wants UTF-8, and takes some names for a URI.
        with (
            open(scratch, "wb") as sink,
            pq.ParquetWriter(sink, schema, write_page_checksum=True) as writer,
        ):
            held: list[Window] = []
            for number, name in enumerate(names, 1):
                cut = _cut(model, folder, name, left_out)
                held += cut
                files += bool(cut)
                if len(held) >= WINDOWS_AT_ONCE or number == len(names):
                    writer.write_table(_table(schema, model, held))
                    rows, held = rows + len(held), []
                if progress:
                    progress(number, len(names))
        skipped = sorted(one for one in left_out if _is_sound(one[0]))
        others = sorted(one for one in left_out if not _is_sound(one[0]))
        if not files:
            first = "".join(f"; the first: {spelled(n)}: {why}" for n, why in skipped[:1])
            raise InputError(
                f"{folder}: no sound file that can be read ({len(skipped)} skipped{first})"
            )
        os.replace(scratch, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)
    return EmbedReport(files, rows, tuple(skipped), tuple(others))


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
    embeddings = numbers_of(flat).reshape(len(table), -1)
    scores = embeddings @ model.encode_text(query, language)[0]
    # The last digit of an embedding depends on the batch it was computed in: it must not decide.
    order = np.argsort(-scores.round(DIGITS), kind="stable")
    paths = np.array(table.column("path").to_pylist())[order]
    # A file's first place in the order is its nearest window.
    best = order[np.sort(np.unique(paths, return_index=True)[1])[:k]]
    chosen = table.select(["path", "start", "end"]).take(pa.array(best)).to_pylist()
    return [Hit(**row, score=float(scores[at])) for row, at in zip(chosen, best, strict=True)]


def model_folder(index: Path) -> Path | str:
    """Where the model that made an index was opened from: a path, or an address in a store.

    Raises:
        InputError: not an index, or its model was never in a folder.
    """
    folder = os.fsdecode(_metadata(index)[b"supclap.folder"])
    if not folder:
        raise InputError(f"{index}: does not know its model's folder; name it with --model")
    return folder if in_store(folder) else Path(folder)


def skipped_file(out: Path) -> Path:
    """Where `supclap embed` lists what an index leaves out."""
    return out.with_name(f"{out.name}.skipped.csv")


def _is_sound(name: str) -> bool:
    """Whether it is meant to be sound, as its name says."""
    path = Path(name)
    return path.suffix.lower() in _SOUNDS and not path.name.startswith(".")


def _found(folder: Path, out: Path) -> tuple[list[str], list[Passed]]:
    """The names of the files to try, and what is left out at once. An earlier index is neither."""
    names, left_out = [], []
    ours = {out.resolve(), skipped_file(out).resolve()}
    for name, reason in sorted(walk(folder)):
        hidden = "is a hidden file" if Path(name).name.startswith(".") else ""
        reason = reason or hidden or bad_name(name)
        if reason:
            left_out.append((name, reason))
        elif not (name.endswith((".csv", out.name)) and (folder / name).resolve() in ours):
            names.append(name)
    return names, left_out


def _cut(model: CLAP, folder: Path, name: str, left_out: list[Passed]) -> list[Window]:
    try:
        sound = decode(folder / name)
    except Unreadable as fault:
        reason = str(fault)
        if not _is_sound(name) and not no_file(folder / name):
            reason = "is no sound, by its name and its content"
        left_out.append((name, reason))
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
            "supclap.folder": os.fsencode(model.folder or ""),
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
    with _readable(index) as file:
        table = pq.read_table(file, page_checksum_verification=True)
    holes = any(column.null_count for column in table.columns)
    if not table.schema.equals(_schema(model)) or not len(table) or holes:
        raise InputError(f"{index}: its columns are not those of an index; {AGAIN}")
    return table


def _metadata(index: Path) -> dict[bytes, bytes]:
    with _readable(index) as file:
        marks: dict[bytes, bytes] = pq.read_schema(file).metadata or {}
        marks.get(b"supclap.model", b"").decode()
    whole = {b"supclap.model", b"supclap.folder"} <= set(marks)
    if marks.get(b"supclap.index") != FORMAT.encode() or not whole:
        raise InputError(f"{index}: not an index of this version; {AGAIN}")
    return marks


@contextmanager
def _readable(index: Path) -> Iterator[BinaryIO]:
    if index.exists() and (fault := no_file(index)):
        raise InputError(f"{index}: {fault}")
    try:
        with open(index, "rb") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{index}: no such index; `supclap embed` makes one") from None
    except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{index}: not a readable Parquet file: {gist(error)}; {AGAIN}") from None

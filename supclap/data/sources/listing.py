"""What a collection's index says: clips, captions and files, before any sound is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from supclap.config import LANGUAGES
from supclap.data.clips import Caption
from supclap.data.sources.tables import Broken
from supclap.errors import InputError, nearest
from supclap.wording import is_text, spelled

# Why a clip of the index is not in the prepared collection.
MISSING = "missing"
UNREADABLE = "unreadable"
SILENT = "silent"
UNCAPTIONED = "uncaptioned"
BROKEN = "broken"  # a row of the index itself
LOSSES = (MISSING, UNREADABLE, SILENT, UNCAPTIONED, BROKEN)
# What else is worth a line, though no clip is lost by it.
CAPTION = "caption"
RENAMED = "renamed"

SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Skipped:
    """One line of skipped.csv. ``kind`` is one of LOSSES, or CAPTION, or RENAMED."""

    split: str
    clip_id: str
    file: str
    row: str  # index file and line
    kind: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """One clip as the index has it. ``path`` is None where no file was found; ``reason`` says why.

    ``file`` is the name in the index, ``row`` the index file and line ("train.csv:17").
    """

    split: str
    clip_id: str
    file: str
    row: str
    path: Path | None
    captions: tuple[Caption, ...] = ()
    labels: tuple[str, ...] = ()
    reason: str = ""

    def skipped(self, kind: str, reason: str) -> Skipped:
        return Skipped(self.split, self.clip_id, self.file, self.row, kind, reason)


@dataclass
class Listing:
    """All clips of a collection in the order of its index, and what was noticed on the way."""

    name: str
    entries: list[Entry] = field(default_factory=list)
    notes: list[Skipped] = field(default_factory=list)
    _rows: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.split for entry in self.entries))

    @property
    def broken_rows(self) -> list[Skipped]:
        return [note for note in self.notes if note.kind == BROKEN]

    def broken(self, split: str) -> Broken:
        """Notes broken rows of a split; of none ("") where nothing says of which they are."""

        def note(where: str, reason: str) -> None:
            self.notes.append(Skipped(split, "", "", where, BROKEN, reason))

        return note

    @contextmanager
    def row(self, split: str, where: str) -> Iterator[None]:
        """What is an InputError within is a broken row of the index, and reading goes on."""
        try:
            yield
        except InputError as error:
            known = split if SPLIT_NAME.fullmatch(split) else ""
            self.broken(known)(where, str(error).removeprefix(f"{where}: "))

    def add(self, entry: Entry, unusual: bool = False) -> None:
        """Appends a clip; ``unusual``: its file was found under another spelling of its name.

        Raises:
            InputError: its clip id was there before, in this split or in another one, or is no
                text; or the name of its split cannot be that of a file.
        """
        if not is_text("".join((entry.clip_id, *entry.labels))):
            raise InputError(f"{entry.row}: clip id or label is not Unicode text")
        if entry.clip_id in self._rows:
            first = self._rows[entry.clip_id]
            raise InputError(f"{entry.row}: clip id '{entry.clip_id}' stands already in {first}")
        if not SPLIT_NAME.fullmatch(entry.split):
            raise InputError(
                f"{entry.row}: '{entry.split}' is no name of a split; "
                f"expected letters, digits, '-' and '_'"
            )
        self._rows[entry.clip_id] = entry.row
        self.entries.append(entry)
        if unusual and entry.path is not None:
            self.notes.append(entry.skipped(RENAMED, f"read from {spelled(entry.path.name)}"))

    def captions(
        self, texts: Mapping[str, list[tuple[str, str]]], split: str, clip_id: str, file: str
    ) -> tuple[Caption, ...]:
        """The captions of one clip, from ``{language: [(text, row), ...]}``.

        Empty ones, and what is no text, are left out and noted.
        """
        found = []
        for language, rows in texts.items():
            for text, row in rows:
                clean = " ".join(text.split())
                if clean and is_text(clean):
                    found.append(Caption(clean, language))
                    continue
                reason = f"caption is not Unicode text ({language})"
                if not clean:
                    reason = f"empty caption ({language})"
                self.notes.append(Skipped(split, clip_id, file, row, CAPTION, reason))
        return tuple(found)


@dataclass
class Translations:
    """The captions of a split in a further language: what of them is left out, and why.

    A clip keeps its other captions: nothing but the caption is lost.
    """

    listing: Listing
    split: str
    language: str
    original: Path  # the file with the English captions
    known: int = 0  # rows that belong to a clip
    _first: str = ""

    def broken(self, where: str, reason: str) -> None:
        """Notes a row that cannot be read or belongs to no clip."""
        self._first = self._first or f"{where} ({self.language}): {reason}"
        reason = f"{reason} ({self.language})"
        self.listing.notes.append(Skipped(self.split, "", "", where, CAPTION, reason))

    def unknown(self, where: str, name: str) -> None:
        self.broken(where, f"{name} is not in {self.original}")

    def check(self) -> None:
        """Raises InputError where none of the rows belongs to a clip: it is another file."""
        if self._first and not self.known:
            raise InputError(self._first)


def check_language(language: str, where: str) -> str:
    """The language code itself. Raises InputError where it is none of the eight."""
    if language not in LANGUAGES:
        raise InputError(
            f"{where}: unknown language '{language}'; expected an ISO 639-3 code of "
            f"{', '.join(LANGUAGES)}{nearest(language, LANGUAGES)}"
        )
    return language


def english_and(others: Mapping[str, Path], source: Path) -> Iterator[tuple[str, Path]]:
    """(language, folder of the caption files): English first, in the collection's own folder."""
    yield "eng", source
    for language, folder in others.items():
        check_language(language, f"--captions {language}={folder}")
        if not folder.is_dir():
            raise InputError(f"--captions {language}={folder}: there is no such folder")
        yield language, folder

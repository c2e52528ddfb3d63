"""AudioCaps: train.csv, val.csv, test.csv beside a folder of clips from YouTube.

Kim et al., "AudioCaps: Generating Captions for Audios in The Wild" (NAACL 2019). One caption per
clip in train, one row each for the five captions of a clip in val and test. The clips may lie in
any folder below the source, see `youtube` for their names; a tool that names them by
``audiocap_id`` is understood too. Captions in further languages are csv files of the same names
and ids in another folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from supclap.data.sources.files import Files
from supclap.data.sources.listing import Entry, Listing, Translations, english_and
from supclap.data.sources.tables import Row, number, rows
from supclap.data.sources.youtube import Segments
from supclap.errors import InputError

SPLITS = ("train", "val", "test")
COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
Clip = tuple[str, float]  # youtube id, start in seconds


def read(source: Path, captions: Mapping[str, Path]) -> Listing:
    """The clips of AudioCaps below ``source``, with captions of further languages.

    Raises:
        InputError: no csv file is there, or one is not as it should be, but for single rows.
    """
    files = Files(source)
    tables = {split: path for split in SPLITS if (path := files.locate(f"{split}.csv"))}
    if not tables:
        raise InputError(f"{source}: no train.csv, val.csv or test.csv of AudioCaps below it")
    listing = Listing("audiocaps")
    parts = {split: _Split(listing, split, path) for split, path in tables.items()}
    for language, folder in english_and(captions, source):
        if folder is not source:
            _translate(listing, parts, language, Files(folder))
    segments = Segments(files, (clip for part in parts.values() for clip in part.first))
    for split, part in parts.items():
        for clip, (row, file) in part.first.items():
            path, reason = segments.find(*clip, folder=split, other_names=part.ids[clip])
            with listing.row(split, row):
                said = listing.captions(part.texts[clip], split, file, file)
                listing.add(Entry(split, file, file, row, path, said, reason=reason))
    return listing


class _Split:
    """The rows of one csv file, gathered by clip."""

    def __init__(self, listing: Listing, split: str, path: Path) -> None:
        self.path = path
        self.first: dict[Clip, tuple[str, str]] = {}  # first row, name
        self.ids: dict[Clip, list[str]] = defaultdict(list)
        self.texts: dict[Clip, dict[str, list[tuple[str, str]]]] = {}
        self.clip_of: dict[str, Clip] = {}
        self._rows_of: dict[str, str] = {}
        for where, row in rows(path, COLUMNS, broken=listing.broken(split)):
            with listing.row(split, where):
                self._take(where, row)

    def _take(self, where: str, row: Row) -> None:
        start = number(row["start_time"], where, "start_time")
        clip = (row["youtube_id"].strip(), start)
        caption_id = row["audiocap_id"].strip()
        for column in ("youtube_id", "audiocap_id"):
            if not row[column].strip():
                raise InputError(f"{where}: {column} is empty")
        if caption_id in self.clip_of:
            raise InputError(
                f"{where}: audiocap_id {caption_id} stands already in {self._rows_of[caption_id]}"
            )
        self._rows_of[caption_id] = where
        self.clip_of[caption_id] = clip
        self.ids[clip].append(caption_id)
        self.first.setdefault(clip, (where, f"{clip[0]}_{start:g}"))
        self.texts.setdefault(clip, {}).setdefault("eng", []).append((row["caption"], where))


def _translate(listing: Listing, parts: Mapping[str, _Split], language: str, files: Files) -> None:
    """Adds the captions of a further language. A row without its English one is noted."""
    used = 0
    for split, part in parts.items():
        path = files.locate(part.path.name)
        if path is None:
            continue
        used += 1
        translations = Translations(listing, split, language, part.path)
        for where, row in rows(path, ("audiocap_id", "caption"), broken=translations.broken):
            clip = part.clip_of.get(row["audiocap_id"].strip())
            if clip is None:
                translations.unknown(where, f"audiocap_id {row['audiocap_id']}")
            else:
                translations.known += 1
                part.texts[clip].setdefault(language, []).append((row["caption"], where))
        translations.check()
    if not used:
        names = ", ".join(part.path.name for part in parts.values())
        raise InputError(f"{files.root}: none of {names} is there for captions in '{language}'")

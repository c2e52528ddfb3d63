"""Clotho v2.1: clotho_captions_<part>.csv and a folder of clips for each part.

Drossos et al., "Clotho: an Audio Captioning Dataset" (ICASSP 2020). Five captions per clip in the
columns caption_1 to caption_5. The parts development, validation and evaluation become the splits
train, val and test. The official archives unpack to clotho_audio_development/development/ and so
on; both spellings of the folder are found, at any depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from supclap.data.sources.files import Files, Match, stem
from supclap.data.sources.listing import Entry, Listing, Translations, english_and
from supclap.data.sources.tables import Row, rows
from supclap.errors import InputError

PARTS = {"train": "development", "val": "validation", "test": "evaluation"}
TEXTS = tuple(f"caption_{i}" for i in range(1, 6))


def read(source: Path, captions: Mapping[str, Path]) -> Listing:
    """The clips of Clotho below ``source``, with captions of further languages.

    Raises:
        InputError: no csv file is there, or one is not as it should be, but for single rows.
    """
    files = Files(source)
    listing = Listing("clotho")
    tables = {
        split: path
        for split, part in PARTS.items()
        if (path := files.locate(f"clotho_captions_{part}.csv"))
    }
    if not tables:
        raise InputError(
            f"{source}: no clotho_captions_development.csv, ..._validation.csv or "
            f"..._evaluation.csv below it"
        )
    folders = {language: Files(place) for language, place in english_and(captions, source)}
    for split, path in tables.items():
        table = list(rows(path, ("file_name", *TEXTS), broken=listing.broken(split)))
        said = {"eng": {row["file_name"]: (where, row) for where, row in table}}
        for language, place in folders.items():
            other = place.locate(path.name)
            if language != "eng" and other is not None:
                translations = Translations(listing, split, language, path)
                said[language] = _translated(other, said["eng"], translations)
        part = PARTS[split]
        places = files.folders(part, f"clotho_audio_{part}")
        names = [(row["file_name"], where) for where, row in table]
        matches = (
            files.inside(places[0]).match(names)
            if places
            else [Match(None, f"no folder {part} with clips")] * len(names)
        )
        for (where, row), match in zip(table, matches, strict=True):
            file = row["file_name"]
            clip_id = f"{split}/{stem(file).strip()}"  # four names stand in two parts
            texts = {
                language: [(found[file][1][column], found[file][0]) for column in TEXTS]
                for language, found in said.items()
                if file in found
            }
            with listing.row(split, where):
                spoken = listing.captions(texts, split, clip_id, file)
                entry = Entry(split, clip_id, file, where, match.path, spoken, reason=match.reason)
                listing.add(entry, match.unusual)
    return listing


def _translated(
    path: Path, known: Mapping[str, tuple[str, Row]], translations: Translations
) -> dict[str, tuple[str, Row]]:
    found = {}
    for where, row in rows(path, ("file_name", *TEXTS), broken=translations.broken):
        if row["file_name"] in known:
            translations.known += 1
            found[row["file_name"]] = (where, row)
        else:
            translations.unknown(where, f"'{row['file_name']}'")
    translations.check()
    return found

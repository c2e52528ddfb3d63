"""Lists of clips that are to be left out: WavCaps' own, and what `supclap data overlap` writes.

WavCaps publishes lists of what it shares with the test sets of others, such as
``blacklist_exclude_test_ac.json``, which is ``{"AudioSet": ["Y<id>.wav", ...], "FreeSound":
["<id>", ...]}``: ids of YouTube videos and of sounds of Freesound. They are held against the
recordings that clip ids name (`origin`), and so work for every collection whose ids name one. A CSV
file has a column ``clip_id``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

from supclap.csv_text import FORMULA
from supclap.data.json_keys import check_keys
from supclap.data.overlap.origin import FREESOUND, YOUTUBE, origin_of
from supclap.data.sources.files import stem
from supclap.data.sources.listing import Listing
from supclap.data.sources.tables import load_json, rows
from supclap.errors import InputError

EXCLUDED = "excluded"  # a kind of line in skipped.csv
_SOURCES = {"AudioSet": YOUTUBE, "FreeSound": FREESOUND}


@dataclass(frozen=True)
class Exclusions:
    """What a file leaves out: clip ids, or recordings (where, name)."""

    file: Path
    names: frozenset[str | tuple[str, str]]


def read_exclusions(file: Path) -> Exclusions:
    """The list in a file. Raises InputError where it is none."""
    if file.suffix.lower() != ".json":
        found = (_clip_id(where, row["clip_id"]) for where, row in rows(file, ("clip_id",)))
        return Exclusions(file, frozenset(found))
    content = load_json(file)
    check_keys(file)
    if not isinstance(content, dict) or not content or not content.keys() <= _SOURCES.keys():
        raise InputError(
            f'{file}: expected {{"AudioSet": [...], "FreeSound": [...]}}, as WavCaps\' lists are'
        )
    names: set[str | tuple[str, str]] = set()
    for source, ids in content.items():
        if not isinstance(ids, list):
            raise InputError(f"{file}: {source}: expected a list of ids")
        where = _SOURCES[source]
        for number, each in enumerate(ids):
            names.add((where, _name(where, _id(each, f"{file}: {source}[{number}]"))))
    return Exclusions(file, frozenset(names))


def without(listing: Listing, lists: Sequence[Exclusions]) -> tuple[Listing, int, int]:
    """A listing without the clips of some lists; each is noted.

    Returns:
        the listing, how many clips are left out, and how many names of the lists are of no clip.
    """
    kept = Listing(listing.name, notes=list(listing.notes))
    used: set[tuple[Path, str | tuple[str, str]]] = set()
    out = 0
    for entry in listing.entries:
        found = [
            (each.file, name)
            for each in lists
            for name in _names_of(listing.name, entry.clip_id)
            if name in each.names
        ]
        used.update(found)
        if found:
            out += 1
            kept.notes.append(entry.skipped(EXCLUDED, f"{found[0][0].name} leaves it out"))
        else:
            kept.add(replace(entry))
    return kept, out, sum(len(each.names) for each in lists) - len(used)


def _names_of(collection: str, clip_id: str) -> Iterable[str | tuple[str, str]]:
    origin = origin_of(collection, clip_id)
    return (clip_id,) if origin is None else (clip_id, origin.recording)


def _id(each: object, where: str) -> str:
    """An id of a list: a text, or a number, as some lists have Freesound's.

    Raises:
        InputError: it is neither; as a text it would be of no clip, and leave out none.
    """
    text = str(each).strip() if isinstance(each, str | int) and each is not True else ""
    if not text or each is False:
        found = shorten(json.dumps(each), 40)
        raise InputError(f"{where}: {found} is no id; expected a text that is not empty")
    return text


def _clip_id(where: str, text: str) -> str:
    """A field of a CSV file as the clip id that it names. Raises InputError where it is empty."""
    name = _unguarded(text)
    if not name.strip():
        raise InputError(f"{where}: clip_id is empty; expected the id of a clip to leave out")
    return name


def _name(where: str, name: str) -> str:
    """An id without the suffix of a file; of a video without the Y that AudioSet's files have."""
    bare = stem(name.strip())
    video = re.fullmatch(r"Y([A-Za-z0-9_-]{11})", bare) if where == YOUTUBE else None
    return video[1] if video else bare


def _unguarded(name: str) -> str:
    """A text without the apostrophe that keeps a spreadsheet from computing it (`csv_text`)."""
    return name[1:] if name.startswith("'") and name[1:].startswith(FORMULA) else name

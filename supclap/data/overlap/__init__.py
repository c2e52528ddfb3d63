"""Clips that two collections share, by id, recording, content and fingerprint.

id         the same clip id in collections of one name, or the same second of a YouTube video
recording  cut from the same video or sound of Freesound, by their ids (`origin`)
content    the same samples
near       the same sound behind another codec, at another level, or shifted in time
           (`fingerprint`, `matching`)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supclap.data.clips import INDEX, Collection
from supclap.data.json_keys import check_index
from supclap.data.overlap.fingerprint import fingerprint
from supclap.data.overlap.matching import Near, near_pairs
from supclap.data.overlap.origin import Origin, origin_of
from supclap.data.soundscenes.processes import ordered_map
from supclap.data.sources import SOURCES, read_source
from supclap.errors import InputError, nearest
from supclap.progress import activity, counting

KINDS = ("id", "recording", "content", "near")
OF_SOUND = ("content", "near")
_PART = 16  # clips that a process reads at once


@dataclass(frozen=True)
class Listed:
    """A clip of one side."""

    split: str
    clip_id: str
    origin: Origin | None


@dataclass(frozen=True)
class Heard:
    """What is kept of a clip's sound: a hash of it, and its fingerprint (`fingerprint`)."""

    content: bytes
    words: np.ndarray
    says: np.ndarray


@dataclass(frozen=True)
class Side:
    """The clips of a collection. ``folder``: where it is prepared; None: an index alone, without
    sounds."""

    place: str
    name: str
    clips: tuple[Listed, ...]
    folder: Path | None


@dataclass(frozen=True)
class Shared:
    """A clip of A, and what of B it shares something with.

    others: rows of B. near: the closest of them, where ``kind`` is near.
    """

    row: int
    kind: str
    others: tuple[int, ...]
    near: Near | None = None


def read_side(place: str, splits: Sequence[str] = ()) -> Side:
    """A side of a comparison.

    Args:
        place: the folder of a prepared collection; or NAME=FOLDER, a collection in its official
            layout, of which only the index is read.
        splits: only these; all, where none is named.

    Raises:
        InputError: there is no such collection, or no such split in it.
    """
    name, mark, below = place.partition("=")
    if mark and name in SOURCES:
        check_index(name, Path(below))
        entries = read_source(name, Path(below)).entries
        found = [(entry.split, entry.clip_id) for entry in entries]
        folder = None
    else:
        folder = Path(place).expanduser()
        if not (folder / INDEX).is_file() and mark:
            raise InputError(
                f"{place}: expected the folder of a prepared collection, or NAME=FOLDER with "
                f"NAME of {', '.join(SOURCES)}{nearest(name, SOURCES)}"
            )
        collection = Collection(folder)
        name = collection.name
        found = [(s, clip) for s in collection.splits for clip in collection.split(s).clip_ids]
    there = dict.fromkeys(split for split, _ in found)
    for split in splits:
        if split not in there:
            raise InputError(f"{place}: no split '{split}' (there are {', '.join(there)})")
    clips = [
        Listed(split, clip, origin_of(name, clip))
        for split, clip in found
        if not splits or split in splits
    ]
    return Side(place, name, tuple(clips), folder)


def shared_clips(one: Side, other: Side, kinds: Sequence[str], workers: int) -> list[Shared]:
    """The clips of ``one`` that share something with clips of ``other``.

    Where both are the same place, only clips of different splits are compared.

    Args:
        kinds: of `KINDS`; those of sound need the sounds of both.
        workers: processes that read them.
    """
    found: list[Shared] = []
    same = one.place == other.place
    if "id" in kinds:
        found += _equal(one, other, "id", lambda side, clip: _ids(side, clip))
    if "recording" in kinds:
        found += _equal(one, other, "recording", lambda _, clip: _recordings(clip))
    wanted = [kind for kind in OF_SOUND if kind in kinds]
    if wanted:
        ours = list(_heard(one, workers))
        theirs = ours if same and one.clips == other.clips else list(_heard(other, workers))
        if "content" in wanted:
            contents = {clip: heard.content for clip, heard in zip(one.clips, ours, strict=True)}
            others = {clip: h.content for clip, h in zip(other.clips, theirs, strict=True)}
            of = {id(one): contents, id(other): others}
            found += _equal(one, other, "content", lambda side, clip: [of[id(side)][clip]])
        if "near" in wanted:
            found += _near(one, other, ours, theirs)
    return found


def _ids(side: Side, clip: Listed) -> Iterator[Hashable]:
    yield side.name, clip.clip_id
    if clip.origin is not None and clip.origin.start is not None:
        yield clip.origin


def _recordings(clip: Listed) -> list[Hashable]:
    return [] if clip.origin is None else [clip.origin.recording]


def _equal(
    one: Side, other: Side, kind: str, keys: Callable[[Side, Listed], Iterable[Hashable]]
) -> Iterator[Shared]:
    index: dict[Hashable, list[int]] = {}
    for row, clip in enumerate(other.clips):
        for key in keys(other, clip):
            index.setdefault(key, []).append(row)
    apart = one.place == other.place
    for row, clip in enumerate(one.clips):
        rows = dict.fromkeys(r for key in keys(one, clip) for r in index.get(key, ()))
        kept = tuple(r for r in rows if not apart or other.clips[r].split != clip.split)
        if kept:
            yield Shared(row, kind, kept)


def _near(
    one: Side, other: Side, ours: Sequence[Heard], theirs: Sequence[Heard]
) -> Iterator[Shared]:
    apart = one.place == other.place
    with activity("comparing fingerprints"):
        prints = [(heard.words, heard.says) for heard in ours]
        pairs = near_pairs(prints, [(heard.words, heard.says) for heard in theirs])
    of: dict[int, list[Near]] = {}
    for pair in pairs:
        if not apart or one.clips[pair.one].split != other.clips[pair.other].split:
            of.setdefault(pair.one, []).append(pair)
    for row, nears in of.items():
        nears.sort(key=lambda near: near.errors)
        yield Shared(row, "near", tuple(near.other for near in nears), nears[0])


def _heard(side: Side, workers: int) -> Iterator[Heard]:
    """What is kept of the sound of every clip, in order."""
    assert side.folder is not None
    splits = Collection(side.folder)
    parts = []
    for split in dict.fromkeys(clip.split for clip in side.clips):
        count = len(splits.split(split))
        for start in range(0, count, _PART):
            parts.append((side.folder, split, start, min(start + _PART, count)))
    with activity(f"fingerprints of {side.place}", len(parts) * _PART, "clips") as done:
        for found in counting(ordered_map(_read, parts, workers), lambda n: done(n * _PART)):
            yield from found


def _read(part: tuple[Path, str, int, int]) -> list[Heard]:
    folder, split, start, end = part
    clips = Collection(folder).split(split)
    found = []
    for row in range(start, end):
        samples = clips.audio(row)
        digest = hashlib.sha256(np.ascontiguousarray(samples).data).digest()
        found.append(Heard(digest, *fingerprint(samples)))
    return found

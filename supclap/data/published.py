"""How many clips, or captions, the published index files of each collection list.

So that an index that was cut off, or is another edition, is seen before it is trained on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from supclap.data.sources import SOURCES
from supclap.data.sources.listing import BROKEN, Listing

# Other words for a collection, in the names of folders and variables.
_ALSO_CALLED = {"us8k": "urbansound8k", "urbansound": "urbansound8k", "esc10": "esc50"}


@dataclass(frozen=True)
class Edition:
    """A published index: its name, and by split (of WavCaps by source) what it lists."""

    name: str
    counts: Mapping[str, int]
    of: Literal["clips", "captions"] = "clips"


_URBAN = (873, 888, 925, 990, 936, 823, 838, 806, 816, 837)
EDITIONS: dict[str, tuple[Edition, ...]] = {
    # Kim et al., 2019, and the README of dataset2.0 (February 2025), which counts captions.
    "audiocaps": (
        Edition("AudioCaps 1.0", {"train": 49_838, "val": 2_475, "test": 4_875}, "captions"),
        Edition("AudioCaps 2.0", {"train": 91_256, "val": 2_475, "test": 4_875}, "captions"),
    ),
    "clotho": (
        Edition("Clotho 2.1", {"train": 3_839, "val": 1_045, "test": 1_045}),
        Edition("Clotho 1.0", {"train": 2_893, "test": 1_045}),
    ),
    "esc50": (
        Edition("ESC-50", {f"fold{fold}": 400 for fold in range(1, 6)}),
        Edition("ESC-10", {f"fold{fold}": 80 for fold in range(1, 6)}),
    ),
    "urbansound8k": (
        Edition("UrbanSound8K", {f"fold{i}": count for i, count in enumerate(_URBAN, 1)}),
    ),
    "vggsound": (Edition("VGGSound", {"test": 15_446}),),
    "wavcaps": (
        Edition(
            "WavCaps",
            {
                "AudioSet_SL": 108_317,
                "BBC_Sound_Effects": 31_201,
                "FreeSound": 262_300,
                "SoundBible": 1_232,
            },
        ),
    ),
}

# Captions that each clip of a split has.
_EACH = {
    "audiocaps": {"train": 1, "val": 5, "test": 5},
    "clotho": {"train": 5, "val": 5, "test": 5},
}


def named_in(place: str) -> str | None:
    """The collection that a folder, or the variable that stands for it, seems to hold by its
    name."""
    words = [_ALSO_CALLED.get(word, word) for word in re.split(r"[^a-z0-9]+", place.lower())]
    return next((word for word in reversed(words) if word in SOURCES), None)


def pairs_of(name: str) -> tuple[str, dict[str, tuple[int, int]]] | None:
    """A collection's edition that the paper takes, and by split its clips and captions; None where
    the captions of a clip are not known here."""
    if name not in _EACH:
        return None
    edition = EDITIONS[name][0]
    found = {}
    for split, each in _EACH[name].items():
        count = edition.counts[split]
        clips = count // each if edition.of == "captions" else count
        found[split] = clips, clips * each
    return edition.name, found


def edition_line(listing: Listing) -> str:
    """A sentence on whether an index lists what a published one does; "" where none is known.

    Rows that are broken count: they stand in the index. Splits of which nothing is published do
    not.
    """
    editions = EDITIONS.get(listing.name, ())
    if not editions:
        return ""
    found = {of: _counted(listing, of) for of in {edition.of for edition in editions}}
    unit = editions[0].of
    counts = _numbers(found[unit], editions)
    if not counts:
        return ""
    fits = [e for e in editions if _same(found[e.of], e)]
    if fits:
        absent = [part for part in fits[0].counts if part not in found[unit]]
        without = f", without {', '.join(absent)}" if absent else ""
        names = " or of ".join(e.name for e in fits)
        return f"the index is that of {names}{without}: {counts} {unit}, as published"
    parts = [f"{e.name} has {_numbers(e.counts, (e,), found[e.of])}" for e in editions]
    differs = f"the index lists {counts} {unit}; {', '.join(parts)}"
    return f"{differs}: is it cut off, or another edition?"


def _counted(listing: Listing, of: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for entry in listing.entries:
        wavcaps = listing.name == "wavcaps"
        part = entry.clip_id.partition("/")[0] if wavcaps else entry.split
        english = sum(caption.language == "eng" for caption in entry.captions)
        counts[part] += english if of == "captions" else 1
    for note in listing.notes:
        if note.kind == BROKEN and note.split and listing.name != "wavcaps":
            counts[note.split] += 1
    return counts


def _same(found: Mapping[str, int], edition: Edition) -> bool:
    shared = [part for part in edition.counts if part in found]
    return bool(shared) and all(found[part] == edition.counts[part] for part in shared)


def _numbers(
    counts: Mapping[str, int], editions: tuple[Edition, ...], among: Mapping[str, int] | None = None
) -> str:
    """``train 49,838, val 2,475``: of the parts that an edition has, and ``among``."""
    known = dict.fromkeys(part for edition in editions for part in edition.counts)
    parts = [part for part in known if part in counts and (among is None or part in among)]
    return ", ".join(f"{part} {counts[part]:,}" for part in parts)

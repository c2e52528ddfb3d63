"""WavCaps: one json file and one folder of clips for each of its four sources.

Mei et al., "WavCaps: A ChatGPT-Assisted Weakly-Labelled Audio Captioning Dataset" (2023). The json
files hold {"data": [{"id", "caption", ...}, ...]}; the clips are <source>/<id>.flac, at any depth.
All of it is the split train. Whichever of the sources are there are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from supclap.data.sources.files import ABSENT, Files, checked, stem
from supclap.data.sources.listing import Entry, Listing
from supclap.data.sources.tables import load_json
from supclap.errors import InputError

SOURCES = {
    "AudioSet_SL": "as_final.json",
    "BBC_Sound_Effects": "bbc_final.json",
    "FreeSound": "fsd_final.json",
    "SoundBible": "sb_final.json",
}


def read(source: Path, captions: Mapping[str, Path]) -> Listing:
    """The clips below ``source``. Raises InputError where no json file is there, or one is broken.

    The ids of three sources are plain numbers: a clip is looked for below its own source's folder
    only.
    """
    files = Files(source)
    tables = {name: path for name, file in SOURCES.items() if (path := files.locate(file))}
    if not tables:
        raise InputError(f"{source}: none of {', '.join(SOURCES.values())} of WavCaps below it")
    listing = Listing("wavcaps")
    for name, table in tables.items():
        insides = [files.inside(folder) for folder in files.folders(name, f"{name}_flac")]
        for where, item in _items(table):
            with listing.row("train", where):
                listing.add(_entry(listing, name, insides, where, item))
    return listing


def _entry(listing: Listing, name: str, insides: Sequence[Files], where: str, item: Any) -> Entry:
    if not isinstance(item, dict) or "id" not in item or "caption" not in item:
        raise InputError(f"{where}: expected an object with 'id' and 'caption'")
    key = stem(checked(str(item["id"]), where))
    clip_id = f"{name}/{key}"
    places = (inside.find(str(item["id"]), where) for inside in insides)
    path = next((place for place in places if place), None)
    said = listing.captions({"eng": [(str(item["caption"] or ""), where)]}, "train", clip_id, key)
    reason = "" if path else ABSENT if insides else f"no folder {name} with clips"
    return Entry("train", clip_id, key, where, path, said, reason=reason)


def _items(table: Path) -> Iterator[tuple[str, Any]]:
    content = load_json(table)
    items = content.get("data") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise InputError(f'{table}: expected {{"data": [...]}}')
    for number, item in enumerate(items):
        yield f"{table.name}:data[{number}]", item

"""WavCaps: one json file and one folder of clips for each of its four sources.

Mei et al., "WavCaps: A ChatGPT-Assisted Weakly-Labelled Audio Captioning Dataset" (2023). The json
files hold {"data": [{"id", "caption", ...}, ...]}; the clips are <source>/<id>.flac, at any depth.
All of it is the split train. Whichever of the sources are there are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
        within = files.folders(name, f"{name}_flac")
        insides = [files.inside(folder) for folder in within]
        for where, item in _items(table):
            key = stem(checked(str(item["id"]), where))
            clip_id = f"{name}/{key}"
            places = (inside.find(str(item["id"]), where) for inside in insides)
            path = next((place for place in places if place), None)
            text = str(item["caption"] or "")
            said = listing.captions({"eng": [(text, where)]}, "train", clip_id, key)
            reason = "" if path else ABSENT if within else f"no folder {name} with clips"
            listing.add(Entry("train", clip_id, key, where, path, said, reason=reason))
    return listing


def _items(table: Path) -> list[tuple[str, dict]]:
    content = load_json(table)
    items = content.get("data") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise InputError(f'{table}: expected {{"data": [...]}}')
    found = []
    for number, item in enumerate(items):
        where = f"{table.name}:data[{number}]"
        if not isinstance(item, dict) or "id" not in item or "caption" not in item:
            raise InputError(f"{where}: expected an object with 'id' and 'caption'")
        found.append((where, item))
    return found

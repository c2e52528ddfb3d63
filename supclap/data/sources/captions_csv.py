"""A plain folder of sounds with captions.csv or captions.json.

The csv file has a column ``file`` and any of ``caption, language, split, label, clip_id``. Several
rows of one file are several captions. The json file is a list of objects with ``file`` and
``captions`` (a text, a list of texts, or lists by language) and any of ``split``, ``label`` or
``labels``, ``clip_id``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supclap.data.clips import Caption
from supclap.data.sources.files import Files, Match, checked, stem
from supclap.data.sources.listing import Entry, Listing, check_language
from supclap.data.sources.tables import load_json, rows
from supclap.errors import InputError
from supclap.wording import is_text, spelled

COLUMNS = ("file", "caption", "language", "split", "label", "clip_id")


@dataclass
class _Clip:
    clip_id: str
    file: str
    split: str
    row: str
    texts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)


def read(source: Path, captions: Mapping[str, Path]) -> Listing:
    """The clips below ``source``; files are named relative to the index file's folder.

    Raises:
        InputError: no index is there, or it is not as it should be, but for single rows.
    """
    files = Files(source)
    table, index = files.locate("captions.csv"), files.locate("captions.json")
    if (table is None) == (index is None):
        found = "neither" if table is None else "both"
        raise InputError(f"{source}: {found} of captions.csv and captions.json; expected one")
    place = table or index
    assert place is not None
    clips: dict[str, _Clip] = {}
    name = source.resolve().name
    listing = Listing(name if is_text(name) else spelled(name))
    for clip in _csv(place, listing) if table else _json(place, listing):
        with listing.row(clip.split, clip.row):
            _merge(clips, clip)
    root = files.inside(place.parent.relative_to(source).as_posix())
    matches = root.match([(clip.file, clip.row) for clip in clips.values()])
    for clip, match in zip(clips.values(), matches, strict=True):
        with listing.row(clip.split, clip.row):
            said = listing.captions(clip.texts, clip.split, clip.clip_id, clip.file)
            listing.add(_entry(clip, match, said), match.unusual)
    return listing


def _merge(clips: dict[str, _Clip], clip: _Clip) -> None:
    """Puts a further row of one clip to the rows before it."""
    known = clips.setdefault(clip.clip_id, clip)
    if known is clip:
        return
    if known.file != clip.file:
        raise InputError(
            f"{clip.row}: clip id '{clip.clip_id}' stands already in {known.row}, "
            f"for the file {known.file}"
        )
    if known.split != clip.split:
        raise InputError(
            f"{clip.row}: {clip.file} is of split '{clip.split}', but of "
            f"'{known.split}' in {known.row}"
        )
    known.labels += clip.labels
    for language, texts in clip.texts.items():
        known.texts.setdefault(language, []).extend(texts)


def _entry(clip: _Clip, match: Match, said: tuple[Caption, ...]) -> Entry:
    labels = tuple(dict.fromkeys(clip.labels))
    return Entry(
        clip.split, clip.clip_id, clip.file, clip.row, match.path, said, labels, match.reason
    )


def _csv(path: Path, listing: Listing) -> Iterator[_Clip]:
    for where, row in rows(path, ("file",), valid=COLUMNS, broken=listing.broken("")):
        split = row.get("split") or "train"
        with listing.row(split, where):
            file = checked(row["file"], where)
            language = check_language(row.get("language") or "eng", where)
            texts = {language: [(row["caption"], where)]} if "caption" in row else {}
            labels = [row["label"]] if row.get("label") else []
            name = row.get("clip_id") or stem(file)
            yield _Clip(name, file, split, where, texts, labels)


def _json(path: Path, listing: Listing) -> Iterator[_Clip]:
    items = load_json(path)
    if not isinstance(items, list):
        raise InputError(f"{path}: expected a list of objects with 'file' and 'captions'")
    for number, item in enumerate(items):
        where = f"{path.name}[{number}]"
        split = str(item.get("split") or "train") if isinstance(item, dict) else ""
        with listing.row(split, where):
            if not isinstance(item, dict) or not isinstance(item.get("file"), str):
                raise InputError(f"{where}: expected an object with a text 'file'")
            file = checked(item["file"], where)
            texts = {
                language: [(text, where) for text in said]
                for language, said in _by_language(item.get("captions", []), where).items()
            }
            labels = _texts(item.get("labels", item.get("label", [])), where, "labels")
            name = str(item.get("clip_id") or stem(file))
            yield _Clip(name, file, split, where, texts, labels)


def _by_language(value: Any, where: str) -> dict[str, list[str]]:
    by_language = value if isinstance(value, dict) else {"eng": value}
    return {
        check_language(language, where): _texts(said, where, "captions")
        for language, said in by_language.items()
    }


def _texts(value: Any, where: str, key: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{where}: '{key}' is not a text or a list of texts")
    return texts

"""A data source of the user's: what it lists, and that as a collection in the cache."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile

from supclap import registry
from supclap.config import DataConfig
from supclap.copies import local
from supclap.data.cache import build_once, cache_folder
from supclap.data.clips import FORMAT, Collection
from supclap.data.decode import HIGHEST_RATE, LOWEST_RATE, VERSION
from supclap.data.sources.files import no_file, stem
from supclap.data.sources.listing import Entry, Listing, check_language
from supclap.errors import InputError
from supclap.parts.calling import calling, wrong
from supclap.parts.making import make_part
from supclap.parts.part import Place
from supclap.parts.source import DataSource, Item
from supclap.progress import Doing, relay
from supclap.user_code import version_of_object
from supclap.wording import is_text, spelled

CHANNELS = 64  # more are samples in the place of channels
NO_FILE = Path()  # stands for a sound that is made, while it is not


@dataclass(frozen=True)
class Listed:
    """What a data source lists.

    content: a hash of it that is the same wherever the files lie: their names and sizes, samples,
        captions, labels. here: one that changes with the files' places and times too.
    """

    listing: Listing
    content: str
    here: str


def source_in(config: DataConfig) -> DataSource:
    """The data source that a configuration names. Raises InputError."""
    folder = None if config.folder is None else local(config.folder)
    if folder is not None and not folder.is_dir():
        raise InputError(f"data source '{config.name}': {folder}: there is no such folder")
    keys = config.own_keys
    source: DataSource = make_part("data source", config.name, keys, Place(), seed=0)
    source.folder = folder
    return source


def list_items(source: DataSource, name: str, made: Path | None = None) -> Listed:
    """What a data source lists; its sounds are not read.

    Args:
        made: where to write the sounds that are no files, as files; None: nowhere.

    Raises:
        PartError: an item of another form than `Item` says, or whatever goes wrong in the source.
        InputError: no clip is listed, or none that can be used.
    """
    listing = Listing(name)
    content, here = hashlib.sha256(), hashlib.sha256(name.encode(errors="backslashreplace"))
    for number, item in enumerate(_items(source)):
        where = f"item {number}"
        texts = _texts(source, item, where)
        sound, facts, place = _sound(source, item, where, made)
        with listing.row(item.split, where):
            entry = _entry(item, where, texts, sound, listing)
            listing.add(entry)
            said = [[caption.text, caption.language] for caption in entry.captions]
            words = json.dumps([entry.split, entry.clip_id, said, entry.labels, facts])
            content.update(f"{words}\n".encode())
            here.update(f"{words}{place}\n".encode(errors="backslashreplace"))
    for note in listing.notes:
        content.update(json.dumps(astuple(note)).encode())
    broken = listing.broken_rows
    if not listing.entries:
        fault = "lists no clip"
        if broken:
            fault = f"none of its clips can be used; the first: {broken[0].row}: "
            fault += broken[0].reason
        raise InputError(f"data source '{name}': {fault}")
    here.update(content.digest())
    return Listed(listing, content.hexdigest()[:16], here.hexdigest()[:32])


def open_own(config: DataConfig) -> Collection:
    """The collection that a data source lists, prepared where it is not yet.

    Raises:
        InputError: as `list_items` and `supclap.data.prepare.prepare`.
    """
    source = source_in(config)
    target = _target(config, list_items(source, config.name))
    return Collection(build_once(target, lambda scratch: _build(source, config, target, scratch)))


def look_at_own(config: DataConfig) -> Collection:
    """The collection where it is prepared, else what is listed of it: no sound can be read then.

    Raises:
        InputError: as `list_items`.
    """
    listed = list_items(source_in(config), config.name)
    target = _target(config, listed)
    if target.is_dir():
        return Collection(target)
    return cast(Collection, ListedCollection(listed, target))


class ListedCollection:
    """A collection that is not prepared yet, as far as its listing is one."""

    def __init__(self, listed: Listed, folder: Path) -> None:
        self.folder = folder
        self.name = listed.listing.name
        self.splits = listed.listing.splits
        self._listed = listed

    def content_hash(self, *splits: str) -> str:
        return self._listed.content

    def split(self, name: str) -> ListedClips:
        """The clips of a split. Raises InputError where there is none of that name."""
        if name not in self.splits:
            raise InputError(
                f"data source '{self.name}': no split '{name}'; it has {', '.join(self.splits)}"
            )
        entries = [entry for entry in self._listed.listing.entries if entry.split == name]
        return ListedClips(self.folder, entries)


class ListedClips:
    """The clips of a split that is not prepared yet."""

    widths = classes = None  # they are sounds

    def __init__(self, path: Path, entries: Sequence[Entry]) -> None:
        self.path = path
        self.clip_ids = [entry.clip_id for entry in entries]
        self.captions = [entry.captions for entry in entries]
        self.labels = [list(entry.labels) for entry in entries]
        self.lengths = np.zeros(len(entries), np.int64)  # not known

    def __len__(self) -> int:
        return len(self.clip_ids)


def _target(config: DataConfig, listed: Listed) -> Path:
    """Where the collection lies: named by what it is made of, the part's own source included."""
    code = version_of_object(registry.class_of("data source", config.name))
    keys = json.dumps(config.own_keys, sort_keys=True, default=str)
    words = json.dumps([VERSION, FORMAT, config.name, code, keys, listed.here])
    return cache_folder() / "sources" / hashlib.sha256(words.encode()).hexdigest()[:24]


def _build(source: DataSource, config: DataConfig, target: Path, scratch: Path) -> None:
    from supclap.data.prepare import prepare

    # Beside the target, so that a preparation that was killed goes on where it was.
    work = target.with_name(f".{target.name}.work")
    try:
        report = prepare(
            config.name,
            source.folder or Path("/"),
            work,
            own=lambda made: list_items(source, config.name, made).listing,
            progress=lambda what, done, of: relay(Doing(what, done, of, "clips")),
        )
    except InputError as error:
        raise InputError(
            f"data source '{config.name}': {error} (of `supclap prepare {config.name}`, whose "
            "folder data.folder can then name)"
        ) from None
    lost = sum(sum(split.lost.values()) for split in report.splits.values())
    if lost or report.captions_dropped or report.broken:
        print(
            f"data source '{config.name}': {lost + report.broken:,} clips and "
            f"{report.captions_dropped:,} captions are left out, each with its reason in "
            f"{target / report.skipped_file.name}",
            file=sys.stderr,
        )
    for path in work.iterdir():
        path.rename(scratch / path.name)
    work.rmdir()


def _items(source: DataSource) -> Iterator[Item]:
    with calling(source, "items"):
        given = iter(source.items())
    while True:
        with calling(source, "items"):
            item = next(given, None)
        if item is None:
            return
        if not isinstance(item, Item):
            raise wrong(source, "items", f"expected an Item each, found {type(item).__name__}")
        yield item


def _sound(
    source: DataSource, item: Item, where: str, made: Path | None
) -> tuple[Path, list[Any], str]:
    """A sound's file; what it is, wherever it lies; and what shows here that it is still that."""
    sound = item.sound
    if isinstance(sound, str | Path):
        path = Path(os.path.abspath((source.folder or Path()) / Path(sound).expanduser()))
        try:
            status = path.stat()
        except (OSError, ValueError):  # the name is none: `_entry` says so
            return path, [path.name, -1], str(path)
        return path, [path.name, status.st_size], f"{path}\0{status.st_mtime_ns}"
    if callable(sound):
        if made is None:
            return NO_FILE, ["made"], ""
        with calling(source, "items"):
            sound = sound()
    rate = item.rate
    if not isinstance(rate, int | np.integer) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise wrong(
            source,
            "items",
            f"{where}: expected a rate of {LOWEST_RATE} to {HIGHEST_RATE:,} Hz, found {rate!r}",
        )
    if not isinstance(sound, np.ndarray) or not _is_sound(sound):
        found = f"{sound.dtype} of shape {sound.shape}" if isinstance(sound, np.ndarray) else sound
        raise wrong(
            source,
            "items",
            f"{where}: expected the name of a file, or int16 or float samples (n,) or "
            f"(n, channels) of at most {CHANNELS} channels; found {found}",
        )
    digest = hashlib.sha256(f"{sound.dtype}{sound.shape}{rate}".encode())
    digest.update(np.ascontiguousarray(sound).data)
    name = digest.hexdigest()[:32]
    return NO_FILE if made is None else _write(made, name, sound, int(rate)), [name], ""


def _is_sound(sound: np.ndarray) -> bool:
    fits = sound.ndim == 1 or (sound.ndim == 2 and 1 <= sound.shape[1] <= CHANNELS)
    return fits and (sound.dtype == np.int16 or sound.dtype.kind == "f")


def _write(folder: Path, name: str, sound: np.ndarray, rate: int) -> Path:
    """Samples as a file, so that they are read, resampled and judged as all sounds are."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.wav"
    kept = io.BytesIO()  # libsndfile does not say what a disk complains about
    if sound.dtype == np.int16:
        soundfile.write(kept, sound, rate, format="WAV", subtype="PCM_16")
    else:
        soundfile.write(kept, sound.astype(np.float32), rate, format="WAV", subtype="FLOAT")
    path.write_bytes(kept.getvalue())
    os.utime(path, (0, 0))  # its name says what is in it; a later one is the same
    return path


def _texts(source: DataSource, item: Item, where: str) -> dict[str, list[tuple[str, str]]]:
    """A clip's captions by their language. Raises PartError: a value of another type."""
    texts: dict[str, list[tuple[str, str]]] = {}
    with calling(source, "items"):
        if isinstance(item.captions, str) or isinstance(item.labels, str):
            raise TypeError(f"{where}: captions and labels are lists of texts, found a text")
        for caption in item.captions:
            text, language = (caption, "eng") if isinstance(caption, str) else caption
            texts.setdefault(language, []).append((text, where))
        spoken = [text for said in texts.values() for text, _ in said]
        for value in (item.split, item.clip_id, *item.labels, *texts, *spoken):
            if not isinstance(value, str):
                raise TypeError(f"{where}: expected a text, found {value!r}")
    return texts


def _entry(
    item: Item,
    where: str,
    texts: dict[str, list[tuple[str, str]]],
    sound: Path,
    listing: Listing,
) -> Entry:
    """Raises InputError: a clip that cannot be used."""
    file = str(item.sound) if isinstance(item.sound, str | Path) else ""
    clip_id = item.clip_id or stem(os.path.basename(file))
    if "\0" in file or not is_text(file):
        raise InputError(f"{where}: the name of its file holds what no name can")
    if not clip_id:
        raise InputError(f"{where}: a sound that is no file needs a clip_id")
    for language in texts:
        check_language(language, where)
    said = listing.captions(texts, item.split, clip_id, file)
    fault = no_file(sound) if file else ""
    return Entry(
        split=item.split,
        clip_id=clip_id,
        file=file or clip_id,
        row=where,
        path=None if fault else sound,
        captions=said,
        labels=tuple(item.labels),
        reason=f"'{spelled(file)}' {fault}" if fault else "",
    )

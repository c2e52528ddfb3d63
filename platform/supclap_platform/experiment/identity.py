"""Identity: the signature that names a run, wherever it lies and whatever it is called.

A signature is a hash of the fully resolved RunConfig, defaults included, so that a changed default
changes it. Left out is what cannot change a result: resources (but for the number of workers),
`NO_PART_OF_A_RESULT`, and a key that came later while it stands at the value that means "as
before" (`supclap.later_keys`). Folders (a collection, recorded events, a pretrained encoder, a
model to start from) enter by their content, so that a signature is the same wherever they lie.

What code a result comes from is recorded beside the signature (`supclap.code`), not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from supclap import registry
from supclap.bounds import check_split
from supclap.config import FEATURES, NO_PART_OF_A_RESULT, DataConfig, RunConfig
from supclap.config.pretrained import missing_from
from supclap.copies import local, small
from supclap.errors import InputError, SettingError
from supclap.feasibility import CELL
from supclap.hub import files_read, in_hub, located
from supclap.later_keys import identity_of
from supclap.local_files import is_folder
from supclap.objects import in_store
from supclap.wording import one_line

if TYPE_CHECKING:
    from supclap.data.clips import Collection

_ROLES = ("train", "val", "test")


def signature(config: RunConfig, workers: int = 1, content: Contents | None = None) -> str:
    """The signature of a run: 16 hexadecimal digits.

    Raises SettingError where a folder that the configuration names cannot be read.
    """
    values = identity_of(config)
    for key in NO_PART_OF_A_RESULT:
        values.pop(key, None)
    content = content or Contents()
    try:
        roles = {f"data.{role}": getattr(config.data, role) for role in _ROLES}
        content.fill_in(config.data, values["data"], roles)
    except SettingError:
        raise
    except InputError as error:
        raise SettingError("data.folder", str(error)) from None
    for name, further in config.also.items():
        try:
            data = config.data if further.data is None else further.data
            filled = values["also"][name]["data"] if further.data is not None else {}
            content.fill_in(data, filled, {f"also.{name}.split": further.split})
        except SettingError:
            raise
        except InputError as error:
            raise SettingError(f"also.{name}", f"also.{name}: {error}") from None
    for side in ("audio", "text"):
        encoder = getattr(config.model, side)
        if encoder.folder is not None:
            key = f"model.{side}.folder"
            values["model"][side]["folder"] = content.encoder(encoder.name, encoder.folder, key)
    start = config.model.start
    if start is not None and not start.startswith(CELL):
        values["model"]["start"] = content.folder(start, "model.start")
    return digest({"run": values, "workers": workers})


def digest(values: Mapping[str, Any]) -> str:
    """A hash of plain values that depends on nothing but them: 16 hexadecimal digits."""
    text = json.dumps(
        _canonical(values),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


class Contents:
    """Content hashes of folders, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}

    def fill_in(
        self, data: DataConfig, values: dict[str, Any], splits: Mapping[str, str | None]
    ) -> None:
        """Puts content in the place of the folders among the values of ``data``.

        Args:
            splits: those that must be there, by the key that names each.
        """
        if registry.own("data source", data.name) is not None:
            values["folder"] = self.source(data)
        elif data.name == FEATURES:
            # Arrays and the folder that they are written to are the same data.
            values.pop("arrays", None)
            values["folder"] = self.features(data, splits)
        elif data.folder is not None:
            values["folder"] = self.collection(str(data.folder), splits)
        if data.events is not None:
            values["events"] = [self.folder(f, "data.events") for f in data.events]

    def collection(self, folder: str, splits: Mapping[str, str | None]) -> str:
        """Of a prepared collection, all splits of it; its index holds their hashes."""
        asked = [f"{key}={name}" for key, name in splits.items()]
        return self._once(("collection", folder, *asked), lambda: _collection(folder, splits))

    def features(self, data: DataConfig, splits: Mapping[str, str | None]) -> str:
        """Of precomputed features; arrays are read, and written to the cache, where they are not
        there yet."""
        asked = [f"{key}={name}" for key, name in splits.items()]
        place = data.model_dump_json(include={"folder", "arrays"})
        return self._once(("features", place, *asked), lambda: _features(data, splits))

    def source(self, data: DataConfig) -> str:
        """Of what a data source of the user's lists: names and sizes of files, captions, labels."""
        own = (data.name, str(data.folder), json.dumps(data.own_keys, sort_keys=True, default=str))
        return self._once(("source", *own), lambda: _source(data))

    def folder(self, path: str, key: str) -> str:
        """Of any folder: the names, sizes and small files' bytes of all that lies below it."""
        return self._once(("folder", path), lambda: _folder(_here(path, key), key))

    def encoder(self, name: str, place: str, key: str) -> str:
        """Of a pretrained encoder: its folder, or what of a repository's snapshot it reads."""
        return self._once(("encoder", name, place), lambda: self._encoder(name, place, key))

    def _encoder(self, name: str, place: str, key: str) -> str:
        if not in_hub(place):
            found = self.folder(place, key)
            folder = located(place, key)
        else:
            try:
                folder = located(place, key)
            except InputError as error:
                raise SettingError(key, f"{key}: {error}") from None
            found = self._once(("hub", place), lambda: _files(folder, files_read(folder)))
        missing = missing_from(name, folder)
        if missing is not None:
            raise SettingError(key, f"{key}: {missing}")
        return found

    def path(self, path: Path, key: str) -> str:
        """Of a folder as `folder` takes it, of a file its bytes. Raises SettingError."""
        if is_folder(path):
            return self.folder(str(path), key)
        return self._once(("file", str(path)), lambda: _file(path, key))

    def _once(self, key: tuple[str, ...], compute: Callable[[], str]) -> str:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


class NamesOfContents(Contents):
    """In the place of content that is not here, or lies in a store or a repository, its name, so
    that runs can be counted before anything is fetched. Signatures that rest on it are no run's."""

    def _once(self, key: tuple[str, ...], compute: Callable[[], str]) -> str:
        named = "absent:" + digest({"name": list(key)})
        if any("://" in part for part in key):
            return named
        try:
            return super()._once(key, compute)
        except InputError:
            return self._known.setdefault(key, named)


def _collection(folder: str, splits: Mapping[str, str | None]) -> str:
    from supclap.data.clips import Collection  # needs numpy and pyarrow: only where there is one
    from supclap.data.places import INDICES, NO_COLLECTION

    # Of a store no more than the index is read.
    index = small(folder, [INDICES["collection"]], NO_COLLECTION)
    return _content(Collection(index), splits, folder)


def _features(data: DataConfig, splits: Mapping[str, str | None]) -> str:
    from supclap.data import index_of
    from supclap.data.features import open_features

    if data.folder is not None:
        return _content(index_of(data), splits, data.folder)
    opened = open_features(data)
    return _content(opened, splits, str(opened.folder))


def _content(collection: Collection, splits: Mapping[str, str | None], place: str) -> str:
    for key, name in splits.items():
        if name is not None:
            check_split(name, collection.splits, place, key)
    return "content:" + collection.content_hash()


def _source(data: DataConfig) -> str:
    from supclap.data.sources.own import list_items, source_in

    try:
        return "content:" + list_items(source_in(data), data.name).content
    except InputError as error:
        raise SettingError("data.name", str(error)) from None


def contents_of(
    config: BaseModel, contents: Contents | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration as plain values, with content in the place of what lies in files; and those
    values alone, by dotted key. These are paths, and data as `supclap` configures them.

    Args:
        contents: None: nothing is looked at, and what names the files stays.

    Raises SettingError for a file or folder that cannot be read.
    """
    values = identity_of(config)
    found: dict[str, Any] = {}
    _fill(config, values, contents, found, "")
    return values, found


def _fill(
    model: BaseModel,
    values: dict[str, Any],
    contents: Contents | None,
    found: dict[str, Any],
    above: str,
) -> None:
    for name in type(model).model_fields.keys() & values.keys():
        inner, key = getattr(model, name), f"{above}{name}"
        if isinstance(inner, DataConfig):
            if contents is not None:
                splits = {f"{key}.{role}": getattr(inner, role) for role in _ROLES}
                try:
                    contents.fill_in(inner, values[name], splits)
                except SettingError:
                    raise
                except InputError as error:
                    raise SettingError(f"{key}.folder", f"{key}: {error}") from None
            found[key] = values[name]
        elif isinstance(inner, Path):
            if contents is not None:
                values[name] = contents.path(inner, key)
            found[key] = values[name]
        elif isinstance(inner, BaseModel):
            _fill(inner, values[name], contents, found, f"{key}.")


def _file(path: Path, key: str) -> str:
    try:
        with open(path, "rb") as content:
            return "content:" + hashlib.file_digest(content, "sha256").hexdigest()[:16]
    except OSError as error:
        kind = "is no file and no folder" if isinstance(error, FileNotFoundError) else str(error)
        raise SettingError(key, f"{key}: {one_line(str(path))} {kind}") from None


def _here(place: str, key: str) -> Path:
    """A folder on this machine, fetched from a store where it is not yet. Raises SettingError."""
    try:
        return local(place) if in_store(place) else Path(place)
    except InputError as error:
        raise SettingError(key, f"{key}: {error}") from None


def _folder(path: Path, key: str) -> str:
    if not is_folder(path):
        raise SettingError(key, f"{key}: {one_line(str(path))} is not a folder")
    state = hashlib.sha256()
    for file in sorted(path.rglob("*"), key=lambda p: p.relative_to(path).as_posix()):
        # Hidden: a downloader's notes of when and whence.
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if hidden or not file.is_file():
            continue
        size = file.stat().st_size
        state.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        if file.suffix in (".json", ".csv", ".safetensors"):
            with open(file, "rb") as content:  # gigabytes, where it is a pretrained encoder
                state.update(hashlib.file_digest(content, "sha256").digest())
    return "content:" + state.hexdigest()[:16]


def _files(folder: Path, files: Sequence[Path]) -> str:
    state = hashlib.sha256()
    for file in files:
        with open(file, "rb") as content:
            state.update(f"{file.relative_to(folder).as_posix()}\0".encode())
            state.update(hashlib.file_digest(content, "sha256").digest())
    return "content:" + state.hexdigest()[:16]


def _canonical(value: Any) -> Any:
    """A value in the one form that is hashed: -0.0 becomes 0.0, tuples become lists."""
    if value is None or isinstance(value, str | int):  # most are; to ask for a mapping takes longer
        return value
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value

"""What lies in a store, copied to this machine once, and what such a copy is known by.

A copy lies in the cache (`supclap.data.cache`), in a folder that is named by the place and by the
state of what lies there, so that what has changed is never served as it was::

    <cache>/copies/<place><state>/copy.json     address, and each file's tag, size and SHA-256
    <cache>/copies/<place><state>/<NAME>        the files; NAME is the place's last name

Of several processes that ask at once one fetches, and the others wait. What a killed one has
fetched is taken up by the next.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from supclap.data.cache import alone_at, build_once, cache_folder
from supclap.errors import InputError
from supclap.fetching import Fetched, fetch, note, noted
from supclap.objects import Objects, in_store, objects_at
from supclap.progress import activity
from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, read_values, sealed
from supclap.wording import counted, size

SHELF = "copies"  # the folder in the cache
INDEX = "copy.json"


@dataclass(frozen=True)
class _Index:
    place: str
    files: dict[str, Fetched]


@dataclass(frozen=True)
class Copy:
    """A state of a place and its copy, which may not be there yet."""

    place: str
    objects: Objects

    @property
    def folder(self) -> Path:
        """Named by what it is a copy of: 24 hexadecimal digits."""
        digits = _named(self.objects.folder.uri)
        state = hashlib.sha256(f"{self.objects.whole}{self.objects.state}".encode()).hexdigest()
        return cache_folder() / SHELF / f"{digits}{state[:12]}"

    @property
    def path(self) -> Path:
        """Where the place lies on this machine, once it is copied."""
        return self.folder / self.objects.base

    @property
    def here(self) -> bool:
        """Whether it is copied, as far as the names say."""
        return self.folder.is_dir()


def local(place: str | Path, needs: Sequence[str] = (), what: str = "") -> Path:
    """The path of a place on this machine: of a store's, which is copied where it is not yet.

    Args:
        needs: names of files of which one must lie directly below a place of a store, or nothing of
            it is fetched; ``what``: what it then is, for the message.

    Raises:
        InputError: nothing lies there, it cannot be read or was changed meanwhile, or the cache
            cannot be written or has no room; it says what to do.
    """
    if not in_store(place):
        return _own(place)
    with activity(f"looking at {_shown(place)}"):
        copy = copy_of(str(place), needs, what)
    return _made(copy)


def small(place: str | Path, names: Sequence[str], what: str) -> Path:
    """As `local`, a folder that holds only the named files of a place, as far as they are there.

    Raises InputError: none of them is; ``what``: what the place then is.
    """
    if not in_store(place):
        return _own(place)
    objects = objects_at(str(place), only=names)
    if not objects.files:
        raise _not_it(objects, names, what)
    return _made(Copy(str(place), objects))


def is_file_at(place: str | Path, name: str) -> bool:
    """Whether a folder holds a file, wherever it lies. Raises InputError as `local`."""
    if not in_store(place):
        return (_own(place) / name).is_file()
    return bool(objects_at(str(place), only=[name]).files)


def copied(place: str | Path) -> bool:
    """Whether what lies at a place now is on this machine. Raises InputError as `local`."""
    return not in_store(place) or copy_of(str(place)).here


def copy_of(
    place: str, needs: Sequence[str] = (), what: str = "", seconds: float | None = None
) -> Copy:
    """The state of a place of a store, and where its copy lies; ``seconds`` as `objects_at` takes
    it. Raises InputError as `local`."""
    objects = objects_at(place, seconds=seconds)
    if needs and not {file.name for file in objects.files} & set(needs):
        raise _not_it(objects, needs, what)
    return Copy(place, objects)


def _not_it(objects: Objects, names: Sequence[str], what: str) -> InputError:
    return InputError(f"{objects.folder.uri}: has no {' or '.join(names)}: {what}")


def _own(place: str | Path) -> Path:
    """The path of a place of this machine."""
    text = str(place)
    if text.startswith("file://"):
        found = Folder.at(text).local
        assert found is not None
        return found
    return Path(text).expanduser()


def _made(copy: Copy) -> Path:
    target, uri = copy.folder, copy.objects.folder.uri
    if target.is_dir() and not _whole(target):
        with alone_at(target, f"fetches {uri}"):
            if target.is_dir() and not _whole(target):  # another process may have mended it
                _undo(target)

    def build(scratch: Path) -> None:
        work = _work(target)  # what a killed fetch has left
        content = work / copy.objects.base
        fetched = fetch(copy.objects, work, content, _earlier(copy))
        files = {name: asdict(file) for name, file in fetched.items()}
        (work / INDEX).write_bytes(sealed({"place": uri, "files": files}, indent=1))
        now = objects_at(copy.place, [] if copy.objects.whole else list(fetched))
        if now.state != copy.objects.state:
            raise InputError(f"{uri}: was changed while it was fetched; run again")
        for path in (work / INDEX, content):
            path.rename(scratch / path.name)
        shutil.rmtree(work)

    build_once(target, build, f"fetches {uri}")
    return copy.path


def _earlier(copy: Copy) -> Iterator[tuple[Path, dict[str, Fetched]]]:
    """Copies of earlier states of the place, whole or begun: what has not changed since is not
    fetched again."""
    name = copy.folder.name[:12]
    shelf = copy.folder.parent
    for folder in sorted(shelf.glob(f"{name}*")):
        index = _index(folder)
        if index is not None:
            yield folder / copy.objects.base, index.files
    for work in sorted(shelf.glob(f".{name}*.work")):
        if work != _work(copy.folder):
            yield work / copy.objects.base, noted(work)


def _whole(target: Path) -> bool:
    """Whether a copy is what was fetched: each file has its size and time, or else its content."""
    index = _index(target)
    if index is None:
        return False
    content = next((path for path in target.iterdir() if path.name != INDEX), target)
    single = content.is_file()
    return all(
        file.is_at(content if single else content / name) for name, file in index.files.items()
    )


def _index(folder: Path) -> _Index | None:
    try:
        values = read_values(Folder.at(folder), INDEX)
        return as_kind(values, _Index, str(folder / INDEX))
    except (OSError, Damaged):
        return None


def _undo(target: Path) -> None:
    """Makes a copy that is damaged one that is half made: what of it is whole need not be fetched
    again."""
    index = _index(target)
    work = _work(target)
    shutil.rmtree(work, ignore_errors=True)
    os.rename(target, work)
    if index is not None:
        note(work, index.files)


def _work(target: Path) -> Path:
    return target.with_name(f".{target.name}.work")


def _named(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:12]


def _shown(place: str | Path) -> str:
    return Folder.at(str(place)).uri


@dataclass(frozen=True)
class Awaited:
    """What a run would fetch to the machine that it runs on."""

    uri: str
    files: int
    size: int  # bytes

    def __str__(self) -> str:
        """``s3://bucket/data (3 files, 4.50 GB)``"""
        return f"{self.uri} ({counted(self.files, 'file')}, {size(self.size)})"


def awaited(places: Iterable[str], seconds: float | None = None) -> list[Awaited]:
    """What of some places of stores this machine has no copy of, each once; ``seconds`` as
    `objects_at` takes it.

    Raises InputError as `local`.
    """
    found = []
    for place in dict.fromkeys(places):
        copy = copy_of(place, seconds=seconds)
        if not copy.here:
            objects = copy.objects
            found.append(Awaited(objects.folder.uri, len(objects.files), objects.size))
    return found

"""What lies at a place of a store (s3://, gs://): its files, and what tells their states apart.

A place is a folder, with all that lies below it, or one file. Hidden files are passed over, as they
are in the identity of a folder.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from supclap.addresses import hasty
from supclap.errors import InputError, nearest
from supclap.secrets import masked, without_password
from supclap.storage import Folder
from supclap.wording import gist, one_line, spelled

AT_ONCE = 8  # requests
MOST_TAGS = 200  # of so many files each one's tag is asked for, with a request of its own
SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# What is no address and no path that anybody has: one slash, where there should be two.
_TYPO = re.compile(rf"({'|'.join(SCHEMES)}):/(?!/)(.*)", re.IGNORECASE | re.DOTALL)
_DENIED = re.compile(r"ACCESS_DENIED|Access ?Denied|Forbidden|\b40[13]\b|credential|OAuth2|"
                     r"INVALID_ACCESS_KEY|SIGNATURE|TOKEN", re.IGNORECASE)  # fmt: skip
OWN_KEYS = (
    "credentials are taken from each machine's environment (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS) or its role; a public "
    "bucket is read with ?anonymous=true"
)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Object:
    """A file in a store.

    Attributes:
        name: below the place, with ``/``; of a place that is one file its own name.
        size: bytes.
        changed: when, in ns since 1970, as exact as the store says it.
        tag: what the store changes with the content (an ETag, a generation); "": not known.
        md5: of the content, in hexadecimal digits, where the store says it; "": not known.
    """

    name: str
    size: int
    changed: int
    tag: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Objects:
    """What lies at a place. ``base``: the place's own last name."""

    folder: Folder
    base: str
    files: tuple[Object, ...]
    whole: bool = True  # False: only files that were asked for by name
    single: bool = False  # the place is one file

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def state(self) -> str:
        """Changes with each name, size, time and tag: 64 hexadecimal digits."""
        return hashlib.sha256(repr([astuple(file) for file in self.files]).encode()).hexdigest()

    def path(self, file: Object) -> str:
        """Of a file in the store's file system."""
        return self.folder.base if self.single else f"{self.folder.base}/{file.name}"


def in_store(place: str | Path) -> bool:
    """Whether a place is one of a store, and no path of this machine.

    Raises:
        InputError: it is an address with a mistake in it, which as a path would name nothing.
    """
    text = str(place)
    found = _URI.match(text)
    if found is None:
        typo = _TYPO.match(text)
        if typo is not None and not Path(text).exists():
            given = "" if isinstance(place, str) else ", given as a text and not as a Path"
            meant = without_password(f"{typo[1].lower()}://{one_line(typo[2], 200)}")
            written = meant.replace("://", ":/", 1)
            raise InputError(f"{written}: an address has two slashes: {meant}{given}")
        return False
    scheme = found[1]
    if scheme in ("file", "hf"):
        return False
    if scheme not in SCHEMES:
        said = nearest(scheme.lower(), [*SCHEMES, "file"])
        raise InputError(
            f"{one_line(without_password(text), 200)}: no store is addressed by '{scheme}://'"
            f"{said}; expected s3://, gs:// or the path of a folder"
        )
    return True


def objects_at(place: str, only: Sequence[str] = (), seconds: float | None = None) -> Objects:
    """What lies at a place of a store.

    Args:
        only: names of files below it; no others are asked for. Those that are absent are left out.
        seconds: that an answer may take, for who only wants to know; None: as long as it takes.

    Raises:
        InputError: nothing lies there, or it cannot be read; names that are no names here.
    """
    folder = Folder.at(place)
    if seconds is not None:
        folder.filesystem = hasty(folder.filesystem, seconds)
    base = folder.base.rpartition("/")[2]
    below = f"{folder.base}/".__add__
    if only:
        found = _asked(folder, [Object(name, -1, 0) for name in only], below)
        return Objects(folder, base, tuple(file for file in found if file is not None), whole=False)
    infos = talk(folder, lambda: _listed(folder))
    single = bool(infos) and infos[0].path == folder.base
    files = [
        Object(base if single else _name(folder, info), info.size, info.mtime_ns or 0)
        for info in sorted(infos, key=lambda info: info.path)
    ]
    files = [file for file in files if single or not _hidden(file.name)]
    if not files:
        bucket = folder.base.partition("/")[0]
        there = talk(folder, lambda: folder.filesystem.get_file_info(bucket))
        absent = there.type == pafs.FileType.NotFound
        why = f"there is no bucket '{bucket}'" if absent else "nothing lies there"
        raise InputError(f"{folder.uri}: {why}")
    _refuse_clashes(folder, files)
    if len(files) <= MOST_TAGS:
        found = _asked(folder, files, (lambda _: folder.base) if single else below)
        if None in found:
            raise InputError(f"{folder.uri}: was changed while it was looked at; try again")
        files = [file for file in found if file is not None]
    return Objects(folder, base, tuple(files), single=single)


def talk(folder: Folder, ask: Callable[[], Result]) -> Result:
    """What a store answers. Raises InputError in the place of what its library raises."""
    try:
        return ask()
    except InputError:
        raise
    except (OSError, pa.ArrowException) as error:
        said = masked(gist(error), folder.place)
        helps = f"; {OWN_KEYS}" if _DENIED.search(str(error)) else ""
        raise InputError(f"{folder.uri}: cannot be read: {said}{helps}") from None


def _listed(folder: Folder) -> list[pafs.FileInfo]:
    """The files below a place, or itself where it is one."""
    selector = pafs.FileSelector(folder.base, recursive=True, allow_not_found=True)
    try:
        found = folder.filesystem.get_file_info(selector)
    except NotADirectoryError:
        found = []
    files = [info for info in found if info.type == pafs.FileType.File]
    if not files:
        own = folder.filesystem.get_file_info(folder.base)
        files = [own] if own.type == pafs.FileType.File else []
    return files


def _asked(
    folder: Folder, files: Sequence[Object], path: Callable[[str], str]
) -> list[Object | None]:
    """Files with what the store says of each; None for one that is not there."""

    def ask(file: Object) -> Object | None:
        try:
            with folder.filesystem.open_input_file(path(file.name)) as opened:
                return described(file.name, opened, file.changed)
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(ask, file) for file in files]
        try:
            return [talk(folder, one.result) for one in asked]
        except InputError:
            pool.shutdown(wait=False, cancel_futures=True)  # the others would end as this one
            raise


def described(name: str, opened: pa.NativeFile, changed: int = 0) -> Object:
    """An opened file, as the store describes it."""
    said = {
        key.lower(): value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for key, value in (opened.metadata() or {}).items()
    }
    tag = said.get("etag", "").strip('"') or said.get("generation", "")
    md5 = tag if re.fullmatch(r"[0-9a-f]{32}", tag) else ""
    if said.get("md5hash"):
        md5 = base64.b64decode(said["md5hash"]).hex()
    return Object(name, opened.size(), 0 if tag else changed, tag, md5)


def _name(folder: Folder, info: pafs.FileInfo) -> str:
    """A file's name below the place. Raises InputError: as a path it would lead elsewhere."""
    name: str = info.path.removeprefix(folder.base).removeprefix("/")
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise InputError(f"{folder.uri}: '{spelled(name)}' lies there, which no file can be called")
    return name


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _refuse_clashes(folder: Folder, files: Iterable[Object]) -> None:
    """A store can hold both "a" and "a/b", a file system cannot."""
    names = {file.name for file in files}
    for name in names:
        for above in PurePosixPath(name).parents:
            if str(above) in names:
                raise InputError(
                    f"{folder.uri}: '{spelled(str(above))}' is there as a file and as a folder"
                )

"""A folder on any file system that pyarrow knows (local, S3, GCS), with atomic writes."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pyarrow.fs as pafs

from supclap import conditional
from supclap.errors import InputError
from supclap.regular import NotAFile, read_regular
from supclap.s3 import LARGE, Bucket, Listed, bucket_of, md5
from supclap.secrets import is_anonymous, masked, without_password
from supclap.wording import gist, is_text, one_line, spelled

LONGEST = 255  # bytes of a name, on the file systems that there are
# Options of a URI that hold no secret, without which the place is not found again.
_HARMLESS = ("endpoint_override", "region", "scheme", "anonymous")
AT_ONCE = 16  # files that are written together: an object store takes its time for each
FLAT = ("s3", "gcs", "abfs")  # file systems of objects: a folder is there with what lies in it
GOOGLE_PATIENCE = 30  # seconds in which a request is tried again
_UNSPELLED = re.compile(r"[^!$&-;=@-Z_a-z~%]|%(?![0-9A-Fa-f]{2})")
# Where a file system has no second names for a file, as FAT, or refuses them.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # anything else is a path, whatever it holds


class Folder:
    """A folder of small and large files, addressed by relative names such as ``a/b.json``.

    ``write`` is atomic: a reader sees the old content or the new, whenever the writer is killed.

    Attributes:
        place: the path or URI that `at` opens it by; it may hold a password, and is never shown.
        uri: the same as it may be shown, without keys: given to a command, it is the same place.
    """

    def __init__(self, filesystem: pafs.FileSystem, base: str, place: str) -> None:
        self.filesystem = filesystem
        self.base = base.rstrip("/")
        start, sign, options = place.partition("?") if _URI.match(place) else (place, "", "")
        self.place = f"{start.rstrip('/')}{sign}{options}"
        self.uri = _shown(self.place) if _URI.match(place) else self.place

    @classmethod
    def at(cls, place: str | Path) -> Folder:
        """The folder at a path, or at a URI: what begins with ``letters://``.

        Raises:
            InputError: there is no such file system, no bucket is named in it, or the name is not
                UTF-8 text or longer than file systems take.
        """
        text = str(place)
        if not _URI.match(text):
            path = str(_expanded(text).absolute())
            if not is_text(path):  # pyarrow takes no other
                raise InputError(f"{spelled(path)}: its name is not UTF-8 text; choose another")
            if any(len(os.fsencode(part)) > LONGEST for part in Path(path).parts):
                raise InputError(
                    f"{one_line(path, 200)}: a name in it has over {LONGEST} bytes; choose another"
                )
            return cls(pafs.LocalFileSystem(), path, path)
        text = _quoted(text)
        named = one_line(without_password(text), 200)
        try:
            filesystem, base = _connected(_frugal(text))
        except Exception as error:  # of pyarrow or of a file system's own library
            fault = masked(gist(error).replace(text, named), text)
            raise InputError(f"storage '{named}': not a usable place: {fault}") from None
        if filesystem.type_name != "local" and not base.strip("/"):
            raise InputError(f"storage '{named}': not a usable place: it names no bucket")
        return cls(filesystem, base, text)

    @property
    def local(self) -> Path | None:
        """The path of the folder where it is on this machine, else None."""
        return Path(self.base) if self.filesystem.type_name == "local" else None

    def below(self, name: str) -> Folder:
        """A folder inside this one."""
        path = self._path(name)
        if not _URI.match(self.place):
            return Folder(self.filesystem, path, f"{self.place}/{name}")
        place, sign, options = self.place.partition("?")
        return Folder(self.filesystem, path, f"{place}/{quote(name)}{sign}{options}")

    def above(self) -> Folder:
        """The folder that holds this one."""
        start, sign, options = (
            self.place.partition("?") if _URI.match(self.place) else (self.place, "", "")
        )
        return Folder(
            self.filesystem,
            posixpath.dirname(self.base),
            f"{start.rstrip('/').rpartition('/')[0]}{sign}{options}",
        )

    def uri_of(self, name: str) -> str:
        """A file or folder inside this one, as it may be shown and given to a command."""
        if not _URI.match(self.uri):
            return f"{self.uri}/{name}"
        start, sign, options = self.uri.partition("?")
        return f"{start}/{quote(name)}{sign}{options}"

    def write(self, name: str, content: bytes) -> None:
        """Replaces the file atomically and durably. Raises OSError (a full disk, no rights)."""
        path = self._path(name)
        bucket = self._bucket
        if bucket is not None and len(content) < LARGE:
            bucket.write(_key(path), content)
            return
        if self.filesystem.type_name not in FLAT:
            self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
        if self.local is None:  # object stores publish an object whole when it is closed
            with self.filesystem.open_output_stream(path) as stream:
                stream.write(content)
            return
        with _scratch(path, content) as scratch:
            os.replace(scratch, path)

    def first(self, name: str, content: bytes) -> bytes:
        """Writes the file where there is none yet, durably and in one step, which of many writers
        at once a single one wins; what the file holds then.

        Returns:
            ``content``; or what another has written there before.

        Raises OSError. Where a file system can do no such thing (`supclap.conditional` lists those
        that can), it looks before it writes.
        """
        path = self._path(name)
        if self.local is not None:
            self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
            with _scratch(path, content) as scratch:
                return content if _linked(scratch, path, content) else self.read(name)
        if conditional.put(self.filesystem, self.place, path, content, there=False):
            return content
        return self.read(name)

    def renew(self, name: str, content: bytes) -> bool:
        """Gives a file the time of now, in one step that never makes it anew.

        Args:
            content: what it holds.

        Returns False where it is gone. Raises OSError.
        """
        path = self._path(name)
        if self.local is None:
            return conditional.put(self.filesystem, self.place, path, content, there=True)
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Writes files. On an object store several at once, and none whose content is there."""
        if self.local is not None or not files:
            for name, content in files.items():
                self.write(name, content)
            return
        there = {name: listed.tag for name, listed in self.files()}
        new = {n: c for n, c in files.items() if there.get(n) != md5(c)}
        with ThreadPoolExecutor(AT_ONCE) as writers:
            for written in [writers.submit(self.write, *one) for one in new.items()]:
                written.result()

    def read(self, name: str, most: int | None = None) -> bytes:
        """The file's content.

        Raises:
            FileNotFoundError: there is none.
            NotAFile: no regular file, which might have no end, or one of more than ``most`` bytes.
        """
        path = self._path(name)
        if self.local is not None:
            return read_regular(Path(path), most)
        bucket = self._bucket
        if bucket is not None:
            return bucket.read(_key(path), most)
        with self.filesystem.open_input_file(path) as stream:
            if most is not None and stream.size() > most:
                raise NotAFile(f"{stream.size():,} bytes")
            content: bytes = stream.read()
        return content

    def exists(self, name: str) -> bool:
        found = self.filesystem.get_file_info(self._path(name)).type
        return bool(found != pafs.FileType.NotFound)

    def names(self, below: str = "") -> list[str]:
        """The names directly below a folder, sorted; none where there is no such folder."""
        selector = pafs.FileSelector(
            self._path(below) if below else self.base, allow_not_found=True
        )
        return sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def files(self, below: str = "", entries: Collection[str] = ()) -> Iterator[tuple[str, Listed]]:
        """Every file below a folder, however deep, by its name from there, from one listing; none
        where there is no such folder.

        Args:
            entries: names that are listed even where they are those of folders.
        """
        base = self._path(below) if below else self.base
        bucket = self._bucket
        if bucket is not None:
            start = len(_key(base)) + 1
            for key, listed in bucket.listing(f"{_key(base)}/"):
                yield key[start:], listed
            return
        selector = pafs.FileSelector(base, allow_not_found=True, recursive=True)
        start = len(base.lstrip("/")) + 1
        for info in self.filesystem.get_file_info(selector):
            if info.type != pafs.FileType.Directory or info.base_name in entries:
                size = -1 if info.type == pafs.FileType.Directory else info.size or 0
                yield info.path.lstrip("/")[start:], Listed(size, info.mtime)

    def delete(self, name: str) -> None:
        """Removes a file or a whole folder; nothing happens where there is none."""
        path = self._path(name)
        kind = self.filesystem.get_file_info(path).type
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(path)
        elif kind != pafs.FileType.NotFound:
            self.filesystem.delete_file(path)

    def delete_file(self, name: str) -> None:
        """Removes what is no folder, without asking what it is; nothing happens where there is
        none."""
        path, bucket = self._path(name), self._bucket
        if bucket is not None:
            bucket.delete(_key(path))
            return
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(path)

    def delete_folder(self, name: str) -> None:
        """So a folder with all that lies in it."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_dir(self._path(name))

    def copy(self, name: str, target: str) -> None:
        """Gives a file that is only ever replaced, never changed, a second name here; on a local
        disk without a second copy of it. Raises OSError."""
        old, new = self._path(name), self._path(target)
        if self.local is None:
            self.filesystem.copy_file(old, new)
            return
        self.filesystem.create_dir(posixpath.dirname(new), recursive=True)
        Path(new).unlink(missing_ok=True)
        try:
            os.link(old, new)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            shutil.copyfile(old, new)

    def copy_to(self, target: Path) -> None:
        """Copies all that is here into a folder of this machine."""
        pafs.copy_files(
            self.base,
            str(target),
            source_filesystem=self.filesystem,
            destination_filesystem=pafs.LocalFileSystem(),
        )

    @property
    def _bucket(self) -> Bucket | None:
        if self.filesystem.type_name != "s3":
            return None
        return bucket_of(self.place, self.filesystem.region)

    def _path(self, name: str) -> str:
        clean = posixpath.normpath(name)
        if clean.startswith(("/", "../")) or clean in ("..", ".") or "\0" in clean:
            raise InputError(f"'{spelled(name)}' does not stay inside {self.uri}")
        return f"{self.base}/{clean}"


def _shown(uri: str) -> str:
    """A URI without a user, whose key is of no use without its secret, and without what may be a
    secret among its options."""
    start, _, options = uri.partition("?")
    head, sign, rest = without_password(start.rstrip("/")).partition("://")
    kept = [
        (name, value)
        for name, value in parse_qsl(options)
        if name in _HARMLESS and "@" not in value
    ]
    user, _, place = rest.rpartition("@")
    where = rest if "/" in user else place  # of a name that holds a sign: bucket/mail@home
    return f"{head}{sign}{where}{'?' if kept else ''}{urlencode(kept, safe=':/')}"


def _key(path: str) -> str:
    """What an object at a path is called within its bucket."""
    return path.lstrip("/").partition("/")[2]


def _frugal(uri: str) -> str:
    """An address of S3 with which a small file is written in one request instead of three: what is
    wrong with the place then shows when the file is closed, which is still within `Folder.write`.
    """
    if not uri.startswith("s3://") or "allow_delayed_open=" in uri:
        return uri
    return _with_option(uri, "allow_delayed_open=true")


def _connected(uri: str) -> tuple[pafs.FileSystem, str]:
    """A file system and the place in it, where ``?anonymous=true`` asks without credentials.

    Raises as `pyarrow.fs.FileSystem.from_uri`.
    """
    start, _, options = uri.partition("?")
    each = [one for one in options.split("&") if one]
    kept = [one for one in each if not one.startswith("anonymous=")]
    anonymous = is_anonymous(uri)
    rest = f"{start}{'?' if kept else ''}{'&'.join(kept)}"
    if uri.startswith(("gs://", "gcs://")):
        if "retry_limit_seconds=" not in rest:  # without keys it would ask for 15 minutes
            rest = _with_option(rest, f"retry_limit_seconds={GOOGLE_PATIENCE}")
        if anonymous and "@" not in start:
            rest = rest.replace("://", "://anonymous@", 1)
    elif anonymous and uri.startswith("s3://"):
        given: dict[str, Any] = dict(parse_qsl("&".join(kept)))
        given["allow_delayed_open"] = given.get("allow_delayed_open") == "true"
        unknown = given.keys() - {"endpoint_override", "region", "scheme", "allow_delayed_open"}
        if unknown:
            raise ValueError(f"'{min(unknown)}' has no meaning beside 'anonymous'")
        place = unquote(start.removeprefix("s3://")).rstrip("/")
        if not given.keys() & {"region", "endpoint_override"}:
            given["region"] = pafs.resolve_s3_region(place.partition("/")[0])
        return pafs.S3FileSystem(anonymous=True, **given), place
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(rest)
    return found


def _with_option(uri: str, option: str) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}{option}"


def _quoted(uri: str) -> str:
    """A URI whose place may hold blanks, letters of any alphabet and other signs that have to be
    spelled in one, as ``%20``; what is spelled so already stays."""
    start, sign, options = uri.partition("?")
    head, slashes, rest = start.partition("://")
    bucket, slash, place = rest.partition("/")
    spelled_out = _UNSPELLED.sub(lambda found: quote(found[0]), place)
    return f"{head}{slashes}{bucket}{slash}{spelled_out}{sign}{options}"


@contextmanager
def _scratch(path: str, content: bytes) -> Iterator[str]:
    """A file beside ``path`` that nobody else writes, with the content on the disk."""
    scratch = f"{path}.{os.getpid()}{secrets.randbelow(10**8):08d}.part"
    try:
        with open(scratch, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield scratch
    finally:
        Path(scratch).unlink(missing_ok=True)


def _linked(scratch: str, path: str, content: bytes) -> bool:
    """Puts a whole file in place where there is none. Without links the name alone is won in one
    step; a kill before the content is there leaves a file that its readers find damaged."""
    try:
        os.link(scratch, path)
    except (FileExistsError, FileNotFoundError):  # or who was first has cleared up
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            with open(path, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
    return True


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~somebody who is not known here: a name like any other
        return Path(text)


def is_folder(path: Path) -> bool:
    """Whether a path names a folder; one that no file system could hold names none."""
    try:
        return path.is_dir()
    except OSError:  # a name that is too long
        return False

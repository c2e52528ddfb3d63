"""A folder on any file system that pyarrow knows (local, S3, GCS), with atomic writes."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.fs as pafs

from supclap import conditional
from supclap.addresses import connected, frugal, inside, is_address, parted, quoted, shown
from supclap.errors import InputError
from supclap.local_files import NO_LINKS, linked, scratch_file, usable_path
from supclap.regular import NotAFile, read_regular
from supclap.s3 import LARGE, Bucket, Listed, bucket_of, md5
from supclap.secrets import masked, without_password
from supclap.wording import gist, one_line, spelled

AT_ONCE = 16  # files that are written together: an object store takes its time for each
FLAT = ("s3", "gcs", "abfs")  # file systems of objects: a folder is there with what lies in it


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
        start, options = parted(place)
        self.place = f"{start.rstrip('/')}{options}"
        self.uri = shown(self.place) if is_address(place) else self.place

    @classmethod
    def at(cls, place: str | Path) -> Folder:
        """The folder at a path, or at a URI: what begins with ``letters://``.

        Raises:
            InputError: there is no such file system, no bucket is named in it, or the name is not
                UTF-8 text or longer than file systems take.
        """
        text = str(place)
        if not is_address(text):
            path = usable_path(text)
            return cls(pafs.LocalFileSystem(), path, path)
        text = quoted(text)
        named = one_line(without_password(text), 200)
        try:
            filesystem, base = connected(frugal(text))
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
        return Folder(self.filesystem, self._path(name), inside(self.place, name))

    def above(self) -> Folder:
        """The folder that holds this one."""
        start, options = parted(self.place)
        place = f"{start.rstrip('/').rpartition('/')[0]}{options}"
        return Folder(self.filesystem, posixpath.dirname(self.base), place)

    def uri_of(self, name: str) -> str:
        """A file or folder inside this one, as it may be shown and given to a command."""
        return inside(self.uri, name)

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
        with scratch_file(path, content) as scratch:
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
            with scratch_file(path, content) as scratch:
                return content if linked(scratch, path, content) else self.read(name)
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


def _key(path: str) -> str:
    """What an object at a path is called within its bucket."""
    return path.lstrip("/").partition("/")[2]

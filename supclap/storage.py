"""A folder on any file system that pyarrow knows (local, S3, GCS), with atomic writes."""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path

import pyarrow.fs as pafs

from supclap.errors import InputError
from supclap.secrets import masked, without_password
from supclap.wording import is_text, spelled


class NotAFile(OSError):
    """A device, a FIFO, a folder or something far too large stands where a file should."""


class Folder:
    """A folder of small and large files, addressed by relative names such as ``a/b.json``.

    ``write`` is atomic: a reader sees the old content or the new, whenever the writer is killed.

    Attributes:
        place: the path or URI that `at` opens it by; it may hold a password, and is never shown.
        uri: the same as it may be shown.
    """

    def __init__(self, filesystem: pafs.FileSystem, base: str, place: str) -> None:
        self.filesystem = filesystem
        self.base = base.rstrip("/")
        self.place = place.rstrip("/")
        self.uri = without_password(self.place).rstrip("/")

    @classmethod
    def at(cls, place: str | Path) -> Folder:
        """The folder at a path or URI.

        Raises:
            InputError: there is no such file system, or the name is not UTF-8 text.
        """
        text = str(place)
        if "://" not in text:
            path = str(Path(text).expanduser().absolute())
            if not is_text(path):  # pyarrow takes no other
                raise InputError(f"{spelled(path)}: its name is not UTF-8 text; choose another")
            return cls(pafs.LocalFileSystem(), path, path)
        try:
            filesystem, base = pafs.FileSystem.from_uri(text)
        except (ValueError, OSError) as error:
            raise InputError(
                f"storage '{without_password(text)}': not a usable place: "
                f"{masked(str(error), text)}"
            ) from None
        return cls(filesystem, base, text)

    @property
    def local(self) -> Path | None:
        """The path of the folder where it is on this machine, else None."""
        return Path(self.base) if self.filesystem.type_name == "local" else None

    def below(self, name: str) -> Folder:
        """A folder inside this one."""
        place, sign, options = self.place, "", ""
        if "://" in place:
            place, sign, options = place.partition("?")
        return Folder(self.filesystem, self._path(name), f"{place}/{name}{sign}{options}")

    def write(self, name: str, content: bytes) -> None:
        """Replaces the file atomically and durably. Raises OSError (a full disk, no rights)."""
        path = self._path(name)
        self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
        if self.local is None:  # object stores publish an object whole when it is closed
            with self.filesystem.open_output_stream(path) as stream:
                stream.write(content)
            return
        scratch = f"{path}.{os.getpid()}.part"
        try:
            with open(scratch, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            Path(scratch).unlink(missing_ok=True)

    def read(self, name: str, most: int | None = None) -> bytes:
        """The file's content.

        Raises:
            FileNotFoundError: there is none.
            NotAFile: no regular file, which might have no end, or one of more than ``most`` bytes.
        """
        path = self._path(name)
        if self.local is not None:
            return read_regular(Path(path), most)
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

    def delete(self, name: str) -> None:
        """Removes a file or a whole folder; nothing happens where there is none."""
        path = self._path(name)
        kind = self.filesystem.get_file_info(path).type
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(path)
        elif kind != pafs.FileType.NotFound:
            self.filesystem.delete_file(path)

    def copy_to(self, target: Path) -> None:
        """Copies all that is here into a folder of this machine."""
        pafs.copy_files(
            self.base,
            str(target),
            source_filesystem=self.filesystem,
            destination_filesystem=pafs.LocalFileSystem(),
        )

    def _path(self, name: str) -> str:
        clean = posixpath.normpath(name)
        if clean.startswith(("/", "../")) or clean in ("..", "."):
            raise InputError(f"'{name}' does not stay inside {self.uri}")
        return f"{self.base}/{clean}"


def read_regular(path: Path, most: int | None = None) -> bytes:
    """A regular file's content. Raises as `Folder.read` does, and OSError where it may not be
    read. A FIFO would be waited for, and a device may have no end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile("not a regular file")
    if most is not None and status.st_size > most:
        raise NotAFile(f"{status.st_size:,} bytes")
    return path.read_bytes()

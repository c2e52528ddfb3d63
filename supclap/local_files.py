"""Files of this machine: written whole, put in place once, and their paths."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from supclap.errors import InputError
from supclap.wording import is_text, one_line, spelled

LONGEST = 255  # bytes of a name, on the file systems that there are
# Where a file system has no second names for a file, as FAT, or refuses them.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def usable_path(text: str) -> str:
    """A path from the root.

    Raises:
        InputError: it is not UTF-8 text, or a name in it is longer than file systems take.
    """
    path = str(_expanded(text).absolute())
    if not is_text(path):  # pyarrow takes no other
        raise InputError(f"{spelled(path)}: its name is not UTF-8 text; choose another")
    if any(len(os.fsencode(part)) > LONGEST for part in Path(path).parts):
        raise InputError(
            f"{one_line(path, 200)}: a name in it has over {LONGEST} bytes; choose another"
        )
    return path


def is_folder(path: Path) -> bool:
    """Whether a path names a folder; one that no file system could hold names none."""
    try:
        return path.is_dir()
    except OSError:  # a name that is too long
        return False


@contextmanager
def scratch_file(path: str, content: bytes) -> Iterator[str]:
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


def linked(scratch: str, path: str, content: bytes) -> bool:
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

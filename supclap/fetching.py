"""Files of a store, fetched to a folder: in blocks that are read ahead, and taken up after a kill.

What has been fetched is noted (`JOURNAL`) after every `MARK` bytes that are on disk, so that a
process that was killed costs no more than those. Each file is held against its size and against the
checksum that the store names, and its SHA-256 is noted.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import pyarrow as pa

from supclap.data.cache import cache_folder, free_bytes
from supclap.errors import InputError
from supclap.objects import AT_ONCE, Object, Objects, described, talk
from supclap.progress import activity
from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, read_values, sealed
from supclap.wording import size

BLOCK = 2**23  # bytes of a request
MARK = 2**27  # bytes between two notes of what is on disk
TRIES = 2  # of a request whose connection breaks, before the one whose fault is shown
PAUSE = 0.5  # seconds between them
JOURNAL = "fetch.json"
MB = 10**6

Earlier = Iterable[tuple[Path, dict[str, "Fetched"]]]


@dataclass(frozen=True)
class Fetched:
    """A file as it was fetched.

    Attributes:
        size, tag, changed: of the object, as `supclap.objects.Object` has them.
        sha256: of the content; "": it is not all there.
        time: of the file here, in ns since 1970.
        there: bytes of it that are on disk.
    """

    size: int
    tag: str
    changed: int
    sha256: str
    time: int
    there: int

    def is_of(self, file: Object) -> bool:
        """Whether it is a file of a store as that is now."""
        return (self.size, self.tag, self.changed) == (file.size, file.tag, file.changed)

    def is_at(self, path: Path) -> bool:
        """Whether the whole file lies at a path: it is read where its time is another."""
        try:
            status = path.stat()
            if not self.sha256 or status.st_size != self.size:
                return False
            if status.st_mtime_ns == self.time:
                return True
            with open(path, "rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class _Journal:
    files: dict[str, Fetched]


def fetch(objects: Objects, work: Path, content: Path, earlier: Earlier) -> dict[str, Fetched]:
    """The files of a place, at ``content`` (of a place that is one file that file itself).

    Args:
        work: a folder of this fetch alone, which holds ``content``; what lies there is taken up.
        earlier: copies of earlier states, from which what has not changed is taken.

    Raises:
        InputError: a file that cannot be read, is cut or was changed; no room.
        OSError: ``work`` cannot be written to.
    """
    return _Fetch(objects, work, content).run(earlier)


class _Fetch:
    def __init__(self, objects: Objects, work: Path, content: Path) -> None:
        self._objects, self._work, self._content = objects, work, content
        self._uri = objects.folder.uri
        self._noted = noted(work)
        self._unsynced: list[Path] = []  # whole files since the last note
        self._opened: dict[str, pa.NativeFile] = {}
        self._opening = Lock()
        self._tags_are_md5 = True  # until a file shows that they are something else

    def run(self, earlier: Earlier) -> dict[str, Fetched]:
        # Small ones first: they show what the store's tags are before much is fetched.
        files = sorted(self._objects.files, key=lambda file: (file.size, file.name))
        self._work.mkdir(parents=True, exist_ok=True)
        self._take(files, earlier)
        self._noted = {file.name: one for file in files if (one := self._usable(file)) is not None}
        left = [file for file in files if not self._is_whole(file)]
        done = self._objects.size - sum(file.size - self._start(file) for file in left)
        free = _check_room(self._uri, self._objects.size - done)
        said = f"fetching {self._uri} into {cache_folder()} ({size(free)} free)"
        pool = ThreadPoolExecutor(AT_ONCE, "fetch")
        try:
            with activity(said, max(1, self._objects.size // MB), "MB") as show:
                for number in self._written(left, pool):
                    done += number
                    show(done // MB)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for opened in self._opened.values():
                opened.close()
            self._note()
        return self._noted

    def _written(self, left: Sequence[Object], pool: ThreadPoolExecutor) -> Iterator[int]:
        """Writes the files; yields the number of bytes of each block."""
        starts = {file.name: range(self._start(file), max(1, file.size), BLOCK) for file in left}
        tasks = [(file, start) for file in left for start in starts[file.name]]
        blocks = self._ahead(tasks, pool)
        for file in left:
            yield from self._write_file(file, islice(blocks, len(starts[file.name])))

    def _ahead(
        self, tasks: Sequence[tuple[Object, int]], pool: ThreadPoolExecutor
    ) -> Iterator[bytes]:
        """Blocks in order; some more are being read meanwhile."""
        reading: deque[Future[bytes]] = deque()
        for file, start in tasks:
            reading.append(pool.submit(self._read, file, start))
            if len(reading) == 2 * AT_ONCE:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()

    def _write_file(self, file: Object, blocks: Iterable[bytes]) -> Iterator[int]:
        """Writes one file from where it is to be gone on with; yields the bytes of each block."""
        path = self._path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        there = marked = self._start(file)
        if not there:  # never written over: another copy may have the file too, a run have it open
            path.unlink(missing_ok=True)
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with open(path, "r+b" if there else "wb") as target:
            for known in _pieces(target, there):
                sha256.update(known)
                md5.update(known)
            target.truncate(there)
            for block in blocks:
                target.write(block)
                sha256.update(block)
                md5.update(block)
                there += len(block)
                if there - marked >= MARK:
                    marked = there
                    target.flush()
                    os.fsync(target.fileno())
                    self._noted[file.name] = _part(file, there)
                    self._note()
                yield len(block)
        self._check(file, sha256.hexdigest(), md5.hexdigest())
        opened = self._opened.pop(file.name, None)
        if opened is not None:
            opened.close()
        whole = replace(_part(file, there), sha256=sha256.hexdigest())
        self._noted[file.name] = replace(whole, time=path.stat().st_mtime_ns)
        self._unsynced.append(path)

    def _check(self, file: Object, sha256: str, md5: str) -> None:
        """Holds a file against the checksum that the store names. Raises InputError."""
        if not file.md5 or not self._tags_are_md5 or file.md5 == md5:
            return
        # An encrypted object's tag is no checksum: then what comes a second time is the same.
        again = hashlib.sha256()
        for start in range(0, file.size, BLOCK):
            again.update(self._read(file, start))
        if again.hexdigest() != sha256:
            self._noted.pop(file.name, None)
            raise InputError(f"{self._uri}: {file.name} did not come as it lies there; run again")
        self._tags_are_md5 = False

    def _read(self, file: Object, start: int) -> bytes:
        """A block of a file. Raises InputError."""
        wanted = min(BLOCK, file.size - start)
        if not wanted:
            return b""
        for left in reversed(range(TRIES)):
            try:
                return self._read_once(file, start, wanted)
            except OSError:
                if not left:
                    break
                time.sleep(PAUSE)
        return talk(self._objects.folder, lambda: self._read_once(file, start, wanted))

    def _read_once(self, file: Object, start: int, wanted: int) -> bytes:
        with self._opening:
            opened = self._opened.get(file.name)
            if opened is None:
                filesystem = self._objects.folder.filesystem
                opened = filesystem.open_input_file(self._objects.path(file))
                self._opened[file.name] = opened
                found = described(file.name, opened, file.changed)
                if (found.size, found.tag) != (file.size, file.tag or found.tag):
                    raise InputError(
                        f"{self._uri}: {file.name} was changed while it was fetched; run again"
                    )
        block: bytes = opened.read_at(wanted, start)
        if len(block) != wanted:
            raise OSError(f"{file.name} is cut: {len(block):,} of {wanted:,} bytes came")
        return block

    def _take(self, files: Iterable[Object], earlier: Earlier) -> None:
        """Takes what earlier copies have of the same state, without copying its bytes."""
        left = [file for file in files if file.tag and self._usable(file) is None]
        for content, known in earlier:
            for file in left:
                found = known.get(file.name)
                place = content if self._objects.single else content / file.name
                if found is None or not found.is_of(file) or not found.is_at(place):
                    continue
                path = self._path(file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                try:
                    os.link(place, path)
                except OSError:  # a file system without links
                    continue
                self._noted[file.name] = replace(found, time=path.stat().st_mtime_ns)
            left = [file for file in left if file.name not in self._noted]

    def _usable(self, file: Object) -> Fetched | None:
        """What an interrupted fetch has of a file, as it still is in the store."""
        known = self._noted.get(file.name)
        if known is None or not known.is_of(file):
            return None
        path = self._path(file)
        if known.sha256:
            return known if known.is_at(path) else None
        enough = path.is_file() and path.stat().st_size >= known.there
        return known if enough else None

    def _is_whole(self, file: Object) -> bool:
        return file.name in self._noted and bool(self._noted[file.name].sha256)

    def _start(self, file: Object) -> int:
        """Where a file is gone on with."""
        return self._noted[file.name].there if file.name in self._noted else 0

    def _path(self, file: Object) -> Path:
        return self._content if self._objects.single else self._content / file.name

    def _note(self) -> None:
        """Notes what is on disk by now."""
        for path in self._unsynced:
            with open(path, "rb") as written:
                os.fsync(written.fileno())
        self._unsynced.clear()
        note(self._work, self._noted)


def note(work: Path, known: Mapping[str, Fetched]) -> None:
    """Writes what of some files is there, for who goes on with it."""
    files = {name: asdict(one) for name, one in known.items()}
    Folder.at(work).write(JOURNAL, sealed({"files": files}))


def _part(file: Object, there: int) -> Fetched:
    return Fetched(file.size, file.tag, file.changed, "", 0, there)


def _pieces(target: BinaryIO, count: int) -> Iterator[bytes]:
    """The first bytes of a file, in pieces."""
    while count > 0:
        piece = target.read(min(count, BLOCK))
        if not piece:
            raise OSError(f"{target.name}: is shorter than it was")
        count -= len(piece)
        yield piece


def _check_room(uri: str, needed: int) -> int:
    """The free bytes of the cache's disk. Raises InputError where they are too few."""
    free = free_bytes()
    if needed > free:
        raise InputError(
            f"{uri}: {size(needed)} are to be fetched into {cache_folder()}, where {size(free)} "
            "are free; "
            "make room (`supclap clean --only caches` shows what can be made again), or set "
            "SUPCLAP_CACHE to another folder"
        )
    return free


def noted(work: Path) -> dict[str, Fetched]:
    """What an earlier fetch has noted; nothing where it cannot be read."""
    try:
        values = read_values(Folder.at(work), JOURNAL)
        return dict(as_kind(values, _Journal, str(work / JOURNAL)).files)
    except (OSError, Damaged):
        return {}

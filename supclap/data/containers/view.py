"""Some parts of a file, one behind the other, read as a file of their own."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

Part = bytes | range  # bytes themselves, or a range of offsets in the file


class View(io.RawIOBase):
    """The parts of the file with descriptor ``file`` as one seekable file, in no memory.

    A seek to where nothing is stops at the nearest end: libsndfile follows whatever offset a
    damaged header gives.
    """

    def __init__(self, file: int, parts: Sequence[Part]) -> None:
        super().__init__()
        self._file = file
        self._parts = [part for part in parts if len(part)]
        self._starts = [0, *accumulate(len(part) for part in self._parts)]
        self._at = 0

    @property
    def size(self) -> int:
        return self._starts[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = min(max(base + offset, 0), self.size)
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Fills the buffer from one part at least; 0 bytes at the end alone."""
        room = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(room) and self._at < self.size:
            number = bisect_right(self._starts, self._at) - 1
            part, inside = self._parts[number], self._at - self._starts[number]
            wanted = min(len(room) - filled, len(part) - inside)
            if isinstance(part, bytes):
                piece = part[inside : inside + wanted]
            else:
                piece = os.pread(self._file, wanted, part.start + inside)
                if not piece:
                    raise OSError("the file has become shorter while it was read")
            room[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._at += len(piece)
        return filled


def patched(span: range, changes: dict[int, bytes]) -> list[Part]:
    """The bytes in ``span`` with those at some offsets replaced."""
    parts: list[Part] = []
    at = span.start
    for offset, new in sorted(changes.items()):
        parts += [range(at, offset), new]
        at = offset + len(new)
    return [*parts, range(at, span.stop)]

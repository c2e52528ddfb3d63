"""WAV, RF64, W64, AIFF, SVX, CAF, AU: how many bytes of sound the header promises.

All of these say the length of their samples in a field of the header. A writer that cannot go back
to it (a pipe, a crash) leaves 0 or the greatest number there, which is no promise; a promise that
the file does not keep shows that it was truncated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from supclap.data.containers.view import Part, patched
from supclap.data.faults import Unreadable

# A length of so much, or the double, or the greatest of its field, stands where none was known.
_UNKNOWN = 2**31 - 2**16
_MOST = 100_000  # chunks: what would have more is no list of chunks
_W64_RIFF = b"riff\x2e\x91\xcf\x11"
_W64_HEAD = 24  # bytes of a chunk's mark and size, which its size includes

Order = Literal["little", "big"]
_AU: dict[bytes, Order] = {b".snd": "big", b"dns.": "little"}


@dataclass(frozen=True)
class _Field:
    """A length in the header: where it stands, and what its number counts beside the samples."""

    at: int
    width: int  # bytes
    order: Order
    extra: int = 0
    signed: bool = False

    def read(self, file: int) -> int:
        raw = os.pread(file, self.width, self.at)
        return int.from_bytes(raw, self.order, signed=self.signed) - self.extra

    def written(self, length: int) -> bytes:
        """The field's content for a length, or for the greatest that it can hold."""
        most = 2 ** (8 * self.width - self.signed) - 1
        return min(length + self.extra, most).to_bytes(self.width, self.order)


@dataclass(frozen=True)
class _Chunk:
    at: int
    mark: bytes
    size: _Field
    body: int


@dataclass(frozen=True)
class _Layout:
    """How a format writes its chunks: from where, their order, mark, size field and alignment."""

    first: int
    order: Order
    mark: int = 4
    size: int = 4
    even: int = 2  # a chunk begins at a multiple of so many bytes
    own: int = 0  # bytes of mark and size, where the size includes them
    signed: bool = False


def is_chunked(head: bytes) -> bool:
    """Whether a file that begins so is of one of these formats."""
    return head[:4] in _AU or _layout(head) is not None


def streams(file: int, span: range) -> list[list[Part]]:
    """The streams in a part of a file that begins as one of these formats, as parts of files.

    A length that was not known is filled in. There are several streams where files were joined.

    Raises:
        Unreadable: fewer samples are there than a header promises.
    """
    found = []
    while len(span):
        head = os.pread(file, 16, span.start)
        own, parts = _first(file, span, head)
        found.append(parts)
        span = range(own.stop, span.stop)
    return found


def _first(file: int, span: range, head: bytes) -> tuple[range, list[Part]]:
    """What the first stream of ``span`` covers, and its parts."""
    if head[:4] in _AU:
        order: Order = _AU[head[:4]]
        body = span.start + int.from_bytes(os.pread(file, 4, span.start + 4), order)
        field = _Field(span.start + 8, 4, order)
        behind = body + field.read(file)
        own = sound = span
        if body < behind < span.stop:
            sound = range(span.start, behind)
            own = sound if is_chunked(os.pread(file, 16, behind)) else span
        return own, _checked(file, sound, field, body, {}, last=True)
    layout = _layout(head)
    assert layout is not None
    found: tuple[_Field, int] | None = None
    long_size: _Field | None = None  # of RF64, whose own chunk size is of 32 bits
    for chunk in _chunks(file, span, layout, span.start + layout.first):
        if chunk.mark == b"ds64":
            long_size = _Field(chunk.body + 8, 8, "little")
        if chunk.mark in (b"data", b"SSND", b"BODY"):
            found = _samples(file, chunk, head, long_size)
            break
    if found is None:
        return span, [span]  # libsndfile says what is wrong with it
    field, body = found
    length = field.read(file)
    behind = body + length + -(body + length - span.start) % layout.even
    own = sound = span
    if length > 0 and behind < span.stop:  # of no length known, all that follows is this one's
        for chunk in _chunks(file, span, layout, behind):
            if is_chunked(os.pread(file, 16, chunk.at)):
                own = sound = range(span.start, chunk.at)  # another file was joined to this one
                break
        if not _is_chain(file, own, layout, behind):  # a tag, or a chunk that is cut off
            sound = range(span.start, behind)
    changes = {span.start: b"RF64"} if head[:4] == b"BW64" else {}
    last = not _is_chain(file, own, layout, body)
    return own, _checked(file, sound, field, body, changes, last)


def _samples(file: int, chunk: _Chunk, head: bytes, long_size: _Field | None) -> tuple[_Field, int]:
    """The field with the length of the samples, and where they begin."""
    field, body = chunk.size, chunk.body
    if chunk.mark == b"SSND":  # offset and block size stand before the samples
        return replace(field, extra=8), body + 8
    if head[:4] == b"caff":  # a count of edits does
        return replace(field, extra=4), body + 4
    if long_size and field.read(file) == 2**32 - 1:
        return long_size, body
    return field, body


def _checked(
    file: int, span: range, field: _Field, start: int, changes: dict[int, bytes], last: bool
) -> list[Part]:
    """``last``: no further chunks stand where the samples should begin."""
    promised, there = field.read(file), max(span.stop - start, 0)
    greatest = 2 ** (8 * field.width) - 1
    unlimited = (
        _UNKNOWN <= promised <= 2**31
        or 2**32 - 2**16 <= promised < 2**32
        or promised >= greatest // 2 - 2**16 > 2**32
    )
    if promised < 0 or (unlimited and promised > there) or (promised == 0 and last and there > 0):
        changes = changes | {field.at: field.written(there)}
    elif promised > there + 1:  # an odd length may lack the byte that fills it up
        share = there / promised
        part = f"{share:.0%}" if share < 0.99 else "only a little less than all"
        raise Unreadable(f"truncated: {part} of the sound that its header promises is there")
    return patched(span, changes) if changes else [span]


def _layout(head: bytes) -> _Layout | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _Layout(12, "little")
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return _Layout(12, "big")
    if head[:8] == _W64_RIFF:
        return _Layout(40, "little", mark=16, size=8, even=8, own=_W64_HEAD)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _Layout(12, "big")
    if head[:4] == b"caff":
        return _Layout(8, "big", size=8, even=1, signed=True)
    return None


def _chunks(file: int, span: range, layout: _Layout, start: int) -> Iterator[_Chunk]:
    """The chunks from ``start`` on as far as they lie in ``span``, `_MOST` of them at most."""
    at = start
    for _ in range(_MOST):
        if at + layout.mark + layout.size > span.stop:
            return
        mark = os.pread(file, layout.mark, at)[:4]
        field = _Field(at + layout.mark, layout.size, layout.order, layout.own, layout.signed)
        body = at + layout.mark + layout.size
        yield _Chunk(at, mark, field, body)
        length = field.read(file)
        if length < 0:
            return
        at = body + length
        at += -(at - span.start) % layout.even


def _is_chain(file: int, span: range, layout: _Layout, start: int) -> bool:
    """Whether well-formed chunks stand from ``start`` to the end, at least one."""
    end = None
    for chunk in _chunks(file, span, layout, start):
        if not all(0x20 <= byte < 0x7F for byte in chunk.mark):
            return False
        length = chunk.size.read(file)
        end = chunk.body + length
        if length < 0 or end > span.stop:
            return False
    return end is not None and span.stop - end <= layout.even

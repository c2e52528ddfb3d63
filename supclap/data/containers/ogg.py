"""Ogg: its pages, checked, and the streams that they carry (RFC 3533).

An Ogg file may hold several streams: one behind the other (a chain, as of recordings that were
joined or of a radio programme), or beside each other (a film's sound and picture). Each stream of
sound is cut out, since libsndfile reads the first of a chain alone.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from supclap.data.containers.view import Part
from supclap.data.faults import Unreadable

_CODECS = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC"}
_OTHERS = {
    b"Speex   ": "Speex", b"\x80theora": "Theora", b"fishead\0": "Skeleton", b"BBCD\0": "Dirac"
}  # fmt: skip
_FIRST, _LAST = 2, 4  # marks of a page
_FLAC_MAPPING = 9  # bytes before the native stream: the mark, version and number of packets
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class _Page:
    span: range
    body: range
    serial: int
    number: int
    first: bool
    position: int  # granule; not above 0 in the pages of the codec's headers


@dataclass
class _Logical:
    """One serial number in one link of the chain: the bytes of its pages, and the last of them.

    Of FLAC it is the pages' content, which is native FLAC.
    """

    codec: str
    last: _Page
    spans: list[range] = field(default_factory=list)

    def take(self, page: _Page) -> None:
        self.last = page
        span = page.body if self.codec == "FLAC" else page.span
        if self.spans and self.spans[-1].stop == span.start:  # neighbours as one
            span = range(self.spans.pop().start, span.stop)
        self.spans.append(span)


def streams(file: int, span: range) -> list[list[Part]]:
    """The streams of sound in a part of a file, each as the parts of a file of its own.

    Vorbis and Opus stay in Ogg; FLAC in Ogg becomes native FLAC.

    Raises:
        Unreadable: the last page is cut off, a page is damaged or missing, or there is no sound
            that can be decoded.
    """
    links: list[dict[int, _Logical]] = []
    begun = False  # whether the current link has gone beyond its first pages
    for page in _pages(file, span):
        if page.first:
            if begun or not links:
                links.append({})
                begun = False
            logical = _Logical(_codec(os.pread(file, 8, page.body.start)), page)
            links[-1][page.serial] = logical
            logical.take(page)
            continue
        begun = True
        if not links or page.serial not in links[-1]:
            raise Unreadable("damaged: the beginning of the Ogg stream is missing")
        logical = links[-1][page.serial]
        last = logical.last
        # Who tunes in to a broadcast gets the headers and then the pages of that moment.
        if page.number != last.number + 1 and last.position > 0:
            raise Unreadable(
                f"damaged: the Ogg stream goes from page {last.number:,} to {page.number:,}"
            )
        logical.take(page)
    sounds = [[s for s in link.values() if s.codec in _CODECS.values()] for link in links]
    if not any(sounds):
        codecs = ", ".join(dict.fromkeys(s.codec for link in links for s in link.values()))
        raise Unreadable(f"an Ogg file without Vorbis, Opus or FLAC (found: {codecs})")
    return [_parts(file, beside[0]) for beside in sounds if beside]


def _parts(file: int, logical: _Logical) -> list[Part]:
    if logical.codec == "FLAC":
        first, *others = logical.spans
        return [range(first.start + _FLAC_MAPPING, first.stop), *others]
    *others, end = logical.spans
    last = logical.last.span
    page = os.pread(file, len(last), last.start)
    if page[5] & _LAST:
        return [*others, end]
    return [*others, range(end.start, last.start), _ending(page)]


def _ending(page: bytes) -> bytes:
    """The page with the end mark, which a recording that was stopped lacks.

    Without it libsndfile refuses an Opus stream whose last packet is not played whole.
    """
    head = page[:5] + bytes([page[5] | _LAST])
    return head + page[6:22] + _checksum(head + page[6:22] + bytes(4) + page[26:]) + page[26:]


def _codec(head: bytes) -> str:
    for mark, name in (*_CODECS.items(), *_OTHERS.items()):
        if head.startswith(mark):
            return name
    return "something unknown"


def _pages(file: int, span: range) -> Iterator[_Page]:
    with open(file, "rb", closefd=False) as raw:
        at = span.start
        while at < span.stop:
            raw.seek(at)
            head = raw.read(min(27, span.stop - at))
            if head[:4] != b"OggS"[: len(head)]:
                if _no_more(file, range(at, span.stop)):
                    return  # padding or a tag behind the last page
                raise Unreadable(f"damaged: at byte {at:,} there is no page of an Ogg stream")
            lengths = raw.read(head[26]) if len(head) == 27 else b""
            body = range(at + 27 + len(lengths), at + 27 + len(lengths) + sum(lengths))
            if len(head) < 27 or len(lengths) < head[26] or body.stop > span.stop:
                raise Unreadable("truncated: the last page of the Ogg stream is cut off")
            blank = head[:22] + bytes(4) + head[26:]
            if _checksum(blank + lengths + raw.read(len(body))) != head[22:26]:
                raise Unreadable(
                    f"damaged: the checksum of the Ogg page at byte {at:,} does not fit its content"
                )
            yield _Page(
                range(at, body.stop),
                body,
                serial=int.from_bytes(head[14:18], "little"),
                number=int.from_bytes(head[18:22], "little"),
                first=bool(head[5] & _FIRST),
                position=int.from_bytes(head[6:14], "little", signed=True),
            )
            at = body.stop


def _no_more(file: int, span: range) -> bool:
    overlap = b""
    for at in range(span.start, span.stop, 2**16):
        block = overlap + os.pread(file, min(2**16, span.stop - at), at)
        if b"OggS" in block:
            return False
        overlap = block[-3:]
    return True


def _checksum(page: bytes) -> bytes:
    """Ogg's CRC of 32 bits. It is zlib's with all bits mirrored, and without its two inversions."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "big").translate(_MIRRORED)

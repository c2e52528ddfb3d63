"""Native FLAC: the streams of a file, of which there are several where files were joined.

RFC 9639. A stream's header counts its samples, and libsndfile reads no more than so many. Where the
last frame says that it lies behind that count (an editor joined frames and left the header as it
was), the count is set to unknown, and the stream is read to its end.
"""

from __future__ import annotations

import os

from supclap.data.containers.view import Part, patched

# A stream begins with its mark and the STREAMINFO block, the last one or not, of 34 bytes.
_BEGINNINGS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_BLOCK = 2**20
_TAIL = 2**17  # bytes at the end of a stream in which its last frame begins
_COUNT, _MD5 = range(21, 26), range(26, 42)  # in STREAMINFO; the count's first four bits are others


def streams(file: int, span: range) -> list[list[Part]]:
    """The streams in a part of a file, each as the parts of a file of its own."""
    starts = []
    for at in range(span.start, span.stop, _BLOCK):
        block = os.pread(file, min(_BLOCK + 7, span.stop - at), at)
        for mark in _BEGINNINGS:
            place = block.find(mark)
            while place >= 0:
                starts.append(at + place)
                place = block.find(mark, place + 1)
    starts = sorted({span.start, *starts})
    ends = [*starts[1:], span.stop]
    return [_whole(file, range(start, end)) for start, end in zip(starts, ends, strict=True)]


def _whole(file: int, span: range) -> list[Part]:
    """The stream, without its count and checksum of samples where it goes on behind them."""
    head = os.pread(file, 42, span.start)
    if len(head) < 42 or head[4] & 0x7F:
        return [span]  # libsndfile says what is wrong with it
    counted = int.from_bytes(head[_COUNT.start : _COUNT.stop], "big") & (2**36 - 1)
    start = max(span.start + 42, span.stop - _TAIL)
    last = _end_of_last_frame(os.pread(file, span.stop - start, start), head)
    if not 0 < counted < last:
        return [span]
    at = span.start + _COUNT.start
    return patched(span, {at: bytes([head[_COUNT.start] & 0xF0]) + bytes(4 + len(_MD5))})


def _end_of_last_frame(tail: bytes, head: bytes) -> int:
    """Samples up to the end of the last frame that begins in ``tail``; 0 where none is found."""
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        end = _end_of_frame(tail[place : place + 16], head)
        if end:
            return end
    return 0


def _end_of_frame(frame: bytes, head: bytes) -> int:
    """Samples up to the end of the frame that begins so; 0 where none does.

    Only frames as the stream's header announces them: of one block size throughout.
    """
    size = int.from_bytes(head[8:10], "big")
    channels = (head[20] >> 1 & 7) + 1
    if len(frame) < 6 or frame[1] != 0xF8 or int.from_bytes(head[10:12], "big") != size:
        return 0
    assignment = frame[3] >> 4
    if (assignment + 1 if assignment < 8 else 2 if assignment < 11 else 0) != channels:
        return 0
    number, at = _number(frame, 4)
    code, rate = frame[2] >> 4, frame[2] & 15
    if code in (6, 7):
        own = int.from_bytes(frame[at : at + code - 5], "big") + 1
        at += code - 5
    else:
        own = {0: 0, 1: 192}.get(code, 576 << (code - 2) if code < 6 else 256 << (code - 8))
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if number < 0 or not 0 < own <= size or at >= len(frame) or _crc8(frame[:at]) != frame[at]:
        return 0
    return number * size + own


def _number(frame: bytes, at: int) -> tuple[int, int]:
    """A frame's number, coded as UTF-8 codes letters, and where it ends; -1 where it is none."""
    first = frame[at]
    if first < 0x80:
        return first, at + 1
    more = next((n for n in range(1, 6) if first >> (6 - n) == 2 ** (n + 2) - 2), 0)
    rest = frame[at + 1 : at + 1 + more]
    if not more or len(rest) < more or any(byte >> 6 != 2 for byte in rest):
        return -1, at
    number = first & (2 ** (6 - more) - 1)
    for byte in rest:
        number = number << 6 | byte & 0x3F
    return number, at + 1 + more


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value

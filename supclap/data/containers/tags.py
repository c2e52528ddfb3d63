"""Where the sound of a file lies between the tags that music players write around it."""

from __future__ import annotations

import os

_ID3V1, _FOOTER = 128, 32


def without_tags(file: int, size: int) -> range:
    """The offsets behind ID3v2 in front and before ID3v1, APE and Lyrics3 tags at the end."""
    start, end = 0, size
    while (length := _leading(os.pread(file, 10, start))) and start + length < end:
        start += length
    while (length := _trailing(file, end)) and end - length > start:
        end -= length
    return range(start, end)


def _leading(head: bytes) -> int:
    if head[:3] != b"ID3" or len(head) < 10 or any(byte & 0x80 for byte in head[6:10]):
        return 0
    footer = 10 if head[5] & 0x10 else 0
    return 10 + _seven_bits(head[6:10]) + footer


def _trailing(file: int, end: int) -> int:
    tail = os.pread(file, _ID3V1, max(0, end - _ID3V1))
    if tail[:3] == b"TAG" and len(tail) == _ID3V1:
        return _ID3V1
    if tail[-_FOOTER:][:8] == b"APETAGEX":
        footer = tail[-_FOOTER:]
        header = _FOOTER if footer[23] & 0x80 else 0
        return int.from_bytes(footer[12:16], "little") + header
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    if tail[-10:-7] == b"3DI":
        return 20 + _seven_bits(tail[-4:])
    return 0


def _seven_bits(size: bytes) -> int:
    """ID3's numbers: four bytes of seven bits each."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))

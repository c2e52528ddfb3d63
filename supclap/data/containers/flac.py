"""Native FLAC: the streams of a file, of which there are several where files were joined."""

from __future__ import annotations

import os

from supclap.data.containers.view import Part

# A stream begins with its mark and the STREAMINFO block, the last one or not, of 34 bytes.
_BEGINNINGS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_BLOCK = 2**20


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
    return [
        [range(start, end)] for start, end in zip(starts, [*starts[1:], span.stop], strict=True)
    ]

"""MPEG audio (MP3, MP2, MP1): its frames, counted, and the streams that they form.

The format has no header. A Xing or VBRI frame in front may name the number of frames; without one
a decoder guesses the length from the first frames and the file's size, which is wrong wherever the
bit rate varies or something else lies behind the sound. Here the frames are walked through:
ISO 11172-3 and 13818-3, the frame header; LAME's notes on the Xing tag.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from supclap.data.containers.view import Part
from supclap.data.faults import Unreadable

_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBPS = {  # by MPEG version 1 or not, and layer
    (True, 1): tuple(range(32, 449, 32)),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _LOW,
    (False, 3): _LOW,
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_HEAD = 64  # bytes of a frame in which its header and the beginning of a Xing or VBRI tag lie
_BLOCK = 2**16


@dataclass(frozen=True)
class _Frame:
    kind: tuple[int, int, int, bool]  # version, layer, rate, whether mono: a stream has one
    size: int  # bytes
    tag: bool = False  # a Xing or VBRI frame: no sound
    promised: int | None = None  # frames that follow, as the tag says


@dataclass
class Run:
    """Frames of one kind that belong together.

    ``frames``: how many are whole; ``promised``: how many its tag promises; ``sound``: their
    bytes, without ``tag``, those of the tag; ``cut``: whether one more is cut off.
    """

    kind: tuple[int, int, int, bool]
    tag: Part = b""
    promised: int | None = None
    frames: int = 0
    sound: list[range] = field(default_factory=list)
    cut: bool = False

    def take(self, span: range) -> None:
        self.frames += 1
        if self.sound and self.sound[-1].stop == span.start:
            span = range(self.sound.pop().start, span.stop)
        self.sound.append(span)


def is_mpeg(head: bytes) -> bool:
    """Whether a frame of MPEG audio begins here."""
    return _frame(head) is not None


def runs(file: int, span: range) -> list[Run]:
    """The runs of frames in a part of a file.

    Several MP3 files written one behind the other are several runs. What lies between frames is
    left out, as every decoder does. A last frame that is cut off is no frame.

    Raises:
        Unreadable: a tag promises more frames than are there.
    """
    found: list[Run] = []
    for frame, place in _walk(file, span):
        if frame.tag:
            found.append(Run(frame.kind, place, frame.promised))
            continue
        if not found or found[-1].kind != frame.kind:
            found.append(Run(frame.kind))
        if place.stop > span.stop:
            found[-1].cut = True
        else:
            found[-1].take(place)
    for run in found:
        own = 0 if run.cut else 1  # some writers count the tag's own frame too
        if run.promised is not None and run.frames + own < run.promised:
            raise Unreadable(
                f"truncated: {run.frames:,} of the {run.promised:,} frames that its header counts "
                f"are there"
            )
    return [run for run in found if run.frames]


def _walk(file: int, span: range) -> Iterator[tuple[_Frame, range]]:
    at = _next(file, span)
    with open(file, "rb", closefd=False) as raw:
        while at is not None:
            raw.seek(at)
            frame = _frame(raw.read(min(_HEAD, span.stop - at)))
            if frame is None:
                at = _next(file, range(at + 1, span.stop))
                continue
            yield frame, range(at, at + frame.size)
            at += frame.size
            if at >= span.stop:
                return


def _next(file: int, span: range) -> int | None:
    """Where the next frame begins that another one of its kind, or the end, follows."""
    at = span.start
    while at < span.stop:
        block = os.pread(file, min(_BLOCK, span.stop - at), at)
        place = block.find(b"\xff")
        while place >= 0:
            here = at + place
            frame = _frame(os.pread(file, _HEAD, here))
            if frame is not None:
                behind = here + frame.size
                other = _frame(os.pread(file, _HEAD, behind))
                if behind == span.stop or (other is not None and other.kind == frame.kind):
                    return here
            place = block.find(b"\xff", place + 1)
        at += max(len(block), 1)
    return None


def _frame(head: bytes) -> _Frame | None:
    """The frame that begins with these bytes; None where none does, or one of free format."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return None
    first = version == 3
    kbps = _KBPS[first, layer][bit_rate - 1]
    hertz, padding = _RATES[version][rate], head[2] >> 1 & 1
    if layer == 1:
        size = (12_000 * kbps // hertz + padding) * 4
    else:
        size = (144_000 if first or layer == 2 else 72_000) * kbps // hertz + padding
    mono = head[3] >> 6 == 3
    tag, promised = _tag(head, first, mono) if layer == 3 else (False, None)
    return _Frame((version, layer, hertz, mono), size, tag, promised)


def _tag(head: bytes, first: bool, mono: bool) -> tuple[bool, int | None]:
    """Whether a layer III frame is a tag, and the frames that it counts."""
    at = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    if head[at : at + 4] in (b"Xing", b"Info"):
        known = len(head) >= at + 12 and head[at + 7] & 1
        return True, int.from_bytes(head[at + 8 : at + 12], "big") if known else None
    if head[36:40] == b"VBRI" and len(head) >= 54:
        return True, int.from_bytes(head[50:54], "big")
    return False, None

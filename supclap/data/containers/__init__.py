"""What a sound file consists of, as far as a decoder must be shown it.

libsndfile decodes; but it believes what a header says of the length, guesses where there is no
header, and reads the first of several streams alone. So the file's structure is read here first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from supclap.data.containers import chunks, flac, mpeg, ogg
from supclap.data.containers.tags import without_tags
from supclap.data.containers.view import Part


@dataclass(frozen=True)
class Stream:
    """Parts of a file that are one stream of sound.

    ``guessed``: a decoder that can ask for the file's size would guess the stream's length.
    """

    parts: Sequence[Part]
    guessed: bool = False


def streams(file: int, name: str) -> list[Stream]:
    """The streams of sound in the file with descriptor ``file``, one behind the other.

    ``name``: the file's, whose suffix says that MPEG frames may come behind some other bytes.

    Raises:
        Unreadable: the file's own numbers show that some of it is missing or damaged.
    """
    size = os.fstat(file).st_size
    span = without_tags(file, size)
    head = os.pread(file, 64, span.start)
    if chunks.is_chunked(head):  # a header says where the sound ends: what is behind is no matter
        return [Stream(parts) for parts in chunks.streams(file, range(span.start, size))]
    if head[:4] == b"OggS":
        return [Stream(parts) for parts in ogg.streams(file, span)]
    if head[:4] == b"fLaC":
        return [Stream(parts) for parts in flac.streams(file, span)]
    if mpeg.is_mpeg(head) or span.start > 0 or name.lower().endswith((".mp3", ".mp2", ".mpga")):
        found = [_of(run) for run in mpeg.runs(file, span)]
        if found:
            return found
    return [Stream([range(size)])]


def _of(run: mpeg.Run) -> Stream:
    """A tag that counts right is kept: it says too where a gapless sound begins and ends."""
    if run.promised is not None and run.promised - 1 <= run.frames <= run.promised:
        return Stream([run.tag, *run.sound])
    return Stream(run.sound, guessed=True)

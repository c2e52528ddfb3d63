"""The index: what results on an object store hold, in one object, so that they need not be read.

    <storage>/index/results.gz     a line for each result: signature, ETag, content

It judges nothing. Which cells are finished, and what the store's own hash (ETag) of each result is,
says one listing of the cells; a line counts where its content has that hash. Of a store that hashes
otherwise than S3 does by default, nothing is noted. Whatever appeared, vanished or was altered
since is read anew. The index is written by whoever has read what it lacked; where it is lost,
damaged or cannot be written, results are read one by one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from supclap.s3 import md5
from supclap.storage import Folder
from supclap.stored import LARGEST

INDEX = "index"
RESULTS = "results.gz"


@dataclass(frozen=True)
class _Line:
    tag: str
    content: bytes

    def is_of(self, tag: str) -> bool:
        """Whether it is what the store has under an ETag."""
        return self.tag == tag == md5(self.content)


class Index:
    """The contents of results by signature, as they were when they were read last."""

    def __init__(self, storage: Folder) -> None:
        self._folder = storage.below(INDEX)
        self._lines: dict[str, _Line] = {}
        self._read = False

    def known(self, tags: Mapping[str, str], few: int) -> dict[str, bytes]:
        """Of results with these ETags, by signature: the contents that are known.

        Args:
            few: where no more than so many are unknown to this process, the stored index, which
                takes a request, is left alone.
        """
        found = self._known(tags)
        if len(tags) - len(found) > few and not self._read:
            self._read = True
            self._lines = self._stored() | self._lines
            found = self._known(tags)
        return found

    def note(self, contents: Mapping[str, tuple[str, bytes]], few: int) -> None:
        """Notes contents that were read, each with the ETag of its result.

        Args:
            few: no more than so many are kept in this process alone.
        """
        lines = {s: _Line(tag, content) for s, (tag, content) in contents.items()}
        lines = {signature: line for signature, line in lines.items() if line.is_of(line.tag)}
        self._lines |= lines
        if lines and (self._read or len(lines) > few):
            with suppress(OSError):  # a storage that may only be read has none
                self._folder.write(RESULTS, self._packed())

    def _known(self, tags: Mapping[str, str]) -> dict[str, bytes]:
        lines = ((s, self._lines[s], tag) for s, tag in tags.items() if s in self._lines)
        return {signature: line.content for signature, line, tag in lines if line.is_of(tag)}

    def _packed(self) -> bytes:
        lines = (
            json.dumps([signature, line.tag, line.content.decode("latin-1")])
            for signature, line in sorted(self._lines.items())
        )
        return zlib.compress("\n".join(lines).encode(), 1)

    def _stored(self) -> dict[str, _Line]:
        try:
            packed = self._folder.read(RESULTS, LARGEST)
            text = zlib.decompressobj().decompress(packed, 4 * LARGEST).decode()
            return {
                signature: _Line(str(tag), str(content).encode("latin-1"))
                for signature, tag, content in map(json.loads, text.splitlines())
            }
        except (OSError, ValueError, TypeError, zlib.error):  # lost, damaged, of another version
            return {}

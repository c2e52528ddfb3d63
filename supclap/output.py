"""Standard output and error that may go away: a closed pipe, a closed terminal, a full disk.

`supclap run FILE | head -1` closes the pipe after a line; results must not be lost with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# A pipe that nobody reads, a terminal that is closed, a log on a disk that is full.
GONE = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT)


class Lasting:
    """A text stream whose writes go nowhere, instead of failing, once nobody can read them."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self.lost: str | None = None  # why

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        self.lost = error.strerror or str(error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())  # what is buffered goes there too
        finally:
            os.close(nowhere)
        if self._name == "stdout":
            print(
                f"supclap: the output cannot be written any more ({self.lost}); going on without",
                file=sys.stderr,
                flush=True,
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Both streams as `Lasting`, for as long as the context lasts; flushed at its end."""
    before = sys.stdout, sys.stderr
    streams = Lasting(sys.stdout, "stdout"), Lasting(sys.stderr, "stderr")
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            with contextlib.suppress(ValueError):  # closed by somebody else
                stream.flush()
        sys.stdout, sys.stderr = before

"""What befalls a file: each damage of a kind, done to the file at a path."""

from __future__ import annotations

import json
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

BITS = 8  # places of a file at which a bit is flipped


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _bit(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    # Anywhere in its eighth of the file, the same in every run.
    at = len(content) * (2 * place + 1) // (2 * BITS) + zlib.crc32(path.name.encode()) % 5
    content[min(at, len(content) - 1)] ^= 1 << (place % 7)
    path.write_bytes(bytes(content))


def _written(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _edited(path: Path, change: Callable[[Any], Any]) -> None:
    """Every leaf of a file of JSON changed; of a file of lines, of each line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() or [""]
        values = [json.loads(path.read_text(encoding="utf-8"))] if len(lines) > 1 else []
    except ValueError:
        values = []
    try:
        values = values or [json.loads(line) for line in lines]
    except (ValueError, UnboundLocalError):
        _empty(path)
        return
    # Someone's hand leaves no seal that fits.
    for one in values:
        if isinstance(one, dict):
            one.pop("seal", None)
    path.write_text("".join(json.dumps(_mapped(v, change)) + "\n" for v in values))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_mapped(one, change) for one in value]
    return change(value)


def _number(to: Any) -> Callable[[Any], Any]:
    def change(value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return to(value) if number else value

    return change


def _replaced(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _empty,
    "truncated": _truncated,
    **{f"bit {place} flipped": partial(_bit, place=place) for place in range(BITS)},
    "{}": partial(_written, content=b"{}\n"),
    "[]": partial(_written, content=b"[]\n"),
    "null": partial(_written, content=b"null\n"),
    "not UTF-8": partial(_written, content=b"\xff\xfe\x00{\n"),
    "nested 20,000 deep": partial(_written, content=b'{"a":' * 20_000 + b"\n"),
    "lists 20,000 deep": partial(_written, content=b"[" * 20_000 + b"\n"),
    "a number of 5,000 digits": partial(_written, content=b'{"step": ' + b"9" * 5_000 + b"}\n"),
    "numbers as text": partial(_edited, change=_number(str)),
    "NaN": partial(_edited, change=_number(lambda _: float("nan"))),
    "negative": partial(_edited, change=_number(lambda _: -5)),
    "sizes out of range": partial(_edited, change=_number(lambda _: 10**17)),
    "texts as lists": partial(_edited, change=lambda v: [v] if isinstance(v, str) else v),
    "a device": partial(_replaced, make=lambda path: path.symlink_to("/dev/zero")),
    "a FIFO": partial(_replaced, make=os.mkfifo),
    "a folder": partial(_replaced, make=Path.mkdir),
    "a link to itself": partial(_replaced, make=lambda path: path.symlink_to(path)),
}


@contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Raises TimeoutError where something waits for ever, as on a FIFO."""

    def end(*_: Any) -> None:
        raise TimeoutError(f"not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

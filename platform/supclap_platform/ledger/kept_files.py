"""Copies on this machine of what finished cells on an object store keep: ranks and events.

    <cache>/kept/<SHA-256 of the content>     the cache is `supclap.data.cache.cache_folder`

A copy judges nothing either: it is used where its content has the hash that the cell's result names
and the one (ETag) under which the store lists the file now. Whatever was altered since is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from supclap.data.cache import cache_folder
from supclap.s3 import md5

FOLDER = "kept"


def copy_of(digest: str, tag: str) -> bytes | None:
    """The content with a SHA-256 that a store lists under an ETag; None: it is to be read."""
    try:
        content = _place(digest).read_bytes()
    except OSError:
        return None
    return (
        content if md5(content) == tag and hashlib.sha256(content).hexdigest() == digest else None
    )


def keep_copy(digest: str, content: bytes) -> None:
    """Keeps a content that has this SHA-256; where there is no room, it is not kept."""
    place = _place(digest)
    scratch = place.with_name(f"{digest}.{os.getpid()}{secrets.token_hex(4)}.part")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(content)
            scratch.replace(place)
        finally:
            scratch.unlink(missing_ok=True)


def _place(digest: str) -> Path:
    return cache_folder() / FOLDER / digest

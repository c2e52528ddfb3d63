"""What modules say to Python, as it was found before: parsing a package takes a second.

    <cache>/syntax-<hash>/modules.json   SHA-256 of a source -> its version and its imports

What is known is known of a content, wherever and whenever it is found; another Python and another
`supclap.syntax` have a file of their own. Where it is lost, damaged or cannot be written, sources
are parsed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from supclap import syntax
from supclap.data.cache import cache_folder
from supclap.regular import read_regular
from supclap.stored import LARGEST, parse_values, sealed
from supclap.syntax import Parsed, parse

FILE = "modules.json"
MOST = 4_000  # sources; of more, those that this process has not met are forgotten
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Version = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
_ENTRIES: TypeAdapter[dict[str, tuple[str, tuple[str, ...]]]] = TypeAdapter(
    dict[_Digest, tuple[_Version, tuple[str, ...]]]
)


class KnownSyntax:
    """What `supclap.syntax.parse` finds, and has found in other processes."""

    def __init__(self) -> None:
        self._met: dict[str, tuple[str, tuple[str, ...]]] = {}  # by this process
        self._new = False

    def parse(self, source: bytes) -> Parsed:
        """As `supclap.syntax.parse`."""
        digest = hashlib.sha256(source).hexdigest()
        known = self._met.get(digest) or self._stored.get(digest)
        if known is None:
            parsed = parse(source)
            known = parsed.version, tuple(sorted(parsed.imports))
            self._new = True
        self._met[digest] = known
        version, imports = known
        return Parsed(version, frozenset(imports))

    def keep(self) -> None:
        """Keeps what is new. Two processes that do so at once lose nothing but time."""
        if not self._new or self._place is None:
            return
        self._new = False
        whole = self._stored | self._met
        entries = whole if len(whole) <= MOST else self._met
        scratch = self._place.with_name(f"{FILE}.{os.getpid()}{secrets.token_hex(4)}.part")
        with contextlib.suppress(OSError):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            try:
                scratch.write_bytes(sealed({"modules": entries}))
                scratch.replace(self._place)
            finally:
                scratch.unlink(missing_ok=True)

    @cached_property
    def _place(self) -> Path | None:
        try:
            ours = Path(syntax.__file__).read_bytes()
            digest = hashlib.sha256(sys.version.encode() + b"\0" + ours).hexdigest()
            return cache_folder().absolute() / f"syntax-{digest[:16]}" / FILE
        except (OSError, RuntimeError):  # a user without a home has no cache
            return None

    @cached_property
    def _stored(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        if self._place is None:
            return {}
        try:
            content = read_regular(self._place, LARGEST)
            found = parse_values(content, str(self._place))
            return _ENTRIES.validate_python(found["modules"])
        except (OSError, ValueError, KeyError):  # lost, damaged, of another version
            return {}

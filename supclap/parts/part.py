"""What every part has: a kind, and keys of its own."""

from __future__ import annotations

from typing import Any, ClassVar


class Part:
    """A part of one's own. Each protocol derives from it and names its ``kind``.

    The annotated attributes of a class below a protocol are its keys in a configuration: typed,
    checked, searchable (`supclap.part_keys`). They are set before anything else is called.
    """

    kind: ClassVar[str]

    def __init__(self, **keys: Any) -> None:
        super().__init__()
        for name, value in keys.items():
            setattr(self, name, value)

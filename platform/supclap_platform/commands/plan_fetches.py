"""What runs will fetch from stores and repositories, and the room for it here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from supclap.copies import Awaited
from supclap.data.cache import cache_folder, free_bytes
from supclap.hub import hub_cache, in_hub
from supclap.wording import size


@dataclass(frozen=True)
class Shelf:
    """A cache of this machine, and what is to be fetched into it, in bytes."""

    folder: Path
    needed: int
    free: int

    @property
    def short(self) -> bool:
        """Whether there is too little room."""
        return self.needed > self.free

    @property
    def room(self) -> str:
        """How much there is, in words."""
        return f"{'only ' if self.short else ''}{size(self.free)} are free here"


def shelves(coming: Sequence[Awaited]) -> list[Shelf]:
    """The caches that things to fetch go into: huggingface_hub's, and that of copies."""
    found: dict[Path, int] = {}
    for one in coming:
        folder = cache_of(one)
        found[folder] = found.get(folder, 0) + one.size
    return [Shelf(folder, needed, free_bytes(folder)) for folder, needed in found.items()]


def cache_of(one: Awaited) -> Path:
    """Where a thing lies once it is fetched."""
    return hub_cache() if in_hub(one.uri) else cache_folder()


def fetch_lines(coming: Sequence[Awaited]) -> Iterator[Text]:
    """What each machine that trains will fetch, and the room for it here."""
    for one in coming:
        yield Text(f"to fetch: {one}")
    for shelf in shelves(coming):
        text = f"in all {size(shelf.needed)}, once for each machine that trains, into its "
        text += f"{shelf.folder}; {shelf.room}"
        yield Text(text, style="bold red" if shelf.short else "")

"""Collections in their official layouts, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from supclap.data.sources import (
    audiocaps,
    captions_csv,
    clotho,
    esc50,
    urbansound8k,
    vggsound,
    wavcaps,
)
from supclap.data.sources.listing import Listing
from supclap.errors import InputError, nearest

Reader = Callable[[Path, Mapping[str, Path]], Listing]

SOURCES: dict[str, Reader] = {
    "audiocaps": audiocaps.read,
    "clotho": clotho.read,
    "esc50": esc50.read,
    "urbansound8k": urbansound8k.read,
    "vggsound": vggsound.read,
    "wavcaps": wavcaps.read,
    "captions": captions_csv.read,
}
# Collections whose captions exist in further languages, as files of the same names.
TRANSLATED = ("audiocaps", "clotho")


def read_source(name: str, source: Path, captions: Mapping[str, Path] | None = None) -> Listing:
    """What the index of a collection lists, and which files belong to it.

    ``captions``: a folder of caption files for each further language.

    Raises:
        InputError: there is no such collection or folder, or no row of its index can be read. Where
            some can be, the others are noted in the listing.
    """
    if name not in SOURCES:
        valid = (*SOURCES, "features")  # which are no sounds, and are prepared elsewhere
        raise InputError(
            f"unknown collection '{name}'{nearest(name, valid)} (valid: {', '.join(valid)}; "
            "one of your own comes from a file that --code names)"
        )
    if not source.is_dir():
        raise InputError(f"{source}: there is no such folder")
    if captions and name not in TRANSLATED:
        raise InputError(f"--captions goes with {' and '.join(TRANSLATED)}, not with {name}")
    listing = SOURCES[name](source, captions or {})
    broken = listing.broken_rows
    if not listing.entries and broken:
        raise InputError(
            f"{source}: no row of the index of {name} can be read; the first: {broken[0].row}: "
            f"{broken[0].reason}"
        )
    if not listing.entries:
        raise InputError(f"{source}: the index of {name} lists no clip")
    return listing

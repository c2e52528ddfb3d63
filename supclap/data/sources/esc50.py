"""ESC-50 and ESC-10: meta/esc50.csv and audio/.

Piczak, "ESC: Dataset for Environmental Sound Classification" (ACM MM 2015). The five official
folds become the splits fold1 to fold5; the category is the label, in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from supclap.data.sources.files import ABSENT, Files, stem
from supclap.data.sources.listing import Entry, Listing
from supclap.data.sources.tables import rows
from supclap.errors import InputError


def read(source: Path, captions: Mapping[str, Path]) -> Listing:
    """The clips below ``source``. Raises InputError where meta/esc50.csv is not there or broken."""
    files = Files(source)
    table = files.locate("esc50.csv")
    if table is None:
        raise InputError(f"{source}: no meta/esc50.csv below it; is it ESC-50?")
    root = files.inside(table.parent.parent.relative_to(source).as_posix())
    listing = Listing("esc50")
    for where, row in rows(table, ("filename", "fold", "category"), broken=listing.broken("")):
        file = row["filename"]
        fold = f"fold{row['fold']}"
        with listing.row(fold, where):
            path = root.find(f"audio/{file}", where)
            label = row["category"].replace("_", " ")
            reason = "" if path else ABSENT
            listing.add(Entry(fold, stem(file), file, where, path, (), (label,), reason))
    return listing

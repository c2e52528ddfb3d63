"""UrbanSound8K: metadata/UrbanSound8K.csv and audio/fold1 to audio/fold10.

Salamon, Jacoby, Bello, "A Dataset and Taxonomy for Urban Sound Research" (ACM MM 2014). The ten
official folds become the splits fold1 to fold10; the class is the label, in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from supclap.data.sources.files import ABSENT, Files, stem
from supclap.data.sources.listing import Entry, Listing
from supclap.data.sources.tables import rows
from supclap.errors import InputError


def read(source: Path, captions: Mapping[str, Path]) -> Listing:
    """The clips below ``source``. Raises InputError where the csv file is not there or broken."""
    files = Files(source)
    table = files.locate("UrbanSound8K.csv")
    if table is None:
        raise InputError(f"{source}: no metadata/UrbanSound8K.csv below it; is it UrbanSound8K?")
    root = files.inside(table.parent.parent.relative_to(source).as_posix())
    listing = Listing("urbansound8k")
    columns = ("slice_file_name", "fold", "class")
    for where, row in rows(table, columns, broken=listing.broken("")):
        fold, name = f"fold{row['fold']}", row["slice_file_name"]
        with listing.row(fold, where):
            path = root.find(f"audio/{fold}/{name}", where)
            label = row["class"].replace("_", " ")
            reason = "" if path else ABSENT
            entry = Entry(fold, stem(name), f"{fold}/{name}", where, path, (), (label,), reason)
            listing.add(entry)
    return listing

"""Precomputed features as data: anyone's encoder, as two arrays and a table of which row is what.

`table` reads what somebody has, `writing` writes what training opens, `collection` opens it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from supclap.config import ArraysConfig, DataConfig
from supclap.data.cache import build_once, cache_folder
from supclap.data.features.collection import FORMAT, FeatureClips, FeatureCollection
from supclap.data.places import folder_of, with_arrays_here
from supclap.errors import InputError

__all__ = ["FeatureClips", "FeatureCollection", "open_features"]


def open_features(config: DataConfig) -> FeatureCollection:
    """The features that a configuration means; ``arrays`` are written to the cache where they are
    not yet, once for each state of their three files.

    Raises:
        InputError: no such features, or ones that cannot be used.
    """
    if config.arrays is None:
        return FeatureCollection(folder_of(config))
    arrays = with_arrays_here(config.arrays)

    def build(scratch: Path) -> None:
        from supclap.data.features.table import read_table
        from supclap.data.features.writing import write_features

        write_features(read_table(arrays), scratch)

    return FeatureCollection(build_once(cache_folder() / "features" / _key(arrays), build))


def _key(arrays: ArraysConfig) -> str:
    """Names the state of the files: where they lie, how long they are, when they were changed."""
    facts = [str(FORMAT), arrays.model_dump_json()]
    for key in ("audio", "text", "captions", "classes"):
        place = getattr(arrays, key)
        if place is None:
            continue
        path = Path(place).expanduser()
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"data.arrays.{key}: {path}: {error.strerror}") from None
        facts.append(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]

"""Clips and captions: made on the spot, or read from prepared collections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supclap.config import DataConfig
    from supclap.data.clips import Collection


def kind_of(folder: Path | str) -> str:
    """What a folder, here or in a store, holds, as `DataConfig.name` calls it: "features", else
    "collection"."""
    from supclap.copies import is_file_at
    from supclap.data.places import INDICES

    return "features" if is_file_at(folder, INDICES["features"]) else "collection"


def index_of(config: DataConfig) -> Collection:
    """A prepared collection or features of which only the index is looked at, wherever they lie: it
    has the names of the splits and their hashes, and no clip can be read. Raises InputError."""
    from supclap.copies import small
    from supclap.data.places import INDICES, NO_COLLECTION

    assert config.folder is not None, "the configuration has checked it"
    folder = small(config.folder, [INDICES[config.name]], NO_COLLECTION)
    if config.name == "features":
        from supclap.data.features import FeatureCollection

        return FeatureCollection(folder)
    from supclap.data.clips import Collection

    return Collection(folder)


def open_data(config: DataConfig) -> Collection:
    """The collection that a configuration means; soundscenes are made, and arrays of features and
    what a data source of the user's lists are prepared, where they are not yet.

    Raises:
        InputError: no such collection, or one that cannot be made.
    """
    from supclap.data.places import folder_of, with_events_here

    if config.name == "soundscenes":
        from supclap.data.soundscenes import soundscenes_collection

        return soundscenes_collection(with_events_here(config))
    if config.name == "features":
        from supclap.data.features import open_features

        return open_features(config)
    from supclap import registry

    if registry.own("data source", config.name) is not None:
        from supclap.data.sources.own import open_own

        return open_own(config)
    from supclap.data.clips import Collection

    return Collection(folder_of(config))


def look_at(config: DataConfig) -> Collection:
    """As `open_data`, but no sound is prepared: of a data source of the user's that is not yet,
    what it lists, with captions and labels and no sound."""
    from supclap import registry

    if registry.own("data source", config.name) is None:
        return open_data(config)
    from supclap.data.sources.own import look_at_own

    return look_at_own(config)

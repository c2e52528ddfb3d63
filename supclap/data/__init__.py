"""Clips and captions: made on the spot, or read from prepared collections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supclap.config import DataConfig
    from supclap.data.clips import Collection


def kind_of(folder: Path) -> str:
    """What a folder holds, as `DataConfig.name` calls it: "features", else "collection"."""
    return "features" if (folder.expanduser() / "features.json").is_file() else "collection"


def open_data(config: DataConfig) -> Collection:
    """The collection that a configuration means; soundscenes are made, and arrays of features and
    what a data source of the user's lists are prepared, where they are not yet.

    Raises:
        InputError: no such collection, or one that cannot be made.
    """
    if config.name == "soundscenes":
        from supclap.data.soundscenes import soundscenes_collection

        return soundscenes_collection(config)
    if config.name == "features":
        from supclap.data.features import open_features

        return open_features(config)
    from supclap import registry

    if registry.own("data source", config.name) is not None:
        from supclap.data.sources.own import open_own

        return open_own(config)
    from supclap.data.clips import Collection

    assert config.folder is not None, "the configuration has checked it"
    return Collection(Path(config.folder).expanduser())


def look_at(config: DataConfig) -> Collection:
    """As `open_data`, but no sound is prepared: of a data source of the user's that is not yet,
    what it lists, with captions and labels and no sound."""
    from supclap import registry

    if registry.own("data source", config.name) is None:
        return open_data(config)
    from supclap.data.sources.own import look_at_own

    return look_at_own(config)

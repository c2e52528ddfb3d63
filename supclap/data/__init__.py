"""Clips and captions: made on the spot, or read from prepared collections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supclap.config import DataConfig
    from supclap.data.clips import Collection


def open_data(config: DataConfig) -> Collection:
    """The collection that a configuration means; soundscenes are made where they are not yet.

    Raises:
        InputError: no such collection, or scenes that cannot be made.
    """
    if config.name == "soundscenes":
        from supclap.data.soundscenes import soundscenes_collection

        return soundscenes_collection(config)
    from supclap.data.clips import Collection

    assert config.folder is not None, "the configuration has checked it"
    return Collection(Path(config.folder).expanduser())

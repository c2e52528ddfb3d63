"""What made clips take in the cache of this machine, before they are made."""

from __future__ import annotations

from pathlib import Path

from supclap.bounds import CAPTIONS, clip_seconds, split_sizes
from supclap.config import DataConfig
from supclap.data.cache import cache_folder
from supclap.data.clips import SAMPLE_RATE
from supclap.errors import InputError
from supclap.objects import in_store

SAMPLE_BYTES = 2
CAPTION_BYTES = 70  # of one in each language, as it lies in an Arrow file
LANGUAGES = 8

_known: dict[str, tuple[str, int]] = {}  # by configuration; in one process no recording changes


def made_clips(config: DataConfig) -> tuple[Path, int]:
    """Where the cache holds a configuration's soundscenes, or will, and about how many bytes.

    Raises:
        InputError: a folder of events that cannot be used, or lies in a store: nothing is fetched.
    """
    asked = config.model_dump_json()
    if asked not in _known:
        # It has no public name there: that code names the scenes, and an edit makes all anew.
        from supclap.data.soundscenes.build import _place
        from supclap.data.soundscenes.recordings import find_recordings

        if any(in_store(place) for place in config.events or ()):
            raise InputError("data.events: lies in a store")
        recordings = find_recordings(config.events) if config.events else []
        place = _place(config, clip_seconds(config), recordings, Path())
        kinds = len({one.kind for one in recordings})
        _known[asked] = place.name, _bytes(config, kinds)
    name, size = _known[asked]
    return cache_folder() / name, size


def _bytes(config: DataConfig, recorded: int) -> int:
    """Samples and captions of all splits; ``recorded``: kinds of recorded events, 0: none is."""
    from supclap.data.soundscenes import SYNTHETIC

    sizes = split_sizes(config.clips)
    sizes["events"] *= recorded or len(SYNTHETIC)
    samples = round(clip_seconds(config) * SAMPLE_RATE) * SAMPLE_BYTES
    return sum(
        count * (samples + CAPTIONS[split] * LANGUAGES * CAPTION_BYTES)
        for split, count in sizes.items()
    )

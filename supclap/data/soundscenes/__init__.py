"""Sound scenes made on the spot, with captions in eight languages (docs/soundscenes.md)."""

from supclap.bounds import SPLITS
from supclap.data.soundscenes.build import check_events, soundscenes_collection
from supclap.data.soundscenes.captions import caption, captions, class_names
from supclap.data.soundscenes.kinds import RECORDED, SYNTHETIC, Kind
from supclap.data.soundscenes.scenes import Event, Scene

__all__ = [
    "RECORDED",
    "SPLITS",
    "SYNTHETIC",
    "Event",
    "Kind",
    "Scene",
    "caption",
    "captions",
    "check_events",
    "class_names",
    "soundscenes_collection",
]

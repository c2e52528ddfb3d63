"""Sound scenes made on the spot, with captions in eight languages (docs/soundscenes.md)."""

from supclap.data.soundscenes.build import soundscenes_collection
from supclap.data.soundscenes.captions import caption, captions, class_names
from supclap.data.soundscenes.kinds import RECORDED, SYNTHETIC, Kind
from supclap.data.soundscenes.scenes import SPLITS, Event, Scene

__all__ = [
    "RECORDED",
    "SPLITS",
    "SYNTHETIC",
    "Event",
    "Kind",
    "Scene",
    "caption",
    "captions",
    "class_names",
    "soundscenes_collection",
]

"""Which recording a clip was cut from, where its id says so: a YouTube video, a sound of Freesound.

Collections share recordings: WavCaps has sounds of Freesound that ESC-50 and UrbanSound8K were cut
from, and videos of AudioCaps and VGGSound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

YOUTUBE, FREESOUND = "YouTube", "Freesound"
_VIDEO = r"[A-Za-z0-9_-]{11}"
# By collection: how its clip ids are made (`supclap.data.sources`).
_IDS = {
    "audiocaps": (YOUTUBE, re.compile(rf"({_VIDEO})_(\d+(?:\.\d+)?)")),
    "vggsound": (YOUTUBE, re.compile(rf"({_VIDEO})_(\d{{6}})")),
    "esc50": (FREESOUND, re.compile(r"\d-(\d+)-[A-Z]-\d+")),
    "urbansound8k": (FREESOUND, re.compile(r"(\d+)-\d+-\d+-\d+")),
}
_WAVCAPS = {
    "AudioSet_SL": (YOUTUBE, re.compile(rf"Y({_VIDEO})")),
    "FreeSound": (FREESOUND, re.compile(r"(\d+)")),
}


@dataclass(frozen=True)
class Origin:
    """A recording. ``start``: second of the video at which the clip begins, where that is known."""

    where: str
    name: str
    start: float | None = None

    @property
    def recording(self) -> tuple[str, str]:
        """The same for all clips of the recording."""
        return self.where, self.name


def origin_of(collection: str, clip_id: str) -> Origin | None:
    """The recording of a clip of a collection, by its id; None where the id does not say it."""
    if collection == "wavcaps":
        source, _, clip_id = clip_id.partition("/")
        where, pattern = _WAVCAPS.get(source, (None, None))
    else:
        where, pattern = _IDS.get(collection, (None, None))
    found = None if pattern is None else pattern.fullmatch(clip_id)
    if found is None or where is None:
        return None
    start = float(found[2]) if pattern is not None and pattern.groups > 1 else None
    return Origin(where, found[1], start)

"""Clips cut from YouTube videos, under the names that the common downloaders give them.

Seen in the wild for the 10 seconds from 0:30 of the video ``id``: ``id``, ``Yid`` (AudioSet's
spelling), ``id_30``, ``id_000030`` (VGGSound), ``id_30_40``, ``id_30.0``, ``id_30000_40000``
(milliseconds). An id always has eleven characters, of which "-" and "_" may be any.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from supclap.data.sources.files import Files

_NAME = re.compile(r"Y?(?P<id>[A-Za-z0-9_-]{11})(?P<times>(?:_\d+(?:\.\d+)?){0,2})")


class Segments:
    """The audio files of a collection by video id and start time.

    ``wanted``: the (id, start in seconds) of all clips. A file that names no start time stands for
    a clip only where the collection has one clip of that video.
    """

    def __init__(self, files: Files, wanted: Iterable[tuple[str, float]]) -> None:
        self._root = files.root
        self._clips = Counter(video for video, _ in set(wanted))
        self._named = files.by_name
        self._found: dict[str, list[tuple[float | None, str]]] = defaultdict(list)
        for name, paths in files.by_name.items():
            match = _NAME.fullmatch(name)
            if match:
                times = [float(part) for part in match["times"].split("_") if part]
                start = times[0] if times else None
                self._found[match["id"]] += [(start, path) for path in paths]

    def find(
        self, video: str, start: float, folder: str = "", other_names: Iterable[str] = ()
    ) -> tuple[Path | None, str]:
        """(file, "") or (None, the reason). ``folder``: preferred where there are several.

        ``other_names``: further names without suffix under which the clip may lie.
        """
        found = self._found.get(video, [])
        exact = [path for begins, path in found if begins in (start, start * 1000)]
        bare = [path for begins, path in found if begins is None]
        if not exact and bare and self._clips[video] > 1:
            return None, f"{bare[0]} names no start time, and several clips are of this video"
        other = [path for name in other_names for path in self._named.get(name, [])]
        choice = exact or bare or other
        if choice:
            choice.sort(key=lambda path: (folder not in path.split("/")[:-1], path))
            return self._root / choice[0], ""
        if found:
            return None, f"{found[0][1]} is another part of this video"
        return None, "no such file, under any of the usual names"

"""Data sources: what clips there are, with their captions, labels and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supclap.parts.part import Part

Sound = str | Path | np.ndarray | Callable[[], np.ndarray]


@dataclass(frozen=True)
class Item:
    """One clip of a data source.

    Attributes:
        sound: a file in any format that libsndfile reads, relative to the source's ``folder``; or
            samples (n,) or (n, channels), int16 or float in [-1, 1]; or a function without
            arguments that returns such samples, called when the collection is prepared.
        captions: texts, English ones, or (text, language) with an ISO 639-3 code.
        labels: of the clip; zero-shot classification takes clips with exactly one.
        split: such as "train", "val" and "test".
        clip_id: its name in the whole collection; a file's own name without suffix by default.
        rate: of samples, in Hz; a file says its own.
    """

    sound: Sound
    captions: Sequence[str | tuple[str, str]] = ()
    labels: Sequence[str] = ()
    split: str = "train"
    clip_id: str = ""
    rate: int = 16_000


class DataSource(Part):
    """Where clips come from: ``data: {name: NAME, own keys}``, or `supclap prepare NAME --code`.

    Before a run trains on it, what is listed is decoded once into the cache: 16 kHz, mono, 16 bits,
    as `supclap prepare` does it. Clips that are missing, unreadable, silent, or without a caption
    or label are counted and named in a file; more than one in twenty of a split is refused.

        @register("my-sounds")
        class MySounds(DataSource):
            index: str = "clips.csv"

            def items(self):
                for row in csv.DictReader(open(self.folder / self.index)):
                    yield Item(row["file"], [row["caption"]], split=row["part"])

    Attributes:
        folder: ``data.folder``, or ``--source``; None where there is none.
    """

    kind = "data source"
    folder: Path | None = None

    def items(self) -> Iterable[Item]:
        """Every clip, always in the same order. A plan asks too: no sound should be read here."""
        raise NotImplementedError

"""Metrics: numbers of one's own about the embeddings of a split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from supclap.metric_names import RESERVED, Direction, find
from supclap.parts.part import Part

if TYPE_CHECKING:
    from torch import Tensor

_NAME = re.compile(r"[A-Za-z0-9_@-]+(\.[A-Za-z0-9_@-]+)*")


@dataclass(frozen=True)
class Embeddings:
    """A split as the model has embedded it: M clips, Q captions, d numbers each.

    Attributes:
        audio: (M, d) float32 of length 1, one row for a clip.
        text: (Q, d) the same, one for a caption.
        caption_clips: (Q,) int64, which clip each caption describes. A clip may have several
            captions, or none.
        clip_ids: of each clip its name in the data.
        labels: of each clip its labels, often none.
        languages: of each caption its language (ISO 639-3).
    """

    audio: Tensor
    text: Tensor
    caption_clips: Tensor
    clip_ids: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    languages: tuple[str, ...]


class Metric(Part):
    """A metric of one's own: ``metrics: {NAME: {own keys}}``.

    A run reports its numbers as it does retrieval's: on val after every epoch, on test at the end
    (and on ``shifted`` and further test sets), with the split before the name, and without one it
    is test's. So they are columns, claims, `select.metric` and objectives of a search::

        @register("hubness")
        class Hubness(Metric):
            names = ("hubness",)
            lower = ("hubness",)
            k: int = 10

            def measure(self, embeddings):
                nearest = (embeddings.text @ embeddings.audio.T).topk(self.k).indices
                counts = nearest.flatten().bincount(minlength=len(embeddings.audio)).double()
                return {"hubness": ((counts - counts.mean()) / counts.std()).pow(3).mean().item()}

    Where an experiment gives it another name than it is registered under (``{k5: {name: hubness,
    k: 5}}``), that name and a dot stand before each of its numbers: ``k5.hubness``.

    Guaranteed: the embeddings are those of the whole split, whatever the number of workers, and a
    copy; it is measured by one process without gradient. It is tried on random embeddings of the
    split's size before anything is trained.

    Attributes:
        names: what `measure` gives, all of it, every time.
        higher, lower: of ``names`` those of which a high number is the good one, and a low one. Of
            the rest neither is: a table marks no best, and no epoch is chosen by it.
    """

    kind = "metric"
    names: ClassVar[tuple[str, ...]] = ()
    higher: ClassVar[tuple[str, ...]] = ()
    lower: ClassVar[tuple[str, ...]] = ()

    def measure(self, embeddings: Embeddings) -> Mapping[str, float]:
        """A finite number for each of `names`."""
        raise NotImplementedError

    @classmethod
    def direction(cls, name: str) -> Direction | None:
        """Which of its numbers are the good ones: high, low, or neither."""
        if name in cls.higher:
            return "higher"
        return "lower" if name in cls.lower else None

    @classmethod
    def check_class(cls) -> None:
        """Raises ValueError for names that cannot be declared so."""
        for what in ("names", "higher", "lower"):
            found: Any = getattr(cls, what)
            if not isinstance(found, tuple) or not all(isinstance(one, str) for one in found):
                raise ValueError(f"{cls.__name__}.{what}: expected a tuple of texts, as in ('x',)")
        if not cls.names:
            raise ValueError(f"{cls.__name__}.names: names none of the numbers that it measures")
        for name in cls.names:
            if not _NAME.fullmatch(name) or len(name) > 60:
                raise ValueError(
                    f"{cls.__name__}.names: {name!r:.80} is not 1 to 60 letters, digits, '_', '-' "
                    "and '@', with dots between"
                )
            if name.split(".")[0] in RESERVED:
                raise ValueError(
                    f"{cls.__name__}.names: '{name}' begins as a metric of SupCLAP's does; call it "
                    "otherwise"
                )
            if cls.names.count(name) > 1:
                raise ValueError(f"{cls.__name__}.names: '{name}' stands twice")
        for name in (*cls.higher, *cls.lower):
            if name not in cls.names or (name in cls.higher and name in cls.lower):
                how = "is in both" if name in cls.names else f"is none of names {cls.names}"
                raise ValueError(f"{cls.__name__}.higher and .lower: '{name}' {how}")
        for name in cls.names:
            other = find(name)
            if other is not None and other.name == name:
                raise ValueError(
                    f"{cls.__name__}.names: '{name}' is what the metric '{other.part}' gives; call "
                    "it otherwise"
                )

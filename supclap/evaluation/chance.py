"""What guessing scores: the figures that stand beside every result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from supclap.evaluation.retrieval import CUTS, TOP


def retrieval_chance(captions_per_clip: Sequence[int] | np.ndarray) -> dict[str, float]:
    """The expected metrics of a random order without ties, under the names of `retrieval`.

    The median rank is the median of the ranks' distribution over all queries.

    Args:
        captions_per_clip: (M,) number of captions of each clip; clips with none are candidates.
    """
    counts = np.asarray(captions_per_clip, dtype=np.int64)
    clips, captions = len(counts), int(counts.sum())
    middle = (clips + 1) / 2
    chance = {f"t2a.R@{k}": 100 * min(k, clips) / clips for k in CUTS}
    chance |= {"t2a.medR": middle, "t2a.meanR": middle}
    chance["t2a.mAP10"] = 100 * sum(1 / rank for rank in range(1, min(TOP, clips) + 1)) / clips
    amounts, weights = np.unique(counts[counts > 0], return_counts=True)
    share = weights / weights.sum()
    # missed[a, k]: chance that none of a clip's captions is among the first k.
    missed = np.stack([_missed(captions, int(amount)) for amount in amounts])
    found = share @ (1 - missed)
    chance |= {f"a2t.R@{k}": 100 * float(found[min(k, captions)]) for k in CUTS}
    chance["a2t.medR"] = float(np.argmax(found >= 0.5))
    chance["a2t.meanR"] = float(share @ ((captions + 1) / (amounts + 1)))
    chance["a2t.mAP10"] = 100 * float(share @ [_precision(captions, int(a)) for a in amounts])
    return chance


def chance_by_language(
    owners: np.ndarray, languages: Sequence[str], clips: int
) -> dict[str, float]:
    """`retrieval_chance` of each language's captions, and the mean of them, as of the metrics.

    Args:
        owners: (Q,) the clip of each caption.
        languages: Q codes, one for each caption.
        clips: M, those without a caption included.
    """
    spoken = np.array(languages)
    found = [
        retrieval_chance(np.bincount(owners[spoken == one], minlength=clips))
        for one in dict.fromkeys(languages)
    ]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _missed(captions: int, own: int) -> np.ndarray:
    """(captions + 1,) for k = 0, 1, ...: chance that no own caption stands among the first k."""
    drawn = np.arange(captions)
    stays = np.maximum(captions - own - drawn, 0) / (captions - drawn)
    return np.concatenate([[1.0], np.cumprod(stays)])


def _precision(captions: int, own: int) -> float:
    """Expected AP10. Place p holds an own caption with chance own / captions; the other own ones
    stand before it in proportion to the places there."""
    places = np.arange(min(TOP, captions))
    earlier = places * (own - 1) / max(captions - 1, 1)
    return float(((1 + earlier) / (places + 1)).sum() / captions)

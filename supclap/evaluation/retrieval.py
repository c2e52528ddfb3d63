"""Text-audio retrieval, both directions, by the protocol of ML-CLAP (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supclap.errors import InputError

CUTS = (1, 5, 10, 50)
TOP = 10  # of mAP10
# Scores are computed in float64, where the products of float32 numbers are exact and their sum, for
# unit vectors, is off by at most d * 1.2e-16. Two scores that differ by less than TIE are equal: it
# is above twice that rounding up to d = 4,000. Embeddings that differ can score as near each other
# by chance (in 1e8 pairs of float32 embeddings one rival lay 7e-10 below), but seldom.
TIE = 1e-12
BLOCK = 2048  # clips, and captions, whose scores are in memory at once (32 MiB)
NO_CAPTION = -1

Embeddings = np.ndarray | Tensor


@dataclass(frozen=True)
class RetrievalResult:
    """Figures of M clips and Q captions.

    Attributes:
        metrics: ``t2a.R@1`` ... ``a2t.R@50`` and ``t2a.mAP10``, ``a2t.mAP10`` in percent;
            ``t2a.medR``, ``a2t.medR``, ``t2a.meanR``, ``a2t.meanR``, the best rank being 1. Of an
            even number of queries medR is the mean of the two middle ranks: 12.5 where WavCaps'
            code says 12.
        t2a_ranks: (Q,) int64; how many clips stand before a caption's own clip, 0 is best.
        a2t_ranks: (M,) int64; how many captions stand before the best of a clip's own captions, 0
            is best, -1 for a clip without captions, which is a candidate but asks nothing.
        a2t_precision: (M,) float64, AP10 of each clip, 0 to 1; 0 for a clip without captions.
    """

    metrics: dict[str, float]
    t2a_ranks: np.ndarray
    a2t_ranks: np.ndarray
    a2t_precision: np.ndarray


@dataclass(frozen=True)
class MultilingualResult:
    """Figures over K languages.

    Attributes:
        metrics: every metric of `RetrievalResult`, averaged over the languages (``t2a.R@1``) and,
            where K > 1, each language's own (``fra.t2a.R@1``) and the mean rank variance
            (``MRV`` of the captions, ``a2t.MRV`` of the clips).
        by_language: each language's result. Its ``t2a_ranks`` follow the order in which the
            language's captions were given.
    """

    metrics: dict[str, float]
    by_language: dict[str, RetrievalResult]


def retrieval(
    audio: Embeddings, texts: Embeddings, caption_clip: np.ndarray | Sequence[int]
) -> RetrievalResult:
    """Text-to-audio and audio-to-text retrieval of one language.

    Captions score clips by the dot product. Ties count against the model: what scores the same as
    the right answer stands before it, so a collapsed model, whose scores are all equal, ranks last.
    Memory is bounded by `BLOCK` squared, whatever M and Q.

    Args:
        audio: (M, d) embeddings of the clips, of length 1.
        texts: (Q, d) embeddings of the captions, of length 1.
        caption_clip: (Q,) which clip each caption describes; any number of captions per clip.

    Raises:
        InputError: shapes that do not fit, no captions, an embedding that is not finite.
    """
    clips, captions = _matrix(audio, "audio"), _matrix(texts, "text")
    owner = _owners(caption_clip, clips, captions)
    own, t2a_ranks, before_caption = (
        found.cpu().numpy() for found in _counts(clips, captions, owner)
    )
    a2t_ranks, precision = _by_clip(before_caption, owner.cpu().numpy(), own, len(clips))
    asked = a2t_ranks != NO_CAPTION
    metrics = _figures("t2a", t2a_ranks)
    inside = t2a_ranks < TOP
    metrics["t2a.mAP10"] = 100 * float(np.mean(np.where(inside, 1 / (t2a_ranks + 1), 0.0)))
    metrics |= _figures("a2t", a2t_ranks[asked])
    metrics["a2t.mAP10"] = 100 * float(precision[asked].mean())
    return RetrievalResult(metrics, t2a_ranks, a2t_ranks, precision)


def retrieval_by_language(
    audio: Embeddings,
    texts: Embeddings,
    caption_clip: np.ndarray | Sequence[int],
    languages: Sequence[str],
) -> MultilingualResult:
    """Retrieval in each language on its own, and the average over the languages.

    In audio-to-text a clip ranks the captions of one language only. Arguments and errors are those
    of `retrieval`; ``languages``: (Q,) the language of each caption.
    """
    spoken = np.asarray(languages)
    owner = np.asarray(caption_clip)
    if len(spoken) != len(texts):
        raise InputError(f"retrieval: {len(texts)} captions with {len(spoken)} languages")
    matrix = _matrix(texts, "text")
    by_language = {}
    for language in dict.fromkeys(languages):
        rows = np.flatnonzero(spoken == language)
        by_language[language] = retrieval(audio, matrix[rows], owner[rows])
    results = list(by_language.values())
    metrics = {
        name: float(np.mean([result.metrics[name] for result in results]))
        for name in results[0].metrics
    }
    if len(results) > 1:
        for language, result in by_language.items():
            metrics |= {f"{language}.{name}": value for name, value in result.metrics.items()}
        owners = [owner[spoken == language] for language in by_language]
        metrics["MRV"] = mean_rank_variance(
            *_aligned([result.t2a_ranks for result in results], owners)
        )
        metrics["a2t.MRV"] = mean_rank_variance(*(result.a2t_ranks for result in results))
    return MultilingualResult(metrics, by_language)


def mean_rank_variance(*ranks: np.ndarray) -> float:
    """MRV: the variance of a query's rank over K languages (population form), averaged.

    Args:
        ranks: K arrays (n,), one per language, row i being the same query in each; a row with -1
            in any language (no caption) is not a query in all of them and is left out.
    """
    table = np.stack(ranks)
    table = table[:, (table != NO_CAPTION).all(0)]
    return float(table.var(axis=0).mean()) if table.shape[1] else float("nan")


def _figures(direction: str, ranks: np.ndarray) -> dict[str, float]:
    """Recalls in percent, median and mean rank (from 1) of 0-based ranks."""
    recalls = {f"{direction}.R@{k}": 100 * float(np.mean(ranks < k)) for k in CUTS}
    return recalls | {
        f"{direction}.medR": float(np.median(ranks)) + 1,
        f"{direction}.meanR": float(np.mean(ranks)) + 1,
    }


def _matrix(embeddings: Embeddings, kind: str) -> Tensor:
    matrix = torch.as_tensor(embeddings).detach()
    if matrix.ndim != 2 or not len(matrix):
        raise InputError(f"retrieval: expected {kind} embeddings (N, d), found {matrix.shape}")
    broken = (~torch.isfinite(matrix).all(1)).nonzero().flatten()
    if len(broken):
        raise InputError(
            f"retrieval: {len(broken)} of {len(matrix)} {kind} embeddings are not finite, "
            f"the first in row {int(broken[0])}; the model has diverged"
        )
    return matrix


def _owners(caption_clip: np.ndarray | Sequence[int], clips: Tensor, captions: Tensor) -> Tensor:
    owner = torch.as_tensor(np.asarray(caption_clip), dtype=torch.int64, device=clips.device)
    if owner.shape != (len(captions),) or clips.shape[1] != captions.shape[1]:
        raise InputError(
            f"retrieval: audio {tuple(clips.shape)}, text {tuple(captions.shape)} and caption_clip "
            f"{tuple(owner.shape)} do not fit; expected (M, d), (Q, d) and (Q,)"
        )
    if int(owner.min()) < 0 or int(owner.max()) >= len(clips):
        raise InputError(f"retrieval: caption_clip must lie in 0 ... {len(clips) - 1}")
    return owner


def _counts(clips: Tensor, captions: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What stands before each caption's own pair, and that pair's score; all (Q,).

    The first counts the other clips that a caption scores at least as high as its own; the second
    the captions of other clips that its clip scores at least as high.
    """
    own = torch.cat(
        [
            (texts.double() * clips[mine].double()).sum(1)
            for texts, mine in zip(captions.split(BLOCK), owner.split(BLOCK), strict=True)
        ]
    )
    least = own - TIE
    before_clip = torch.zeros_like(owner)
    before_caption = torch.zeros_like(owner)
    amount = owner.bincount(minlength=len(clips))
    # Clips by their number of captions: those of a block then have about equally many, and its
    # clips with more than j captions are the last ones.
    order = amount.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    grouped = place[owner].argsort(stable=True)  # captions in the order of their clips
    first = amount[order].cumsum(0) - amount[order]  # where a clip's captions begin in `grouped`
    for start in range(0, len(clips), BLOCK):
        block = order[start : start + BLOCK]
        amounts, firsts = amount[block], first[start : start + BLOCK]
        sounds = clips[block].double()
        for top in range(0, len(captions), BLOCK):
            rows = slice(top, top + BLOCK)
            scores = captions[rows].double() @ sounds.T
            columns = place[owner[rows]] - start
            here = ((columns >= 0) & (columns < len(block))).nonzero().flatten()
            scores[here, columns[here]] = -torch.inf  # a pair does not stand before itself
            before_clip[rows] += (scores >= least[rows, None]).sum(1)
            for j in range(int(amounts[-1])):
                some = int((amounts <= j).sum())  # clips that have no caption number j
                caption = grouped[firsts[some:] + j]
                before_caption[caption] += (scores[:, some:] >= least[caption]).sum(0)
    return own, before_clip, before_caption


def _by_clip(
    before: np.ndarray, owner: np.ndarray, own: np.ndarray, clips: int
) -> tuple[np.ndarray, np.ndarray]:
    """A clip's best rank and its average precision at 10, both (M,), from its captions' counts."""
    order = np.lexsort((-own, owner))  # a clip's captions side by side, the best first
    amount = np.bincount(owner, minlength=clips)
    first = np.cumsum(amount) - amount
    earlier = np.arange(len(order)) - first[owner[order]]  # own captions that stand before
    ranks = before[order] + earlier
    gains = np.where(ranks < TOP, (earlier + 1) / (ranks + 1), 0.0)
    asked = amount > 0
    best = np.full(clips, NO_CAPTION, dtype=np.int64)
    best[asked] = ranks[first[asked]]
    precision = np.bincount(owner[order], weights=gains, minlength=clips) / np.maximum(amount, 1)
    return best, precision


def _aligned(ranks: list[np.ndarray], owners: list[np.ndarray]) -> list[np.ndarray]:
    """The ranks of those queries that exist in every language.

    Caption j of a clip in one language is the same query as its caption j in another; where the
    languages have unequally many captions of a clip, the first ones, that all have, are compared.
    """
    keyed = [_numbered(owner) for owner in owners]
    common = set(keyed[0]).intersection(*keyed[1:])
    return [
        np.array([rank for key, rank in zip(keys, own, strict=True) if key in common])[
            np.lexsort(np.array([key for key in keys if key in common]).T[::-1])
        ]
        if common
        else np.zeros(0, np.int64)
        for keys, own in zip(keyed, ranks, strict=True)
    ]


def _numbered(owner: np.ndarray) -> list[tuple[int, int]]:
    """(Q,) -> (clip, number of the caption among the clip's own), for each caption."""
    seen: dict[int, int] = {}
    keys = []
    for clip in owner.tolist():
        keys.append((clip, seen.get(clip, 0)))
        seen[clip] = keys[-1][1] + 1
    return keys

"""Intervals over queries and seeds, from the ranks that runs keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from supclap_platform.results.inference import CONFIDENCE

DRAWS = 2_000
CELLS = 4_000_000  # weights in memory at once (32 MB)
TOP = 10  # of mAP10


@dataclass(frozen=True)
class Queries:
    """What each query adds to a metric, which is the mean over them.

    values: (queries,); clips: (queries,) int64, the clip that each query asks for or with.
    """

    values: np.ndarray
    clips: np.ndarray


def queries_of(metric: str, ranks: Mapping[str, Any]) -> Queries | None:
    """A test metric's queries from a run's kept ranks; None where it is no mean over them.

    Args:
        metric: its full name, such as ``test.t2a.R@1``.
        ranks: arrays as `supclap.measurement.Measured` describes them.
    """
    if metric == "zero_shot.accuracy" and "zero_shot_clips" in ranks:
        return Queries(100.0 * ranks["zero_shot_right"], ranks["zero_shot_clips"])
    split, _, name = metric.partition(".")
    way, _, last = name.partition(".")
    if split != "test" or way not in ("t2a", "a2t") or f"{way}_clips" not in ranks:
        return None
    found, clips = ranks[f"{way}_ranks"], ranks[f"{way}_clips"]
    if last.startswith("R@"):
        return Queries(100.0 * (found < int(last[2:])), clips)
    if last == "meanR":
        return Queries(found + 1.0, clips)
    if name == "t2a.mAP10":
        return Queries(np.where(found < TOP, 100.0 / (found + 1), 0.0), clips)
    if name == "a2t.mAP10":
        return Queries(100.0 * ranks["a2t_precision"], clips)
    return None


def crossed_interval(
    differences: np.ndarray, clips: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean difference over other seeds and other queries like these.

    Every seed answers the same queries, so the two are crossed, not nested, and a draw moves the
    mean twice. Over queries: clips are drawn with replacement, the same for all seeds (all queries
    of a clip together: captions of one sound are not independent). Over seeds: two or three cannot
    be resampled, as no draw would leave the hull of what was seen, so the deviation is drawn from
    the t distribution with n - 1 degrees of freedom, on the standard error over seeds. Both contain
    the noise of single answers; so that it counts once, the deviation over clips is shrunk to what
    the seeds have in common (two-way analysis of variance). With one seed, it is an interval over
    queries alone.

    Args:
        differences: (seeds, queries) A - B of each query.
        clips: (queries,) the clip of each query.
        draws: of the bootstrap.
        seed: of its generator.
    """
    seeds = len(differences)
    _, places = np.unique(clips, return_inverse=True)
    counts = np.bincount(places).astype(float)
    sums = np.stack([np.bincount(places, weights=row) for row in differences])
    by_seed = sums.sum(1) / counts.sum()
    estimate = float(by_seed.mean())
    moved, chance = _over_clips(sums.mean(0), counts, draws, seed)
    moved = moved - estimate
    if seeds > 1:
        whole = float(moved.var())
        shared = max(whole - _of_single_answers(sums, counts), 0.0)
        error = float(by_seed.std(ddof=1)) / seeds**0.5
        moved = moved * (shared / whole) ** 0.5 if whole else moved
        even = (np.arange(draws) + 0.5) / draws  # drawn evenly: the tails of t are long
        moved = moved + error * chance.permutation(special.stdtrit(seeds - 1, even))
    low, high = np.quantile(moved, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return estimate + float(low), estimate + float(high)


def clip_values(differences: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """(clips,) values whose mean is the mean difference over the queries, and whose spread is that
    which other clips would give it: a t test of them asks about two models on clips like these.

    All queries of a clip count together (captions of one sound are not independent); where clips
    have unequally many, the mean is a ratio, and its pull by each clip is taken linearly.

    Args:
        differences: (queries,) B - A of each query.
        clips: (queries,) the clip of each query.
    """
    _, places = np.unique(clips, return_inverse=True)
    counts = np.bincount(places).astype(float)
    sums = np.bincount(places, weights=differences)
    mean = sums.sum() / counts.sum()
    values: np.ndarray = mean + (sums - mean * counts) / counts.mean()
    return values


def _over_clips(
    sums: np.ndarray, counts: np.ndarray, draws: int, seed: int
) -> tuple[np.ndarray, np.random.Generator]:
    """(draws,) means over queries of clips drawn with replacement, and the generator thereafter.

    ``sums``, ``counts``: (clips,) of their queries.
    """
    amount = len(counts)
    if draws * amount <= CELLS:
        weights, state = _all_weights(amount, draws, seed)
        chance = np.random.default_rng(seed)
        chance.bit_generator.state = state
        return _ratios(weights, sums, counts), chance
    chance = np.random.default_rng(seed)
    block = max(1, CELLS // amount)
    means = []
    for start in range(0, draws, block):
        weights = _weights(chance, amount, min(block, draws - start))
        means.append(_ratios(weights, sums, counts))
    return np.concatenate(means), chance


def _ratios(weights: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws,) sums over counts of each draw, in one pass over the weights."""
    drawn = weights @ np.stack((sums, counts), axis=1)
    means: np.ndarray = drawn[:, 0] / drawn[:, 1]
    return means


@lru_cache(maxsize=1)
def _all_weights(amount: int, draws: int, seed: int) -> tuple[np.ndarray, Any]:
    """(draws, clips) how often each clip is drawn, and the state of the generator thereafter.

    Kept: the claims of a file mostly ask the same clips, and drawing them is what takes the time.
    """
    chance = np.random.default_rng(seed)
    return _weights(chance, amount, draws), chance.bit_generator.state


def _weights(chance: np.random.Generator, amount: int, draws: int) -> np.ndarray:
    return chance.multinomial(amount, np.full(amount, 1 / amount), size=draws).astype(float)


def _of_single_answers(sums: np.ndarray, counts: np.ndarray) -> float:
    """The part of the mean's variance by clips that seeds do not share: their interaction.

    ``sums``: (seeds, clips) of each clip's queries; ``counts``: (clips,) how many these are.
    """
    seeds, amount = sums.shape
    if amount < 2:
        return 0.0
    means = sums.sum(1, keepdims=True) / counts.sum()
    pull = (sums - means * counts) / counts.mean()  # of each clip on each seed's mean
    rest = pull - pull.mean(0)
    return float((rest**2).sum() / ((seeds - 1) * (amount - 1) * seeds * amount))

"""Intervals over queries and seeds, from the ranks that runs keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

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

    Every seed answers the same queries, so the two are crossed, not nested: a draw takes clips with
    replacement, the same for all seeds (all queries of a clip together: captions of one sound are
    not independent), and seeds with replacement (Owen 2007, the pigeonhole bootstrap). Few
    seeds make a bootstrap too sure in two ways, both mended: their spread is stretched by
    sqrt(n / (n - 1)), and the distance of the percentiles from the estimate by t over normal, with
    the degrees of freedom of the two sources together (Satterthwaite). With one seed, it is an
    interval over queries alone.

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
    chance = np.random.default_rng(seed)
    by_seed = np.empty((draws, seeds))
    amount, even = len(counts), np.full(len(counts), 1 / len(counts))
    block = max(1, CELLS // amount)
    for start in range(0, draws, block):
        rows = slice(start, min(start + block, draws))
        weights = chance.multinomial(amount, even, size=rows.stop - start).astype(float)
        by_seed[rows] = (weights @ sums.T) / (weights @ counts)[:, None]
    over_queries = by_seed.mean(1)
    estimate = float((sums.sum(1) / counts.sum()).mean())
    means, stretch = over_queries, 1.0
    if seeds > 1:
        drawn = chance.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        share = 1 / seeds + (drawn - 1 / seeds) * (seeds / (seeds - 1)) ** 0.5
        means = (by_seed * share).sum(1)
        whole, queries = means.var(), over_queries.var()
        parts = max(whole - queries, 0.0) ** 2 / (seeds - 1) + queries**2 / max(amount - 1, 1)
        if parts > 0:
            tail = (1 + CONFIDENCE) / 2
            stretch = stats.t.ppf(tail, max(1.0, whole**2 / parts)) / stats.norm.ppf(tail)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return estimate - (estimate - low) * float(stretch), estimate + (high - estimate) * float(
        stretch
    )

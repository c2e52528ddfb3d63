"""Curves of a figure: a variant's mean over seeds, with the deviation between them.

Over the epochs, from the events that runs keep; or over the cosine of a test caption and its own
clip, as a density, from the similarities they keep beside their ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from scipy.ndimage import gaussian_filter1d

from supclap_platform.experiment.variants import Variant
from supclap_platform.ledger.means import summarise
from supclap_platform.results.evidence import Evidence

DISTRIBUTION = "t2a_similarity"  # an array beside the ranks; every other name is an epoch's metric
BINS = 500  # of cosines from -1 to 1
FAINT = 1e-3  # a density below this share of the highest is not drawn


@dataclass(frozen=True)
class Line:
    """One variant in one panel: mean and sample deviation over ``seeds`` runs of ``wanted``.

    ``places`` are epochs or cosines. An epoch is drawn where all those runs report a finite value;
    ``left_out`` counts the others.
    """

    variant: str
    row: str
    group: str | None
    places: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]  # NaN with one seed
    seeds: int
    wanted: int
    left_out: int = 0


def line_of(variant: Variant, metric: str, evidence: Evidence) -> Line | None:
    """The line of a metric over the epochs, or of `DISTRIBUTION`; None where no run has any."""
    if metric == DISTRIBUTION:
        return _density(variant, evidence)
    curves = [curve for curve in evidence.curves(variant.name, metric).values() if curve]
    seen = sorted({epoch for curve in curves for epoch in curve})
    epochs = [e for e in seen if all(isfinite(curve.get(e, nan)) for curve in curves)]
    if not epochs:
        return None
    values = [[curve[epoch] for epoch in epochs] for curve in curves]
    return _line(variant, evidence, epochs, values, left_out=len(seen) - len(epochs))


def density(cosines: np.ndarray) -> np.ndarray:
    """(BINS,) the density of cosines from -1 to 1 at `middles`; its integral is 1.

    A Gaussian kernel with Scott's bandwidth, as in `scipy.stats.gaussian_kde`, on counts in bins of
    0.004. Mass that the kernel would put beyond -1 or 1 is mirrored: no cosine lies there.
    """
    counts, _ = np.histogram(np.clip(cosines, -1, 1), bins=BINS, range=(-1, 1))
    width = 2 / BINS
    bandwidth = float(np.std(cosines, ddof=1)) * len(cosines) ** -0.2 if len(cosines) > 1 else 0.0
    heights = counts / (len(cosines) * width)
    smooth: np.ndarray = gaussian_filter1d(heights, max(bandwidth / width, 1.0), mode="reflect")
    return smooth


def middles() -> np.ndarray:
    """(BINS,) the cosines at which `density` is given."""
    return (np.arange(BINS) + 0.5) * 2 / BINS - 1


def _density(variant: Variant, evidence: Evidence) -> Line | None:
    kept = evidence.kept(variant.name, DISTRIBUTION).values()
    usable = [cosines for cosines in kept if len(cosines) and np.isfinite(cosines).all()]
    if not usable:
        return None
    heights = np.stack([density(cosines) for cosines in usable])
    seen = np.flatnonzero(heights.max(0) > FAINT * heights.max())
    shown = slice(seen[0], seen[-1] + 1)
    return _line(variant, evidence, middles()[shown].tolist(), heights[:, shown].tolist())


def _line(
    variant: Variant,
    evidence: Evidence,
    places: Sequence[float],
    values: Sequence[Sequence[float]],
    left_out: int = 0,
) -> Line:
    """``values``: (seeds, places)."""
    summaries = [summarise(column) for column in zip(*values, strict=True)]
    return Line(
        variant.name,
        variant.row,
        variant.group,
        tuple(places),
        tuple(summary.mean for summary in summaries),
        tuple(nan if summary.std is None else summary.std for summary in summaries),
        seeds=len(values),
        wanted=len(evidence.runs(variant.name)),
        left_out=left_out,
    )

"""A trained model measured on a test set, with what it answers to every query: for comparisons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from supclap.data.clips import Clips
from supclap.evaluation.collection import RetrievalReport, evaluate_retrieval, evaluate_zero_shot
from supclap.model.clap import CLAP
from supclap.sets import classifiable


@dataclass(frozen=True)
class Answers:
    """Metrics of a test set by full name (``test.t2a.R@1``, ``zero_shot.accuracy``), and of every
    query what stands behind them.

    ``ranks``: of retrieval as `supclap.measurement.Measured.ranks` has them, without similarities;
    of classification "zero_shot_right" (clips,) 0 or 1, and "zero_shot_clips" (clips,) int64.
    """

    metrics: dict[str, float]
    ranks: dict[str, np.ndarray]


def answers(model: CLAP, clips: Clips) -> Answers:
    """Retrieval where the clips have captions, else zero-shot classification of their labels.

    Raises:
        InputError: there is nothing to retrieve or to classify.
    """
    if any(clips.captions):
        report = evaluate_retrieval(model, clips)
        metrics = {f"test.{name}": value for name, value in report.result.metrics.items()}
        return Answers(metrics, _ranks(report, clips))
    result = evaluate_zero_shot(model, clips).result
    rows, named, labels = classifiable(clips)
    true = np.array([labels.index(name) for name in named])
    right = (result.predictions == true).astype(float)
    ranks = {"zero_shot_right": right, "zero_shot_clips": np.array(rows)}
    return Answers(dict(result.metrics), ranks)


def _ranks(report: RetrievalReport, clips: Clips) -> dict[str, np.ndarray]:
    """Language after language, as the result has them."""
    found: dict[str, list[np.ndarray]] = {}
    for language, result in report.result.by_language.items():
        spoken = [sum(c.language == language for c in captions) for captions in clips.captions]
        asked = result.a2t_ranks >= 0
        of_language = {
            "t2a_ranks": result.t2a_ranks,
            "t2a_clips": np.repeat(np.arange(len(spoken)), spoken),
            "a2t_ranks": result.a2t_ranks[asked],
            "a2t_precision": result.a2t_precision[asked],
            "a2t_clips": np.flatnonzero(asked),
        }
        for name, array in of_language.items():
            found.setdefault(name, []).append(array)
    return {name: np.concatenate(arrays) for name, arrays in found.items()}

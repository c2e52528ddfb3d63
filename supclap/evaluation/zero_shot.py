"""Zero-shot classification: a sound gets the class whose prompt lies nearest (paper, Table 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from supclap.errors import InputError
from supclap.evaluation.retrieval import TIE

TEMPLATES = ("This is a sound of {label}",)  # the paper's
PLACE = "{label}"


@dataclass(frozen=True)
class ZeroShotResult:
    """Figures of M clips and L classes.

    Attributes:
        metrics: ``zero_shot.accuracy`` and ``zero_shot.class_accuracy`` (the mean over the classes
            that have clips, each counting the same), in percent.
        labels: names of the L classes.
        per_class: (L,) accuracy of each class in percent; NaN for a class without clips.
        confusion: (L, L) int64; row: the true class, column: the predicted one.
        predictions: (M,) int64, the predicted class of each clip.
    """

    metrics: dict[str, float]
    labels: tuple[str, ...]
    per_class: np.ndarray
    confusion: np.ndarray
    predictions: np.ndarray


def prompts(label: str, templates: Sequence[str] = TEMPLATES) -> list[str]:
    """A label put into each template; the underscores of data sets' labels become spaces.

    Raises:
        InputError: no templates, or one without ``{label}``.
    """
    for template in templates:
        if PLACE not in template:
            raise InputError(f"prompt template '{template}': has no {PLACE}")
    if not templates:
        raise InputError("zero-shot classification needs at least one prompt template")
    return [template.replace(PLACE, label.replace("_", " ")) for template in templates]


def class_embeddings(
    encode_text: Callable[[list[str]], np.ndarray],
    labels: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
) -> np.ndarray:
    """One unit vector per class, (L, d): the mean over the templates' embeddings, normalised.

    Args:
        encode_text: texts -> unit vectors (N, d), such as `CLAP.encode_text`.
    """
    texts = [text for label in labels for text in prompts(label, templates)]
    embedded = np.asarray(encode_text(texts), dtype=np.float64)
    return unit_means(embedded.reshape(len(labels), len(templates), -1).mean(1))


def unit_means(means: np.ndarray) -> np.ndarray:
    """(L, d) means of unit vectors -> the same at length 1, in float64."""
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    unit: np.ndarray = means / np.maximum(lengths, np.finfo(np.float64).tiny)
    return unit


def classify(
    audio: np.ndarray,
    named: Sequence[str],
    labels: Sequence[str],
    classes: np.ndarray,
) -> tuple[ZeroShotResult, dict[str, float]]:
    """Clips put into the classes that their labels name, and what guessing scores there.

    Args:
        audio: (N, d) embeddings.
        named: N labels, those of the clips.
        labels: of the L classes.
        classes: (L, d) embeddings, as `class_embeddings` gives them.

    Returns:
        the result, and chance under the names of its metrics.
    """
    truth = [labels.index(label) for label in named]
    result = zero_shot(audio, truth, classes, labels)
    return result, dict.fromkeys(result.metrics, 100 / len(labels))


def zero_shot(
    audio: np.ndarray, truth: np.ndarray | Sequence[int], classes: np.ndarray, labels: Sequence[str]
) -> ZeroShotResult:
    """Classifies clips by the nearest class.

    Ties count against the model: where another class scores the same as the true one, that other
    class (the first of them) is the prediction.

    Args:
        audio: (M, d) embeddings of the clips, of length 1.
        truth: (M,) index of each clip's class.
        classes: (L, d) embeddings of the classes, as `class_embeddings` gives them.
        labels: L names, all different.

    Raises:
        InputError: shapes that do not fit, no clips, embeddings that are not finite.
    """
    sounds = np.asarray(audio, dtype=np.float64)
    centres = np.asarray(classes, dtype=np.float64)
    actual = np.asarray(truth, dtype=np.int64)
    _check(sounds, actual, centres, labels)
    scores = sounds @ centres.T
    rows = np.arange(len(sounds))
    own = scores[rows, actual].copy()
    scores[rows, actual] = -np.inf
    rival = scores.argmax(1)
    predictions = np.where(scores[rows, rival] >= own - TIE, rival, actual)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (actual, predictions), 1)
    clips = confusion.sum(1)
    per_class = np.full(len(labels), np.nan)
    per_class[clips > 0] = 100 * confusion.diagonal()[clips > 0] / clips[clips > 0]
    metrics = {
        "zero_shot.accuracy": 100 * float(np.mean(predictions == actual)),
        "zero_shot.class_accuracy": float(np.nanmean(per_class)),
    }
    return ZeroShotResult(metrics, tuple(labels), per_class, confusion, predictions)


def _check(
    sounds: np.ndarray, actual: np.ndarray, centres: np.ndarray, labels: Sequence[str]
) -> None:
    if sounds.ndim != 2 or not len(sounds) or actual.shape != (len(sounds),):
        raise InputError(
            f"zero-shot: audio {sounds.shape} and truth {actual.shape} do not fit; "
            "expected (M, d) and (M,), M > 0"
        )
    if centres.shape != (len(labels), sounds.shape[1]) or len(set(labels)) != len(labels):
        raise InputError(
            f"zero-shot: expected ({len(labels)}, {sounds.shape[1]}) class embeddings and as many "
            f"different labels, found {centres.shape} and {len(set(labels))} labels"
        )
    if len(labels) < 2:
        raise InputError("zero-shot: classification needs at least two classes")
    if actual.min() < 0 or actual.max() >= len(labels):
        raise InputError(f"zero-shot: truth must lie in 0 ... {len(labels) - 1}")
    for kind, matrix in (("audio", sounds), ("class", centres)):
        broken = np.flatnonzero(~np.isfinite(matrix).all(1))
        if len(broken):
            raise InputError(
                f"zero-shot: {len(broken)} of {len(matrix)} {kind} embeddings are not finite, "
                f"the first in row {broken[0]}; the model has diverged"
            )

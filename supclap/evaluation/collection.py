"""A trained model measured on the clips of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from supclap.config import FEATURES
from supclap.data.clips import Clips
from supclap.duplicates import first_alike_clips, first_alike_texts
from supclap.errors import InputError
from supclap.evaluation.chance import chance_by_language
from supclap.evaluation.retrieval import MultilingualResult, retrieval_by_language
from supclap.evaluation.zero_shot import TEMPLATES, ZeroShotResult, class_embeddings, classify
from supclap.model.clap import CLAP
from supclap.progress import activity
from supclap.sets import classifiable

CLIPS_AT_ONCE = 256  # audio in memory at once, in clips


@dataclass(frozen=True)
class RetrievalReport:
    """Retrieval on M clips with Q captions, what guessing scores, and what was not asked.

    ``uncaptioned`` clips have no caption in the languages: candidates that ask nothing.
    """

    result: MultilingualResult
    chance: dict[str, float]
    clips: int
    captions: int
    uncaptioned: int


@dataclass(frozen=True)
class ZeroShotReport:
    """Zero-shot classification; ``left_out`` clips do not have exactly one label."""

    result: ZeroShotResult
    chance: dict[str, float]
    clips: int
    left_out: int


def evaluate_retrieval(
    model: CLAP, clips: Clips, languages: Sequence[str] | None = None
) -> RetrievalReport:
    """Retrieval over a whole split, each language on its own.

    Args:
        languages: which captions to ask with; all that the split has, where None.

    Raises:
        InputError: a language in which the split has no caption, or no captions at all.
    """
    check_kind(model, clips)
    spoken = _languages(clips, languages)
    asked = [
        (row, caption)
        for row, captions in enumerate(clips.captions)
        for caption in captions
        if caption.language in spoken
    ]
    owner = np.array([row for row, _ in asked])
    language_of = [caption.language for _, caption in asked]
    # By language, in its declared order, so that tables and averages list them in that order.
    order = np.argsort([spoken.index(language) for language in language_of], kind="stable")
    owner, language_of = owner[order], [language_of[i] for i in order]
    if clips.widths is None:
        said = [asked[i][1].text for i in order]
        with activity("encoding the captions"):
            same = first_alike_texts(model.text.tokenize(said, language_of))
            texts = model.encode_text(said, language_of)[same]
        same = first_alike_clips(clips, model.samples)
        sounds = encode_clips(model, clips, range(len(clips)))[same]
    else:
        from supclap.feature_inputs import encode_features

        sounds, texts = encode_features(model, clips, spoken)
        texts = texts[order]
    result = retrieval_by_language(sounds, texts, owner, language_of)
    chance = chance_by_language(owner, language_of, len(clips))
    silent = len(clips) - len(np.unique(owner))
    return RetrievalReport(result, chance, len(clips), len(owner), silent)


def evaluate_zero_shot(
    model: CLAP, clips: Clips, templates: Sequence[str] = TEMPLATES, language: str = "eng"
) -> ZeroShotReport:
    """Zero-shot classification of the clips of a split that have exactly one label.

    The classes are the labels that occur in the split, in alphabetical order.

    Raises:
        InputError: fewer than two classes; of features, a class counts where sentences of its
            label were prepared.
    """
    check_kind(model, clips)
    rows, named, labels = classifiable(clips)
    if len(labels) < 2:
        raise InputError(
            f"{clips.path}: zero-shot classification needs clips of at least two classes with one "
            f"label each, found {len(rows)} clips of {len(labels)}"
            + ("" if clips.widths is None else " (with sentences of the label: --classes)")
        )
    sounds = encode_clips(model, clips, rows)
    classes = classes_of(model, clips, labels, templates, language)
    result, chance = classify(sounds, named, labels, classes)
    return ZeroShotReport(result, chance, len(rows), len(clips) - len(rows))


def check_kind(model: CLAP, clips: Clips) -> None:
    """Raises InputError where a model of sounds is given features, or one of features sounds."""
    given = model.config.audio.name == FEATURES
    if given != (clips.widths is not None):
        raise InputError(
            f"{clips.path}: "
            + (
                "the model was trained on features, and these are sounds"
                if given
                else "holds features, and the model hears sounds and reads words"
            )
        )


def classes_of(
    model: CLAP,
    clips: Clips,
    labels: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    language: str = "eng",
) -> np.ndarray:
    """One unit vector per class, (L, d): of the labels in the templates; of features, which hold
    the sentences of their labels, of these."""
    if clips.widths is not None:
        from supclap.feature_inputs import class_vectors

        return class_vectors(model, clips, labels)
    return class_embeddings(partial(model.encode_text, language=language), labels, templates)


def encode_clips(model: CLAP, clips: Clips, rows: Sequence[int]) -> np.ndarray:
    """Embeddings (N, d) of some clips; bounded memory however many there are."""
    if clips.widths is not None:
        from supclap.feature_inputs import encode_vectors

        return encode_vectors(model, clips, rows)
    found = [np.zeros((0, model.config.dim), np.float32)]
    with activity("encoding the clips", len(rows), "clips") as done:
        for start in range(0, len(rows), CLIPS_AT_ONCE):
            some = rows[start : start + CLIPS_AT_ONCE]
            found.append(model.encode_audio([clips.audio(row) for row in some]))
            done(start + len(some))
    return np.concatenate(found)


def _languages(clips: Clips, wanted: Sequence[str] | None) -> list[str]:
    present = dict.fromkeys(caption.language for row in clips.captions for caption in row)
    if not present:
        raise InputError(f"{clips.path}: has no captions, so retrieval cannot be measured on it")
    for language in wanted or ():
        if language not in present:
            raise InputError(
                f"{clips.path}: has no caption in '{language}' (it has {', '.join(present)})"
            )
    return list(wanted or present)

"""Captions of scenes in the paper's eight languages."""

from __future__ import annotations

import importlib

import numpy as np

from supclap.config import LANGUAGES
from supclap.data.clips import Caption
from supclap.data.soundscenes.captions.grammar import Language
from supclap.data.soundscenes.scenes import Scene

TONGUES: dict[str, Language] = {
    code: importlib.import_module(f"{__name__}.{code}").LANGUAGE for code in LANGUAGES
}


def captions(scene: Scene, count: int, rng: np.random.Generator) -> tuple[Caption, ...]:
    """``count`` different captions of the scene in every language, language by language.

    Caption j says the same in every language: frame, synonyms and order of events are drawn once.
    """
    frames = rng.permutation(len(TONGUES["eng"].frames[scene.arrangement]))[:count]
    synonyms = rng.integers(2, size=(count, 2))
    swapped = rng.random(count) < 0.5 if scene.arrangement == "together" else [False] * count
    choices = list(zip(frames.tolist(), synonyms.tolist(), swapped, strict=True))
    return tuple(
        Caption(caption(scene, code, *choice), code) for code in TONGUES for choice in choices
    )


def caption(
    scene: Scene, language: str, frame: int, synonyms: tuple[int, int], swapped: bool = False
) -> str:
    """One caption. ``swapped`` names the second event of a "together" first."""
    tongue = TONGUES[language]
    spoken = [
        tongue.spoken(event, which) for event, which in zip(scene.events, synonyms, strict=False)
    ]
    first, last = (spoken[-1], spoken[0]) if swapped else (spoken[0], spoken[-1])
    text = tongue.frames[scene.arrangement][frame].format(a=first, b=last)
    return text[0].upper() + text[1:]


def class_names(language: str = "eng") -> dict[str, str]:
    """For every kind the name of its class in a language, for prompts of a zero-shot test."""
    return dict(TONGUES[language].class_names)

"""Augmentations: changes of what a model hears and reads, in training alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from supclap.parts.part import Part


@dataclass(frozen=True)
class Example:
    """A clip as a step trains on it.

    Attributes:
        waveform: (samples,) float32 at 16 kHz, nominally in [-1, 1], as long as the model hears.
        captions: one text; with ``loss.multilingual`` one for each language.
        languages: of each caption, as ISO 639-3 codes.
    """

    waveform: np.ndarray
    captions: tuple[str, ...]
    languages: tuple[str, ...]


class Augmentation(Part):
    """A change of clips or captions: ``data.augment: {NAME: {own keys}, ...}``, in that order.

    A class has one or more of the four methods. Each is given one clip or caption, and a generator
    that is seeded by the run's seed, the epoch, and the clip: so nothing depends on batches, chunks
    or workers, and a run that was killed goes on with the same sounds. What a method is given is
    its own copy. Nothing is changed where a model is measured.

        @register("noise")
        class Noise(Augmentation):
            level: float = 0.01

            def waveform(self, waveform, generator):
                noise = generator.normal(0, self.level, waveform.shape)
                return waveform + noise.astype(np.float32)

    Within one augmentation `mix` comes first, then `waveform` and `caption`. The features are
    computed when all augmentations have had the waveform, and then go through all that have
    `features`. What a frozen encoder has computed once cannot be changed: such a run is refused.
    """

    kind = "augmentation"

    def waveform(self, waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A clip's sound (samples,) float32 -> the same shape.

        The features of the clips can then not be kept, and are computed in every epoch.
        """
        return waveform

    def features(self, features: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What the audio encoder takes of a clip, float32 -> the same shape.

        Of the encoders from scratch (bands, frames): a log-mel with the lowest band first.
        """
        return features

    def caption(self, text: str, language: str, generator: np.random.Generator) -> str:
        """A caption -> another one in the same language, which is tokenized anew in every step."""
        return text

    def mix(self, own: Example, other: Example, generator: np.random.Generator) -> Example:
        """A clip and another one of the training clips -> what is trained on in place of the first.

        The other one is drawn anew in every epoch among those with captions in the same languages.
        It is as its collection has it, no augmentation has changed it.
        """
        return own


METHODS = ("mix", "waveform", "caption", "features")


def methods_of(part: type[Augmentation] | Augmentation) -> tuple[str, ...]:
    """Which of the four methods an augmentation has of its own."""
    made = part if isinstance(part, type) else type(part)
    return tuple(n for n in METHODS if getattr(made, n) is not getattr(Augmentation, n))

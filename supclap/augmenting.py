"""Applies the augmentations of a run to its clips and captions, one by one.

What becomes of a clip depends on seed, epoch and clip alone. Each method has numbers of its own, so
that an augmentation that is added or taken away changes nothing that another one draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from supclap.config import AugmentConfig, RunConfig
from supclap.data.clips import Caption, Clips
from supclap.divergence import TrainingError
from supclap.errors import SettingError
from supclap.parts.augmentation import Augmentation, Example, methods_of
from supclap.parts.calling import calling, defined_at, named, wrong
from supclap.parts.making import make_part, place_of
from supclap.parts.seeds import CAPTION, FEATURES, MIX, PARTNER, WAVEFORM, seed_of
from supclap.wording import is_text

if TYPE_CHECKING:
    from supclap.batches import Batches

Hear = Callable[[int], np.ndarray]  # a clip's waveform in this epoch, by its row


def augmenter_of(config: RunConfig, train: Clips, batches: Batches) -> Augmenter:
    """The augmentations of a run on the clips of its train split. Raises InputError."""
    parts = {label: made(label, section, config) for label, section in config.data.augment.items()}
    spoken = config.data.languages
    captions = [[c for c in said if c.language in spoken] for said in train.captions]
    return Augmenter(parts, config.seed, captions, batches.clip_rows, batches.clip_givers)


class Augmenter:
    """The augmentations of a run.

    Args:
        parts: in their order, by their labels.
        seed: the run's.
        captions: of every clip of the split, those in the run's languages.
        rows, givers: (M,) the clips that the run trains on, and those whose captions they bear.

    Attributes:
        hears, reads, sees: whether any augmentation changes waveforms, captions, features.

    Raises:
        SettingError: one mixes clips, and in a language there is no second clip.
    """

    def __init__(
        self,
        parts: Mapping[str, Augmentation],
        seed: int,
        captions: Sequence[Sequence[Caption]],
        rows: np.ndarray,
        givers: np.ndarray,
    ) -> None:
        self._parts = dict(parts)
        self._methods = {label: methods_of(part) for label, part in parts.items()}
        every = {name for methods in self._methods.values() for name in methods}
        self.hears = bool(every & {"mix", "waveform"})
        self.reads = bool(every & {"mix", "caption"})
        self.sees = "features" in every
        self._seconds = 0.0
        self._seed = seed
        self._partners: Partners | None = None
        mixing = [label for label, methods in self._methods.items() if "mix" in methods]
        if mixing:
            self._partners = Partners(captions, rows, givers, mixing[0])

    def example(
        self,
        row: int,
        numbers: Sequence[int],
        captions: tuple[str, ...],
        languages: tuple[str, ...],
        epoch: int,
        hear: Hear,
    ) -> Example:
        """A clip and its captions, changed.

        Args:
            row: of the clip.
            numbers: which of its giver's captions these are.
            hear: gives the waveform of a clip.
        """
        sound = hear(row) if self.hears else np.zeros(0, np.float32)
        example = Example(sound, captions, languages)
        began = time.monotonic()
        for label, part in self._parts.items():
            methods = self._methods[label]
            if "mix" in methods:
                assert self._partners is not None
                draw = self._generator(epoch, PARTNER, row, label=label)
                other = self._partners.draw(row, example.languages, draw, hear)
                generator = self._generator(epoch, MIX, row, label=label)
                with calling(part, "mix"):
                    found = part.mix(example, other, generator)
                example = self._checked_example(part, found, example, row, epoch)
            if "waveform" in methods:
                generator = self._generator(epoch, WAVEFORM, row, label=label)
                with calling(part, "waveform"):
                    sound = part.waveform(example.waveform, generator)
                sound = _checked(part, "waveform", sound, example.waveform.shape, row, epoch)
                example = Example(sound, example.captions, example.languages)
            if "caption" in methods:
                texts = []
                spoken = zip(example.captions, example.languages, numbers, strict=True)
                for text, language, number in spoken:
                    generator = self._generator(epoch, CAPTION, row, number, label=label)
                    with calling(part, "caption"):
                        said = part.caption(text, language, generator)
                    texts.append(_checked_text(part, "caption", said))
                example = Example(example.waveform, tuple(texts), example.languages)
        self._seconds += time.monotonic() - began
        return example

    def features(self, row: int, features: np.ndarray, epoch: int) -> np.ndarray:
        """A clip's features, changed; ``features`` may be written to."""
        began = time.monotonic()
        for label, part in self._parts.items():
            if "features" in self._methods[label]:
                shape = features.shape
                generator = self._generator(epoch, FEATURES, row, label=label)
                with calling(part, "features"):
                    found = part.features(features, generator)
                features = _checked(part, "features", found, shape, row, epoch)
        self._seconds += time.monotonic() - began
        return features

    def spent(self) -> float:
        """Seconds that the augmentations have taken since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _generator(self, epoch: int, *numbers: int, label: str) -> np.random.Generator:
        return np.random.default_rng(seed_of(self._seed, epoch, *numbers, label=label))

    def _checked_example(
        self, part: Augmentation, found: Any, before: Example, row: int, epoch: int
    ) -> Example:
        if not isinstance(found, Example):
            raise wrong(part, "mix", f"expected an Example, found {type(found).__name__}")
        sound = _checked(part, "mix", found.waveform, before.waveform.shape, row, epoch)
        with calling(part, "mix"):
            if isinstance(found.captions, str):
                raise TypeError("expected a tuple of captions, found a text")
            said = list(found.captions)
        if len(said) != len(before.captions):
            raise wrong(part, "mix", f"expected {len(before.captions)} captions, found {len(said)}")
        texts = tuple(_checked_text(part, "mix", text) for text in said)
        return Example(sound, texts, before.languages)


class Partners:
    """The clips that another one can be mixed with."""

    def __init__(
        self,
        captions: Sequence[Sequence[Caption]],
        rows: np.ndarray,
        givers: np.ndarray,
        label: str,
    ) -> None:
        self._said = {int(row): captions[giver] for row, giver in zip(rows, givers, strict=True)}
        self._speaking: dict[frozenset[str], np.ndarray] = {}
        for language in {caption.language for said in self._said.values() for caption in said}:
            if len(self._rows(frozenset({language}))) < 2:
                raise SettingError(
                    f"data.augment.{label}",
                    f"data.augment.{label}: mixes clips, and a single one of the training clips "
                    f"has a caption in {language}",
                )

    def draw(
        self, row: int, languages: tuple[str, ...], generator: np.random.Generator, hear: Hear
    ) -> Example:
        """Another clip than that in ``row``, with captions in the same languages."""
        rows = self._rows(frozenset(languages))
        at = int(generator.integers(len(rows) - 1))
        other = int(rows[at + (at >= np.searchsorted(rows, row))])
        share = generator.random()  # the same one in all languages: translations stay together
        texts = []
        for language in languages:
            said = [c.text for c in self._said[other] if c.language == language]
            texts.append(said[int(share * len(said))])
        return Example(hear(other), tuple(texts), languages)

    def _rows(self, languages: frozenset[str]) -> np.ndarray:
        """Those with captions in all the languages, in their order."""
        if languages not in self._speaking:
            self._speaking[languages] = np.array(
                [
                    row
                    for row, said in self._said.items()
                    if languages <= {caption.language for caption in said}
                ]
            )
        return self._speaking[languages]


def made(label: str, section: AugmentConfig, config: RunConfig) -> Augmentation:
    """An augmentation of the configuration. Raises PartError."""
    keys, place = section.own_keys, place_of(config)
    part: Augmentation = make_part("augmentation", section.name, keys, place, config.seed, label)
    return part


def _checked(
    part: Augmentation, what: str, found: Any, shape: tuple[int, ...], row: int, epoch: int
) -> np.ndarray:
    """What a method has given, as float32. Raises PartError, or TrainingError: it is not finite."""
    with calling(part, what):
        given = np.asarray(found)
    if given.shape != shape or given.dtype.kind not in "fiu":
        raise wrong(
            part,
            what,
            f"expected numbers of shape {shape}, found {given.dtype} of shape {given.shape}",
        )
    numbers = np.array(given, np.float32, order="C")  # the part may go on writing to its own
    if not np.isfinite(numbers).all():
        raise TrainingError(
            f"{defined_at(part, what)}: {named(part)}: {what} gave a number that is not finite "
            f"(clip {row} of the split, epoch {epoch + 1})"
        )
    return numbers


def _checked_text(part: Augmentation, what: str, found: Any) -> str:
    if not isinstance(found, str) or not found.strip() or not is_text(found):
        raise wrong(part, what, f"expected a text that is not empty, found {found!r}")
    return found

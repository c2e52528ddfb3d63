"""Encoders: what turns sounds and texts into numbers, below the heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, nn

from supclap.parts.part import Part

if TYPE_CHECKING:
    from supclap.model.tokens import Tokens


@dataclass(frozen=True)
class Source:
    """What an encoder is made from, besides its keys.

    Attributes:
        seconds: length of the clips that the model will be trained on.
        dropout: the model's dropout rate.
        captions: texts for a tokenizer that is trained; empty when a saved model is opened.
        files: what the encoder's own `files()` returned when the model was saved; empty for a
            new model. An encoder that finds its files here must not look anywhere else: a model
            folder is opened without a network and without the folders of the training run.
        width: of the vectors of precomputed features, which are there in place of an encoder's
            inputs; None where there are none.
    """

    seconds: float
    dropout: float = 0.0
    captions: Iterable[str] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    width: int | None = None


class _Encoder(Part, nn.Module):
    kind = ""  # no key of an encoder is declared here
    width: int

    def setup(self, source: Source) -> None:
        """Makes the layers, once, after the keys are set and under a generator seeded by the run's
        seed. It, or the class, sets ``self.width``."""

    def files(self) -> dict[str, bytes]:
        """Small files (a tokenizer, a layout) that a saved model needs beside its weights."""
        return {}


class AudioEncoder(_Encoder):
    """An audio encoder of one's own: ``model: {audio: {name: loudness, ...}}``::

        @register("loudness")
        class Loudness(AudioEncoder):
            parts: int = 10

            def setup(self, source):
                self.width = 64
                self.layer = nn.Linear(self.parts, self.width)

            def features(self, waveforms): ...
            def forward(self, features): ...

    A key that it declares under a name of the section (``width``, ``layers``, ``folder``) is that
    key, with the default that the class gives. Guaranteed: parameters and buffers are trained,
    averaged over the workers, checkpointed and saved; the keys are saved with the model and are
    there when it is opened; with ``freeze: true`` the outputs are computed once for a data set,
    and again where keys, weights, files or the source of the class are others.

    Attributes:
        width: numbers per clip that `forward` gives.
    """

    kind = "audio encoder"

    def features(self, waveforms: Tensor) -> Tensor:
        """(N, samples) float32 in [-1, 1] at 16 kHz -> (N, ...); parameter-free and row by row, so
        that a loop may compute it once per data set."""
        return waveforms

    def forward(self, features: Tensor) -> Tensor:
        """What `features` returned -> (N, width)."""
        raise NotImplementedError


class TextEncoder(_Encoder):
    """A text encoder of one's own: ``model: {text: {name: spelling, ...}}``.

    As `AudioEncoder`, with `tokenize` in the place of `features` and the section's keys ``width``,
    ``layers``, ``vocabulary`` and ``folder``.

    Attributes:
        width: numbers per text that `forward` gives.
    """

    kind = "text encoder"

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        """N texts, each with its language (ISO 639-3) -> tokens of shape (N, L); the same for a
        text whatever stands beside it, but for the padding."""
        raise NotImplementedError

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of shape (N, L) -> (N, width)."""
        raise NotImplementedError

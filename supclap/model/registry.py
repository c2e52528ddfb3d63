"""How an encoder joins: two protocols and two decorators. docs/models.md shows it in 20 lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from supclap import registry
from supclap.config import AudioConfig, TextConfig
from supclap.model.tokens import Tokens


@dataclass(frozen=True)
class Source:
    """What an encoder is made from, besides its own section of the configuration.

    Attributes:
        seconds: length of the clips that the model will be trained on.
        dropout: the model's dropout rate.
        captions: texts for a tokenizer that is trained; empty when a saved model is opened.
        files: what the encoder's own `files()` returned when the model was saved; empty for a
            new model. An encoder that finds its files here must not look anywhere else: a model
            folder is opened without a network and without the folders of the training run.
    """

    seconds: float
    dropout: float = 0.0
    captions: Iterable[str] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@runtime_checkable
class AudioEncoder(Protocol):
    """An `nn.Module` with an output of ``width`` numbers per clip."""

    width: int

    def features(self, waveforms: Tensor) -> Tensor:
        """(N, samples) float32 in [-1, 1] at 16 kHz -> (N, ...); parameter-free and row by row, so
        that a loop may compute it once per data set."""

    def __call__(self, features: Tensor) -> Tensor:
        """What `features` returned -> (N, width)."""


@runtime_checkable
class TextEncoder(Protocol):
    """An `nn.Module` with an output of ``width`` numbers per text."""

    width: int

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        """N texts, each with its language (ISO 639-3) -> tokens of shape (N, L)."""

    def __call__(self, tokens: Tokens) -> Tensor:
        """Tokens of shape (N, L) -> (N, width)."""


# Made from (its section of the configuration, a Source). An encoder may also have a method
# ``files() -> dict[str, bytes]``: small files (a tokenizer, a layout) that a saved model needs
# besides its weights.
AudioFactory = Callable[[AudioConfig, Source], Any]
TextFactory = Callable[[TextConfig, Source], Any]

A = TypeVar("A", bound=AudioFactory)
T = TypeVar("T", bound=TextFactory)


def audio_encoder(name: str) -> Callable[[A], A]:
    """Registers a class or function as the audio encoder ``name`` (``model.audio.name``)."""

    def register(factory: A) -> A:
        registry.add("audio encoder", name, factory)
        return factory

    return register


def text_encoder(name: str) -> Callable[[T], T]:
    """Registers a class or function as the text encoder ``name`` (``model.text.name``)."""

    def register(factory: T) -> T:
        registry.add("text encoder", name, factory)
        return factory

    return register


def make_audio(config: AudioConfig, source: Source) -> Any:
    """The audio encoder that ``config.name`` names."""
    return registry.class_of("audio encoder", config.name)(config, source)


def make_text(config: TextConfig, source: Source) -> Any:
    """The text encoder that ``config.name`` names."""
    return registry.class_of("text encoder", config.name)(config, source)

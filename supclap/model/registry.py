"""How encoders are made: parts of one's own (`supclap.parts.encoder`), and whatever else fulfils
the two protocols here and is registered by one of two decorators (docs/models.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from supclap import registry
from supclap.config import AudioConfig, HeadConfig, TextConfig
from supclap.model.tokens import Tokens
from supclap.parts.calling import guarded, wrong
from supclap.parts.encoder import Source
from supclap.parts.head import Head
from supclap.parts.part import Part

__all__ = [
    "AudioEncoder",
    "Source",
    "TextEncoder",
    "audio_encoder",
    "make_audio",
    "make_head",
    "make_text",
    "text_encoder",
]


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
    return _make("audio encoder", config, source)


def make_text(config: TextConfig, source: Source) -> Any:
    """The text encoder that ``config.name`` names."""
    return _make("text encoder", config, source)


def make_head(config: HeadConfig | None, width: int, dim: int) -> Head:
    """The head from ``width`` numbers to ``dim`` that a section's ``head`` names."""
    name, keys = ("mlp", {}) if config is None else (config.name, config.own_keys)
    head: Head = registry.class_of("head", name)(**keys)
    with guarded(head, "setup"):
        head.setup(width, dim)
    return head


def _make(kind: str, config: AudioConfig | TextConfig, source: Source) -> Any:
    made: Any = registry.class_of(kind, config.name)
    if not (isinstance(made, type) and issubclass(made, Part)):
        return made(config, source)
    encoder: Any = made(**config.own_keys)
    with guarded(encoder, "setup"):
        encoder.setup(source)
    width = getattr(encoder, "width", None)
    if type(width) is not int or width < 1:
        raise wrong(encoder, "setup", f"left self.width at {width!r}, where an int is expected")
    return encoder

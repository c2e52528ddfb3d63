"""Encoders of features: they pass on the vectors that the data give (`supclap.data.features`).

They have no weights. A model of theirs is two heads; it knows how wide the vectors are, and takes
these alone.
"""

from __future__ import annotations

from torch import Tensor, nn

from supclap.config import AudioConfig, TextConfig
from supclap.errors import InputError
from supclap.model.registry import Source
from supclap.model.tokens import Tokens

WIDTH = "width"  # a file of a saved model


class _Given(nn.Module):
    def __init__(self, config: AudioConfig | TextConfig, source: Source) -> None:
        super().__init__()
        kept = source.files.get(WIDTH)
        if kept is None and source.width is None:
            raise InputError("model: encoders of features need features, whose width is theirs")
        self.width = _number(kept or b"") if source.width is None else source.width

    def files(self) -> dict[str, bytes]:
        return {WIDTH: str(self.width).encode()}


class GivenAudio(_Given):
    """The audio vectors of features."""

    def features(self, waveforms: Tensor) -> Tensor:
        raise InputError(
            "the model was trained on features and hears no sound: it takes audio vectors of "
            f"{self.width} numbers, which its encoder would have to make"
        )

    def forward(self, features: Tensor) -> Tensor:
        return features


class GivenText(_Given):
    """The text vectors of features."""

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        raise InputError(
            "the model was trained on features and reads no words: it takes text vectors of "
            f"{self.width} numbers, which its encoder would have to make"
        )

    def forward(self, tokens: Tokens) -> Tensor:
        raise InputError("the model was trained on features and reads no words")


def _number(content: bytes) -> int:
    try:
        width = int(content)
    except ValueError:
        width = 0
    if not 1 <= width < 2**31:
        raise InputError(f"model: the width of its features is {content[:20]!r}; copy it again")
    return width

"""What differs from one family of audio models of transformers to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Piece:
    """What of a clip a model hears at once.

    Attributes:
        rate: samples in a second, as its feature extractor wants them.
        samples: of a piece, at that rate; all pieces of all clips have as many.
    """

    rate: int
    samples: int


class Family(Protocol):
    """A family: one file each, one object that has these."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types of model, as config.json names them."""

    @property
    def extractors(self) -> tuple[str, ...]:
        """The feature extractors that such a model may come with."""

    def opens(self, config: Any) -> str:
        """The class of transformers that opens a model."""

    def encoder(self, model: Any) -> nn.Module:
        """Of a whole model what is trained and kept."""

    def longest(self, config: Any, extractor: Any) -> int | None:
        """Samples that the model takes at once; None: any number."""

    def width(self, config: Any) -> int:
        """Numbers per piece that `outputs` gives."""

    def extract(self, extractor: Any, pieces: list[np.ndarray], rate: int) -> np.ndarray:
        """M pieces (samples,) float32 -> (M, ...) float32, each for itself."""

    def outputs(self, encoder: Any, features: Tensor, piece: Piece) -> Tensor:
        """(M, ...) -> (M, width)."""

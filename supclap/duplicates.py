"""Clips and captions that a model cannot tell apart, so that rounding does not rank them.

The last digits of an embedding depend on what else was in its batch: a product of matrices of
another size, or a text padded to another length, may round otherwise. Two captions of the same
words would so score apart by 1e-8, one way in this evaluation and the other way in the next. All of
them therefore take the embedding of the first, and as they then score the same to the last bit, the
rule of `supclap.evaluation.retrieval` on ties holds for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator

import numpy as np
from torch import Tensor

from supclap.data.clips import Clips
from supclap.model.tokens import Tokens

_PART = 1024  # samples by which clips are compared first
_ROWS = 128  # vectors that are read at once


def first_alike_texts(tokens: Tokens) -> np.ndarray:
    """For each text the first one of the same tokens: (N,) int64."""
    lengths = tokens.mask.sum(1).tolist()
    ids = tokens.ids.cpu().numpy()
    return _first(row[:length].tobytes() for row, length in zip(ids, lengths, strict=True))


def first_alike_clips(clips: Clips, samples: int) -> np.ndarray:
    """For each clip the first one of the same sound, as far as a model of ``samples`` hears it:
    (N,) int64.

    Only those that agree in length and in their middle are read as a whole.
    """

    def heard(row: int) -> np.ndarray:
        return clips.audio(row)[:samples]

    def middle(row: int) -> Hashable:
        sound = heard(row)
        return len(sound), sound[len(sound) // 2 :][:_PART].tobytes()

    rows = range(len(clips))
    similar = _first(map(middle, rows))
    alone = np.bincount(similar, minlength=len(clips))[similar] == 1
    return _first(row if alone[row] else hashlib.sha256(heard(row).data).digest() for row in rows)


def first_alike_vectors(gather: Callable[[np.ndarray], Tensor], rows: np.ndarray) -> np.ndarray:
    """For each of ``rows`` (N,) the first one whose vector is the same: (N,) int64.

    Args:
        gather: rows -> (n, width) float32.
    """

    def keys() -> Iterator[bytes]:
        for start in range(0, len(rows), _ROWS):
            block = gather(rows[start : start + _ROWS]).numpy() + 0.0  # -0.0 is 0.0
            yield from (hashlib.blake2b(row, digest_size=16).digest() for row in block)

    return _first(keys())


def _first(keys: Iterable[Hashable]) -> np.ndarray:
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, row) for row, key in enumerate(keys)], dtype=np.int64)

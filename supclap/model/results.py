"""What encoders and heads return, held to what their protocols promise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from supclap.model.tokens import Tokens
from supclap.parts.calling import is_own, named, wrong


def check_rows(part: Any, method: str, found: Any, rows: int, width: int | None = None) -> None:
    """Raises PartError unless a method has returned floats, a row for each item: (rows, width), or
    (rows, ...) where any width will do."""
    shape = f"({rows}, {'...' if width is None else width})"
    if not isinstance(found, Tensor):
        gave = f"a {type(found).__name__}"
    elif found.ndim < 1 or len(found) != rows or (width and found.shape != (rows, width)):
        gave = f"a tensor {tuple(found.shape)}"
    elif not found.is_floating_point():
        gave = f"a tensor of {found.dtype}"
    else:
        return
    raise wrong(part, method, f"gave {gave}, where a tensor {shape} of floats is expected")


def suspects(side: Any, embeddings: Tensor) -> list[str]:
    """The parts of somebody else's in a side of the model whose embeddings (N, d) are not finite
    although all its weights are."""
    if embeddings.isfinite().all() or not all(p.isfinite().all() for p in side.parameters()):
        return []
    return [named(part) for part in (side.encoder, side.head) if is_own(part)]


def check_tokens(part: Any, found: Any, rows: int) -> None:
    """Raises PartError unless `tokenize` has returned tokens of so many texts, none of them
    empty."""
    if not isinstance(found, Tokens):
        gave = f"a {type(found).__name__}"
    elif len(found) != rows or found.ids.ndim != 2 or found.ids.dtype != torch.int64:
        gave = f"ids {tuple(found.ids.shape)} of {found.ids.dtype}"
    elif found.mask.shape != found.ids.shape or found.mask.dtype != torch.bool:
        gave = f"a mask {tuple(found.mask.shape)} of {found.mask.dtype}"
    elif not bool(found.mask.any(1).all()):
        gave = f"no token for text {int((~found.mask.any(1)).nonzero()[0])}"
    else:
        return
    raise wrong(
        part,
        "tokenize",
        f"gave {gave}, where Tokens are expected: ids ({rows}, L) of torch.int64, and a mask of "
        "torch.bool with a token in every row",
    )

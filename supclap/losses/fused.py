"""What a pass does with a tile, as one function of tensors: on a GPU `torch.compile` makes a few
kernels of it, which read the products once or twice, where step by step there would be dozens.

The numbers are those of `supclap.losses.passes`, which stays as it is on a CPU. A tile's products
and their gradients, (tile, N) each, are all that is held of N x N.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class BlockLosses(NamedTuple):
    """Of some rows; the softmax's columns over these rows alone."""

    rows: Tensor  # (b,), Phi
    matched: Tensor  # (b,), <Q, L>
    cols: Tensor | None  # (N,), log-sum-exp; None for the sigmoid
    text: Tensor | None = None  # (b,), Phi of the text support vectors
    text_matched: Tensor | None = None  # (b,)
    audio: Tensor | None = None  # (N,), log-sum-exp of the audio side; of the sigmoid Phi, (b,)
    audio_matched: Tensor | None = None  # (b,)


class BlockGradients(NamedTuple):
    """Of some rows of the products, and what they add to the rest; not yet times the scale."""

    x: Tensor  # (b, N)
    y: Tensor | None
    w: Tensor | None
    rho_text: Tensor | None  # (b,)
    rho_audio: Tensor | None  # (N,)
    scale: Tensor  # ()
    bias: Tensor  # ()


def wanted(device: torch.device) -> bool:
    """Whether tiles there go through compiled functions."""
    return device.type == "cuda"


def losses(
    softmax: bool,
    x: Tensor,
    y: Tensor | None,
    w: Tensor | None,
    rho_text: Tensor | None,
    rho_audio: Tensor | None,
    positives: Tensor,
    scale: Tensor,
    bias: Tensor,
) -> BlockLosses:
    """
    Args:
        x, y, w: (b, N), as in `supclap.losses.passes.Block`.
        rho_text, rho_audio: (b,) and (N,).
        positives: (b,), the column of each row's positive.
    """
    at = positives[:, None]

    def taken(cosines: Tensor) -> tuple[Tensor, Tensor]:
        logits = _logits(softmax, cosines, scale, bias)
        return logits, logits.gather(1, at).squeeze(1)

    def partition(logits: Tensor) -> Tensor:
        return logits.logsumexp(1) if softmax else F.softplus(logits).sum(1)

    logits, matched = taken(x)
    found = BlockLosses(partition(logits), matched, logits.logsumexp(0) if softmax else None)
    if y is not None and rho_text is not None:
        logits, matched = taken(x + rho_text[:, None] * y)
        found = found._replace(text=partition(logits), text_matched=matched)
    if w is not None and rho_audio is not None:
        logits, matched = taken(x + rho_audio[None, :] * w)
        columns = logits.logsumexp(0) if softmax else partition(logits)
        found = found._replace(audio=columns, audio_matched=matched)
    return found


def gradients(
    softmax: bool,
    x: Tensor,
    y: Tensor | None,
    w: Tensor | None,
    rho_text: Tensor | None,
    rho_audio: Tensor | None,
    positives: Tensor,
    scale: Tensor,
    bias: Tensor,
    statistics: tuple[Tensor, Tensor, Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
) -> BlockGradients:
    """
    Args:
        statistics: Phi of the rows (b,) and of the columns (N,), of the base and of the SVR term.
        weights: () each, of the base and of the SVR term, by N.
    """
    rows, cols, sup_rows, sup_cols = statistics
    own = positives[:, None] == torch.arange(x.shape[1], device=x.device)[None, :]
    logits = _logits(softmax, x, scale, bias)
    if softmax:
        d = (logits - rows[:, None]).exp() + (logits - cols[None, :]).exp() - 2.0 * own
    else:
        d = logits.sigmoid() - 1.0 * own
    d = d * weights[0]
    found = BlockGradients(d, None, None, None, None, (d * x).sum(), d.sum())

    def side(cosines: Tensor, less: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = _logits(softmax, cosines, scale, bias)
        share = (logits - less).exp() if softmax else logits.sigmoid()
        d = (share - 1.0 * own) * weights[1]
        return d, found.scale + (d * cosines).sum(), found.bias + d.sum()

    if y is not None and rho_text is not None:
        rho = rho_text[:, None]
        d, g_scale, g_bias = side(x + rho * y, sup_rows[:, None])
        found = found._replace(
            x=found.x + d * (1 - rho),
            y=d * rho,
            rho_text=(y * d).sum(1),
            scale=g_scale,
            bias=g_bias,
        )
    if w is not None and rho_audio is not None:
        rho = rho_audio[None, :]
        d, g_scale, g_bias = side(x + rho * w, sup_cols[None, :])
        found = found._replace(
            x=found.x + d * (1 - rho),
            w=d * rho,
            rho_audio=(w * d).sum(0),
            scale=g_scale,
            bias=g_bias,
        )
    return found


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it is compiled here; as it is, with a warning, where nothing compiles it, or
    where it has been compiled for `KINDS` kinds of input."""
    made = _translated(function)

    def call(*given: Any) -> Any:
        if function in _plain:
            return function(*given)
        from torch._dynamo import config
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        try:
            with config.patch(recompile_limit=KINDS):
                return made(*given)
        except FailOnRecompileLimitHit:
            gist = f"they have been compiled for {KINDS} kinds of input, and this is another one"
        except TorchDynamoException as error:
            gist = str(error).strip().splitlines()[0][:200]
        _plain.add(function)
        warnings.warn(f"tiles are computed without fused kernels: {gist}", stacklevel=2)
        return function(*given)

    return call


# Each base, set of sides, precision and number type is compiled for itself; so is a tile of one row
# and one of all rows. PyTorch would stop after 8, and go on step by step without a word.
KINDS = 64

_plain: set[Callable[..., Any]] = set()  # what could not be translated here


@cache
def _translated(function: Callable[..., Any]) -> Callable[..., Any]:
    # dynamic: the last tile, which is shorter, goes through the same kernels as the others in every
    # call, so that a repetition has the same bits. fullgraph: what cannot be compiled, raises.
    translated: Callable[..., Any] = torch.compile(function, dynamic=True, fullgraph=True)
    return translated


def _logits(softmax: bool, cosines: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return cosines * scale if softmax else cosines * scale + bias

"""When loss or gradient is no number any more: which step it was, and the likely cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from supclap.model.tokens import Tokens
from supclap.parts.calling import defined_at, named


class TrainingError(RuntimeError):
    """A run that cannot go on for a reason that lies in its training; one line says which."""


def explain_divergence(
    step: int,
    checkpoint: str,
    clip_ids: Sequence[str],
    audio: Tensor,
    text: Tokens | Tensor,
    embeddings: Sequence[Tensor],
    scale: float,
    rate: float,
    blamed: Sequence[str] = (),
    source: str = "",
) -> TrainingError:
    """The error for a step whose loss or gradient is not finite.

    Args:
        checkpoint: the last good one's name; empty where there is none.
        clip_ids: of this worker's n clips.
        audio, text: what went into the encoders, n rows each.
        embeddings: what came out: (n, d) each; empty where the encoders were not to blame.
        scale: 1 / temperature.
        rate: the step's learning rate.
        blamed: parts of somebody else's whose outputs are not finite although all weights are.
        source: the encoder of somebody else's whose features ``audio`` is, where it is.
    """
    broken = [clip for clip, row in zip(clip_ids, audio, strict=True) if not row.isfinite().all()]
    if isinstance(text, Tensor):
        rows = zip(clip_ids, text, strict=True)
        broken += [clip for clip, row in rows if not row.isfinite().all() and clip not in broken]
    if broken:
        named = ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if broken[5:] else "")
        cause = f"the inputs of {named} are not finite; prepare the data set again"
        if source:
            cause = f"{source}: its features of {named} are not finite"
    elif blamed:
        cause = f"{' or '.join(blamed)}: gives what is not finite, from weights that are"
    elif not all(bool(torch.isfinite(side).all()) for side in embeddings):
        cause = (
            f"the encoders' weights have grown without bound: lower optimizer.lr (now {rate:.3g})"
            " or set optimizer.clip_norm"
        )
    elif scale > 100:
        cause = (
            f"a temperature of {1 / scale:.3g} overflows the softmax; raise loss.temperature above"
            " 0.01"
        )
    else:
        cause = f"the gradient has overflowed: lower optimizer.lr (now {rate:.3g})"
    return TrainingError(
        f"step {step}: loss or gradient is not finite; {_kept(checkpoint)}; likely {cause}"
    )


def part_diverged(step: int, checkpoint: str, part: Any, what: str) -> TrainingError:
    """The error for a step in which a part of one's own is not finite.

    Args:
        checkpoint: the last good one's name; empty where there is none.
        what: of the part is not finite, and what it is instead.
    """
    where = defined_at(part, "forward")
    return TrainingError(f"step {step}: {where}: {named(part)}: {what}; {_kept(checkpoint)}")


def _kept(checkpoint: str) -> str:
    return f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint"

"""Gradient accumulation that is exact for contrastive losses (GradCache; Gao et al., 2021).

A contrastive loss is not a mean over clips, so gradients of small batches do not add up to that of
a large one. But the loss needs the embeddings alone: they are computed chunk by chunk without a
graph, the loss's gradient at the embeddings is taken over the whole batch, and a second pass
through the encoders, again chunk by chunk, carries it on to the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from supclap.losses.output import LossOutput

Chunk = TypeVar("Chunk")


def backward_in_chunks(
    encode: Callable[[Chunk], tuple[Tensor, Tensor]],
    chunks: Sequence[Chunk],
    loss: Callable[[Tensor, Tensor], LossOutput],
) -> LossOutput:
    """Adds to every parameter's ``grad`` what ``loss(*encode(whole batch)).total.backward()`` adds.

    The peak of memory is one chunk's graph plus the embeddings. The random number generators of the
    first pass are replayed in the second, so dropout draws the same masks; what else an encoder
    changes while it runs (a running mean, say) is changed twice. Parameters of a side that the loss
    does not use get a gradient of zeros instead of none.

    Args:
        encode: chunk -> audio, text: (n, d) each, or (n, K, d) of texts in K languages,
            L2-normalised, with gradient.
        chunks: the batch in parts; their embeddings are concatenated in this order.
        loss: a `SupCLAPLoss`, `GlobalBatchLoss` or `MultilingualLoss`, or a function of audio,
            text: (N, d) each, or (N, K, d) of texts.

    Returns:
        The loss's output; ``backward`` has already run.

    Raises:
        ValueError: no chunks, or what ``loss`` raises.
    """
    if not chunks:
        raise ValueError("chunks: expected at least one chunk of the batch, got none")
    states, audios, texts = [], [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_random_state())
            audio, text = encode(chunk)
            audios.append(audio)
            texts.append(text)
    after = _random_state()
    # Detached: an encoder may hand out parameters themselves, or embeddings with a graph of its
    # own, and the gradient is to stop at what was concatenated.
    whole = [torch.cat(parts).detach().requires_grad_() for parts in (audios, texts)]
    output = loss(*whole)
    output.total.backward()
    # A side that the loss does not use has no gradient, which is one of zeros.
    gradients = [torch.zeros_like(side) if side.grad is None else side.grad for side in whole]
    first = 0
    for chunk, state, part in zip(chunks, states, audios, strict=True):
        _set_random_state(state)
        rows = slice(first, first + len(part))
        torch.autograd.backward(encode(chunk), [gradient[rows] for gradient in gradients])
        first += len(part)
    _set_random_state(after)
    return output


def _random_state() -> tuple[Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    cpu, cuda = state
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)

"""The loss as the paper writes it: the form to read, and the truth the fast form is held to.

It builds every support vector and every logit, and leaves all gradients to autograd. Use it to
understand or to change the method; `SupCLAPLoss` gives the same numbers in a fraction of the time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from supclap.losses.checks import check_clip_ids, check_embeddings
from supclap.losses.composite import SupCLAPLoss, overrides
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.output import LossOutput
from supclap.losses.own import OwnBase, Shares
from supclap.losses.pairs import DELTA_MIN, full_precision, widened
from supclap.losses.passes import Layout


def literal_loss(
    loss: SupCLAPLoss, audio: Tensor, text: Tensor, clip_ids: Tensor | None = None
) -> LossOutput:
    """What ``loss(audio, text, clip_ids)`` returns, computed literally. Same arguments and errors.

    Args:
        loss: holds the temperature, the radius and all settings.
        audio, text: (N, d), L2-normalised.
        clip_ids: (N,) integers.
    """
    check_embeddings(audio, text)
    check_clip_ids(clip_ids, len(audio))
    with full_precision(audio):
        audio, text = widened(audio), widened(text)
        output = _loss(loss, audio, text, clip_ids)
        total, parts, numbers = output.total, dict(output.parts), dict(output.numbers)
        shares = _shares(loss, audio, text, clip_ids)
        for label, term in loss.terms.items():
            parts[label], logged = shares.of(term, label)
            total = total + term.weight * parts[label]
            numbers |= {f"{label}.{name}": number for name, number in logged.items()}
        return LossOutput(total, parts, output.radii, numbers=numbers)


def _shares(loss: SupCLAPLoss, audio: Tensor, text: Tensor, clip_ids: Tensor | None) -> Shares:
    layout = Layout(len(audio))
    return Shares(loss.base, loss.moment, layout, audio, text, audio, text, clip_ids)


def support_vectors(anchors: Tensor, positives: Tensor, radius: Tensor) -> Tensor:
    """t_sup = t+ + R u, with u the unit vector from t+ to a+; not normalised again: (N, d).

    Args:
        anchors, positives: (N, d).
        radius: (N,).
    """
    pull = positives - anchors
    delta = torch.linalg.vector_norm(pull, dim=1).clamp(min=DELTA_MIN)
    u = pull / delta[:, None]
    return anchors + radius[:, None] * u


def _loss(loss: SupCLAPLoss, audio: Tensor, text: Tensor, clip_ids: Tensor | None) -> LossOutput:
    base, svr = loss.base, loss.svr
    same = _same_clip(len(audio), clip_ids, audio.device)
    numbers = {}
    if isinstance(base, OwnBase):
        l_orig, logged = _shares(loss, audio, text, clip_ids).of(base.part, "base")
        numbers = {f"base.{name}": number for name, number in logged.items()}
    elif overrides(base, ContrastiveLoss, "forward"):
        l_orig = base(audio, text, clip_ids)
    else:
        l_orig = direction(base, text, audio, same)
        if base.partition == "softmax":
            l_orig = l_orig + direction(base, audio, text, same)
    if svr is None:
        return LossOutput(l_orig, {"base": l_orig}, {}, numbers=numbers)

    sides = {"text": (text, audio), "audio": (audio, text)}
    if svr.sides == "text":
        del sides["audio"]
    l_svr, l_cons, radii = [], [], {}
    for side, (anchors, positives) in sides.items():
        if not svr.radius.reads:
            radius = svr.radius(anchors[:, :0])
        else:
            similarities = anchors @ positives.T * base.scale()
            if svr.radius.detach:
                similarities = similarities.detach()
            radius = svr.radius(similarities)
        distance = torch.linalg.vector_norm(positives - anchors, dim=1)
        l_svr.append(direction(base, support_vectors(anchors, positives, radius), positives, same))
        l_cons.append((F.relu(radius - distance) + F.relu(-radius)).mean())
        radii[side] = radius

    parts = {"base": l_orig, "svr": torch.stack(l_svr).sum()}
    total = l_orig + svr.alpha * parts["svr"]
    if svr.beta or svr.constrained:
        parts["constraint"] = torch.stack(l_cons).sum()
        total = total + svr.beta * parts["constraint"]
    return LossOutput(total, parts, radii, numbers=numbers)


def direction(base: ContrastiveLoss, anchors: Tensor, candidates: Tensor, same: Tensor) -> Tensor:
    """One direction's loss, mean over the anchors: ().

    Args:
        anchors: (N, d), support vectors or embeddings.
        candidates: (N, d).
        same: (N, N) bool, pairs of one clip, the diagonal included.
    """
    logits = anchors @ candidates.T * base.scale() + base.bias()
    diagonal = torch.eye(len(same), dtype=torch.bool, device=same.device)
    counts = diagonal if base.same_clip == "mask" else same
    targets = counts.to(logits.dtype)
    left_out = same & ~counts
    if base.partition == "softmax":
        targets = targets / targets.sum(1, keepdim=True)
        log_p = logits.masked_fill(left_out, -torch.inf).log_softmax(1)
        return -(targets * log_p.masked_fill(left_out, 0.0)).sum(1).mean()
    signs = 2 * targets - 1
    losses = -F.logsigmoid(signs * logits).masked_fill(left_out, 0.0)
    return losses.sum() / len(anchors)


def _same_clip(pairs: int, clip_ids: Tensor | None, device: torch.device) -> Tensor:
    if clip_ids is None:
        return torch.eye(pairs, dtype=torch.bool, device=device)
    return clip_ids[:, None] == clip_ids[None, :]

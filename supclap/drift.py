"""Forces on an anchor, and how far they drift from the pull (paper, section 3.1 and Figure 1).

The gradient of an anchor's term, text-to-audio say, is the sum of two forces::

    F_pull = (1 / tau) (P+ - 1) a+          F_push = (1 / tau) sum over negatives of P-_j a-_j

and descent moves along the negative of both. With u = (a+ - t+) / delta the pulling direction, a
push has a part parallel to u, which changes speed alone, and a part perpendicular to it, which
carries what the negatives know but turns the anchor aside: optimization trajectory drift. SVR
takes its term's gradient at the support vector t+ + R u, and of that its parallel part reaches the
anchor unchanged, its perpendicular part times the contraction factor 1 - R / delta (`reaching`).

All of it is closed form: nothing here runs a backward pass through an encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from supclap.losses.composite import SupCLAPLoss, overrides
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.literal import support_vectors
from supclap.losses.pairs import DELTA_MIN, full_precision, widened
from supclap.parts.calling import named


@dataclass(frozen=True)
class Forces:
    """The two forces on each of N anchors, as gradients of the anchor's own term.

    pull, push: (N, d); their sum is the term's gradient at the anchor.
    direction: (N, d), u of each pair, zero where a pair coincides.
    """

    pull: Tensor
    push: Tensor
    direction: Tensor

    @property
    def gradient(self) -> Tensor:
        """F_pull + F_push: (N, d)."""
        return self.pull + self.push

    @property
    def push_parallel(self) -> Tensor:
        """Signed length of the push along u: (N,). Positive moves the anchor away from u."""
        return (self.push * self.direction).sum(1)

    @property
    def push_perpendicular(self) -> Tensor:
        """What is left of the push beside its parallel part: (N, d)."""
        return self.push - self.push_parallel[:, None] * self.direction


def forces(
    base: ContrastiveLoss, anchors: Tensor, positives: Tensor, at: Tensor | None = None
) -> Forces:
    """Pull and push of every anchor's term, in closed form.

    Every other pair of the batch counts as a negative (clip ids are not looked at). For SigLIP the
    probabilities are the pairs' sigmoids, of the anchor's row.

    Args:
        base: gives temperature, bias and the kind of probability.
        anchors, positives: (N, d), L2-normalised; row i of one belongs to row i of the other.
        at: (N, d), where the gradient is taken; the support vectors, say. The anchors by default.
    """
    place = anchors if at is None else at
    scale = base.scale().to(anchors.dtype)
    logits = place @ positives.T * scale
    if base.partition == "softmax":
        p = logits.softmax(1)
    else:
        p = (logits + base.bias().to(anchors.dtype)).sigmoid()
    matched = p.diagonal().clone()
    p.diagonal().zero_()
    pull = scale * (matched - 1)[:, None] * positives
    return Forces(pull, scale * (p @ positives), _pulling(anchors, positives))


def contraction(radius: Tensor, anchors: Tensor, positives: Tensor) -> Tensor:
    """1 - R / delta: (N,), by which SVR multiplies the perpendicular part of its gradient.

    Between 0 and 1 where 0 <= R <= delta (what the constraint asks for); below 0 the perpendicular
    part is reversed, above 1 amplified.

    Args:
        radius: (N,).
        anchors, positives: (N, d).
    """
    delta = torch.linalg.vector_norm(positives - anchors, dim=1)
    return 1 - radius / delta.clamp(min=DELTA_MIN)


def reaching(gradient: Tensor, radius: Tensor, anchors: Tensor, positives: Tensor) -> Tensor:
    """The gradient that arrives at the anchors when it is ``gradient`` at their support vectors.

    The Jacobian of t+ + R u with R held is u u' + (1 - R / delta)(I - u u'), for delta above
    `DELTA_MIN`.

    Args:
        gradient: (N, d) at the support vectors.
        radius: (N,).
        anchors, positives: (N, d).

    Returns:
        (N, d).
    """
    u = _pulling(anchors, positives)
    parallel = (gradient * u).sum(1, keepdim=True) * u
    return parallel + contraction(radius, anchors, positives)[:, None] * (gradient - parallel)


def alignment(update: Tensor, pull: Tensor) -> Tensor:
    """Figure 1's measure: the cosine of each update with its pull: (N,). Higher is less drift.

    Args:
        update: (N, d), the negative gradient of the loss at the embedding.
        pull: (N, d), the negative of F_pull, which points at the positive.
    """
    return F.cosine_similarity(update, pull, dim=1)


@torch.no_grad()
def diagnose(
    loss: SupCLAPLoss,
    audio: Tensor,
    text: Tensor,
    *,
    radii: Mapping[str, Tensor] | None = None,
    gradients: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """Drift, forces and radii of one step, as flat means over the batch.

    Args:
        loss: the loss that trains.
        audio, text: (N, d), the step's embeddings, L2-normalised.
        radii: `LossOutput.radii` of the step; {} or None without SVR.
        gradients: {"audio": (N, d), "text": (N, d)}, the whole loss's gradient at the embeddings,
            which the step's own backward pass has left (``text.retain_grad()``). Without them the
            update is taken from each anchor's own terms: its direction of the base loss and its
            side of SVR. Base losses and terms of one's own have no such form, and need them.

    Pull and push are those of a softmax, or of a sigmoid where the base loss says so, whatever a
    base loss of one's own computes.

    Returns, with SIDE one of text and audio:
        ``drift.SIDE``: Figure 1's cosine of update and pull;
        ``push.SIDE.parallel``, ``push.SIDE.perpendicular``: parts of the push relative to the pull;
        ``radius.SIDE.mean``, ``.std``: R; ``radius.SIDE.inside``: share within [0, delta], percent;
        ``contraction.SIDE``: 1 - R / delta;
        ``similarity.positive``, ``similarity.negative``: mean cosine of pairs and of all others;
        ``distance``: mean delta; ``temperature``.

    Raises:
        ValueError: no gradients, for a loss that needs them.
    """
    radii = radii or {}
    if gradients is None:
        own = [named(term) for term in loss.terms.values()]
        if overrides(loss.base, ContrastiveLoss, "forward"):
            own.append(f"base loss {type(loss.base).__name__}")
        if own:
            raise ValueError(
                f"gradients: are needed, as what the {own[0]} adds to an update has no closed form"
            )
    with full_precision(audio):
        audio, text = widened(audio.detach()), widened(text.detach())
        cosines = text @ audio.T
        n = len(text)
        positive = cosines.diagonal()
        delta = torch.linalg.vector_norm(audio - text, dim=1)
        found: dict[str, Tensor] = {
            "similarity.positive": positive.mean(),
            "similarity.negative": (cosines.sum() - positive.sum()) / (n * n - n),
            "distance": delta.mean(),
            "temperature": 1 / loss.base.scale(),
        }
        for side, anchors, positives in (("text", text, audio), ("audio", audio, text)):
            force = forces(loss.base, anchors, positives)
            radius = radii.get(side)
            radius = None if radius is None else radius.detach().to(delta.dtype)
            if gradients is not None:
                gradient = gradients[side].to(delta.dtype)
            else:
                gradient = force.gradient + _regularization(loss, anchors, positives, radius)
            size = torch.linalg.vector_norm(force.pull, dim=1).clamp(min=1e-12)
            aside = torch.linalg.vector_norm(force.push_perpendicular, dim=1)
            found[f"drift_cosine.{side}"] = alignment(-gradient, -force.pull).mean()
            found[f"push.{side}.parallel"] = (force.push_parallel / size).mean()
            found[f"push.{side}.perpendicular"] = (aside / size).mean()
            if radius is not None:
                inside = (radius >= 0) & (radius <= delta)
                found[f"radius.{side}.mean"] = radius.mean()
                found[f"radius.{side}.std"] = radius.std(correction=0)
                found[f"radius.{side}.inside"] = 100 * inside.float().mean()
                found[f"contraction.{side}"] = contraction(radius, anchors, positives).mean()
    names, values = list(found), torch.stack([v.double() for v in found.values()]).tolist()
    return dict(zip(names, values, strict=True))


def _regularization(
    loss: SupCLAPLoss, anchors: Tensor, positives: Tensor, radius: Tensor | None
) -> Tensor:
    """What alpha L_svr adds to the gradient of its own anchors, R held: (N, d)."""
    if loss.svr is None or radius is None:
        return torch.zeros_like(anchors)
    place = support_vectors(anchors, positives, radius)
    gradient = forces(loss.base, anchors, positives, at=place).gradient
    return loss.svr.alpha * reaching(gradient, radius, anchors, positives)


def _pulling(anchors: Tensor, positives: Tensor) -> Tensor:
    """u of each pair: (N, d)."""
    pull = positives - anchors
    return pull / torch.linalg.vector_norm(pull, dim=1, keepdim=True).clamp(min=DELTA_MIN)

"""The closed forms of supclap.drift against autograd and against the definitions."""

import pytest
import torch
from torch.nn import functional as F

from supclap.drift import alignment, contraction, diagnose, forces, reaching
from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.literal import direction, support_vectors

N, D = 7, 5
SAME = torch.eye(N, dtype=torch.bool)


def pairs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(2, N, D, generator=generator, dtype=torch.float64)
    text = F.normalize(raw[0], dim=1)
    return text, F.normalize(raw[1] + text, dim=1)


@pytest.mark.parametrize("base", [InfoNCE(0.2).double(), SigLIP(0.3, bias=-1.0).double()])
def test_pull_and_push_sum_to_the_anchor_gradient_of_autograd(base: torch.nn.Module) -> None:
    text, audio = pairs()
    anchors = text.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(N * direction(base, anchors, audio, SAME), anchors)
    torch.testing.assert_close(forces(base, text, audio).gradient, gradient)


def test_forces_are_the_papers_sums() -> None:
    text, audio = pairs()
    force = forces(InfoNCE(0.2).double(), text, audio)
    tau = 1 / InfoNCE(0.2).double().scale()
    p = (text @ audio.T / tau).softmax(1)
    for i in range(N):
        torch.testing.assert_close(force.pull[i], (p[i, i] - 1) / tau * audio[i])
        push = sum(p[i, j] * audio[j] for j in range(N) if j != i) / tau
        torch.testing.assert_close(force.push[i], push)
        u = (audio[i] - text[i]) / torch.dist(audio[i], text[i])
        torch.testing.assert_close(force.direction[i], u)
        torch.testing.assert_close(force.push_parallel[i], push @ u)
        torch.testing.assert_close(force.push_perpendicular[i], push - (push @ u) * u)


@pytest.mark.parametrize("radius", [0.0, 0.3, 1.7, -0.4])
@pytest.mark.parametrize("base", [InfoNCE(0.2).double(), SigLIP(0.3, bias=-1.0).double()])
def test_the_gradient_law_of_the_regularization(base: torch.nn.Module, radius: float) -> None:
    """Parallel part untouched, perpendicular part times 1 - R / delta, R held (METHOD)."""
    text, audio = pairs()
    r = torch.full((N,), radius, dtype=torch.float64)
    anchors = text.clone().requires_grad_()
    place = support_vectors(anchors, audio, r)
    term = N * direction(base, place, audio, SAME)
    at_anchor, at_support = torch.autograd.grad(term, [anchors, place])
    u = (audio - text) / torch.linalg.vector_norm(audio - text, dim=1, keepdim=True)

    def split(g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parallel = (g * u).sum(1, keepdim=True) * u
        return parallel, g - parallel

    (arrived, arrived_aside), (sent, sent_aside) = split(at_anchor), split(at_support)
    torch.testing.assert_close(arrived, sent)
    factor = contraction(r, text, audio)
    torch.testing.assert_close(arrived_aside, factor[:, None] * sent_aside)
    delta = torch.linalg.vector_norm(audio - text, dim=1)
    torch.testing.assert_close(factor, 1 - radius / delta)
    # and the closed forms give the same without autograd
    closed = forces(base, text, audio, at=support_vectors(text, audio, r)).gradient
    torch.testing.assert_close(closed, at_support)
    torch.testing.assert_close(reaching(closed, r, text, audio), at_anchor)


def test_alignment_is_one_along_the_pull_and_falls_with_drift() -> None:
    pull = torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    update = torch.tensor([[5.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    torch.testing.assert_close(alignment(update, pull), torch.tensor([1.0, 0.5**0.5, 0.0]))


LOSSES = {
    "infonce": SupCLAPLoss(InfoNCE(0.2)),
    "static": SupCLAPLoss(InfoNCE(0.2), SupportVectorRegularization(StaticRadius(0.4))),
    "dynamic": SupCLAPLoss(InfoNCE(0.2), SupportVectorRegularization(DynamicRadius(N), "text")),
    "siglip": SupCLAPLoss(SigLIP(0.3), SupportVectorRegularization(StaticRadius(0.4))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_diagnose_reads_the_gradients_that_the_step_left(name: str) -> None:
    loss = LOSSES[name].double()
    text, audio = (x.requires_grad_() for x in pairs())
    output = loss(audio, text)
    output.total.backward()
    got = diagnose(
        loss,
        audio,
        text,
        radii=output.radii,
        gradients={"audio": audio.grad, "text": text.grad},
    )
    for side, grad, anchors, positives in (
        ("text", text.grad, text, audio),
        ("audio", audio.grad, audio, text),
    ):
        pull = -forces(loss.base, anchors.detach(), positives.detach()).pull
        cosines = [F.cosine_similarity(-grad[i], pull[i], dim=0).item() for i in range(N)]
        assert got[f"drift_cosine.{side}"] == pytest.approx(sum(cosines) / N)
        assert (f"radius.{side}.mean" in got) == (side in output.radii)
    assert got["similarity.positive"] == pytest.approx((audio * text).sum(1).mean().item())
    assert got["temperature"] == pytest.approx(1 / loss.base.scale().item())


def test_diagnose_without_gradients_takes_the_anchors_own_terms() -> None:
    loss = LOSSES["static"].double()
    text, audio = pairs()
    radii = loss(audio, text).radii
    got = diagnose(loss, audio, text, radii=radii)
    anchors = text.clone().requires_grad_()
    place = support_vectors(anchors, audio, radii["text"].detach())
    term = direction(loss.base, anchors, audio, SAME) + direction(loss.base, place, audio, SAME)
    (gradient,) = torch.autograd.grad(N * term, anchors)
    pull = -forces(loss.base, text, audio).pull
    want = F.cosine_similarity(-gradient, pull, dim=1).mean().item()
    assert got["drift_cosine.text"] == pytest.approx(want)
    assert got["radius.text.std"] == 0
    assert got["radius.text.mean"] == pytest.approx(0.4)
    delta = torch.linalg.vector_norm(audio - text, dim=1)
    assert got["radius.text.inside"] == pytest.approx(100 * (delta >= 0.4).double().mean().item())
    assert got["contraction.text"] == pytest.approx((1 - 0.4 / delta).mean().item(), rel=1e-6)


def test_a_larger_radius_drifts_less_until_it_reaches_the_positive() -> None:
    """What the paper wants of SVR: its term's update turns towards the pull as R grows to delta."""
    text, audio = pairs()
    base = InfoNCE(0.2).double()
    delta = torch.linalg.vector_norm(audio - text, dim=1)
    u = forces(base, text, audio).direction
    asides = []
    for share in (0.0, 0.5, 1.0):
        r = share * delta
        gradient = forces(base, text, audio, at=support_vectors(text, audio, r)).gradient
        arrived = reaching(gradient, r, text, audio)
        aside = arrived - (arrived * u).sum(1, keepdim=True) * u
        asides.append(torch.linalg.vector_norm(aside, dim=1).mean().item())
    assert asides[0] > asides[1] > asides[2]
    assert asides[2] == pytest.approx(0, abs=1e-12)

"""Exact accumulation: chunks give the gradients of the whole batch, dropout included."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.accumulation import backward_in_chunks
from supclap.losses.output import LossOutput


class Encoders(torch.nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.audio = torch.nn.Sequential(
            torch.nn.Linear(9, 16), torch.nn.Dropout(dropout), torch.nn.Linear(16, 6)
        )
        self.text = torch.nn.Linear(9, 6)

    def forward(
        self, chunk: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        audio, text = chunk
        return F.normalize(self.audio(audio), dim=1), F.normalize(self.text(text), dim=1)


LOSSES: dict[str, Callable[..., Any]] = {
    "infonce": lambda: InfoNCE(learn_temperature=True),
    "siglip": SigLIP,
}
RADII: dict[str, Callable[..., Any]] = {
    "none": None,
    "static": lambda: StaticRadius(0.4),
    "dynamic": lambda: DynamicRadius(10),
}


def setting(
    base: str, radius: str, dropout: float
) -> tuple[Encoders, SupCLAPLoss, list[tuple[torch.Tensor, torch.Tensor]]]:
    torch.manual_seed(0)
    encoders = Encoders(dropout).double()
    svr = RADII[radius] and SupportVectorRegularization(RADII[radius](), beta=0.3)
    loss = SupCLAPLoss(LOSSES[base](), svr).double()
    audio, text = torch.randn(2, 10, 9, dtype=torch.float64)
    chunks = [(audio[rows], text[rows]) for rows in (slice(0, 4), slice(4, 7), slice(7, 10))]
    return encoders, loss, chunks


def gradients(encoders: torch.nn.Module, loss: torch.nn.Module) -> list[torch.Tensor | None]:
    return [p.grad for p in [*encoders.parameters(), *loss.parameters()]]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("base", LOSSES)
def test_chunks_give_the_whole_batchs_gradients(base: str, radius: str, dropout: float) -> None:
    encoders, loss, chunks = setting(base, radius, dropout)
    torch.manual_seed(7)
    output = backward_in_chunks(encoders, chunks, loss)
    after = torch.get_rng_state()

    twin, twin_loss, chunks = setting(base, radius, dropout)
    torch.manual_seed(7)  # one graph over all chunks draws the same masks in the same order
    parts = [twin(chunk) for chunk in chunks]
    audio, text = (torch.cat([part[side] for part in parts]) for side in (0, 1))
    expected = twin_loss(audio, text)
    expected.total.backward()

    torch.testing.assert_close(output.total, expected.total)
    assert torch.equal(after, torch.get_rng_state())  # the replay leaves no trace
    for got, want in zip(gradients(encoders, loss), gradients(twin, twin_loss), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_dropout_without_the_replay_would_be_wrong() -> None:
    """Guards the test above: with other masks in the second pass the gradients do differ."""
    encoders, loss, chunks = setting("infonce", "static", 0.5)

    def forgetful(chunk: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        torch.rand(1 if torch.is_grad_enabled() else 2)
        return encoders(chunk)

    torch.manual_seed(7)
    backward_in_chunks(forgetful, chunks, loss)
    twin, twin_loss, chunks = setting("infonce", "static", 0.5)
    torch.manual_seed(7)
    backward_in_chunks(twin, chunks, twin_loss)
    pairs = zip(gradients(encoders, loss), gradients(twin, twin_loss), strict=True)
    assert any(not torch.allclose(got, want) for got, want in pairs)


def test_gradients_are_added_to_what_is_there() -> None:
    encoders, loss, chunks = setting("infonce", "none", 0.0)
    backward_in_chunks(encoders, chunks, loss)
    once = [g.clone() for g in gradients(encoders, loss)]
    backward_in_chunks(encoders, chunks, loss)
    for got, want in zip(gradients(encoders, loss), once, strict=True):
        torch.testing.assert_close(got, 2 * want)


@pytest.mark.parametrize("rows", ["leaf", "view", "own graph"])
def test_embeddings_that_are_parameters_or_have_a_graph_of_their_own_get_their_gradients(
    rows: str,
) -> None:
    torch.manual_seed(0)
    sides: list[Any] = [
        [F.normalize(torch.randn(n, 6), dim=1).requires_grad_() for n in (4, 3)] for _ in range(2)
    ]

    def encode(chunk: slice) -> tuple[torch.Tensor, ...]:
        found = [side[chunk] for side in sides]
        if rows == "view":
            return tuple(side[:] for side in found)
        if rows == "own graph":
            with torch.enable_grad():
                return tuple(-side for side in found)
        return tuple(found)

    loss = SupCLAPLoss(InfoNCE())
    output = backward_in_chunks(encode, [0, 1], loss)
    got = [part.grad for side in sides for part in side]
    for side in sides:
        for part in side:
            part.grad = None
    whole = [torch.cat([encode(chunk)[side] for chunk in (0, 1)]) for side in (0, 1)]
    expected = loss(*whole)
    expected.total.backward()
    torch.testing.assert_close(output.total, expected.total)
    torch.testing.assert_close(got, [part.grad for side in sides for part in side])


def test_a_loss_of_audio_alone_leaves_zeros_at_the_texts() -> None:
    encoders, _, chunks = setting("infonce", "none", 0.0)

    def loss(audio: torch.Tensor, text: torch.Tensor) -> LossOutput:
        return LossOutput(audio[:, 0].square().sum(), {}, {})

    backward_in_chunks(encoders, chunks, loss)
    got = [p.grad for p in encoders.audio.parameters()]
    assert all(not p.grad.any() for p in encoders.text.parameters())
    twin, _, chunks = setting("infonce", "none", 0.0)
    audio = torch.cat([twin(chunk)[0] for chunk in chunks])
    loss(audio, None).total.backward()
    torch.testing.assert_close(got, [p.grad for p in twin.audio.parameters()])


def test_no_chunks_is_named() -> None:
    with pytest.raises(ValueError, match="chunks: expected at least one"):
        backward_in_chunks(lambda chunk: chunk, [], SupCLAPLoss(InfoNCE()))

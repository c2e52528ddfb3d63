"""What a GPU's tiles go through, as it is and compiled: the literal form's numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loss_forms import BASES, Measured, assert_same, build, embeddings, value_and_gradients
from torch._dynamo.exc import TorchDynamoException

from supclap.losses import fused
from supclap.losses.literal import literal_loss
from supclap.losses.passes import Pass

CASES = [
    (base, radius, sides)
    for base, radius in itertools.product(BASES, [None, "static", "sorted", "attached"])
    for sides in (("text", "both") if radius else ("text",))
]


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "wanted", lambda device: True)


def literally(loss: Any, raw: Any) -> Measured:
    return value_and_gradients(lambda a, t, c: literal_loss(loss, a, t, c), loss, raw)


@pytest.mark.parametrize(("base", "radius", "sides"), CASES)
def test_they_equal_the_literal_form(
    base: str, radius: str | None, sides: str, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        calls.append(function)
        return function

    monkeypatch.setattr(fused, "compiled", noting)
    raw = embeddings(11)
    loss = build(base, radius, sides, 0.3, 11, tile=4)  # the last tile has three rows
    assert_same(value_and_gradients(loss, loss, raw), literally(loss, raw), 1e-10)
    assert calls == 3 * [fused.losses] + 3 * [fused.gradients]


def test_clips_that_repeat_and_products_that_are_kept_go_as_on_a_cpu(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "compiled", lambda function: pytest.fail("compiled"))
    raw = embeddings(70)
    clips = torch.arange(70) // 2
    for tile, given in ((4, clips), (None, None)):
        loss = build("infonce", "static", "both", 0.0, 70, tile=tile)
        value_and_gradients(loss, loss, raw, given)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.heavy
@pytest.mark.long
def test_compiled_they_equal_the_literal_form(
    backend: str, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = torch.compile
    monkeypatch.setattr(torch, "compile", lambda one: made(one, backend=backend))
    fused._translated.cache_clear()
    try:
        for base, radius in (("infonce", "sorted"), ("siglip", "static")):
            loss = build(base, radius, "both", 0.3, 20, tile=8)
            raw = embeddings(20)
            assert_same(value_and_gradients(loss, loss, raw), literally(loss, raw), 1e-10)
    finally:
        fused._translated.cache_clear()
    assert not fused._plain


def test_where_nothing_can_be_compiled_it_says_so_once_and_goes_on(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> Any:
        raise TorchDynamoException("no compiler\nis here")

    monkeypatch.setattr(fused, "_translated", lambda function: fails)
    monkeypatch.setattr(fused, "_plain", set())
    loss, raw = build("infonce", "static", "both", 0.0, 9, tile=4), embeddings(9)
    with pytest.warns(UserWarning, match=r"without fused kernels: no compiler$") as said:
        found = value_and_gradients(loss, loss, raw)
    assert len(said) == 2  # forward and backward
    assert_same(found, literally(loss, raw), 1e-10)


def test_a_gpu_has_larger_blocks_than_a_cpu() -> None:
    """By shapes alone: blocks of a CPU's size would be thousands of kernels."""

    def blocks(device: str) -> int:
        x = torch.empty(8192, 4, device=device)
        one = torch.empty((), device=device)
        from supclap.losses.passes import Inputs, Layout, Terms

        inputs = Inputs(x, x, x, x, one, one, None, None)
        return len(Pass(inputs, (x, None, None), Layout(8192), Terms("softmax", "mask")).blocks())

    assert (blocks("cpu"), blocks("meta")) == (256, 1)

"""What a GPU's tiles go through, as it is and compiled: the literal form's numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from loss_forms import BASES, Measured, assert_same, build, embeddings, value_and_gradients
from torch._dynamo.exc import TorchDynamoException
from torch.nn import functional as F

from benchmarks import gpu
from supclap.losses import GlobalBatchLoss, checks, fused, passes
from supclap.losses.literal import literal_loss
from supclap.losses.passes import Pass
from supclap.precision import products_in

CASES = [
    (base, radius, sides)
    for base, radius in itertools.product(BASES, [None, "static", "sorted", "attached"])
    for sides in (("text", "both") if radius else ("text",))
]


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "wanted", lambda device: True)


@pytest.fixture
def runs(as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the graphs that have been run, in their order; nothing is made of them."""
    graphs, found = [], []

    def backend(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        number = len(graphs)
        graphs.append(graph)

        def run(*given: Any) -> Any:
            found.append(number)
            return graph.forward(*given)

        return run

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    monkeypatch.setattr(fused, "_plain", set())
    torch._dynamo.reset()
    fused._translated.cache_clear()
    yield found
    torch._dynamo.reset()
    fused._translated.cache_clear()


def literally(loss: Any, raw: Any) -> Measured:
    return value_and_gradients(lambda a, t, c: literal_loss(loss, a, t, c), loss, raw)


@pytest.fixture
def calls(as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> list[Callable[..., Any]]:
    """The functions that would be compiled, in the order of their calls."""
    found = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        found.append(function)
        return function

    monkeypatch.setattr(fused, "compiled", noting)
    return found


@pytest.mark.parametrize(("base", "radius", "sides"), CASES)
def test_they_equal_the_literal_form(
    base: str, radius: str | None, sides: str, calls: list[Callable[..., Any]]
) -> None:
    raw = embeddings(11)
    loss = build(base, radius, sides, 0.3, 11, tile=4)  # the last tile has three rows
    assert_same(value_and_gradients(loss, loss, raw), literally(loss, raw), 1e-10)
    assert calls == 3 * [fused.losses] + 3 * [fused.gradients]


@pytest.mark.parametrize(("base", "radius", "sides"), CASES)
def test_kept_products_equal_the_literal_form(
    base: str,
    radius: str | None,
    sides: str,
    calls: list[Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "CACHE_ELEMENTS", 70 * 30)  # blocks of 30, 30 and 10 rows
    raw = embeddings(70)
    loss = build(base, radius, sides, 0.3, 70)
    assert_same(value_and_gradients(loss, loss, raw), literally(loss, raw), 1e-9)
    assert calls == 3 * [fused.losses] + 3 * [fused.gradients]


def test_clips_that_repeat_and_small_batches_go_as_on_a_cpu(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "compiled", lambda function: pytest.fail("compiled"))
    for pairs, base, tile in ((70, "infonce", 4), (70, "infonce", None), (64, "siglip", None)):
        clips = torch.arange(70) // 2 if pairs == 70 else None
        loss = build(base, "static", "both", 0.0, pairs, tile=tile)
        value_and_gradients(loss, loss, embeddings(pairs), clips)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.heavy
@pytest.mark.long
def test_compiled_they_equal_the_literal_form(
    backend: str, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = torch.compile
    monkeypatch.setattr(torch, "compile", partial(made, backend=backend))
    fused._translated.cache_clear()
    try:
        for base, radius in (("infonce", "sorted"), ("siglip", "static")):
            loss = build(base, radius, "both", 0.3, 20, tile=8)
            raw = embeddings(20)
            assert_same(value_and_gradients(loss, loss, raw), literally(loss, raw), 1e-10)
    finally:
        fused._translated.cache_clear()
    assert not fused._plain


@pytest.mark.heavy
def test_a_repetition_goes_through_the_same_graphs_its_shorter_last_tile_too(
    runs: list[int],
) -> None:
    """Other kernels would add in another order."""
    loss, raw = build("infonce", "static", "both", 0.0, 11, tile=4), embeddings(11)
    for _ in range(2):
        value_and_gradients(loss, loss, raw)
    assert runs == 2 * [0, 0, 0, 1, 1, 1]


@pytest.mark.heavy
def test_every_tile_that_the_benchmark_measures_is_compiled(
    runs: list[int], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """PyTorch stops after 8 compilations of a function and goes on step by step."""
    tiles = []
    compiled = fused.compiled

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        tiles.append(function)
        return compiled(function)

    monkeypatch.setattr(fused, "compiled", noting)
    cpu = torch.device("cpu")
    size = gpu.Size((22, 8), (12, 20), 8, 0.0, 8, True)
    assert gpu.equality(size, cpu) == []
    for precision in ("float32", "tf32"):
        with products_in(precision):
            for pairs in size.pairs:
                audio, text = (side.requires_grad_() for side in gpu.embeddings(pairs, 8, cpu))
                for loss in gpu.rivals(pairs, size, cpu).values():
                    gpu.step(loss, audio, text)
    assert len(tiles) > 100
    assert len(runs) == len(tiles)
    assert not recwarn.list
    assert max(runs) < 8  # with SVR and without, TF32 and without, forward and backward


@pytest.mark.heavy
def test_kinds_of_input_without_end_are_not_compiled_and_it_says_so(
    runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "KINDS", 1)
    loss, raw = build("infonce", "static", "both", 0.0, 9, tile=4), embeddings(9)  # then one row
    with pytest.warns(UserWarning, match=r"without fused kernels: .* for 1 kinds") as said:
        found = value_and_gradients(loss, loss, raw)
    assert len(said) == 2  # forward and backward
    assert runs == [0, 0, 1, 1]
    assert_same(found, literally(loss, raw), 1e-10)


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


def test_gradients_are_added_to_their_transposes_by_one_kernel_on_a_gpu() -> None:
    """To the same bits as by the panels of a CPU, here with ragged ones; the kernels by shapes."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from supclap.losses.products import PANEL, symmetric_sum

    class Counting(TorchDispatchMode):
        added = 0

        def __torch_dispatch__(
            self, function: Any, kinds: Any, given: Any = (), named: Any = None
        ) -> Any:
            self.added += function is torch.ops.aten.add.Tensor
            return function(*given, **(named or {}))

    m = torch.randn(2 * PANEL + 30, 2 * PANEL + 30, generator=torch.Generator().manual_seed(0))
    assert symmetric_sum(m).equal(m + m.T)
    with Counting() as counting:
        assert symmetric_sum(torch.empty(8192, 8192, device="meta")).shape == (8192, 8192)
    assert counting.added == 1


@pytest.mark.parametrize("wrap", [lambda loss: loss, lambda loss: loss.base, GlobalBatchLoss])
def test_norms_are_looked_at_on_a_gpu_until_they_are_in_order_and_on_a_cpu_always(
    wrap: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [F.normalize(side, dim=1).detach() for side in embeddings(5)]
    bad = [2 * side for side in good]
    here, there = (wrap(build("infonce", "static", "both", 0.0, 5)) for _ in range(2))
    for loss, on_a_gpu in ((here, False), (there, True)):
        with monkeypatch.context() as patched:
            patched.setattr(checks, "_waits", lambda device, found=on_a_gpu: found)
            with pytest.raises(ValueError, match="expected L2-normalised"):
                loss(*bad)
            loss(*good)
            if on_a_gpu:
                patched.setattr(torch.Tensor, "item", lambda self: pytest.fail("waits"))
                loss(*bad)
            else:
                with pytest.raises(ValueError, match="expected L2-normalised"):
                    loss(*bad)
            with pytest.raises(ValueError, match="one text per audio"):  # shapes always
                loss(good[0], good[1][1:])

"""Checks of base losses and loss terms, on batches made up for them."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from supclap.bounds import TEMPERATURE_BOUNDS
from supclap.checking.finding import Finding
from supclap.checking.hidden import hidden_inputs
from supclap.losses import InfoNCE, SupCLAPLoss
from supclap.parts.calling import calling
from supclap.parts.losses import BaseLoss, LossTerm, Pairs, offers_rows

Loss = BaseLoss | LossTerm
Make = Callable[[int], Loss]  # a part for batches of so many pairs

STEP = 1e-6  # of a finite difference, in float64
DIRECTIONS = 16
COSTS = (24, 512, 4096)


def check_loss(make: Make) -> Iterator[Finding]:
    """What a base loss or a loss term must keep, wherever it is used."""
    yield gradient(make)
    yield edges(make)
    yield order(make)
    yield hidden(make)
    yield shares(make)
    yield cost(make)


def batch(pairs: int, seed: int = 0, width: int = 8, dtype: torch.dtype = torch.float64) -> Any:
    """Vectors of any length, (N, d) each, with a common part in those of a pair."""
    numbers = torch.Generator().manual_seed(seed)
    common, *own = torch.randn(3, pairs, width, generator=numbers, dtype=dtype)
    return tuple((common + one).requires_grad_() for one in own)


def value(part: Loss, audio: Tensor, text: Tensor, **more: Any) -> Tensor:
    """The loss of vectors that are brought to length 1."""
    pairs = Pairs(
        F.normalize(audio, dim=1),
        F.normalize(text, dim=1),
        partition=getattr(part, "partition", "softmax"),
        **{"progress": 0.5, "seed": 1, **more},
    )
    with calling(part, "forward"):
        found = part(pairs)
    total: Tensor = found[0] if isinstance(found, tuple) else found
    return total


def _number(part: Loss, audio: Tensor, text: Tensor) -> float:
    return float(value(part, audio, text).detach())


def gradient(make: Make) -> Finding:
    """Autograd against central differences along random directions, in float64."""
    part = make(6).double()
    if part.stops_gradient:
        return Finding("gradient", None, "it declares stops_gradient: not compared")
    inputs = [*batch(6), *(p for p in part.parameters() if p.requires_grad)]
    value(part, *inputs[:2]).backward()
    slopes = [torch.zeros_like(one) if one.grad is None else one.grad for one in inputs]
    numbers = torch.Generator().manual_seed(7)
    worst = 0.0
    for _ in range(DIRECTIONS):
        ways = [torch.randn(one.shape, generator=numbers, dtype=one.dtype) for one in inputs]
        true = sum(float((way * slope).sum()) for way, slope in zip(ways, slopes, strict=True))
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for one, way in zip(inputs, ways, strict=True):
                    one += sign * STEP * way
                ends.append(_number(part, *inputs[:2]))
                for one, way in zip(inputs, ways, strict=True):
                    one -= sign * STEP * way
        found = (ends[0] - ends[1]) / (2 * STEP)
        error = abs(found - true) / max(1e-2, abs(true), abs(found))
        worst = max(worst, error if math.isfinite(error) else math.inf)
    text = f"{worst:.1e} at most between autograd and finite differences, {DIRECTIONS} directions"
    if worst < 1e-5:
        return Finding("gradient", True, text)
    more = "; where a gradient is stopped on purpose, declare stops_gradient: ClassVar = True"
    return Finding("gradient", False, text + more)


def edges(make: Make) -> Finding:
    """Value and gradient are finite where batches and temperatures are as odd as they come."""
    low, high = TEMPERATURE_BOUNDS
    audio, text = (one.detach() for one in batch(2, dtype=torch.float32))
    eight = tuple(one.detach() for one in batch(8, dtype=torch.float32))
    same = eight[0][:1].expand(8, -1)
    cases: dict[str, tuple[Tensor, Tensor, float]] = {
        "N = 2": (audio, text, 0.07),
        "equal pairs": (eight[0], eight[0], 0.07),
        "opposite pairs": (eight[0], -eight[0], 0.07),
        "all vectors equal": (same, same, 0.07),
        f"temperature {low:g}": (*eight, low),
        f"temperature {high:g}": (*eight, high),
    }
    wrong = []
    for name, (one, other, temperature) in cases.items():
        part = make(len(one)).float()
        inputs = [one.clone().requires_grad_(), other.clone().requires_grad_()]
        total = value(part, *inputs, scale=1 / temperature)
        total.backward()
        slopes = [t.grad for t in (*inputs, *part.parameters()) if t.grad is not None]
        if not total.isfinite():
            wrong.append(f"{name}: the value is {float(total.detach()):g}")
        elif not all(slope.isfinite().all() for slope in slopes):
            wrong.append(f"{name}: the gradient is not finite")
    if wrong:
        return Finding("finite", False, "; ".join(wrong))
    return Finding("finite", True, ", ".join(cases))


def order(make: Make) -> Finding:
    """The batch in another order has the same loss."""
    part = make(16).double()
    if not part.unordered:
        return Finding("order", None, "it declares unordered = False: it may depend on the order")
    audio, text = batch(16)
    mixed = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    found, other = _number(part, audio, text), _number(part, audio[mixed], text[mixed])
    gap = abs(found - other) / max(1e-12, abs(found))
    text_ = f"{found:.10g} in one order of the batch, {other:.10g} in another"
    if gap < 1e-9:
        return Finding("order", True, text_)
    return Finding(
        "order", False, f"{text_}; a loss that means to depend on it declares unordered = False"
    )


def hidden(make: Make) -> Finding:
    """Nothing is read but the batch, and nothing kept but what a checkpoint holds."""
    part = make(8).double()
    audio, text = batch(8)
    first = _number(part, audio, text)
    found = hidden_inputs(part, inspect.getfile(type(part)), lambda: value(part, audio, text))
    again = _number(part, audio, text)
    if first != again:
        found.append(f"the same batch gives {first:.10g}, then {again:.10g}")
    if found:
        return Finding("repeatable", False, "; ".join(found))
    return Finding("repeatable", True, "the same batch, the same value; no clock, no global state")


def shares(make: Make) -> Finding:
    """The shares of two workers' rows sum to the whole, in value and in gradient."""
    part = make(9).double()
    if not offers_rows(part):
        return Finding(
            "rows", None, "no row-wise form: every worker computes the whole N x N batch"
        )
    sums, slopes = [], []
    for cuts in (((0, 9),), ((0, 4), (4, 9))):
        audio, text = batch(9)
        one, other = F.normalize(audio, dim=1), F.normalize(text, dim=1)
        total = one.new_zeros(())
        for start, stop in cuts:
            whole = len(cuts) == 1
            pairs = Pairs(one, other, rows=None if whole else slice(start, stop), seed=1)
            with calling(part, "rows"):
                found = part.rows(pairs)
            total = total + (found[0] if isinstance(found, tuple) else found)
        total.backward()
        sums.append(float(total.detach()))
        slopes.append(torch.cat([audio.grad, text.grad]))
    gap = abs(sums[0] - sums[1]) / max(1e-12, abs(sums[0]))
    slope = float((slopes[0] - slopes[1]).abs().max())
    text_ = f"one worker {sums[0]:.10g}, two {sums[1]:.10g}; gradients {slope:.1e} apart"
    return Finding("rows", gap < 1e-9 and slope < 1e-9, text_)


def cost(make: Make) -> Finding:
    """Time of a forward and a backward pass, as a multiple of InfoNCE's."""
    rival = SupCLAPLoss(InfoNCE())
    shown = []
    for pairs in COSTS:
        part = make(pairs).float()
        audio, text = (F.normalize(one.detach(), dim=1) for one in batch(pairs, 0, 256))
        audio, text = audio.float().requires_grad_(), text.float().requires_grad_()
        own = _seconds(partial(value, part, audio, text))
        base = _seconds(partial(_total, rival, audio, text))
        shown.append(f"{own / base:.1f} (N = {pairs:,})")
    beside = "InfoNCE's time" if make(2).kind == "base loss" else "InfoNCE's time, added to it"
    return Finding("cost", True, f"{', '.join(shown)} times {beside}, d = 256, this machine")


def _total(loss: SupCLAPLoss, audio: Tensor, text: Tensor) -> Tensor:
    total: Tensor = loss(audio, text).total
    return total


def _seconds(run: Callable[[], Tensor]) -> float:
    run().backward()
    took = []
    for _ in range(3):
        start = time.perf_counter()
        run().backward()
        took.append(time.perf_counter() - start)
    return min(took)

"""Checks of semantic radii, on similarities made up for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from supclap.bounds import TEMPERATURE_BOUNDS
from supclap.checking.finding import Finding
from supclap.checking.hidden import hidden_inputs
from supclap.parts.calling import calling
from supclap.parts.losses import Radius

Make = Callable[[int], Radius]  # a radius for batches of so many pairs


def check_radius(make: Make) -> Iterator[Finding]:
    """What a radius must keep: shape, finite values, each anchor for itself."""
    yield _finite(make)
    yield _each_for_itself(make)
    part = make(8)
    rows = _similarities(8)
    found = hidden_inputs(part, inspect.getfile(type(part)), lambda: _call(part, rows))
    text = "; ".join(found) or "no clock, no global state"
    yield Finding("repeatable", not found, text)


def _call(part: Radius, similarities: Tensor, offset: int = 0) -> Tensor:
    with calling(part, "forward"):
        given = similarities if part.reads else similarities[:, :0]
        found: Tensor = part(given, offset)
    return found


def _similarities(pairs: int, temperature: float = 0.07) -> Tensor:
    numbers = torch.Generator().manual_seed(pairs)
    cosines = torch.rand(pairs, pairs, generator=numbers) * 2 - 1
    return cosines / temperature


def _finite(make: Make) -> Finding:
    wrong, spread = [], []
    for pairs in (2, 24):
        for temperature in (TEMPERATURE_BOUNDS[0], 0.07, TEMPERATURE_BOUNDS[1]):
            found = _call(make(pairs), _similarities(pairs, temperature))
            if found.shape != (pairs,):
                wrong.append(f"N = {pairs}: expected ({pairs},), got {tuple(found.shape)}")
            elif not found.isfinite().all():
                wrong.append(f"N = {pairs}, temperature {temperature:g}: not finite")
            else:
                spread += [float(found.min()), float(found.max())]
    if wrong:
        return Finding("finite", False, "; ".join(wrong))
    return Finding("finite", True, f"from {min(spread):.3g} to {max(spread):.3g}")


def _each_for_itself(make: Make) -> Finding:
    """Rows alone, with their offset, give what they give together."""
    part, rows = make(12), _similarities(12)
    together = _call(part, rows)
    alone = torch.cat([_call(part, rows[at : at + 1], at) for at in range(len(rows))])
    gap = float((together - alone).abs().max())
    return Finding("rows", gap < 1e-5, f"rows alone and together are {gap:.1e} apart at most")

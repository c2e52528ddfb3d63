"""What a plan says of time: the forecast in a line, and how many cells it has side by side."""

from __future__ import annotations

from supclap.wording import counted, duration
from supclap_platform.ledger.forecast import Forecast
from supclap_platform.ledger.plan import Plan
from supclap_platform.running.machine import cores


def places(plan: Plan) -> int:
    """How many cells of the plan fit this machine's cores side by side."""
    need = max((c.resources.workers * c.resources.cpu for c in plan.to_run), default=1.0)
    return max(1, int(cores() // max(need, 1e-9))) if need else 1


def forecast_line(expected: Forecast) -> str:
    """How long the rest takes, and what that rests on."""
    if not expected.cells:
        return "forecast: nothing to run"
    reasons = "; ".join(expected.first.reasons) if expected.first else ""
    if expected.unknown == expected.cells:
        return (
            f"forecast: none for {counted(expected.cells, 'cell')}: no finished cell of their "
            "shape (same configuration but for loss and seed) is in this storage yet"
            + (f", and none could be timed: {reasons}" if reasons else "")
        )
    known = expected.cells - expected.unknown
    text = (
        f"forecast: {counted(known, 'cell')} {'takes' if known == 1 else 'take'} "
        f"{duration(expected.wall_seconds)} with {expected.at_once} at once, "
        f"{expected.worker_hours:.2f} worker-hours"
        f"{f', {expected.bill.text}' if expected.bill.text else ''} ({_basis(expected)})"
    )
    if expected.unknown:
        text += f"; {counted(expected.unknown, 'more cell')} without a finished cell of the shape"
        text += f", and not timed: {reasons}" if reasons else ""
    return text


def _basis(expected: Forecast) -> str:
    """What a forecast rests on."""
    parts = []
    if expected.basis:
        parts.append(f"from {counted(expected.basis, 'finished cell')} of the same shape")
    if expected.first is not None and expected.estimated:
        first = expected.first
        text = f"an estimate from {counted(first.steps, 'step')} timed here just now"
        if expected.basis:
            text = f"for {counted(expected.estimated, 'cell')} {text}"
        if expected.once >= 1:
            text += f", with {duration(expected.once)} for data that are made once"
        if first.scaled:
            text += f", {counted(len(first.scaled), 'shape')} by epochs and clips alone"
        parts.append(text)
    return "; ".join(parts)

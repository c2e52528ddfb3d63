"""Small drawings inside the text of a page: a line of a legend, the interval of an effect."""

from __future__ import annotations

from functools import cache

import numpy as np
from markupsafe import Markup

from supclap_platform.experiment.claims import Greater, Within
from supclap_platform.results.styles import Style
from supclap_platform.results.verdicts import Verdict

WIDE, HIGH = 132, 18  # pixels of an interval
EDGE = 6


def swatch(style: Style) -> Markup:
    """How a figure draws a row: 40 x 12 pixels of its line with its marker."""
    dashes = " ".join(f"{1.4 * points:g}" for points in style.dashes)  # as long as matplotlib's
    pattern = Markup(' stroke-dasharray="{}"').format(dashes) if dashes else Markup("")
    return Markup(
        '<svg class="swatch" viewBox="0 0 40 12" width="40" height="12" aria-hidden="true">'
        '<g fill="{colour}" stroke="{colour}"><path d="M1 6H39" stroke-width="1.9"{pattern}/>'
        '<path d="{marker}" stroke-width="1"/></g></svg>'
    ).format(colour=style.colour, pattern=pattern, marker=_marker(style.marker))


@cache
def _marker(marker: str) -> str:
    """The outline of a marker of matplotlib, around the middle of a swatch, as an SVG path."""
    from matplotlib.markers import MarkerStyle  # not needed on a page without figures

    form = MarkerStyle(marker)
    path = form.get_path().transformed(form.get_transform())
    rings = [np.asarray(ring) for ring in path.to_polygons(closed_only=False)]
    return "".join(
        "M" + "L".join(f"{20 + 5.5 * x:.2f} {6 - 5.5 * y:.2f}" for x, y in ring) + "Z"
        for ring in rings
    )


def interval(one: Verdict) -> Markup:
    """An effect with its interval over seeds, beside zero and the bounds of the claim.

    Empty where there is none. The scale is the claim's own: the picture shows on which side of a
    bound it lies, and how surely.
    """
    if one.effect is None or one.interval is None:
        return Markup("")
    bounds = [0.0] if one.bound is None else [one.bound]
    if isinstance(one.claim, Within) and one.bound is not None:
        bounds.append(-one.bound)
    if isinstance(one.claim, Greater) and one.claim.matters is not None:
        bounds += [one.claim.matters, -one.claim.matters]
    ends = [one.effect, *one.interval, *bounds, 0.0]
    low, high = min(ends), max(ends)
    scale = (WIDE - 2 * EDGE) / (high - low) if high > low else 0.0

    def across(value: float) -> str:
        return f"{EDGE + (value - low) * scale:.1f}"

    rules = Markup("").join(
        Markup('<path class="bound" d="M{x} 1V{high}"/>').format(x=across(b), high=HIGH - 1)
        for b in bounds
    )
    return Markup(
        '<svg class="interval" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        'aria-hidden="true"><path class="zero" d="M{zero} 1V{low}"/>{rules}'
        '<path class="reach" d="M{left} {middle}H{right}"/>'
        '<circle class="effect" cx="{at}" cy="{middle}" r="4"/></svg>'
    ).format(
        wide=WIDE,
        high=HIGH,
        low=HIGH - 1,
        middle=HIGH / 2,
        zero=across(0.0),
        rules=rules,
        left=across(one.interval[0]),
        right=across(one.interval[1]),
        at=across(one.effect),
    )

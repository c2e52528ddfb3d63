"""How a variant is drawn: the same in every figure, and different without colour too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

# Okabe and Ito's colours, which differ for the colour-blind; yellow is left out on white paper.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F")
DASHES: tuple[tuple[int, ...], ...] = (
    (),
    (6, 2),
    (2, 2),
    (6, 2, 2, 2),
    (10, 3),
    (4, 1, 1, 1, 1, 1),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
# The paper's own variants look the same in every experiment, whatever else a file compares.
PAPER = (
    "InfoNCE",
    "bi-DynamicSVR",
    "bi-StaticSVR",
    "uni-DynamicSVR",
    "uni-StaticSVR",
    "bi-DynamicSVR w/o constraint",
    "uni-DynamicSVR w/o constraint",
    "SigLIP",
)


@dataclass(frozen=True)
class Style:
    """A colour, a dash pattern in points (empty: solid) and a marker of matplotlib."""

    colour: str
    dashes: tuple[int, ...]
    marker: str


def styles_of(variants: Sequence[str]) -> dict[str, Style]:
    """A style for each variant, no two the same (up to 264; 66 of them also in grey).

    The paper's names have their own; the others take, in order, what those in the file leave free.
    """
    own = {name: PAPER.index(name) for name in variants if name in PAPER}
    free = (place for place in count() if place not in own.values())
    return {name: _style(own[name] if name in own else next(free)) for name in variants}


def _style(place: int) -> Style:
    # 6 and 11 share no factor: dashes and markers alone differ for 66 variants.
    return Style(
        COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)], MARKERS[place % len(MARKERS)]
    )

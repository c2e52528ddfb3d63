"""The way of a claim through its looks: a small figure, and a table of what each look saw."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from supclap_platform.experiment.claims import Greater
from supclap_platform.results.looks import Step
from supclap_platform.results.text import p_text
from supclap_platform.results.verdict_formats import interval_text, number_text
from supclap_platform.results.verdicts import Verdict

WIDE, HIGH = 264, 120  # pixels of the figure
EDGE, FOOT = 12, 16  # around the drawing, and below it for the numbers of seeds
HEADS = ("look", "seeds", "effect", "95 % interval", "t", "bound of |t|", "corrected p")


def rows_of(one: Verdict) -> list[list[str]]:
    """What each look saw, under each of `HEADS`."""
    if one.look is None:
        return []
    return [
        [
            str(one.look.seeds.index(step.seeds) + 1),
            str(step.seeds),
            number_text(one, step.effect, sign=True),
            interval_text(one, step.interval),
            "–" if step.t is None else f"{step.t:+.2f}".replace("-", "−"),
            "–" if step.bound is None else f"{step.bound:.2f}",
            p_text(step.corrected),
        ]
        for step in one.look.path
    ]


@dataclass(frozen=True)
class _Frame:
    """From looks and effects to pixels."""

    looks: tuple[int, ...]
    low: float
    high: float

    def x(self, seeds: int) -> float:
        last = max(1, len(self.looks) - 1)
        return EDGE + self.looks.index(seeds) * (WIDE - 2 * EDGE) / last

    def y(self, effect: float) -> float:
        free = HIGH - FOOT - 2 * EDGE
        return HIGH - FOOT - EDGE - (effect - self.low) * free / (self.high - self.low)


def path_figure(one: Verdict) -> Markup:
    """Effect and repeated interval at each look, with zero, what matters, and how far from its
    bound the effect had to be to end the claim there; empty where there was no look.

    Across stand all looks of the design, evenly, those that did not come empty.
    """
    if one.look is None or not one.look.path:
        return Markup("")
    null = one.claim.margin if isinstance(one.claim, Greater) else 0.0
    matters = one.claim.matters if isinstance(one.claim, Greater) else None
    rules = [0.0, *({null} - {0.0}), *([matters, -matters] if matters else [])]
    reached = [end for step in one.look.path for end in step.interval or (step.effect,)]
    low, high = min(*reached, *rules), max(*reached, *rules)
    if not high > low:
        return Markup("")
    frame = _Frame(one.look.seeds, low, high)
    lines = [
        Markup('<path class="{kind}" d="M{left} {y:.1f}H{right}"/>').format(
            kind="zero" if rule == 0 else "bound",
            left=EDGE / 2,
            right=WIDE - EDGE / 2,
            y=frame.y(rule),
        )
        for rule in rules
    ]
    marks = [mark for step in one.look.path for mark in _marks(step, null, frame)]
    labels = [
        Markup('<text x="{x:.1f}" y="{y}">{n}</text>').format(x=frame.x(n), y=HIGH - 4, n=n)
        for n in one.look.seeds
    ]
    return Markup(
        '<svg class="path" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img" '
        'aria-label="Effect and interval at each look">{inside}</svg>'
    ).format(wide=WIDE, high=HIGH, inside=Markup("").join([*lines, *marks, *labels]))


def _marks(step: Step, null: float, frame: _Frame) -> list[Markup]:
    x = frame.x(step.seeds)
    found = []
    if step.interval is not None:
        low, high = (frame.y(end) for end in step.interval)
        found.append(
            Markup('<path class="reach" d="M{x:.1f} {low:.1f}V{high:.1f}"/>').format(
                x=x, low=low, high=high
            )
        )
    for way in (-1, 1):
        edge = None if step.edge is None else null + way * step.edge
        if edge is not None and frame.low <= edge <= frame.high:
            found.append(
                Markup('<path class="edge" d="M{left:.1f} {y:.1f}h10"/>').format(
                    left=x - 5, y=frame.y(edge)
                )
            )
    found.append(
        Markup('<circle class="effect" cx="{x:.1f}" cy="{y:.1f}" r="3"/>').format(
            x=x, y=frame.y(step.effect)
        )
    )
    return found

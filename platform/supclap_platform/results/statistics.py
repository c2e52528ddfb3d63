"""Holm's correction for many questions at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that hold for all questions together.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none may fall below one
    before it, none exceeds 1. Rejecting what is at most 0.05 keeps the chance of any false
    rejection at 0.05, whatever the dependence between the questions (Holm 1979).
    """
    return [corrected for (corrected,) in step_down([[p] for p in ps])]


def step_down(questions: Sequence[Sequence[float]]) -> list[list[float]]:
    """Holm's correction where a claim may ask several questions of which one at most is null.

    "Is there a difference?" and "is it smaller than what matters?" cannot both be answered wrongly:
    where there is none, it is smaller. So as many hypotheses can be true at once as there are
    claims of which not every question is answered yet, and by so many the next smallest p is
    multiplied (Shaffer 1986). With one question each this is Holm's correction.

    Args:
        questions: for each claim the p of its questions.
    """
    order = sorted(
        ((p, claim, place) for claim, ps in enumerate(questions) for place, p in enumerate(ps)),
        key=lambda one: one[0],
    )
    corrected = [[0.0] * len(ps) for ps in questions]
    open_ = [len(ps) for ps in questions]
    least = 0.0
    for p, claim, place in order:
        least = max(least, min(1.0, sum(left > 0 for left in open_) * p))
        corrected[claim][place] = least
        open_[claim] -= 1
    return corrected

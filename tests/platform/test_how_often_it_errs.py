"""docs/statistics.md's figures on shapes other than normal, by the code that judges."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.verdicts import SHAPES, decided_at_the_bound, shape_error

PAGE = Path(__file__).parent.parent.parent / "docs" / "statistics.md"
TRIALS = 3_000
SHOWN = {  # the page's word for each
    "normal": "normal",
    "t, 3 degrees of freedom": "t with 3",
    "R@1 of 1,000 queries": "R@1 of 1,000",
    "uniform": "uniform",
    "exponential": "exponential",
    "lognormal": "lognormal",
    "one variant collapses in 1 of 20 runs": "one variant's run collapses",
}


def off(share: float) -> float:
    """Four standard errors of a share."""
    return 4 * (share * (1 - share) / TRIALS) ** 0.5


@pytest.mark.heavy
@pytest.mark.parametrize("name", SHAPES)
def test_false_verdicts_are_as_often_as_the_page_says(name: str) -> None:
    row = rf"^\| {re.escape(SHOWN[name])}[^|]*\| (0\.\d+) \| (0\.\d+) \|$"
    (figures,) = re.findall(row, PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    for seeds, figure in zip((3, 5), map(float, figures), strict=True):
        assert shape_error(name, seeds, TRIALS) == pytest.approx(figure, abs=off(figure))


@pytest.mark.parametrize("seeds", [3, 5])
def test_within_at_its_bound_is_decided_as_often_as_the_page_says(seeds: int) -> None:
    supported, contradicted = decided_at_the_bound(seeds, TRIALS)
    assert supported == pytest.approx(0.05, abs=off(0.05))
    assert contradicted == pytest.approx(0.025, abs=off(0.025))
    assert 0.06 < supported + contradicted < 0.09

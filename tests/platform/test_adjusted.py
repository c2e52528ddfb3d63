"""The adjusted effect of a decided claim: against brute force, and by how far it is right."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.seeds import Looks, default_looks
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.adjusted import adjusted, crossings, expected
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.looks import at_worst
from supclap_platform.results.sequential import design_of
from supclap_platform.results.verdicts import Outcome, judge
from supclap_platform.testing import finish

from benchmarks.looks import Bias, adjust_all, bias

PAGE = (Path(__file__).parent.parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")
EVEN = Looks(default_looks(40), "even")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("looks", "bounds", "effect"),
    [
        (EVEN.seeds, design_of(EVEN).bounds(0.025), 0.6),
        ((2, 3, 4), (5.0, 3.0, 2.0), 1.2),
        ((4, 20), (2.2, 3.4), 0.4),
        ((3, 5, 12), (6.0, 2.0, 3.0), 0.0),  # bounds that rise again
    ],
)
def test_chances_and_means_are_those_of_brute_force(
    looks: tuple[int, ...], bounds: tuple[float, ...], effect: float
) -> None:
    values = np.random.default_rng(1).normal(effect, 1, (100_000, looks[-1]))
    ended = np.zeros(len(values), bool)
    for n, bound, (chance, mean) in zip(
        looks, bounds, crossings(looks, tuple(bounds), effect), strict=True
    ):
        first = values[:, :n]
        t = first.mean(1) / first.std(1, ddof=1) * sqrt(n)
        now = ~ended & (t >= bound)
        ended |= now
        brute = np.where(now, first.mean(1), 0.0)
        assert chance == pytest.approx(now.mean(), abs=4 * sqrt(chance / len(values)) + 1e-5)
        assert mean == pytest.approx(brute.mean(), abs=4 * brute.std() / sqrt(len(values)) + 1e-5)


def test_what_is_adjusted_is_what_was_to_be_expected() -> None:
    bounds = tuple(design_of(EVEN).bounds(0.025))
    for effect in (0.4, 0.9, 2.5):
        seen = expected(EVEN.seeds, bounds, effect)
        assert seen > effect
        assert adjusted(EVEN.seeds, bounds, 3 * seen, 3.0) == pytest.approx(3 * effect, rel=1e-6)
    assert adjusted(EVEN.seeds, bounds, 40.0, 1.0) == pytest.approx(40.0, abs=1e-6)
    grid = np.linspace(0, 1, 101)  # less was seen than is to be expected with any effect
    least = grid[np.argmin([expected(EVEN.seeds, bounds, effect) for effect in grid])]
    assert adjusted(EVEN.seeds, bounds, 0.5, 1.0) == pytest.approx(least, abs=0.01)
    assert adjusted(EVEN.seeds, bounds, 0.1, 1.0) <= 0.1
    for mean in (0.7, 2.0, 9.0):
        (simulated,) = adjust_all(np.array([mean]), np.array([1.0]), EVEN)
        assert simulated == pytest.approx(adjusted(EVEN.seeds, bounds, mean, 1.0), abs=0.01)


@cache
def simulated(effect: float) -> Bias:
    return bias(effect, EVEN, 3_000)


@pytest.mark.heavy
@pytest.mark.parametrize("effect", ["0.5", "1", "2"])
def test_the_pages_figures(effect: str) -> None:
    """The plain effect is too large where the adjusted one is right in the mean."""
    (row,) = re.findall(rf"^\| {re.escape(effect)} \| ([+−]0.*) \|$", PAGE, re.M)
    plain, better, _, _ = (float(cell.replace("−", "-")) for cell in row.split(" | "))
    found = simulated(float(effect))
    assert found.plain == pytest.approx(plain, abs=0.025)
    assert found.adjusted == pytest.approx(better, abs=0.025)
    assert abs(better) < 0.03 < plain


TEXT = """\
experiment: adjusted
variants: {A: {}, B: {loss.svr: {radius: static}}}
seeds: {until: decided, looks: [3, 5, 8, 12, 18, 27, 40]}
claims: [CLAIM]
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("claim", "way", "null"),
    [
        ("B > A on t2a.R@1", 1, 0.0),
        ("A > B on t2a.R@1", 1, 0.0),
        ("B > A on t2a.R@1 by at least 0.5", 1, 0.5),
        ("B < A on t2a.medR", -1, 0.0),
    ],
)
def test_a_verdict_has_it_wherever_it_is_shown(
    tmp_path: Path, ledger: Ledger, claim: str, way: int, null: float
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(TEXT.replace("CLAIM", claim))
    experiment = load_experiment(path)
    metric = "test.t2a.R@1" if "R@1" in claim else "test.t2a.medR"
    differences = np.random.default_rng(3).normal(way * 1.6, 1, 40)
    for cell in cells_of(at_worst(experiment)):
        own = differences[cell.seed] if cell.variant == "B" else 0.0
        finish(ledger, cell, {metric: 40.0 + own})
    (verdict,) = judge(experiment, ledger)
    assert verdict.outcome in (Outcome.SUPPORTED, Outcome.CONTRADICTED)
    assert 3 < verdict.seeds < 40
    sign = -1 if claim.startswith("A") or way < 0 else 1  # of what is measured
    seen = sign * differences[: verdict.seeds] - null
    away = 1 if seen.mean() > 0 else -1
    (better,) = adjust_all(np.array([away * seen.mean()]), np.array([seen.std(ddof=1)]), EVEN)
    assert verdict.effect == pytest.approx(seen.mean() + null)
    assert verdict.adjusted == pytest.approx(null + away * better, abs=0.02)
    assert abs(verdict.adjusted - null) < abs(verdict.effect - null)
    files = {name: text.decode() for name, text in conclude(experiment, ledger).files.items()}
    assert "adjusted" in files["verdicts.txt"].splitlines()[2]
    told = f"Adjusted for that, the effect is {verdict.adjusted:+.2f}.".replace("-", "−")
    assert told in " ".join(files["verdicts.txt"].split())
    (row,) = csv.DictReader(io.StringIO(files["verdicts.csv"]))
    assert float(row["adjusted"]) == pytest.approx(verdict.adjusted)


def test_none_where_nothing_was_stopped(tmp_path: Path, ledger: Ledger) -> None:
    """A fixed design, one look, "negligible": no adjusted effect, and no column for it."""
    path = tmp_path / "e.yaml"
    text = TEXT.replace("CLAIM", "B > A on t2a.R@1 matters from 9")
    for seeds in ("3", "{until: decided, looks: [3]}", "{until: decided, looks: [3, 5]}"):
        path.write_text(re.sub("seeds: .*", f"seeds: {seeds}", text))
        experiment = load_experiment(path)
        for cell in cells_of(at_worst(experiment)):
            finish(ledger, cell, {"test.t2a.R@1": cell.seed + (0.1 * cell.seed) ** 2})
        (verdict,) = judge(experiment, ledger)
        assert verdict.adjusted is None
        assert "adjusted" not in conclude(experiment, ledger).text().split("Claims:")[1][:400]

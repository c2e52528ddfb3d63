"""docs/statistics.md's figures on sequential designs; the simulation gives the verdicts that the
code that judges gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.seeds import Looks, default_looks
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.looks import at_worst
from supclap_platform.results.verdicts import Outcome, judge
from supclap_platform.testing import finish

from benchmarks.looks import (
    HIGHER,
    LOWER,
    OPEN,
    SMALL,
    cost,
    cost_of_nothing,
    false_in_seven,
    fixed_seeds,
    judge_all,
)

PAGE = (Path(__file__).parent.parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")
EVEN = Looks(default_looks(40), "even")
TRIALS = 3_000
CODES = {
    Outcome.UNDECIDED: OPEN,
    Outcome.SUPPORTED: HIGHER,
    Outcome.CONTRADICTED: LOWER,
    Outcome.NEGLIGIBLE: SMALL,
}


@pytest.mark.heavy
def test_the_simulation_judges_as_runs_are_judged(tmp_path: Path, ledger: Ledger) -> None:
    """Two experiments of four claims, through the ledger, with and without what matters."""
    effects = np.array([0.0, 0.3, 1.0, 1.6])
    looks = Looks((3, 5, 8), "linear")
    differences = np.random.default_rng(0).normal(0, 0.7, (2, 4, 8)) + effects[:, None]
    rows = "".join(
        f"  A{i}: {{batch_size: {8 + i}}}\n  B{i}: {{epochs: {3 + i}}}\n" for i in range(4)
    )
    claims = "".join(f"  - B{i} > A{i} on t2a.R@1\n" for i in range(4))
    text = f"experiment: e\nvariants:\n{rows}claims:\n{claims}"
    text += "seeds: {until: decided, looks: [3, 5, 8], spending: linear}\n"
    found = []
    for matters in (None, 1.2):
        path = tmp_path / "e.yaml"
        path.write_text(text + (f"matters: {{t2a.R@1: {matters}}}\n" if matters else ""))
        experiment = load_experiment(path)
        judged = judge_all(differences, looks, matters)
        for number, values in enumerate(differences):
            own = Ledger(ledger.storage.below(f"{number}-{matters}"))
            for cell in cells_of(at_worst(experiment)):
                ours, pair = cell.variant[0] == "B", int(cell.variant[1])
                value = 40.0 + (values[pair, cell.seed] if ours else 0.0)
                finish(own, cell, {"test.t2a.R@1": value})
            verdicts = judge(experiment, own)
            assert [CODES[one.outcome] for one in verdicts] == judged.verdicts[number].tolist()
            assert [one.seeds for one in verdicts] == judged.seeds[number].tolist()
            found += [one.outcome for one in verdicts]
    assert set(found) >= {Outcome.UNDECIDED, Outcome.SUPPORTED, Outcome.NEGLIGIBLE}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("normal", "normal"),
        ("t, 3 degrees of freedom", "t with 3 degrees of freedom (heavy tails)"),
        ("R@1 of 1,000 queries", "R@1 of 1,000 queries (coarse)"),
    ],
)
def test_any_false_verdict_in_seven_claims_is_as_rare_as_the_page_says(
    name: str, shown: str
) -> None:
    (figure,) = re.findall(rf"^\| {re.escape(shown)} \| (0\.\d+) \| 0\.\d+ \| ", PAGE, re.MULTILINE)
    assert float(figure) <= 0.055
    found = false_in_seven(name, EVEN, TRIALS)
    assert found == pytest.approx(float(figure), abs=4 * (0.05 * 0.95 / TRIALS) ** 0.5)


@pytest.mark.heavy
@pytest.mark.parametrize("effect", [1.0, 1.5, 2.0])
def test_seeds_are_as_few_as_the_page_says(effect: float) -> None:
    row = rf"^\| {effect:g} \| ([\d.]+), ([\d.]+) \|.*\| (\d+) \|$"
    ((mean, share, fixed),) = re.findall(row, PAGE, re.MULTILINE)
    seeds, power = cost(effect, EVEN, TRIALS)
    assert seeds == pytest.approx(float(mean), abs=0.5)
    assert power == pytest.approx(float(share), abs=0.02)
    assert fixed_seeds(effect) == int(fixed)
    assert seeds <= 1.5 * int(fixed)


@pytest.mark.heavy
@pytest.mark.parametrize("claims", [1, 7])
def test_nothing_is_negligible_within_twenty_seeds(claims: int) -> None:
    page = " ".join(PAGE.split())
    figures = re.search(r"negligible after ([\d.]+) seeds .*? claims after ([\d.]+)\.", page)
    assert figures is not None
    figure = float(figures[1 if claims == 1 else 2])
    seeds, share = cost_of_nothing(EVEN, TRIALS * claims, claims)
    assert seeds == pytest.approx(figure, abs=0.6)
    assert figure < 20
    assert share > 0.9

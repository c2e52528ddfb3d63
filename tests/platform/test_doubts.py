"""What seeds alone cannot know, said beside a verdict."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from scipy import stats
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.seeds import Looks
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.sequential import design_of
from supclap_platform.results.tables import build_table
from supclap_platform.results.verdicts import Outcome, Verdict, judge
from supclap_platform.testing import finish

TEXT = """\
experiment: doubts
variants: {A: {}, B: {loss.svr: {radius: static}}}
seeds: SEEDS
claims: [B > A on t2a.R@1]
"""
Judge = Callable[..., Verdict]


@pytest.fixture
def verdict(tmp_path: Path, ledger: Ledger) -> Judge:
    """Judges B's advantages over A, one for each seed."""

    def judged(advantages: list[float], seeds: str, chance: float | None = 1.0) -> Verdict:
        path = tmp_path / "doubts.yaml"
        path.write_text(TEXT.replace("SEEDS", seeds), encoding="utf-8")
        experiment: Experiment = load_experiment(path)
        for cell in cells_of(experiment):
            advantage = advantages[cell.seed] if cell.variant == "B" else 0.0
            metrics = {"test.t2a.R@1": 40.0 + advantage}
            finish(ledger, cell, metrics | ({} if chance is None else {"chance.t2a.R@1": chance}))
        (found,) = judge(experiment, ledger)
        build_table(experiment, ledger)
        return found

    return judged


@pytest.mark.heavy
@pytest.mark.parametrize("seeds", ["5", "{until: decided, looks: [5, 9]}"])
def test_a_collapsed_run_is_named(verdict: Judge, seeds: str) -> None:
    found = verdict([2.0, 2.2, -36.0, 2.1, 1.8], seeds)
    assert found.remarks[0].startswith(
        "B has collapsed for seed 2: near chance (1) where the row's"
    )
    assert verdict([2.0, 2.2, -26.0, 2.1, 1.8], seeds).remarks == ()
    assert not any("collapsed" in one for one in verdict([2, 2, -36, 2, 1.8], seeds, None).remarks)


@pytest.mark.heavy
def test_a_verdict_that_falls_without_one_seed_names_it(verdict: Judge) -> None:
    looks = "{until: decided, looks: [6, 12]}"
    close, certain = [1.0, 0.2, 0.8, 0.5, 1.3, 0.1], [1.0, 1.1, 1.2, 1.1, 1.0, 1.15]
    design = design_of(Looks((6, 12), "even"))
    assert stats.ttest_1samp(close, 0).statistic > design.bounds(0.025)[0]
    falls = []
    for seed in range(6):
        rest = close[:seed] + close[seed + 1 :]
        p = design.level(0, stats.ttest_1samp(rest, 0, alternative="greater").pvalue)
        falls += [str(seed)] if 2 * p > 0.05 else []
    found = verdict(close, looks)
    assert found.outcome is Outcome.SUPPORTED
    named = ", ".join(falls)
    assert found.remarks == (f"it would be undecided without any one of the seeds {named}",)
    assert verdict(certain, looks).remarks == ()


def test_a_sign_flip_test_that_does_not_agree_is_named(verdict: Judge) -> None:
    """Of the 128 flips of seven differences too many give a sum as large as theirs."""
    values = [2.2, 2.2, 1.8, 1.6, -0.3, -0.1, 1.8]
    found = verdict(values, "{until: decided, looks: [7, 8]}")
    sums = [
        sum(v * s for v, s in zip(values, signs, strict=True))
        for signs in product((1, -1), repeat=7)
    ]
    p = 2 * sum(one >= sum(values) - 1e-9 for one in sums) / 128
    assert p > 0.05
    assert found.outcome is Outcome.SUPPORTED
    named = f"the sign-flip test, which assumes symmetry alone, does not agree (p {p:.4f})"
    assert named in found.remarks

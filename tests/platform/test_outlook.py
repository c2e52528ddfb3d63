"""What an experiment with looks is still to be expected to take, what each look saw, and which
metric would decide soonest."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from supclap_platform.cli import main
from supclap_platform.commands.now import as_of_now
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.seeds import Looks
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.results import outlook
from supclap_platform.results.looks import at_worst, course_of
from supclap_platform.results.outlook import foreseen
from supclap_platform.results.report import build_report
from supclap_platform.results.verdicts import judge
from supclap_platform.testing import finish

from benchmarks.looks import judge_all

TEXT = """\
experiment: outlook
base: {epochs: 2}
variants: {A: {}, B: {batch_size: 64}, C: {batch_size: 32}}
seeds: {until: decided, looks: [4, 6, 10, 16]}
matters: {t2a.R@1: 1.5}
claims: [B > A on t2a.R@1, C > A on t2a.R@1]
"""
LOOKS = Looks((4, 6, 10, 16), "even")
R1, R10, MEAN = "test.t2a.R@1", "test.t2a.R@10", "test.t2a.meanR"


def load(folder: Path, text: str = TEXT) -> Experiment:
    path = folder / "outlook.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)


def differences(row: str) -> np.ndarray:
    """B is better by one spread, C by hardly anything; both are open after four seeds."""
    values = np.random.default_rng(ord(row)).normal(0, 1, 16)
    first = values[:4] - values[:4].mean()
    values[:4] = first / first.std(ddof=1)
    return values + {"B": 1.0, "C": 0.1}[row]


def complete(experiment: Experiment, ledger: Ledger, cells: list[Cell]) -> None:
    remember(make_plan(experiment, ledger), ledger)
    for cell in cells:
        own = 0.0 if cell.variant == "A" else float(differences(cell.variant)[cell.seed])
        noise = float(np.random.default_rng([cell.seed, ord(cell.variant)]).normal(0, 0.2))
        more = {R10: 70.0 + own + noise, MEAN: 9.0 - own, "val.t2a.R@5": 50.0 + own}
        finish(ledger, cell, {R1: 40.0 + own, **more})


@pytest.mark.heavy
def test_drawn_courses_are_judged_as_runs_are(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values that are drawn, judged from their first look on by the benchmark's own code; and
    as they are drawn, they are Student's predictive distribution."""
    experiment = load(tmp_path)
    assert foreseen(course_of(experiment, ledger)) is None  # nothing is known
    complete(experiment, ledger, cells_of(experiment))
    course = course_of(experiment, ledger)
    assert (course.look, course.decided) == (1, 0)
    drawn = []
    way = outlook._way

    def kept(*given: object) -> object:
        drawn.append(way(*given))
        return drawn[-1]

    monkeypatch.setattr(outlook, "_way", kept)
    ends = foreseen(course, 600)
    values = np.stack([one.values for one in drawn], 1)  # (draws, claims, seeds)
    assert values.shape == (600, 2, 16)
    assert ends is not None
    assert ends.tolist() == judge_all(values, LOOKS, matters=1.5).seeds.tolist()
    assert {6, 10, 16} >= set(ends[:, 0]) > {16}
    pulls = (values[:, 0, 4] - 1.0) / np.sqrt(1 + 1 / 4)  # mean 1, spread 1 of four values
    assert stats.kstest(pulls, stats.t(3).cdf).pvalue > 0.01
    assert 0.03 < np.mean(np.abs(pulls) > 3) < 0.09  # 0.058; 0.003, were they normal


@pytest.mark.heavy
def test_the_plan_says_what_is_left_as_expected(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    place = [str(tmp_path / "outlook.yaml"), "--storage", str(tmp_path / "storage")]

    def planned() -> str:
        done = CliRunner().invoke(main, ["plan", "--no-timing", "--at-once", "1", *place])
        assert done.exit_code == 0, done.output
        return done.output

    assert "as expected: not known before the first look at every claim\n" in planned()
    complete(experiment, ledger, cells_of(experiment))
    text = planned()
    ends = foreseen(course_of(experiment, ledger))
    assert ends is not None
    left = [max(b, c) + b + c - 12 for b, c in ends.tolist()]  # of A, B and C, four each done
    few, many = (sorted(left)[round(share * (len(left) - 1))] for share in (0.1, 0.9))
    told = (
        rf"as expected, from the effects and spreads so far: {fmean(left):.0f} cells in the mean, "
        rf"{few} to {many} in 8 of 10 courses .*, {fmean(left) * 10 / 3600:.2f} worker-hours\n"
    )
    assert re.search(told, text), text
    assert "at worst, if nothing more is decided before the last look: 36 cells left of 48" in text
    complete(experiment, ledger, cells_of(at_worst(experiment)))
    assert "as expected" not in planned()


@pytest.mark.heavy
def test_which_metric_would_decide_soonest(tmp_path: Path, ledger: Ledger) -> None:
    """By noncentral t, over the seeds of the claim's look; of the claim's own way and split."""
    experiment = load(tmp_path)
    complete(experiment, ledger, cells_of(at_worst(experiment)))
    first, _ = judge(experiment, ledger)
    assert first.look is not None
    assert {one.measure.name for one in first.rivals} == {R1, R10, MEAN}
    of = {one.measure.name: one for one in first.rivals}
    values = differences("B")[: first.seeds]
    assert of[R1].spread == pytest.approx(values.std(ddof=1))
    assert of[R1].effect == pytest.approx(values.mean())
    assert of[MEAN].effect == pytest.approx(-values.mean())
    for one in first.rivals:
        assert one.needed is not None

        def power(n: int, ratio: float = abs(one.effect) / one.spread) -> float:
            edge = stats.t.isf(0.05 / 2 / 2, n - 1)
            return float(stats.nct.sf(edge, n - 1, ratio * n**0.5))

        assert power(one.needed) >= 0.8 > power(one.needed - 1)
    ratios = [abs(one.effect) / one.spread for one in first.rivals]
    assert ratios == sorted(ratios, reverse=True)
    place = [str(tmp_path / "outlook.yaml"), "--storage", str(tmp_path / "storage")]
    text = CliRunner().invoke(main, ["plan", "--no-timing", *place]).output
    told = f"t2a.R@10 {of[R10].needed} (spread {of[R10].spread:.3g})"
    assert "claim 'B > A on t2a.R@1', for the next experiment: seeds of a fixed design" in text
    assert told in text


@pytest.mark.heavy
def test_the_page_has_each_claims_way_through_the_looks(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    complete(experiment, ledger, cells_of(at_worst(experiment)))
    verdicts = judge(experiment, ledger)
    page = build_report(as_of_now(experiment, ledger)[0], ledger).decode()
    figures = re.findall(r'<svg class="path".*?</svg>', page, re.S)
    assert len(figures) == 2
    for claim, figure in zip(verdicts, figures, strict=True):
        assert claim.look is not None
        assert figure.count('class="effect"') == len(claim.look.path)
        assert re.findall(r">(\d+)</text>", figure) == ["4", "6", "10", "16"]
        values = differences(claim.claim.variants[0])
        for step in claim.look.path:
            found = values[: step.seeds]
            error = found.std(ddof=1) / step.seeds**0.5
            assert step.t == pytest.approx(found.mean() / error)
            assert step.edge == pytest.approx(step.bound * error)
            assert f'<td class="n">{step.t:+.2f}</td>'.replace("-", "−") in page
    assert page.count("Which metric would decide soonest:") == 2

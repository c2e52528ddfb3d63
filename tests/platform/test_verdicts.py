"""Verdicts from chosen runs: by hand, with every way in which a claim cannot be judged."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ranks_of import t2a_ranks
from scipy import stats
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.text import width_of
from supclap_platform.results.verdict_formats import (
    verdict_files,
    verdicts_as_csv,
    verdicts_as_markdown,
    verdicts_as_text,
)
from supclap_platform.results.verdicts import Outcome, Verdict, judge
from supclap_platform.testing import finish, interrupt

VARIANTS = """\
experiment: claims
base: {epochs: 4}
variants:
  A: {}
  B: {loss.svr: {radius: static}}
  C|c: {loss.svr: {radius: dynamic}}
seeds: 3
"""
R1 = "test.t2a.R@1"
Make = Callable[..., Experiment]  # claims and ``seeds`` -> an experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Make:
    """Makes an experiment of some claims."""

    def make(*claims: str, seeds: int = 3) -> Experiment:
        path = tmp_path / "claims.yaml"
        text = VARIANTS.replace("seeds: 3", f"seeds: {seeds}")
        path.write_text(f"{text}claims: {json.dumps(claims)}\n", encoding="utf-8")
        return load_experiment(path)

    return make


def cell_of(experiment: Experiment, variant: str, seed: int) -> Cell:
    return next(c for c in cells_of(experiment) if (c.variant, c.seed) == (variant, seed))


def report(
    experiment: Experiment, ledger: Ledger, metric: str = R1, **values: Sequence[float]
) -> None:
    """values: one for each seed, by variant (a name's bar left out)."""
    for name, numbers in values.items():
        variant = "C|c" if name == "C" else name
        for seed, number in enumerate(numbers):
            finish(ledger, cell_of(experiment, variant, seed), {metric: number})


def only(experiment: Experiment, ledger: Ledger) -> Verdict:
    (verdict,) = judge(experiment, ledger)
    return verdict


def test_supported_by_hand(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("B > A on t2a.R@1")
    report(chosen, ledger, A=[40.0, 42.0, 44.0], B=[43.0, 44.8, 47.2])
    # differences 3.0, 2.8, 3.2: mean 3, deviation 0.2, so 4.302653 * 0.2 / sqrt(3) = 0.496828
    verdict = only(chosen, ledger)
    assert verdict.outcome is Outcome.SUPPORTED
    assert verdict.effect == pytest.approx(3.0)
    assert verdict.interval == pytest.approx((3 - 0.496828, 3 + 0.496828), abs=1e-5)
    t = 3 / (0.2 / np.sqrt(3))
    assert verdict.p == pytest.approx(1 - t / np.sqrt(2 + t * t))
    assert (verdict.corrected, verdict.permutation) == (verdict.p, 0.25)
    assert (verdict.seeds, verdict.wanted, verdict.queries) == (3, 3, None)
    assert [(name, run.seed) for name, run in verdict.runs] == [
        (name, seed) for name in "BA" for seed in range(3)
    ]


def test_a_claim_on_an_early_epoch_is_judged_by_it(ledger: Ledger, experiment: Make) -> None:
    """The rows cross: B is ahead after two epochs and behind at the end."""
    said = "B > A on val.t2a.R@1"
    level = "A within 1 % of B on train.loss after epoch 1"
    chosen = experiment(f"{said} after epoch 2", said, level)
    curves = {
        "A": [(1.0, 3.0, 9.0), (1.2, 3.1, 9.5), (0.9, 3.0, 9.2)],
        "B": [(1.1, 5.0, 7.0), (1.0, 5.2, 7.5), (1.2, 4.9, 7.1)],
    }
    for name, seeds in curves.items():
        for seed, (first, second, last) in enumerate(seeds):
            values = [{"val.t2a.R@1": v, "train.loss": 2.0} for v in (first, second, last, last)]
            finish(ledger, cell_of(chosen, name, seed), {"val.t2a.R@1": last}, epochs=values)
    early, end, equal = judge(chosen, ledger)
    assert early.outcome is Outcome.SUPPORTED
    assert early.effect == pytest.approx(2.0)
    assert end.outcome is Outcome.CONTRADICTED
    assert equal.reasons == ("every seed gives the same value: no spread to judge by",)
    assert "val.t2a.R@1 after epoch 2" in verdicts_as_csv(judge(chosen, ledger))


def test_an_epoch_that_a_run_lacks_is_named(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("B > A on val.t2a.R@1 after epoch 2")
    for name in "AB":
        for seed in range(3):
            epochs = [{"val.t2a.R@1": 1.0 + seed}, {"val.t2a.R@1": 2.0 + seed}]
            if (name, seed) == ("A", 1):
                del epochs[1]["val.t2a.R@1"]
            finish(ledger, cell_of(chosen, name, seed), {"val.t2a.R@1": 3.0}, epochs=epochs)
    verdict = only(chosen, ledger)
    assert verdict.outcome is Outcome.UNDECIDED
    assert "A reports no val.t2a.R@1 after epoch 2 for seed 1" in verdict.reasons


def test_pairs_are_seeds_not_places(ledger: Ledger, experiment: Make) -> None:
    """Seeds differ by far more than the variants; paired they decide, crossed they would not."""
    chosen = experiment("B > A on t2a.R@1")
    report(chosen, ledger, A=[10.0, 50.0, 90.0], B=[11.0, 51.1, 90.9])
    verdict = only(chosen, ledger)
    paired = stats.ttest_rel([11.0, 51.1, 90.9], [10.0, 50.0, 90.0])
    assert verdict.p == pytest.approx(paired.pvalue)
    assert verdict.outcome is Outcome.SUPPORTED


def test_contradicted_and_undecided(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("A > B on t2a.R@1", "C|c > A on t2a.R@1")
    report(chosen, ledger, A=[40.0, 42.0, 44.0], B=[43.0, 44.9, 47.1], C=[41.0, 42.1, 43.9])
    against, unclear = judge(chosen, ledger)
    assert against.outcome is Outcome.CONTRADICTED
    assert against.effect == pytest.approx(-3.0)
    assert against.undecided_until is None
    assert unclear.outcome is Outcome.UNDECIDED
    assert unclear.undecided_until > 3


def test_the_margin_shifts_the_null(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment(*(f"B > A on t2a.R@1 by at least {x}" for x in (2, 3, 4)))
    report(chosen, ledger, A=[40.0, 42.0, 44.0], B=[43.0, 45.02, 46.99])
    outcomes = [verdict.outcome for verdict in judge(chosen, ledger)]
    assert outcomes == [Outcome.SUPPORTED, Outcome.UNDECIDED, Outcome.CONTRADICTED]
    assert judge(chosen, ledger)[0].effect == pytest.approx(3.0, abs=0.01)  # not less the margin


def test_holm_counts_every_claim_also_those_that_cannot_be_judged(
    ledger: Ledger, experiment: Make
) -> None:
    claims = ["B > A on t2a.R@1", "B > A on a2t.R@1", "B > A on a2t.R@5", "B > A on t2a.R@5"]
    chosen = experiment(*claims)
    report(chosen, ledger, A=[40.0, 42.0, 44.0], B=[43.0, 45.0, 47.4])
    first, *others = judge(chosen, ledger)
    assert first.corrected == pytest.approx(4 * first.p)
    assert [other.p for other in others] == [None] * 3
    assert {other.outcome for other in others} == {Outcome.UNDECIDED}
    assert "B reports no test.a2t.R@1 for seeds 0, 1, 2" in others[0].reasons


def test_where_neither_way_is_better_nothing_is_said_of_it(
    ledger: Ledger, experiment: Make
) -> None:
    chosen = experiment("A > B on steps", "A > B on chance.t2a.meanR")
    assert [one.remarks for one in judge(chosen, ledger)] == [(), ()]


def test_less_than_and_low_is_good(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("B < A on t2a.medR", "B < A on t2a.R@1")
    for seed in range(3):
        for variant, numbers in {"A": (9.0, 8.0, 9.5), "B": (5.0, 4.2, 5.3)}.items():
            metrics = {"test.t2a.medR": numbers[seed], R1: 40.0 + seed**2 + numbers[seed]}
            finish(ledger, cell_of(chosen, variant, seed), metrics)
    low, plain = judge(chosen, ledger)
    assert low.outcome is Outcome.SUPPORTED
    assert (low.measured, low.effect) == ("A − B", pytest.approx(4.0))
    assert "a low test.t2a.medR is the good one: the claim is that B does better" in low.remarks
    assert plain.outcome is Outcome.SUPPORTED  # numbers are compared as they are
    assert plain.remarks == ()


def test_within_by_hand(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment(*(f"B within {x} % of A on t2a.R@1" for x in (5, 0.6, 0.1)))
    report(chosen, ledger, A=[40.0, 42.0, 44.0], B=[40.2, 42.3, 44.2])
    inside, unclear, outside = judge(chosen, ledger)
    assert inside.outcome is Outcome.SUPPORTED
    assert inside.bound == pytest.approx(2.1)
    edge = stats.ttest_1samp(
        [0.2 - 2.0, 0.3 - 2.1, 0.2 - 2.2], 0, alternative="less"
    )  # the upper bound is the nearer one
    assert inside.p == pytest.approx(edge.pvalue)
    assert unclear.outcome is Outcome.UNDECIDED
    assert unclear.undecided_until > 3
    assert outside.outcome is Outcome.UNDECIDED  # 0.19 beyond 0.04, but three claims
    report(chosen, ledger, B=[41.2, 43.3, 45.2])
    assert judge(chosen, ledger)[2].outcome is Outcome.CONTRADICTED


def test_a_trend_by_hand(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment(
        "radius.text.mean of B falls over epochs", "radius.text.mean of B rises over epochs"
    )
    for seed, slope in enumerate((-0.1, -0.12, -0.11)):
        values = [1.0 + slope * epoch for epoch in (1, 2, 3, 4)]
        epochs = [{"radius.text.mean": value} for value in values]
        finish(ledger, cell_of(chosen, "B", seed), {}, epochs)
    falls, rises = judge(chosen, ledger)
    assert falls.outcome is Outcome.SUPPORTED
    assert rises.outcome is Outcome.CONTRADICTED
    assert falls.effect == pytest.approx(-0.11)
    assert falls.p == pytest.approx(stats.ttest_1samp([-0.1, -0.12, -0.11], 0).pvalue)
    assert any("mean over seeds -1.00" in remark for remark in falls.remarks)


def test_a_slope_is_that_of_least_squares_over_the_epochs_there_are(
    ledger: Ledger, experiment: Make
) -> None:
    chosen = experiment("drift.text of A rises over epochs")
    numbers = [[0.1, 0.5, 0.2, 0.9], [0.2, 0.1, 0.4, 0.8], [0.3, 0.2, 0.6, 0.5]]
    for seed, values in enumerate(numbers):
        epochs = [{"drift.text": value} for value in values]
        epochs[1] = {} if seed == 0 else epochs[1]
        finish(ledger, cell_of(chosen, "A", seed), {}, epochs)
    slopes = [stats.linregress([1, 3, 4], [0.1, 0.2, 0.9]).slope]
    slopes += [stats.linregress([1, 2, 3, 4], values).slope for values in numbers[1:]]
    assert only(chosen, ledger).effect == pytest.approx(np.mean(slopes))


def test_a_trend_that_no_epoch_reports_says_where_it_is(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("t2a.R@1 of A rises over epochs")
    for seed in range(3):
        finish(ledger, cell_of(chosen, "A", seed), {R1: 40.0}, [{"val.t2a.R@1": 3.0}] * 4)
    verdict = only(chosen, ledger)
    assert (verdict.outcome, verdict.p, verdict.effect) == (Outcome.UNDECIDED, None, None)
    assert "no trend in seeds 0, 1, 2" in verdict.reasons[0]
    assert "val.t2a.R@1" in verdict.reasons[0]


def test_a_trend_through_what_is_no_number(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("drift.text of A rises over epochs")
    for seed in range(3):
        values = [0.1, float("nan") if seed == 1 else 0.2, 0.3 + seed / 10]
        finish(ledger, cell_of(chosen, "A", seed), {}, [{"drift.text": value} for value in values])
    verdict = only(chosen, ledger)
    assert verdict.p is None
    assert verdict.reasons == ("drift_cosine.text is not a number in every epoch of seed 1",)


def test_one_seed_cannot_be_judged(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("B > A on t2a.R@1", seeds=1)
    report(chosen, ledger, A=[40.0], B=[43.0])
    verdict = only(chosen, ledger)
    assert (verdict.outcome, verdict.p, verdict.interval) == (Outcome.UNDECIDED, None, None)
    assert verdict.effect == pytest.approx(3.0)
    assert verdict.reasons == ("one seed has no spread; 2 are the least",)


def test_missing_and_failed_cells_leave_a_claim_undecided_with_what_there_is(
    ledger: Ledger, experiment: Make
) -> None:
    chosen = experiment("B > A on t2a.R@1")
    report(chosen, ledger, A=[40.0, 42.0, 44.0], B=[43.0, 45.001])
    interrupt(ledger, cell_of(chosen, "B", 2))
    verdict = only(chosen, ledger)
    assert (verdict.outcome, verdict.p, verdict.seeds) == (Outcome.UNDECIDED, None, 2)
    assert verdict.effect == pytest.approx(3.0, abs=0.001)
    assert verdict.interval is not None
    assert verdict.reasons == ("B is not finished for seed 2",)
    ledger.record_failure(cell_of(chosen, "B", 2).signature, "out of memory")
    assert only(chosen, ledger).reasons == ("B failed for seed 2",)


def test_nothing_finished(ledger: Ledger, experiment: Make) -> None:
    verdict = only(experiment("B > A on t2a.R@1"), ledger)
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.reasons[-1] == "no seed to judge by; 2 are the least"
    assert "B is not finished for seeds 0, 1, 2" in verdict.reasons


def test_a_metric_that_is_no_number(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("B > A on drift.text")  # a recall that is no number is damage
    values = {"A": [0.40, 0.42, 0.44], "B": [0.43, float("nan"), 0.469]}
    report(chosen, ledger, "drift.text", **values)
    verdict = only(chosen, ledger)
    assert verdict.reasons == ("B reports a drift_cosine.text that is no number for seed 1",)
    assert (verdict.p, verdict.seeds) == (None, 2)


@pytest.mark.parametrize("claim", ["B > A on t2a.R@1", "B within 9 % of A on t2a.R@1"])
def test_the_same_difference_in_every_seed_is_no_certainty(
    ledger: Ledger, experiment: Make, claim: str
) -> None:
    chosen = experiment(claim)
    report(chosen, ledger, A=[40.1, 39.2, 2.2], B=[42.2, 41.3, 4.3])
    verdict = only(chosen, ledger)
    if "within" in claim:  # its bounds move with A, and so have a spread
        assert verdict.p is not None
    else:
        assert (verdict.outcome, verdict.p) == (Outcome.UNDECIDED, None)
        assert "every seed gives the same value" in verdict.reasons[0]


def hits(rate: float, seed: int, clips: int = 100, captions: int = 2) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    return t2a_ranks((chance.random((clips, captions)) < rate).tolist())


def recall(ranks: dict[str, np.ndarray]) -> float:
    return 100 * float(np.mean(ranks["t2a_ranks"] < 1))


def answer(
    experiment: Experiment,
    ledger: Ledger,
    variant: str,
    seed: int,
    ranks: Mapping[str, np.ndarray],
    data: str = "data-a",
    off: float = 0.0,
) -> None:
    cell = cell_of(experiment, variant, seed)
    finish(ledger, cell, {R1: recall(ranks) + off}, ranks=ranks, data=data)


def test_ranks_give_an_interval_over_queries_too(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("B > A on t2a.R@1")
    for seed in range(3):
        answer(chosen, ledger, "A", seed, hits(0.3, seed))
        answer(chosen, ledger, "B", seed, hits(0.5, 10 + seed))
    verdict = only(chosen, ledger)
    assert verdict.queries == 200
    low, high = verdict.wide
    assert low < verdict.effect < high
    # independent queries: 0.3 * 0.7 + 0.5 * 0.5 for each of 200, in three seeds, plus the seeds'
    least = 100 * 1.96 * np.sqrt((0.21 + 0.25) / 200 / 3)
    assert high - low > 1.6 * least


def test_one_seed_with_ranks_has_an_interval_over_queries_and_no_verdict(
    ledger: Ledger, experiment: Make
) -> None:
    chosen = experiment("B > A on t2a.R@1", seeds=1)
    answer(chosen, ledger, "A", 0, hits(0.3, 0))
    answer(chosen, ledger, "B", 0, hits(0.9, 1))
    verdict = only(chosen, ledger)
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.wide[0] > 30
    assert "Interval over queries alone" in " ".join(verdicts_as_text((verdict,)).split())


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        (hits(0.5, 9, clips=99), "(198 and 200)"),
        ({**hits(0.5, 9), "t2a_clips": np.arange(200)}, "(200, of other clips)"),
    ],
)
def test_unequal_sets_of_queries_cannot_be_compared(
    ledger: Ledger, experiment: Make, ranks: dict[str, Any], told: str
) -> None:
    chosen = experiment("B > A on t2a.R@1")
    for seed in range(3):
        answer(chosen, ledger, "A", seed, hits(0.3, seed))
        answer(chosen, ledger, "B", seed, ranks if seed == 1 else hits(0.6, 5 + seed))
    verdict = only(chosen, ledger)
    assert (verdict.outcome, verdict.p, verdict.wide) == (Outcome.UNDECIDED, None, None)
    assert verdict.reasons == (f"the runs answer unequal sets of queries {told}",)


def test_other_data_or_ranks_that_do_not_fit_leave_out_the_interval_over_queries(
    ledger: Ledger, experiment: Make
) -> None:
    chosen = experiment("B > A on t2a.R@1")
    for seed in range(3):
        answer(chosen, ledger, "A", seed, hits(0.3, seed))
        answer(chosen, ledger, "B", seed, hits(0.6, 5 + seed), data="data-b")
    verdict = only(chosen, ledger)
    assert verdict.p is not None
    assert verdict.wide is None
    assert verdict.remarks == ("the runs saw different data, so their queries cannot be paired",)
    answer(chosen, ledger, "B", 2, hits(0.6, 7), off=0.1)
    (remark,) = only(chosen, ledger).remarks
    assert "the ranks of B, seed 2, do not give its test.t2a.R@1" in remark


def mixed_bag(experiment: Make, ledger: Ledger) -> Experiment:
    """Claims of each kind and fate."""
    chosen = experiment(
        "B > A on t2a.R@1",
        "A > B on t2a.R@1 by at least 1",
        "C|c > A on t2a.R@1",
        "B within 4 % of A on a2t.R@1",
        "radius.text.mean of B falls over epochs",
    )
    for seed, radius in enumerate((0.5, 0.55, 0.52)):
        answer(chosen, ledger, "A", seed, hits(0.3, seed))
        ranks = hits(0.6, 5 + seed)
        epochs = [{"radius.text.mean": radius / epoch} for epoch in (1, 2, 3, 4)]
        cell = cell_of(chosen, "B", seed)
        finish(ledger, cell, {R1: recall(ranks)}, epochs, ranks)
    answer(chosen, ledger, "C|c", 0, hits(0.35, 20))
    return chosen


def test_the_text_lines_up_and_tells_all(ledger: Ledger, experiment: Make) -> None:
    verdicts = judge(mixed_bag(experiment, ledger), ledger)
    lines = verdicts_as_text(verdicts).splitlines()
    assert lines[0] == "Claims: 2 supported, 1 contradicted, 2 undecided"
    head, rows = lines[2], lines[4:9]
    column = head.index("claim")
    for row, verdict in zip(rows, verdicts, strict=True):
        assert width_of(row[:column]) == column
        assert row[column:] == verdict.claim.text
    text = " ".join(" ".join(lines).split())
    assert "Cannot be judged: C|c is not finished for seeds 1, 2" in text
    assert "A reports no test.a2t.R@1 for seeds 0, 1, 2" in text
    assert "3 of 5 claims could be judged" in text
    assert "corrected over the 5 claims" in text


def test_markdown_has_as_many_cells_in_each_row(ledger: Ledger, experiment: Make) -> None:
    text = verdicts_as_markdown(judge(mixed_bag(experiment, ledger), ledger))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 7
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {10}
    signature = cells_of(experiment("B > A on t2a.R@1"))[0].signature
    assert f"A, 0: `{signature}`" in text


def test_the_csv_can_be_read_back(ledger: Ledger, experiment: Make) -> None:
    chosen = mixed_bag(experiment, ledger)
    verdicts = judge(chosen, ledger)
    rows = list(csv.DictReader(io.StringIO(verdicts_as_csv(verdicts))))
    assert [row["claim"] for row in rows] == [claim.text for claim in chosen.claims]
    first, verdict = rows[0], verdicts[0]
    assert first["verdict"] == "supported"
    for name, value in {
        "effect": verdict.effect,
        "low": verdict.interval[0],
        "corrected": verdict.corrected,
        "wide_high": verdict.wide[1],
    }.items():
        assert float(first[name]) == pytest.approx(value, rel=1e-9)
    assert (rows[2]["p"], rows[2]["seeds"], rows[2]["seeds_wanted"]) == ("", "1", "3")
    assert len(first["signatures"].split()) == 6


def test_undecided_claims_say_how_many_seeds_would_do(ledger: Ledger, experiment: Make) -> None:
    chosen = experiment("B > A on t2a.R@1", "C|c > A on t2a.R@1")
    report(chosen, ledger, A=[40.0, 42.0, 44.0], B=[43.0, 43.0, 47.0], C=[39.0, 42.0, 45.0])
    decidable, hopeless = judge(chosen, ledger)
    # by simulation: at 0.05 / 2, mean 7/3 over a deviation of 1.1547
    chance = np.random.default_rng(0)
    n = decidable.undecided_until
    values = chance.normal(7 / 3, np.sqrt(4 / 3), (20_000, n))
    decided = np.mean(stats.ttest_1samp(values, 0, axis=1).pvalue <= 0.025)
    assert 0.79 < decided < 0.95
    text = verdicts_as_text((decidable, hopeless))
    assert f"Seeds to decide it: {n}." in text
    assert "Seeds to decide it: more than 1,000." in text
    assert "80 % at the level 0.05 / 2" in " ".join(text.split())


def test_the_same_ledger_gives_the_same_bytes(ledger: Ledger, experiment: Make) -> None:
    chosen = mixed_bag(experiment, ledger)
    assert verdict_files(judge(chosen, ledger)) == verdict_files(judge(chosen, ledger))


def test_the_command_prints_the_table_then_the_verdicts_and_writes_both(
    tmp_path: Path, ledger: Ledger, experiment: Make
) -> None:
    chosen = mixed_bag(experiment, ledger)
    arguments = ["table", str(tmp_path / "claims.yaml"), "--storage", str(tmp_path / "storage")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    folder = ledger.experiment_folder("claims")
    table, verdicts = (folder.read(f"{name}.txt").decode() for name in ("table", "verdicts"))
    assert done.stdout == f"{table}\n{verdicts}"
    files = conclude(chosen, ledger).files
    assert {name: folder.read(name) for name in files} == files
    shown = json.loads(files["verdicts-table.json"])
    assert len(shown["data"]) == 5
    assert {len(row) for row in shown["data"]} == {len(shown["columns"])}
    as_csv = CliRunner().invoke(main, [*arguments, "--format", "csv"]).stdout
    assert len(list(csv.DictReader(io.StringIO(as_csv)))) == 6  # variants times columns, no more


def test_verdicts_on_claims_that_are_gone_are_not_left_behind(
    tmp_path: Path, ledger: Ledger, experiment: Make
) -> None:
    conclude(mixed_bag(experiment, ledger), ledger).write(ledger.experiment_folder("claims"))
    found = conclude(experiment(), ledger)
    found.write(ledger.experiment_folder("claims"))
    left = ledger.experiment_folder("claims").names()
    assert "table.txt" in left
    assert not [name for name in left if name.startswith("verdicts")]

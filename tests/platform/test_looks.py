"""Seeds until the claims are decided: what a file may say, and what a run does next, from finished
runs that are made up."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from supclap_platform.cli import main
from supclap_platform.commands.now import as_of_now
from supclap_platform.commands.rounds import Round, first_round, next_round
from supclap_platform.experiment.cells import INIT, Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.seeds import Looks
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import remember
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.sequential import design_of
from supclap_platform.results.verdicts import Outcome, Verdict, judge
from supclap_platform.search.winner import Findings, Ranked, search_digest, write_findings
from supclap_platform.testing import fail, finish

from supclap.errors import InputError

TEXT = """\
experiment: looks
base: {epochs: 2}
variants:
  A: {}
  B: {loss.svr: {radius: static}}
  C: {loss.svr: {radius: dynamic}}
  D: {epochs: 3}
seeds: {until: decided, looks: [3, 5, 8, 12]}
matters: {t2a.R@1: 1.5}
baseline: A
claims:
  - B > A on t2a.R@1
  - C > A on t2a.R@1
  - C > A on a2t.R@1 matters from 0.7
"""
R1, BACK = "test.t2a.R@1", "test.a2t.R@1"
Value = Callable[[str, int, str], float]  # of a row (or the stage), a seed, a metric


def load(folder: Path, text: str = TEXT, profile: str = "laptop") -> Experiment:
    path = folder / "looks.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, profile)


def usual(row: str, seed: int, metric: str) -> float:
    """B is better by far, C is hardly better than A; seeds differ."""
    noise = np.random.default_rng([seed, ord(row[0]), len(metric)]).normal(0, 0.5)
    return {"A": 40.0, "B": 44.0, "C": 40.1}.get(row[0], 40.0) + 3 * (seed % 4) + float(noise)


def complete(cells: list[Cell], ledger: Ledger, value: Value = usual) -> None:
    for cell in cells:
        row = cell.variant.rpartition(": ")[2]  # without the part's name
        metrics = {m: value(row, cell.seed, m) for m in (R1, BACK)}
        finish(ledger, cell, metrics)


def run(experiment: Experiment, ledger: Ledger, value: Value = usual) -> list[Round]:
    """All rounds of a run."""
    rounds = [first_round(experiment, ledger)]
    while True:
        remember(rounds[-1].plan, ledger)
        complete(rounds[-1].plan.to_run, ledger, value)
        following = next_round(experiment, ledger)
        if following is None:
            return rounds
        rounds.append(following)


def counts(cells: list[Cell]) -> dict[str, int]:
    return dict(Counter(cell.variant for cell in cells))


def verdicts(experiment: Experiment, ledger: Ledger) -> tuple[Verdict, ...]:
    return judge(as_of_now(experiment, ledger)[0], ledger)


def mistake(folder: Path, old: str, new: str, profile: str = "laptop") -> str:
    assert old in TEXT
    with pytest.raises(InputError) as caught:
        load(folder, TEXT.replace(old, new), profile)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.mark.heavy
def test_only_rows_that_an_undecided_claim_needs_get_more_seeds(
    tmp_path: Path, ledger: Ledger
) -> None:
    rounds = run(load(tmp_path), ledger)
    seeds = [counts(one.plan.to_run) for one in rounds]
    assert seeds[0] == {"A": 3, "B": 3, "C": 3, "D": 3}
    assert "B" in seeds[1]
    assert all("D" not in one for one in seeds[1:])
    assert "B" not in seeds[-1]
    assert seeds[-1].keys() == {"A", "C"}
    first, second, third = verdicts(load(tmp_path), ledger)
    assert first.outcome is Outcome.SUPPORTED
    assert second.outcome is third.outcome is Outcome.NEGLIGIBLE
    assert first.look is not None
    assert second.look is not None
    assert first.look.number < second.look.number
    assert first.seeds == (3, 5, 8, 12)[first.look.number - 1] == len(first.runs) / 2
    assert second.seeds == (3, 5, 8, 12)[second.look.number - 1]
    assert [step.seeds for step in second.look.path] == [3, 5, 8, 12][: second.look.number]
    assert rounds[0].claims == "look 1 of 4: 0 of 3 claims decided"
    assert rounds[-1].claims.startswith(f"look {len(rounds)} of 4: ")
    assert as_of_now(load(tmp_path), ledger)[1] == f"look {len(rounds)} of 4: 3 of 3 claims decided"


@pytest.mark.heavy
def test_a_verdict_is_the_designs_by_hand(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    run(experiment, ledger)
    verdict = verdicts(experiment, ledger)[0]
    design = design_of(Looks((3, 5, 8, 12), "even"))
    differences = [usual("B", s, R1) - usual("A", s, R1) for s in range(12)]
    level = 0.05 / 3 / 2  # of three claims; two-sided
    for look, n in enumerate((3, 5, 8, 12)):
        t = stats.ttest_1samp(differences[:n], 0).statistic
        if t >= design.bounds(level)[look]:
            break
    assert (verdict.look.number, verdict.seeds) == (look + 1, n)
    mean, reach = np.mean(differences[:n]), design.bounds(0.025)[look]
    error = np.std(differences[:n], ddof=1) / sqrt(n)
    assert verdict.effect == pytest.approx(mean)
    assert verdict.interval == pytest.approx((mean - reach * error, mean + reach * error))
    levels = [
        2 * design.level(k, stats.ttest_1samp(differences[:m], 0, alternative="greater").pvalue)
        for k, m in enumerate((3, 5, 8, 12)[: look + 1])
    ]
    assert verdict.p == pytest.approx(min(levels))
    assert verdict.corrected == pytest.approx(3 * min(levels))


@pytest.mark.heavy
def test_what_is_next_depends_on_the_ledger_alone(tmp_path: Path, ledger: Ledger) -> None:
    """Cells end in any order, and a driver that begins anew half-way plans the other half: no claim
    is judged before its look is complete."""
    experiment = load(tmp_path)
    chance = np.random.default_rng(0)
    twin = Ledger(ledger.storage.below("twin"))
    for one in run(experiment, twin):
        before = verdicts(experiment, ledger)
        left = [one.plan.to_run[place] for place in chance.permutation(len(one.plan.to_run))]
        while left:
            half = max(1, len(left) // 2)
            complete(left[:half], ledger)
            left = left[half:]
            if left:
                now = first_round(load(tmp_path), Ledger(ledger.storage))
                wanted = {cell.signature for cell in left}
                assert {cell.signature for cell in now.plan.to_run} == wanted
                assert now.claims == one.claims
                looks = [v.look.number for v in verdicts(experiment, ledger) if v.look]
                assert looks == [v.look.number for v in before if v.look]
    assert not first_round(experiment, ledger).open
    assert verdicts(experiment, ledger) == verdicts(experiment, twin)


@pytest.mark.heavy
def test_a_claim_with_a_failed_run_waits_and_holds_up_no_other(
    tmp_path: Path, ledger: Ledger
) -> None:
    experiment = load(tmp_path)
    begin = first_round(experiment, ledger)
    lost = next(c for c in begin.plan.to_run if (c.variant, c.seed) == ("B", 2))
    complete([cell for cell in begin.plan.to_run if cell is not lost], ledger)
    fail(ledger, lost, "the loss is not finite")
    second = next_round(experiment, ledger)
    assert second is not None
    assert counts(second.plan.to_run) == {"A": 2, "C": 2}
    while second is not None:
        complete(second.plan.to_run, ledger)
        second = next_round(experiment, ledger)
    first, *others = verdicts(experiment, ledger)
    assert (first.outcome, first.p, first.seeds, first.wanted) == (Outcome.UNDECIDED, None, 2, 3)
    assert "B failed for seed 2" in first.reasons
    assert all(one.outcome is Outcome.NEGLIGIBLE for one in others)
    again = first_round(experiment, ledger)  # the next run tries it once more, and goes on
    assert [cell.signature for cell in again.plan.to_run] == [lost.signature]
    run(experiment, ledger)
    assert verdicts(experiment, ledger)[0].outcome is Outcome.SUPPORTED


def test_a_metric_that_is_no_number_gets_no_seeds_in_vain(tmp_path: Path, ledger: Ledger) -> None:
    def value(row: str, seed: int, metric: str) -> float:
        return float("nan") if (row, seed, metric) == ("C", 1, R1) else usual(row, seed, metric)

    text = TEXT.replace("  - C > A on a2t.R@1 matters from 0.7\n", "")
    rounds = run(load(tmp_path, text), ledger, value)
    assert all("C" not in counts(one.plan.to_run) for one in rounds[1:])
    assert verdicts(load(tmp_path, text), ledger)[1].outcome is Outcome.UNDECIDED


@pytest.mark.heavy
def test_no_spread_goes_on_to_the_next_look(tmp_path: Path, ledger: Ledger) -> None:
    def value(row: str, seed: int, metric: str) -> float:
        return 40.0 if seed < 3 else usual(row, seed, metric)

    rounds = run(load(tmp_path), ledger, value)
    assert len(rounds) > 1
    assert counts(rounds[1].plan.to_run) == {"A": 2, "B": 2, "C": 2}


@pytest.mark.heavy
def test_stages_groups_and_the_rows_that_others_start_from(tmp_path: Path, ledger: Ledger) -> None:
    """A stage for each seed is trained for the seeds that are needed, and for no others."""
    text = TEXT.replace("seeds:", "init: {base: {epochs: 1}, per_seed: true}\nseeds:")
    rounds = run(load(tmp_path, text), ledger)
    assert counts(rounds[0].plan.to_run)[INIT] == 3
    for one in rounds[1:]:
        assert counts(one.plan.to_run)[INIT] == counts(one.plan.to_run)["A"]
    text = TEXT.replace("seeds:", "init: {variant: D, per_seed: true}\nseeds:")
    grouped = text.replace(
        "init: {variant: D, per_seed: true}\n", "groups: {x: {}, y: {epochs: 4}}\n"
    )
    grouped = grouped.replace("on t2a", "on x.t2a").replace("on a2t", "on y.a2t")
    from_row = first_round(load(tmp_path, text), Ledger(ledger.storage.below("row")))
    assert counts(from_row.plan.to_run) == {"A": 3, "B": 3, "C": 3, "D": 3}
    other = Ledger(ledger.storage.below("row"))
    later = run(load(tmp_path, text), other)[1].plan.to_run
    assert counts(later)["D"] == counts(later)["A"]
    own = Ledger(ledger.storage.below("groups"))
    later = run(load(tmp_path, grouped), own)[1].plan.to_run
    assert "B @ x" in counts(later)
    assert "B @ y" not in counts(later)
    table = conclude(as_of_now(load(tmp_path, grouped), own)[0], own).text()
    assert "(n = 3)" in table  # D, in both groups


@pytest.mark.heavy
def test_a_searchs_winner_gets_the_seeds_that_its_claim_needs(
    tmp_path: Path, ledger: Ledger
) -> None:
    text = TEXT.replace("  - B > A on t2a.R@1", "  - winner > A on t2a.R@1")
    text += "search: {trials: 3, space: {optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}}}\n"
    experiment = load(tmp_path, text)
    begin = first_round(experiment, ledger)
    assert begin.claims == "look 1 of 4: 0 of 2 claims decided"  # that on the winner waits for it
    alone = text[: text.index("  - C > A on t2a")] + text[text.index("search:") :]
    assert first_round(load(tmp_path, alone), ledger).claims.endswith("0 of 0 claims decided")
    place = [str(tmp_path / "looks.yaml"), "--storage", str(tmp_path / "storage")]
    assert CliRunner().invoke(main, ["plan", "--no-timing", *place]).exit_code == 0
    best = [Ranked(1, {"optimizer.lr": 0.002}, [31.5])]
    found = Findings(search_digest(experiment), ["val.t2a.R@1"], best, trials=3, left=0)
    write_findings(experiment, found, ledger)

    def value(row: str, seed: int, metric: str) -> float:
        return usual("B" if row == "winner" else row, seed, metric)

    rounds = run(experiment, ledger, value)
    assert counts(rounds[0].plan.to_run) == {"A": 3, "B": 3, "C": 3, "D": 3, "winner": 3}
    assert counts(rounds[1].plan.to_run)["winner"] == 2
    first = verdicts(experiment, ledger)[0]
    assert first.outcome is Outcome.SUPPORTED
    assert first.claim.variants == ("winner", "A")


def test_a_profile_may_have_its_own(tmp_path: Path) -> None:
    text = TEXT + "profiles: {short: {seeds: {until: decided, at_most: 4}}, fixed: {seeds: 2}}\n"
    assert load(tmp_path, text, "short").looks == Looks((3, 4), "even")
    fixed = load(tmp_path, text, "fixed")
    assert (fixed.looks, fixed.seeds) == (None, (0, 1))
    other = TEXT.replace("{until: decided, looks: [3, 5, 8, 12]}", "2")
    other += "profiles: {until: {seeds: {until: decided, spending: pocock}}}\n"
    assert load(tmp_path, other, "until").looks == Looks((3, 5, 8, 12, 18, 27, 40), "pocock")


@pytest.mark.heavy
def test_parts_of_an_experiment_share_their_cells_once(tmp_path: Path, ledger: Ledger) -> None:
    load(tmp_path)
    second = TEXT.replace("experiment: looks", "experiment: other").replace("C > A", "D > A")
    (tmp_path / "other.yaml").write_text(second, encoding="utf-8")
    whole = tmp_path / "whole.yaml"
    whole.write_text("experiment: whole\ninclude: [looks.yaml, other.yaml]\n", encoding="utf-8")
    rounds = run(load_experiment(whole), ledger)
    assert rounds[0].claims == "0 of 6 claims decided"
    for one in rounds:
        signatures = [cell.signature for cell in one.plan.to_run]
        assert len(set(signatures)) == len(signatures)
    for path in (tmp_path / "looks.yaml", tmp_path / "other.yaml"):
        assert not first_round(load_experiment(path), ledger).open
    alone = Ledger(ledger.storage.below("alone"))
    run(load(tmp_path), alone)
    assert verdicts(load(tmp_path), ledger) == verdicts(load(tmp_path), alone)


@pytest.mark.heavy
def test_what_is_shown(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    place = [str(tmp_path / "looks.yaml"), "--storage", str(tmp_path / "storage")]

    def shown(*command: str) -> str:
        done = CliRunner().invoke(main, [*command, *place])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    planned = shown("plan", "--no-timing")
    assert "looks, profile laptop: 4 variants x 3 to 12 seeds" in planned
    assert "look 1 of 4: 0 of 3 claims decided" in planned
    bounds = design_of(Looks((3, 5, 8, 12), "even"))
    strict, loose = bounds.bounds(0.05 / 6)[1], bounds.bounds(0.025)[1]
    assert f"5 seeds {loose:.2f} to {strict:.2f}" in planned
    assert "39 cells left of 39" in planned  # 12 of A, B and C, 3 of D
    run(experiment, ledger)
    text = shown("table")
    first, second, third = verdicts(experiment, ledger)
    assert f"{first.seeds}, look {first.look.number} of 4" in text
    assert f"Decided at look {second.look.number} of 4, with {second.seeds} seeds." in text
    assert f"A (n = {max(second.seeds, third.seeds)})" in text
    assert f"B (n = {first.seeds})" in text
    assert len({run.seeds for run in (first, second, third)}) > 1  # so means are not compared
    assert "unequal seeds their means are not to be compared, and no best is marked" in text
    csv_of_rows = (tmp_path / "storage/experiments/looks/table.csv").read_text()
    assert {row["best"] for row in csv.DictReader(io.StringIO(csv_of_rows))} == {"no"}
    assert "Claims: 1 supported, 0 contradicted, 2 negligible, 0 undecided" in text
    rows = list(
        csv.DictReader(
            io.StringIO((tmp_path / "storage/experiments/looks/verdicts.csv").read_text())
        )
    )
    assert [row["look"] for row in rows[:2]] == [str(first.look.number), str(second.look.number)]
    assert [row["matters"] for row in rows] == ["1.5", "1.5", "0.7"]
    assert "3 of 3 claims decided" in shown("status")
    assert "0 cells left of" in shown("plan")
    assert "negligible" in shown("report") or (
        "negligible" in (tmp_path / "storage/experiments/looks/report.html").read_text()
    )


@pytest.mark.heavy
@pytest.mark.parametrize(("matters", "code"), [("0.05", 2), ("0.4", 0)])
def test_plan_says_how_many_seeds_a_small_margin_takes(
    tmp_path: Path, ledger: Ledger, matters: str, code: int
) -> None:
    """Out of reach it is a mistake, at its line; where it is only unlikely, a remark."""
    text = TEXT.replace("matters from 0.7", f"matters from {matters}")
    experiment = load(tmp_path, text)
    complete(first_round(experiment, ledger).plan.to_run, ledger)
    place = [str(tmp_path / "looks.yaml"), "--storage", str(tmp_path / "storage")]
    done = CliRunner().invoke(main, ["plan", "--no-timing", *place])
    told = f"claim 'C > A on a2t.R@1 matters from {matters}': with the spread seen so far"
    assert told in done.output
    assert "there are at most 12" in done.output
    assert done.exit_code == code
    assert (f"{tmp_path}/looks.yaml:14: {told}" in done.stderr) == bool(code)
    if code:  # at a profile's own claims, too
        claims = text[text.index("claims:") :].replace("\n", "\n    ").strip()
        load(tmp_path, f"{text}profiles:\n  own:\n    {claims}\n")
        done = CliRunner().invoke(main, ["plan", "--no-timing", "--profile", "own", *place])
        assert f"{tmp_path}/looks.yaml:20: {told}" in done.stderr, done.output


def test_negligible_ends_a_claim_of_a_fixed_design_too(tmp_path: Path, ledger: Ledger) -> None:
    text = TEXT.replace("{until: decided, looks: [3, 5, 8, 12]}", "6")
    experiment = load(tmp_path, text)
    complete(cells_of(experiment), ledger)
    _, second, _ = judge(experiment, ledger)
    values = np.array([usual("C", s, R1) - usual("A", s, R1) for s in range(6)])
    p = max(
        stats.ttest_1samp(values - 1.5, 0, alternative="less").pvalue,
        stats.ttest_1samp(values + 1.5, 0, alternative="greater").pvalue,
    )
    assert second.outcome is Outcome.NEGLIGIBLE
    assert second.p == pytest.approx(p)
    assert second.look is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("looks: [3, 5, 8, 12]", "looks: [3, 8, 8]", ":8: seeds.looks: looks must rise"),
        ("looks: [3, 5, 8, 12]", "looks: [1, 5]", ":8: seeds.looks: the first look needs 2 seeds"),
        ("looks: [3, 5, 8, 12]", "looks: []", ":8: seeds.looks: expected 1 to 50"),
        ("looks: [3, 5, 8, 12]", "looks: [3, 1001]", ":8: seeds.looks: expected at most 1000"),
        ("looks: [3, 5, 8, 12]", "at_most: 2", ":8: seeds.at_most: below the first look, at 3"),
        ("8, 12]}", "8, 12], at_most: 2}", ":8: seeds.at_most: below the first look, at 3"),
        ("8, 12]}", "8, 12], at_most: 9}", ":8: seeds.at_most: the last of 'looks' is at 12"),
        ("looks: [3, 5, 8, 12]", "at_most: 5000", ":8: seeds.at_most: expected at most 1000"),
        ("looks: [3", "look: [3", ":8: unknown key 'seeds.look'; did you mean 'looks'?"),
        ("until: decided", "until: bored", ":8: seeds.until: input should be 'decided'"),
        ("until: decided, ", "", ":8: seeds.until: field required"),
        ("8, 12]}", "8, 12], spending: all}", ":8: seeds.spending: input should be 'even', 'l"),
        ("t2a.R@1: 1.5", "t2a.R@1: 0", ":9: matters.t2a.R@1: input should be greater than 0"),
        ("t2a.R@1: 1.5", "t2a.R@1: true", ":9: matters.t2a.R@1: expected a number"),
        ("looks: [3, 5, 8, 12]", "at_most: true", ":8: seeds.at_most: expected a number"),
        ("looks: [3, 5, 8, 12]", "looks: 5", ":8: seeds.looks: input should be a"),
        ("t2a.R@1: 1.5", "t2a.mAP10: 1", ":9: matters: no claim 'A > B on t2a.mAP10'"),
        ("t2a.R@1: 1.5", "t2a.R@2: 1", ":9: matters: no run reports 't2a.R@2'"),
        ("t2a.R@1: 1.5", "t2a.R@1: .inf", ":9: matters.t2a.R@1: input should be a finite"),
        (
            "from 0.7",
            "from 0",
            ":14: claim 'C > A on a2t.R@1 matters from 0': 'matters from' needs",
        ),
        ("from 0.7", "from x", ":14: claim 'C > A on a2t.R@1 matters from x': expected"),
        ("matters from 0.7", "by at least 1 matters from 1", "no less than what matters (1)"),
        ("B > A on t2a.R@1", "B > A on t2a.R@1 by at least 2", ":12: claim 'B > A on t2a.R@1 by"),
        ("B > A on t2a.R@1", "B within 2 % of A on t2a.R@1 matters from 1", "belongs to claims"),
        (
            "t2a.R@1: 1.5",
            "t2a.R@1: 1.5, test.t2a.R@1: 2",
            ":9: matters: 'test.t2a.R@1' and 't2a.R@1' are the same metric",
        ),
        (
            "{until: decided, looks: [3, 5, 8, 12]}",
            "decided",
            "a number of seeds, a list of them, or",
        ),
        ("looks: [3, 5, 8, 12]", "looks: [5, 3]", ":8: seeds.looks: looks must rise, and 3 stands"),
        ("looks: [3, 5, 8, 12]", "at_most: 0", ":8: seeds.at_most: below the first look, at 3"),
        ("t2a.R@1: 1.5", "t2a.R@1: -1", ":9: matters.t2a.R@1: input should be greater than 0"),
        (TEXT[TEXT.index("matters") :], "claims: []\n", ":8: seeds: 'until: decided' needs claims"),
    ],
)
def test_a_mistake_gets_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert told in mistake(tmp_path, old, new)


def test_matters_of_a_group_and_of_a_claims_own(tmp_path: Path) -> None:
    text = TEXT.replace("seeds:", "groups: {x: {}, y: {epochs: 4}}\nseeds:")
    text = text.replace("{t2a.R@1: 1.5}", json.dumps({"x.t2a.R@1": 1.5}))
    text = text.replace("  - B > A on t2a", "  - B > A on x.t2a").replace(
        "C > A on t2a", "C > A on y.t2a"
    )
    text = text.replace("on a2t", "on y.a2t")
    assert [claim.matters for claim in load(tmp_path, text).claims] == [1.5, None, 0.7]
    for both in ({"x.t2a.R@1": 1.5, "t2a.R@1": 2.0}, {"t2a.R@1": 2.0, "x.t2a.R@1": 1.5}):
        one = text.replace(json.dumps({"x.t2a.R@1": 1.5}), json.dumps(both))
        assert [claim.matters for claim in load(tmp_path, one).claims] == [1.5, 2.0, 0.7]

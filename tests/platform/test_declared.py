"""What was asked after there were results is marked; nothing else is, and there is no way round."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.declared import DECLARED
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.results.verdict_formats import verdicts_as_csv
from supclap_platform.results.verdicts import judge
from supclap_platform.testing import finish

TEXT = """\
experiment: asked
base: {epochs: 2}
variants:
  A: {}
  B: {loss.svr: {radius: static}}
seeds: 3
claims:
  - B > A on t2a.R@1
"""


def load(folder: Path, text: str = TEXT, **changes: object) -> Experiment:
    path = folder / "asked.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, changes=changes)


def run(experiment: Experiment, ledger: Ledger) -> None:
    """What a run writes: what is asked, then the results."""
    plan = make_plan(experiment, ledger)
    remember(plan, ledger)
    for cell in plan.to_run:
        value = 40.0 + cell.seed % 3 + (2.0 + 0.1 * (cell.seed % 2) if cell.variant != "A" else 0.0)
        finish(ledger, cell, {"test.t2a.R@1": value, "test.a2t.R@1": value})


def marks(experiment: Experiment, ledger: Ledger) -> list[bool]:
    """Of each claim, whether it is marked as declared after results."""
    return [any("after results" in r for r in one.remarks) for one in judge(experiment, ledger)]


def test_what_was_asked_before_is_not_marked(tmp_path: Path, ledger: Ledger) -> None:
    run(load(tmp_path), ledger)
    assert marks(load(tmp_path), ledger) == [False]
    run(load(tmp_path), ledger)
    assert marks(load(tmp_path), ledger) == [False]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("on t2a.R@1", "on a2t.R@1"),
        ("B > A", "A > B"),
        ("on t2a.R@1", "on t2a.R@1 by at least 0.5"),
        ("on t2a.R@1", "on t2a.R@1 matters from 0.5"),
        ("B > A", "B within 1 % of A"),
        ("seeds: 3", "seeds: 3\nmatters: {t2a.R@1: 0.2}"),
    ],
)
def test_what_is_asked_after_results_is_marked_also_once_it_has_been_run(
    tmp_path: Path, ledger: Ledger, old: str, new: str
) -> None:
    run(load(tmp_path), ledger)
    text = TEXT.replace(old, new)
    edited = load(tmp_path, text)
    assert marks(edited, ledger) == [True]
    run(edited, ledger)
    assert marks(load(tmp_path, text), ledger) == [True]
    assert marks(load(tmp_path), ledger) == [False]


def test_where_no_result_was_to_be_seen_nothing_is_marked(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    remember(make_plan(experiment, ledger), ledger)  # and killed before any cell had ended
    both = TEXT + "  - B > A on a2t.R@1\n"
    run(load(tmp_path, both), ledger)
    assert marks(load(tmp_path, both), ledger) == [False, False]
    more = (
        both.replace("seeds:", "  C: {loss.svr: {radius: dynamic}}\nseeds:")
        + "  - C > A on t2a.R@1\n"
    )
    run(load(tmp_path, more), ledger)  # of C there was none
    assert marks(load(tmp_path, more), ledger) == [False, False, False]


def test_names_and_words_change_nothing_and_another_experiment_begins_anew(
    tmp_path: Path, ledger: Ledger
) -> None:
    run(load(tmp_path), ledger)
    renamed = TEXT.replace("  B: {", "  Beta: {").replace("B > A", "A <   Beta")
    assert marks(load(tmp_path, renamed), ledger) == [False]
    other = TEXT.replace("experiment: asked", "experiment: other").replace("B > A", "A > B")
    run(load(tmp_path, other), ledger)
    assert marks(load(tmp_path, other), ledger) == [False]


def test_a_change_that_changes_no_run_is_no_way_round(tmp_path: Path, ledger: Ledger) -> None:
    run(load(tmp_path), ledger)
    edited = TEXT.replace("B > A", "A > B")
    assert marks(load(tmp_path, edited, checkpoint_steps=7), ledger) == [True]
    none = TEXT[: TEXT.index("claims")]
    bare = Ledger(ledger.storage.below("bare"))
    run(load(tmp_path, none), bare)  # a first run that asks nothing
    assert marks(load(tmp_path), bare) == [True]


def test_seeds_that_grow_after_a_look_are_marked(tmp_path: Path, ledger: Ledger) -> None:
    run(load(tmp_path), ledger)
    grown = load(tmp_path, TEXT.replace("seeds: 3", "seeds: 5"))
    told = "seeds declared after results (0, 1, 2, 3, 4; before: 0, 1, 2)"
    assert told in judge(grown, ledger)[0].remarks
    run(grown, ledger)
    assert told in judge(grown, ledger)[0].remarks
    assert marks(load(tmp_path), ledger) == [False]
    until = TEXT.replace("seeds: 3", "seeds: {until: decided, looks: [3, 6]}")
    assert marks(load(tmp_path, until), ledger) == [True]
    fresh = Ledger(ledger.storage.below("fresh"))
    run(load(tmp_path, until), fresh)
    assert marks(load(tmp_path, until), fresh) == [False]


def test_the_plan_says_so_before_it_costs_anything_and_files_after(
    tmp_path: Path, ledger: Ledger
) -> None:
    run(load(tmp_path), ledger)
    load(tmp_path, TEXT.replace("seeds: 3", "seeds: 4").replace("on t2a.R@1", "on a2t.R@1"))
    place = [str(tmp_path / "asked.yaml"), "--storage", str(tmp_path / "storage")]
    output = CliRunner().invoke(main, ["plan", "--no-timing", *place]).output
    assert "'B > A on a2t.R@1': declared after results; its verdict says so" in output
    assert "seeds declared after results (0, 1, 2, 3; before: 0, 1, 2)" in output
    edited = load_experiment(tmp_path / "asked.yaml")
    run(edited, ledger)
    (row,) = csv.DictReader(io.StringIO(verdicts_as_csv(judge(edited, ledger))))
    assert "declared after results, on 20" in row["remarks"]
    for name in ledger.experiment_folder("asked").names(DECLARED):  # damaged: named, not believed
        ledger.experiment_folder("asked").write(f"{DECLARED}/{name}", b"{}")
    own = Ledger(ledger.storage)
    judge(edited, own)
    assert own.damage

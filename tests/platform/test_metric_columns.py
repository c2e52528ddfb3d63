"""Metrics of one's own in an experiment file: columns, claims, the chosen epoch, objectives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.metrics import FIRST_WORDS
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.formats import as_text
from supclap_platform.results.tables import build_table
from supclap_platform.results.verdicts import judge
from supclap_platform.testing import finish

from supclap import registry
from supclap.errors import InputError
from supclap.metric_names import RESERVED
from supclap.parts import Metric, register

TEXT = """\
experiment: own
base: {metrics: {gap: {}, far: {name: gap}}, select: {metric: far.gap.low}}
variants:
  A: {}
  B: {loss: siglip}
  Without: {metrics: {gap: null, far: null}, select: {metric: MRV}}
seeds: 3
table: {columns: [gap.low, far.gap.high, val.gap.neither, shifted.gap.low, {{column}}]}
claims: [A < B on gap.low, A > B on far.gap.high, gap.low of A falls over epochs]
"""
SEARCH = """\
experiment: own
base: {metrics: {gap: {}}}
variants: {A: {}}
search:
  space: {loss.temperature: {uniform: [0.05, 0.1]}}
  objective: {{objective}}
  trials: 4
"""


class Gap(Metric):
    names = ("gap.low", "gap.high", "gap.neither")
    lower = ("gap.low",)
    higher = ("gap.high",)
    k: int = 5


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        register("gap")(Gap)
        yield


def load(tmp_path: Path, text: str = TEXT, **put: str) -> Experiment:
    text = text.replace("MRV", put.pop("without", "t2a.R@1"))
    for name, value in {"column": "t2a.R@1", **put}.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)


def test_a_name_of_our_own_is_reserved() -> None:
    assert FIRST_WORDS <= RESERVED


def test_the_table_marks_the_good_one_and_claims_know_which_way(
    tmp_path: Path, ledger: Ledger
) -> None:
    experiment = load(tmp_path)
    numbers = {"A": (1.0, 5.0), "B": (2.0, 4.0)}
    for cell in cells_of(experiment):
        if cell.variant == "Without":
            finish(ledger, cell, {"test.t2a.R@1": 1.0})
            continue
        low, high = (number * (1 + 0.01 * cell.seed) for number in numbers[cell.variant])
        values: dict[str, float] = {"test.gap.low": low, "test.far.gap.high": high}
        values |= {"val.gap.neither": 0.1, "shifted.gap.low": high}
        finish(ledger, cell, values | {"test.t2a.R@1": 2.0})
    shown = as_text(build_table(experiment, ledger)).splitlines()
    rows = {line.split()[0]: line.split("  ") for line in shown if line[:1] in ("A", "B", "W")}
    marked = {name: [part for part in row if part.endswith("*")] for name, row in rows.items()}
    assert [part.strip()[:6] for part in marked["A"][:2]] == ["1.0100", "5.0500"]
    assert [part.strip()[:6] for part in marked["B"][:1]] == ["4.0400"]  # shifted: low again
    verdicts = judge(experiment, ledger)
    assert [one.outcome.value for one in verdicts[:2]] == ["supported", "supported"], verdicts


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("gap.lo", "no run reports 'gap.lo'; did you mean 'gap.low'?"),
        ("near.gap.low", "no variant reports 'near.gap.low': A: it has no metrics.near"),
        ("val.near.gap.low", "it has no metrics.near"),
        ("chance.gap.low", "no run reports 'chance.gap.low'"),
        ("also.x.gap.low", "'also' names no test set 'x'"),
        ("test.gap.low", "the column 'test.gap.low' stands twice"),
        ("uniformity.audio", "it has no metrics.geometry"),
    ],
)
def test_a_name_that_nothing_reports_is_refused(tmp_path: Path, column: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, column=column)
    assert said in str(caught.value)


def test_the_chosen_epoch_needs_a_direction_and_the_metric(tmp_path: Path) -> None:
    for metric, said in {
        "gap.neither": "select.metric: of 'gap.neither' neither a high nor a low number",
        "gap.low": "select.metric: the run reports no val.gap.low: it has no metrics.gap",
    }.items():
        with pytest.raises(InputError) as caught:
            load(tmp_path, without=metric)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "found"),
    [
        ("val.gap.low", [("val.gap.low", "minimize")]),
        ("val.gap.high", [("val.gap.high", "maximize")]),
        ("{val.gap.neither: minimize}", [("val.gap.neither", "minimize")]),
        ("val.gap.neither", "say which way 'val.gap.neither' is better"),
        ("gap.low", "choosing by it would prove nothing; give val.gap.low"),
        ("val.far.gap.low", "no run reports 'val.far.gap.low': it has no metrics.far"),
    ],
)
def test_a_search_knows_its_objectives_direction(
    tmp_path: Path, objective: str, found: Any
) -> None:
    if isinstance(found, str):
        with pytest.raises(InputError) as caught:
            load(tmp_path, SEARCH, objective=objective)
        assert found in str(caught.value)
        return
    search = load(tmp_path, SEARCH, objective=objective).search
    assert search is not None
    assert [(one.metric, one.direction) for one in search.objectives] == found


def test_a_search_starts_from_a_parts_own_values(tmp_path: Path) -> None:
    """Also of a part that is one of several, and of one that the base does not have yet."""
    space = "metrics.gap.k: {integer: [1, 9]}, metrics.gap.name: {fixed: gap}"
    text = SEARCH.replace("space: {", f"start: [{{loss.temperature: 0.07}}]\n  space: {{{space}, ")
    search = load(tmp_path, text.replace("gap: {}", "gap: {k: 3}"), objective="val.gap.low").search
    assert search is not None
    assert search.start[0]["metrics.gap.k"] == 3
    without = text.replace("metrics: {gap: {}}", "epochs: 2")
    search = load(tmp_path, without, objective="val.t2a.R@1").search
    assert search is not None
    assert search.start[0]["metrics.gap.k"] == 5


def test_a_group_stands_before_it_as_before_any_metric(tmp_path: Path) -> None:
    text = """\
experiment: own
base: {metrics: {gap: {}}}
groups: {few: {batch_size: 24}, many: {batch_size: 48}}
variants: {A: {}, B: {loss: siglip}}
table: {columns: [gap.low, few.gap.high]}
claims: [A < B on many.gap.low]
"""
    experiment = load(tmp_path, text)
    names = [column.name for column in experiment.columns]
    assert names == ["few.gap.low", "few.gap.high", "many.gap.low"]

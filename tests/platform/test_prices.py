"""Prices: hours as money, in plan, view, report and a search's budget; in no signature."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.prices import Prices
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.schema import Resources
from supclap_platform.ledger.bill import Bill, mean_bill
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan
from supclap_platform.ledger.records import Known
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.costs import costs_of, trials_cost
from supclap_platform.running.monitor import watch
from supclap_platform.running.progress import Reader
from supclap_platform.running.view import line
from supclap_platform.search.study import Book
from supclap_platform.search.trials import Trials
from supclap_platform.testing import finish, interrupt

from supclap.errors import InputError

FILE = """\
experiment: priced
base: {epochs: 2}
variants:
  InfoNCE: {}
  SVR: {loss.svr: {radius: static}}
seeds: 2
resources: {cpu: 3}
claims: [SVR > InfoNCE on t2a.R@1]
"""
PRICED = FILE + 'prices: {cpu: 0.5, H100: 2.5, currency: "€"}\n'
HOUR = 3600.0


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_hour_is_that_of_cores_and_devices() -> None:
    prices = Prices(0.5, {"H100": 2.5, "A100": 2.0, "A100 80GB": 3.0}, "€")
    cpu = Resources(cpu=3)
    gpu = Resources(cpu=4, gpu=0.5)
    assert prices.hour(cpu, 2, "CPU, x86_64") == 2 * 3 * 0.5
    assert prices.hour(cpu, 2) == 3.0
    assert prices.hour(gpu, 2, "NVIDIA H100 80GB HBM3") == 2 * (0.5 * 2.5 + 4 * 0.5)
    assert prices.hour(gpu, 1, "nvidia a100 80gb pcie") == 0.5 * 3.0 + 2.0  # the longest name
    assert prices.hour(gpu, 1) == 0.5 * 3.0 + 2.0  # not known yet: the dearest
    assert prices.hour(gpu, 1, "NVIDIA L4") is None
    assert Prices(None, {"H100": 2.0}).hour(gpu, 1, "H100") == 1.0  # cores beside it are free
    assert Prices(None, {"H100": 2.0}).hour(cpu, 1) is None
    assert Prices(0.5).hour(gpu, 1) is None


@pytest.mark.parametrize(
    ("currency", "amount", "text"),
    [
        ("€", 12.3, "€12.30"),
        ("$", 1234.5, "$1,234.50"),
        ("CHF", 2.0, "2.00 CHF"),
        ("kr", 0.004, "0.004 kr"),
        ("£", 0.0, "£0.00"),
    ],
)
def test_an_amount_bears_its_currency(currency: str, amount: float, text: str) -> None:
    assert Prices(1.0, {}, currency).text(amount) == text


def test_no_signature_knows_of_prices(tmp_path: Path) -> None:
    path = written(tmp_path, FILE)
    before = [cell.signature for cell in cells_of(load_experiment(path))]
    written(tmp_path, PRICED)
    assert [cell.signature for cell in cells_of(load_experiment(path))] == before


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ("3", "expected what an hour costs, such as prices: {H100: 2.5"),
        ("{}", "expected what an hour costs, such as prices: {H100: 2.5"),
        ("{currency: €}", "no price but a currency"),
        ("{cpu: -1}", "cpu: expected what an hour costs, a number from 0 on, found '-1'"),
        ("{cpu: €0.04}", "cpu: expected what an hour costs, a number from 0 on, found '€0.04'"),
        ("{cpu: .inf}", "found 'inf'"),
        ("{cpu: true}", "found 'True'"),
        ("{cpu: [1]}", "found '[1]'"),
        ("{H100: 1, h100: 2}", "'H100' and 'h100' are one name: case does not count"),
        ("{cpu: 1, currency: 3}", "currency: expected a sign, such as € or CHF"),
        ("{cpu: 1, currency: a very long one}", "currency: expected a sign of at most 8 char"),
    ],
)
def test_prices_that_are_none_are_one_line(tmp_path: Path, prices: str, message: str) -> None:
    path = written(tmp_path, f"{FILE}prices: {prices}\n")
    with pytest.raises(InputError) as error:
        load_experiment(path)
    assert message in str(error.value)
    assert "e.yaml" in str(error.value)
    assert "prices" in str(error.value)


def test_a_profile_has_prices_in_the_place_of_the_files(tmp_path: Path) -> None:
    path = written(tmp_path, PRICED + "profiles: {paper: {prices: {gpu: 1}}, small: {}}\n")
    assert load_experiment(path, "paper").prices == Prices(None, {"gpu": 1.0})
    assert load_experiment(path, "small").prices == Prices(0.5, {"H100": 2.5}, "€")


@pytest.mark.heavy
def test_plan_view_and_report_say_what_it_costs(tmp_path: Path) -> None:
    """Two hours a run on three cores at 0.5: three a run, by hand."""
    path, ledger = written(tmp_path, PRICED), open_ledger(tmp_path / "s")
    first, second, third, fourth = cells_of(load_experiment(path))
    for cell, value in ((first, 40.0), (second, 41.0), (third, 39.0)):
        finish(ledger, cell, {"test.t2a.R@1": value}, seconds=2 * HOUR)
    command = ["plan", str(path), "--storage", str(tmp_path / "s"), "--no-timing"]
    planned = CliRunner().invoke(main, command)
    assert "1 cell takes 2 h 00 min with" in planned.output, planned.output
    assert "2.00 worker-hours, €3.00 (from 3 finished cells" in planned.output
    interrupt(ledger, fourth, epochs=1)  # half of it is left
    assert "1.00 worker-hours, €1.50 (from" in CliRunner().invoke(main, command).output
    experiment = load_experiment(path)
    seen = watch(make_plan(experiment, ledger), ledger, Reader(ledger), None)
    assert seen.money == "€9.00 so far, about €1.50 to come"
    assert seen.money in line(seen)
    finish(ledger, fourth, {"test.t2a.R@1": 42.0}, seconds=HOUR)
    (tables,) = costs_of(conclude(experiment, ledger))
    assert [(one.what, one.runs, one.hours, one.cost) for one in tables.rows] == [
        ("InfoNCE", 2, 4.0, "€6.00"),
        ("SVR", 2, 3.0, "€4.50"),
    ]
    (verdict,) = tables.verdicts
    assert (verdict.outcome, verdict.runs, verdict.cost) == ("undecided", 4, "€10.50")
    made = CliRunner().invoke(main, ["report", str(path), "--storage", str(tmp_path / "s")])
    assert made.exit_code == 0, made.output
    page = (tmp_path / "s/experiments/priced/report.html").read_text(encoding="utf-8")
    plain = re.sub(r"<[^>]+>", " ", page)
    assert "Cost of the finished runs €10.50" in " ".join(plain.split())
    assert "SVR &gt; InfoNCE on t2a.R@1 undecided 4 7.00 €10.50" in " ".join(plain.split())
    written(tmp_path, FILE)
    assert "€" not in CliRunner().invoke(main, command).output
    assert list(costs_of(conclude(load_experiment(path), ledger))) == []


def test_what_has_no_price_is_counted_and_is_not_free(tmp_path: Path) -> None:
    path = written(tmp_path, PRICED)
    cells: list[Cell] = cells_of(load_experiment(path))
    bill = Bill()
    prices = Prices(0.5, {"H100": 2.5}, "€")
    bill.add(prices, cells[0].resources, HOUR, 1, "CPU, x86_64")
    bill.add(prices, cells[1].resources, HOUR, 1, "NVIDIA L4")
    bill.add(prices, cells[2].resources, HOUR, 1, "NVIDIA L4")
    bill.add(
        Prices(1.0), cells[3].resources, HOUR, 1, "CPU, arm64"
    )  # of a part with another currency
    assert bill.text == "€1.50 and $3.00 and 2 runs on NVIDIA L4 without a price"
    other = Bill()
    other.add(prices, cells[0].resources, 3 * HOUR)
    assert (
        mean_bill([bill, other]).text == "€3.00 and $1.50 and 2 runs on NVIDIA L4 without a price"
    )


def test_an_including_file_counts_each_run_once_by_its_parts_prices(tmp_path: Path) -> None:
    written(tmp_path, PRICED)
    other = FILE.replace("priced", "other").replace("SVR:", "Same:")
    (tmp_path / "o.yaml").write_text(
        other.replace("SVR > ", "Same > ") + "prices: {cpu: 1}\n", encoding="utf-8"
    )
    whole = tmp_path / "all.yaml"
    whole.write_text("experiment: all\ninclude: [e.yaml, o.yaml]\n", encoding="utf-8")
    ledger, experiment = open_ledger(tmp_path / "s"), load_experiment(whole)
    for cell in cells_of(experiment):
        finish(ledger, cell, {"test.t2a.R@1": 40.0}, seconds=HOUR)
    seen = watch(make_plan(experiment, ledger), ledger, Reader(ledger), None)
    assert seen.money == "€6.00 so far"  # four runs that both share, under the first


SEARCH = """\
experiment: bounded
base: {epochs: 2}
variants: {InfoNCE: {}}
resources: {cpu: 2}
search:
  space: {loss.temperature: {uniform: [0.01, 0.1]}}
  trials: 4
  budget: {money: 6}
"""


@pytest.mark.heavy
def test_a_search_ends_where_its_money_does(tmp_path: Path) -> None:
    """Two cores at 0.5: a worker-hour costs 1, so six of them are the budget."""
    path = written(tmp_path, SEARCH + 'prices: {cpu: 0.5, currency: "€"}\n')
    experiment = load_experiment(path)
    book = Book(Trials(experiment), open_ledger(tmp_path / "s"))
    book.spend(HOUR, 5 * HOUR)
    assert book.exhausted() is None
    assert book.cost(5.0) == 5.0
    assert book.exhausted((0.0, 1.01 * HOUR)) == "money (€6.00)"
    trial = Trials(experiment).of(0, {"loss.temperature": 0.05})
    ledger = open_ledger(tmp_path / "s")
    ledger.remember(
        "bounded",
        "laptop",
        [Known("trial 0", c.seed, c.signature, "shape") for c in trial.cells],
    )
    finish(ledger, trial.cells[0], {}, seconds=2 * HOUR)
    assert trials_cost(experiment, ledger) == (1, "€2.00")
    for text in (SEARCH, SEARCH + "prices: {H100: 2}\n"):
        written(tmp_path, text)
        with pytest.raises(InputError, match=r"search\.budget\.money: nothing says what cpu costs"):
            load_experiment(path)

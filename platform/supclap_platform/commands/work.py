"""`supclap work`: cells of an experiment, taken by their leases until none is left; without Ray."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import replace

import click
from rich.console import Console

from supclap.errors import INTERRUPTED, InputError
from supclap_platform.commands.beginning import refuse_mixture, say_stale, show_head, to_come
from supclap_platform.commands.only import Only, only_options
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.commands.rounds import first_round, next_round
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.folders import check_folders, fetch_folders
from supclap_platform.ledger.drivers import drivers_of
from supclap_platform.ledger.kept_code import keep_code
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status, remember
from supclap_platform.running.drive import drive
from supclap_platform.running.machine import check_fits, machine
from supclap_platform.running.monitor import look_line
from supclap_platform.running.without_ray import WithoutRay, check_alone
from supclap_platform.search.winner import read_findings


@click.command()
@experiment_options
@only_options
@click.option("--mixed", is_flag=True, help="Allow a table of several code versions.")
def work(asked: Asked, only: Only, mixed: bool) -> None:
    """Train cells of FILE, one at a time, until none is left; beside any number of others.

    Without Ray and MLflow. Each process takes cells that no other holds, and waits for those that
    others hold; any may be killed, and more may come. `supclap run FILE` then prints the table.
    """
    experiment = asked.experiment(announce=True)
    only.check(experiment)
    ledger = asked.ledger(writing=True)
    console = Console(highlight=False)
    _check_search(experiment, only, ledger)
    now = first_round(experiment, ledger)
    only.refuse_nothing(now.plan)
    plan, part = now.plan, only.of(now.plan)
    if part.to_run:
        fetch_folders(experiment)
        check_folders(experiment)
    worst, _ = to_come(plan, [], ledger, (), only)
    coming = only.of(worst)
    check_alone(coming.to_run, experiment.path.name)
    check_fits(coming.to_run, machine(coming.to_run))
    refuse_mixture(worst, coming, ledger, mixed)
    show_head(plan, part, only, ledger, console)
    code = 0
    with closing(WithoutRay(ledger, experiment.name)) as executor:
        while True:
            if now.claims:
                console.print(look_line(now.claims, len(part.to_run)), markup=False, soft_wrap=True)
            keep_code(experiment, ledger)
            remember(plan, ledger)
            code = drive(_shared(part, ledger), ledger, executor, None, console, now.claims) or code
            if code == INTERRUPTED:
                raise SystemExit(code)
            following = next_round(experiment, ledger, only)
            if following is None:
                break
            now = following
            plan, part = now.plan, only.of(now.plan)
    raise SystemExit(_end(plan, part, console, mixed, code))


def _check_search(experiment: Experiment, only: Only, ledger: Ledger) -> None:
    """Raises InputError where what is asked for waits for a search: its trials are Ray Tune's."""
    search = experiment.search
    if search is None or not only.asks_for(search.rows):
        return
    if ledger.spared(lambda: read_findings(experiment, ledger)) is None:
        raise InputError(
            f"{experiment.path.name}: its search has not ended, and Ray Tune runs its trials: use "
            "`supclap run`; `supclap work` can share the winner's cells afterwards, and "
            "the other rows now (--only ROW)"
        )


def _shared(part: Plan, ledger: Ledger) -> Plan:
    """The plan as this process goes through it.

    Beside others it begins at another place: all at the first cell, most would find it taken. And
    what has failed is tried or left by the executor, which knows who gave it up.
    """
    statuses = {s: Status.TO_RUN if x is Status.FAILED else x for s, x in part.statuses.items()}
    cells = part.cells
    if cells and drivers_of(ledger, part.experiment.name):
        first = secrets.randbelow(len(cells))
        cells = (*cells[first:], *cells[:first])
    return replace(part, cells=cells, statuses=statuses)


def _end(plan: Plan, part: Plan, console: Console, mixed: bool, code: int) -> int:
    if part.count(Status.DAMAGED):
        code = code or 1
    console.print(
        f"nothing is left to take; `supclap run {plan.experiment.path}` prints the table and shows "
        "it in MLflow",
        markup=False,
        soft_wrap=True,
    )
    if not code and plan.stale and not mixed:
        return say_stale(plan, console, "results", "`supclap run --rerun-stale`")
    return code

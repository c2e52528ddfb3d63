"""What a command that trains says and refuses before anything starts."""

from __future__ import annotations

from rich.console import Console

from supclap.errors import STALE, InputError
from supclap.wording import counted
from supclap_platform.commands.only import Only
from supclap_platform.commands.stale import with_reruns
from supclap_platform.experiment.cells import cells_of
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status, make_plan
from supclap_platform.ledger.staleness import mixture, stale_lines


def to_come(
    plan: Plan, anew: list[str], ledger: Ledger, rerun_stale: tuple[str, ...], only: Only
) -> tuple[Plan, list[str]]:
    """The plan of all cells that can come to be needed, if no claim is decided before, and those of
    them that are made anew."""
    if not plan.experiment.sequential:
        return plan, anew
    from supclap_platform.results.looks import at_worst

    return with_reruns(make_plan(at_worst(plan.experiment), ledger), rerun_stale, only=only)


def refuse_mixture(plan: Plan, work: Plan, ledger: Ledger, mixed: bool) -> None:
    """Before anything starts: after hours of training a table must not be refused.

    Raises InputError.
    """
    if mixed or not plan.stale:
        return
    to_run = {cell.signature for cell in work.to_run}
    for part in plan.experiment.parts or (plan.experiment,):
        cells = cells_of(part)
        new = [cell for cell in cells if cell.signature in to_run]
        found = mixture(cells, plan.results, ledger, to_run=new)
        if found is not None:
            raise InputError(
                f"{part.path}: its table would mix {found}; train the older cells anew with "
                "--rerun-stale, or allow the mixture with --mixed"
            )


def show_head(plan: Plan, work: Plan, only: Only, ledger: Ledger, console: Console) -> None:
    """Prints what is done and what is to be run."""
    experiment = plan.experiment
    old = plan.count(Status.STALE)
    left_out = only.left_out(plan, work)
    console.print(
        f"{experiment.name}, profile {experiment.profile}: "
        f"{counted(len(plan.statuses), 'cell')}, "
        f"{plan.count(Status.DONE)} done, {f'{old} stale, ' if old else ''}{len(work.to_run)} to "
        f"run{f' ({left_out})' if left_out else ''}; results in {ledger.storage.uri}",
        soft_wrap=True,
        markup=False,
    )
    if experiment.without:
        console.print(experiment.without, soft_wrap=True, markup=False)
    for line in stale_lines(plan.stale):
        console.print(line, style="yellow", soft_wrap=True, markup=False)


def say_stale(
    plan: Plan, console: Console, results: str = "results above", remedy: str = "--rerun-stale"
) -> int:
    """Says that there are numbers that today's code has not made; the exit code."""
    old, all_ = plan.count(Status.STALE), len(plan.statuses)
    console.print(
        f"stale: {old} of the {all_} {results} are of earlier code and were not trained anew; "
        f"{remedy} does it, --mixed says that they are meant (exit code {STALE})",
        style="bold yellow",
        soft_wrap=True,
        markup=False,
    )
    return STALE

"""Finished cells of other code: what a command says of them, and which a run trains anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import click

from supclap.errors import STALE
from supclap_platform.commands.only import EVERYTHING, Only, names_of, refuse_unknown
from supclap_platform.experiment.cells import INIT, Cell
from supclap_platform.ledger.plan import Plan, Status
from supclap_platform.ledger.staleness import Stale, stale_lines
from supclap_platform.results.table import Table

OPTION = "--rerun-stale"
ALL = "*"


def rerun_stale_option(command: Any) -> Any:
    """The option, for a command that is a `RerunCommand`."""
    return click.option(
        OPTION,
        "rerun_stale",
        is_flag=False,
        flag_value=ALL,
        multiple=True,
        metavar="[ROW]",
        help="Train cells of other code versions anew: all, or those of a row (may be repeated).",
    )(command)


class RerunCommand(click.Command):
    """A command whose bare `--rerun-stale` may stand before FILE, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spelled_out(args))


def end_if_stale(tables: Iterable[Table], mixed: bool) -> None:
    """Says which of the results that a command has shown are not of today's code; a run once.

    Raises:
        SystemExit: there are some, and ``--mixed`` has not said that they are meant.
    """
    stale: dict[str, Stale] = {}
    for one in (one for table in tables for one in table.stale):
        shown = (*stale[one.code].cells, *one.cells) if one.code in stale else one.cells
        once = {cell.signature: cell for cell in reversed(shown)}
        stale[one.code] = replace(one, cells=tuple(reversed(once.values())))
    for line in stale_lines(stale.values()):
        click.echo(line, err=True)
    if stale and not mixed:
        raise SystemExit(STALE)


def with_reruns(
    plan: Plan, rows: Sequence[str], known: bool = True, only: Only = EVERYTHING
) -> tuple[Plan, list[str]]:
    """The plan with the stale cells of some rows to run, and the signatures of those.

    A stage that they start from comes with them where it is stale itself, and with it all that
    starts from it: none may stand on a model that is no longer there.

    Args:
        known: refuse rows that the plan does not have.
        only: the part of the experiment whose cells they are.

    Raises:
        InputError: a row that the experiment does not have.
    """
    stale = [cell for one in plan.stale for cell in one.cells]
    if known:
        _check_rows(plan, rows)
    chosen = {cell.signature for cell in stale if ALL in rows or _names(cell) & set(rows)}
    if only and chosen:
        chosen &= only.signatures(plan.experiment)
    stages = {cell.start for cell in stale if cell.signature in chosen}
    chosen |= {cell.signature for cell in stale if cell.signature in stages}
    chosen |= {cell.signature for cell in stale if cell.start in chosen}
    left = (
        replace(one, cells=tuple(cell for cell in one.cells if cell.signature not in chosen))
        for one in plan.stale
    )
    anew = replace(
        plan,
        statuses={**plan.statuses, **dict.fromkeys(chosen, Status.TO_RUN)},
        results={s: result for s, result in plan.results.items() if s not in chosen},
        stale=tuple(one for one in left if one.cells),
    )
    return anew, sorted(chosen)


def _check_rows(plan: Plan, rows: Sequence[str]) -> None:
    known = {name for cell in plan.cells for name in _names(cell)} - {INIT}
    for row in rows:
        if row != ALL:
            names = (cell.variant for cell in plan.cells)
            refuse_unknown(OPTION, row, plan.experiment.path.name, known, names)


def _names(cell: Cell) -> set[str]:
    return names_of(cell.variant, cell.group)


def _spelled_out(args: Sequence[str]) -> list[str]:
    """A bare option, before FILE or an option or at the end, as the same with its value."""
    found = []
    for place, word in enumerate(args):
        after = args[place + 1] if place + 1 < len(args) else "-"
        bare = word == OPTION and (after.startswith("-") or after.endswith((".yaml", ".yml")))
        found.append(f"{OPTION}={ALL}" if bare else word)
    return found

"""`--only ROW` and `--seed N`: a part of an experiment, of `run`, `plan` and `submit` alike."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from supclap.errors import InputError, nearest
from supclap_platform.experiment.cells import INIT, Cell, cells_of
from supclap_platform.experiment.columns import AT
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.identity import Contents
from supclap_platform.ledger.plan import Plan

ONLY, SEED = "--only", "--seed"
MOST_SHOWN = 12  # seeds in an error; more are cut


@dataclass(frozen=True)
class Only:
    """Some rows and seeds of an experiment; all rows, or all seeds, where none is named."""

    rows: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows or self.seeds)

    @property
    def words(self) -> list[str]:
        """The options that say it."""
        rows = [word for row in self.rows for word in (ONLY, row)]
        return rows + [word for seed in self.seeds for word in (SEED, str(seed))]

    def check(self, experiment: Experiment) -> None:
        """Raises InputError for a row or seed that the experiment does not have."""
        parts = experiment.parts or (experiment,)
        file = experiment.path.name
        known: dict[str, set[str]] = {}  # as the file has it -> what it may be called
        for part in parts:
            above = f"{part.name}: " if experiment.parts else ""
            for variant in part.variants:
                called = names_of(f"{above}{variant.name}", variant.group)
                known.setdefault(f"{above}{variant.name}", called)
            if part.search is not None:
                known |= {row: {row} for row in part.search.rows}
            if part.stage is not None and part.stage.variant is None:
                known |= {INIT: {INIT}}
        for row in self.rows:
            refuse_unknown(ONLY, row, file, set().union(*known.values()), known)
        seeds = list(dict.fromkeys(seed for part in parts for seed in part.seeds))
        for seed in self.seeds:
            if seed not in seeds:
                raise InputError(f"{SEED} {seed}: {file} has no such seed ({_shown(seeds)})")

    def asks_for(self, rows: Iterable[str]) -> bool:
        """Whether it takes any of some rows."""
        return not self.rows or not set(rows).isdisjoint(self.rows)

    def signatures(self, experiment: Experiment, content: Contents | None = None) -> frozenset[str]:
        """The cells that it takes, of an experiment as it is by now.

        Args:
            content: as `cells_of` takes it.
        """
        return frozenset(
            cell.signature
            for name, cell in _cells(experiment, content)
            if (not self.seeds or cell.seed in self.seeds)
            and (not self.rows or names_of(name, cell.group) & set(self.rows))
        )

    def of(self, plan: Plan, anew: Collection[str] = (), content: Contents | None = None) -> Plan:
        """A plan without the cells that it leaves out; the plan itself where it leaves out none.

        Args:
            anew: signatures that are made anew whatever it takes: they rest on a stage that is.
            content: as `cells_of` has taken it for the plan.
        """
        if not self:
            return plan
        return plan.of(self.signatures(plan.experiment, content) | frozenset(anew))

    def refuse_nothing(self, plan: Plan) -> None:
        """Raises InputError where it takes no cell that the experiment has by now: where seeds are
        added until the claims are decided, the look that it is at may not need them."""
        if not self or self.signatures(plan.experiment):
            return
        seeds = sorted({cell.seed for cell in plan.cells})
        later = (
            "; where seeds are added until the claims are decided, more come with the next look"
            if plan.experiment.sequential
            else ""
        )
        raise InputError(
            f"{shlex.join(self.words)}: {plan.experiment.path.name} has no such run by now "
            f"({_shown(seeds)}){later}"
        )

    def left_out(self, plan: Plan, work: Plan) -> str:
        """What a plan has to run that it leaves out, in words; empty: nothing."""
        number = len(plan.to_run) - len(work.to_run)
        return f"{shlex.join(self.words)} leaves out {number}" if self and number else ""


EVERYTHING = Only()


def only_options(command: Any) -> Any:
    """--only and --seed, given to the command as one `Only`."""

    @functools.wraps(command)
    def called(*given: Any, rows: tuple[str, ...], seeds: tuple[int, ...], **others: Any) -> Any:
        return command(*given, only=Only(rows, seeds), **others)

    found = click.option(
        SEED, "seeds", type=int, multiple=True, metavar="N", help="Only this seed (repeatable)."
    )(called)
    return click.option(
        ONLY, "rows", multiple=True, metavar="ROW", help="Only this row (repeatable)."
    )(found)


def refuse_unknown(
    option: str, row: str, file: str, known: Collection[str], shown: Iterable[str]
) -> None:
    """Raises InputError for a row that a file does not have. ``shown``: those that it names."""
    if row not in known:
        raise InputError(
            f"{option} {row}: {file} has no such row{nearest(row, known)} "
            f"(rows: {', '.join(dict.fromkeys(shown))})"
        )


def names_of(variant: str, group: str | None) -> set[str]:
    """What a cell's row may be called: in one group, in all, in a part of the experiment."""
    names = {variant, variant.partition(": ")[2] or variant}
    if group is not None:
        names |= {name.rpartition(f"{AT}{group}")[0] or name for name in names}
    return names


def _cells(experiment: Experiment, content: Contents | None) -> Iterator[tuple[str, Cell]]:
    """Each cell under its name, of each part: a run that parts share has a name in each of them."""
    for part in experiment.parts or (experiment,):
        above = f"{part.name}: " if experiment.parts else ""
        yield from ((f"{above}{cell.variant}", cell) for cell in cells_of(part, content))


def _shown(seeds: list[int]) -> str:
    more = ", …" if len(seeds) > MOST_SHOWN else ""
    return f"seeds: {', '.join(map(str, seeds[:MOST_SHOWN]))}{more}"

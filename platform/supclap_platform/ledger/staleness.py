"""Which code has finished an experiment's cells, against the code that would run them today."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from supclap.events import Started
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.method import version_of
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Result

CodeOf = Callable[[Cell], str]  # the version of the code that would run a cell
MOST_NAMED = 4  # modules in a line; more are counted


def today(cell: Cell) -> str:
    """The version of this process's code that would run a cell."""
    return cell.method.version(cell.config)


@dataclass(frozen=True)
class Stale:
    """Finished cells of one other version of the code.

    ``changed`` are the modules that differ from today's; None where the version noted none.
    """

    code: str
    cells: tuple[Cell, ...]
    changed: tuple[str, ...] | None

    @property
    def why(self) -> str:
        """Which modules have changed since, in words."""
        if self.changed is None:
            return "an earlier version of SupCLAP, which did not note its modules"
        named = ", ".join(self.changed[:MOST_NAMED])
        more = len(self.changed) - MOST_NAMED
        return f"changed since: {named}{f' and {more} more' if more > 0 else ''}"


def stale_lines(stale: Iterable[Stale]) -> Iterator[str]:
    """A line for each version of the code that has finished cells, but is not today's."""
    for one in stale:
        count = len(one.cells)
        rows = ", ".join(dict.fromkeys(cell.variant for cell in one.cells))
        yield (
            f"stale: {count} {'cell' if count == 1 else 'cells'} finished by code {one.code} "
            f"({one.why}): {rows}; shown as they are, --rerun-stale trains them anew"
        )


def stale_cells(
    cells: Iterable[Cell],
    results: Mapping[str, Result],
    ledger: Ledger,
    code_of: CodeOf = today,
) -> tuple[Stale, ...]:
    """The finished cells of other code than would run them today, by that code; a run once.

    A cell that starts from a stale one is stale with it, whatever its own code.
    """
    found: dict[str, list[Cell]] = {}
    started_from: dict[str, str] = {}  # signature of a stale cell -> the code that finished it
    once = {cell.signature: cell for cell in cells}.values()
    for cell in sorted(once, key=lambda cell: cell.start is not None):
        result = results.get(cell.signature)
        if result is None:
            continue
        code = result.code if result.code != code_of(cell) else None
        code = code or started_from.get(cell.start or "")
        if code is not None:
            started_from[cell.signature] = code
            found.setdefault(code, []).append(cell)
    return tuple(
        Stale(code, tuple(some), _changed(some, ledger)) for code, some in sorted(found.items())
    )


def mixture(
    cells: Iterable[Cell],
    results: Mapping[str, Result],
    ledger: Ledger,
    code_of: CodeOf = today,
    to_run: Iterable[Cell] = (),
) -> str | None:
    """What a table of the finished cells would mix, in words; None where one state of the code
    could have finished them all.

    Args:
        to_run: cells that are about to be trained by today's code.
    """
    of_code: dict[str, dict[str, str]] = {}
    for cell in cells:
        result = results.get(cell.signature)
        if result is None or result.code in of_code:
            continue
        current = result.code == code_of(cell)
        noted = dict(cell.method.code(cell.config)) if current else _noted(ledger, cell)
        if noted is not None:
            of_code[result.code] = noted
    for cell in to_run:
        of_code.setdefault(code_of(cell), dict(cell.method.code(cell.config)))
    silent = sorted(code for code, modules in of_code.items() if not modules)
    if silent and len(of_code) > 1:
        return (
            f"different code: {', '.join(silent)} did not note its modules, so nothing shows that "
            "it agrees with that of the other cells"
        )
    seen: dict[str, set[str]] = {}
    for modules in of_code.values():
        for name, version in modules.items():
            seen.setdefault(name, set()).add(version)
    differing = sorted(name for name, versions in seen.items() if len(versions) > 1)
    if not differing:
        return None
    codes = sorted(code for code, modules in of_code.items() if modules.keys() & set(differing))
    named = ", ".join(differing[:MOST_NAMED]) + (", …" if len(differing) > MOST_NAMED else "")
    return f"different code: {', '.join(codes)} differ in {named}"


def code_of_today(cells: Iterable[Cell]) -> str:
    """One version for all that the cells would run."""
    modules: dict[str, str] = {}
    for cell in cells:
        modules |= cell.method.code(cell.config)
    return version_of(modules)


def code_of_package() -> str:
    """The version of the whole package, whatever a run may use of it."""
    return version_of(SUPCLAP.all_code())


def _changed(cells: list[Cell], ledger: Ledger) -> tuple[str, ...] | None:
    """The modules that differ between cells of one version and today's code."""
    before = _noted(ledger, cells[0])
    if not before:
        return None
    now = cells[0].method.code(cells[0].config)
    return tuple(n for n in sorted(before.keys() | now.keys()) if before.get(n) != now.get(n))


def _noted(ledger: Ledger, cell: Cell) -> dict[str, str] | None:
    """The modules that a finished cell has noted; none of an earlier version's. None where its
    events are damaged."""
    events = ledger.spared(lambda: ledger.events(cell.signature, ledger.result(cell.signature)))
    if events is None:
        return None
    return events[0].modules if events and isinstance(events[0], Started) else {}

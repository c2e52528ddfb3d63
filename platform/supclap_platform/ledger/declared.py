"""What an experiment has asked, and whether results existed when it first did.

    <storage>/experiments/<name>/declared/claim-<digest>.json     a claim, when a run first had it
    <storage>/experiments/<name>/declared/seeds-<digest>.json     so for the seeds of some rows

Each is written once, before the first run that asks it starts anything. A claim is known by its
rows' signatures, metric, margin and what matters: other words, or another name of a row, ask the
same. A claim under a name that has been run before is declared after results where each of its rows
had a finished cell; seeds are so where other ones were declared for some of the rows, and one of
these had a finished cell. An experiment that was never run has declared nothing after anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from supclap.stored import Count, as_kind, read_values, sealed
from supclap_platform.experiment.cells import INIT, Cell
from supclap_platform.experiment.claims import Claim, Greater, Trend
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.identity import digest
from supclap_platform.ledger.ledger import Ledger

DECLARED = "declared"
CLAIM, SEEDS = "claim", "seeds"


@dataclass(frozen=True)
class Declared:
    """Something that an experiment has asked. ``time``: of the first run that did, in milliseconds
    since 1970; ``after``: whether there were results of it by then."""

    what: str
    time: Count
    after: bool
    rows: list[str] = field(default_factory=list)  # signatures of the rows, at their first seed

    @property
    def date(self) -> str:
        return f"{datetime.fromtimestamp(self.time / 1000, UTC):%Y-%m-%d}"


@dataclass(frozen=True)
class Late:
    """What an experiment asks that it did not ask before there were results."""

    claims: dict[Claim, str]  # each with a few words on it
    seeds: str = ""

    def of(self, claim: Claim) -> list[str]:
        """What a verdict on a claim must say."""
        found = [self.claims[claim]] if claim in self.claims else []
        return [*found, self.seeds] if self.seeds else found


def declare(
    experiment: Experiment, cells: Sequence[Cell], done: Collection[str], ledger: Ledger, time: int
) -> None:
    """Notes what an experiment asks for the first time: a run calls it before it starts any cell.

    Args:
        done: signatures of finished cells.
        time: milliseconds since 1970.
    """
    folder = ledger.experiment_folder(experiment.name).below(DECLARED)
    there = set(folder.names())
    rows = _rows(experiment, cells)
    for claim in experiment.claims:
        name = _claim_file(claim, rows)
        if name not in there:
            after = bool(there) and _seen(claim.variants, cells, done)
            _write(ledger, experiment, name, Declared(claim.text, time, after))
    name = _seeds_file(experiment, rows)
    if name not in there:
        after = bool(_other_seeds(experiment, rows, cells, done, ledger, there))
        text = _seeds(experiment)
        _write(ledger, experiment, name, Declared(text, time, after, sorted(rows.values())))


def late(
    experiment: Experiment, cells: Sequence[Cell], done: Collection[str], ledger: Ledger
) -> Late:
    """What of an experiment was declared after results, or would be, were it run now."""
    there = set(ledger.experiment_folder(experiment.name).below(DECLARED).names())
    if not there:
        return Late({})
    rows = _rows(experiment, cells)
    claims: dict[Claim, str] = {}
    for claim in experiment.claims:
        name = _claim_file(claim, rows)
        noted = _read(ledger, experiment, name) if name in there else None
        if noted is None and name not in there and _seen(claim.variants, cells, done):
            claims[claim] = "declared after results"
        elif noted is not None and noted.after:
            claims[claim] = f"declared after results, on {noted.date}"
    name = _seeds_file(experiment, rows)
    noted = _read(ledger, experiment, name) if name in there else None
    before = _other_seeds(experiment, rows, cells, done, ledger, there)
    seeds = ""
    if (noted is not None and noted.after) or (name not in there and before):
        earlier = f"; before: {before[0]}" if before else ""
        seeds = f"seeds declared after results ({_seeds(experiment)}{earlier})"
    return Late(claims, seeds)


def _rows(experiment: Experiment, cells: Iterable[Cell]) -> dict[str, str]:
    """Variant -> the signature of its cell of the lowest seed."""
    own = sorted((cell for cell in cells if cell.variant != INIT), key=lambda cell: -cell.seed)
    return {cell.variant: cell.signature for cell in own}


def _seen(variants: Iterable[str], cells: Iterable[Cell], done: Collection[str]) -> bool:
    """Whether each of some rows has a finished cell."""
    finished = {cell.variant for cell in cells if cell.signature in done}
    return finished.issuperset(variants)


def _claim_file(claim: Claim, rows: dict[str, str]) -> str:
    asked: dict[str, object] = {
        "kind": type(claim).__name__,
        "rows": [rows.get(name, name) for name in claim.variants],
        "metric": claim.metric,
    }
    if isinstance(claim, Greater):
        asked |= {"margin": claim.margin, "matters": claim.matters}
    elif isinstance(claim, Trend):
        asked["way"] = claim.way
    else:
        asked["percent"] = claim.percent
    if not isinstance(claim, Trend) and claim.epoch is not None:
        asked["epoch"] = claim.epoch
    return f"{CLAIM}-{digest(asked)}.json"


def _seeds_file(experiment: Experiment, rows: dict[str, str]) -> str:
    return f"{SEEDS}-{digest({'rows': sorted(rows.values()), 'seeds': _seeds(experiment)})}.json"


def _seeds(experiment: Experiment) -> str:
    if experiment.looks is not None:
        return experiment.looks.text
    return ", ".join(map(str, experiment.seeds))


def _other_seeds(
    experiment: Experiment,
    rows: dict[str, str],
    cells: Iterable[Cell],
    done: Collection[str],
    ledger: Ledger,
    there: Iterable[str],
) -> list[str]:
    """Other seeds that were declared for rows that have results, the first first."""
    finished = {
        rows[cell.variant] for cell in cells if cell.signature in done and cell.variant in rows
    }
    found = []
    for name in there:
        noted = _read(ledger, experiment, name) if name.startswith(SEEDS) else None
        if noted and noted.what != _seeds(experiment) and finished & set(noted.rows):
            found.append((noted.time, noted.what))
    return [what for _, what in sorted(found)]


def _read(ledger: Ledger, experiment: Experiment, name: str) -> Declared | None:
    folder = ledger.experiment_folder(experiment.name).below(DECLARED)
    return ledger.spared(lambda: as_kind(read_values(folder, name), Declared, folder.uri_of(name)))


def _write(ledger: Ledger, experiment: Experiment, name: str, one: Declared) -> None:
    folder = ledger.experiment_folder(experiment.name).below(DECLARED)
    folder.write(name, sealed(asdict(one), indent=1))

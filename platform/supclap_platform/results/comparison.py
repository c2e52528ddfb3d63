"""Before and after: two sides compared row by row, column by column, seed by seed.

The tests are those of claims (`cases`, `inference`), and so is the correction: every line asks
whether its two sides differ, and, where it is said what does not matter, whether they are certainly
nearer than that (two one-sided tests). All lines are one family. docs/compare.md says more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from supclap.errors import InputError, nearest
from supclap.wording import seed_list
from supclap_platform.experiment.claims import Greater
from supclap_platform.experiment.columns import Column
from supclap_platform.ledger.means import summarise
from supclap_platform.results.bootstrap import Queries, queries_of
from supclap_platform.results.cases import (
    LEAST,
    NO_SPREAD,
    Case,
    build_difference,
    unequal_queries,
)
from supclap_platform.results.doubts import collapses
from supclap_platform.results.inference import (
    LEVEL,
    has_spread,
    unpaired_negligible,
    unpaired_test,
)
from supclap_platform.results.pairing import A, B, Pairing
from supclap_platform.results.sides import Side
from supclap_platform.results.statistics import step_down


class Change(StrEnum):
    """What became of a number from A to B."""

    WORSE = "worse"
    BETTER = "better"
    DIFFERENT = "different"  # of a column of which no value is the better one
    UNDECIDED = "undecided"
    EQUAL = "equal"  # certainly nearer than what matters, or the same to the last digit


@dataclass(frozen=True)
class Line:
    """A row in a column: B less A. What could not be computed is None."""

    row: str
    column: Column
    change: Change = Change.UNDECIDED
    a: float | None = None  # mean over the compared runs of A
    b: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None  # of 95 %, over seeds; of two models over clips
    p: float | None = None
    corrected: float | None = None
    seeds: tuple[int, ...] = ()  # compared in pairs
    unpaired: tuple[int, int] | None = None  # how many seeds of A and B, where none are pairs
    queries: int | None = None
    wide: tuple[float, float] | None = None  # the interval over seeds and queries
    within: float | None = None  # what does not matter
    same: bool = False  # nothing to judge: the same runs, or the same numbers
    reasons: tuple[str, ...] = ()  # why it cannot be judged
    remarks: tuple[str, ...] = ()

    @property
    def n(self) -> str:
        """How many seeds were compared, in words."""
        return str(len(self.seeds)) if self.unpaired is None else "{} and {}".format(*self.unpaired)


@dataclass(frozen=True)
class ColumnVerdict:
    """What the rows of a column say together: worse where any is; better where one is and none is
    worse; equal where all are."""

    column: Column
    change: Change
    counts: dict[Change, int]  # of its lines


@dataclass(frozen=True)
class Comparison:
    """All lines, a verdict on each column, and what is missing or must be known."""

    a: str
    b: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    of_models: bool = False  # over queries, as there are no seeds

    @property
    def columns(self) -> tuple[ColumnVerdict, ...]:
        """A verdict on each column."""
        of_columns: dict[str, list[Line]] = {}
        for line in self.lines:
            of_columns.setdefault(line.column.name, []).append(line)
        return tuple(_together(lines) for lines in of_columns.values())

    @property
    def regression(self) -> bool:
        """Whether any column is worse."""
        return any(line.change is Change.WORSE for line in self.lines)


def compare(a: Side, b: Side, within: Mapping[str, float] | None = None) -> Comparison:
    """B against A, in all rows and columns that both have.

    Args:
        within: column -> the largest difference that does not matter; "" for all others.

    Raises:
        InputError: nothing can be compared, or ``within`` names a column that is not.
    """
    rows = [name for name in a.rows if name in b.rows]
    if not rows:
        raise InputError(
            f"nothing to compare: no row of A ({a.title}) is called as one of B ({b.title}): "
            f"{', '.join(a.rows)} and {', '.join(b.rows)}"
        )
    names = [name for name in a.columns if name in b.columns]
    if not names:
        raise InputError(
            f"nothing to compare: A's columns are {', '.join(a.columns)}, and B's "
            f"{', '.join(b.columns)}; --column NAME chooses some that the runs of both report"
        )
    bounds = bounds_of(within or {}, [c for c in _columns(a) if c.name in names])
    asked, notes = [], [*a.notes, *b.notes, *_only(a, b)]
    data: dict[tuple[str, str], list[str]] = {}
    silent: dict[str, list[str]] = {}  # column -> rows whose runs do not report it
    for row in rows:
        ours, theirs = a.rows[row], b.rows[row]
        for name in (name for name in names if name in ours.columns and name in theirs.columns):
            pairing = Pairing(ours, theirs, name)
            if name == next(iter(n for n in ours.columns if n in theirs.columns)):
                notes += _seeds_of_one_side(row, pairing)
                if pairing.other_data is not None:
                    data.setdefault(pairing.other_data, []).append(row)
            if pairing.silent:
                silent.setdefault(name, []).append(row)
            else:
                asked.append(_asked(row, pairing, bounds.get(name)))
    notes += (
        f"{name} is reported by neither side in {_counted(some, 'the row', 'the {} rows')}"
        for name, some in silent.items()
    )
    notes += (_on_data(hashes, some) for hashes, some in data.items())
    if not any(line.effect is not None for line, _ in asked):
        raise InputError(
            f"nothing to compare: of no row do A ({a.title}) and B ({b.title}) both have a "
            "finished run with a number to compare"
        )
    return Comparison(a.title, b.title, judged(asked), tuple(notes))


def judged(asked: Sequence[tuple[Line, Case]]) -> tuple[Line, ...]:
    """The lines with their verdicts, corrected over all that ask anything."""
    questions = [(place, case) for place, (line, case) in enumerate(asked) if not line.same]
    corrected = step_down([case.questions for _, case in questions])
    lines = [line for line, _ in asked]
    for (place, case), own in zip(questions, corrected, strict=True):
        lines[place] = _judged(lines[place], case, own)
    return tuple(lines)


def line_of(row: str, column: Column, case: Case, within: float | None) -> Line:
    """A line before it is judged."""
    return Line(
        row,
        column,
        a=summarise([other for _, other in case.pairs]).mean if case.pairs else None,
        b=summarise([own for own, _ in case.pairs]).mean if case.pairs else None,
        effect=summarise([own - other for own, other in case.pairs]).mean if case.pairs else None,
        interval=case.interval,
        seeds=tuple(case.seeds),
        queries=case.queries,
        wide=case.wide,
        within=within,
        reasons=tuple(case.reasons),
        remarks=tuple(case.remarks),
    )


def question(column: Column, within: float | None) -> Greater:
    """What a line asks, as a claim: is B above A, and do they differ by less than what matters?"""
    return Greater(f"B > A on {column.name}", B, A, column.measure.name, 0.0, within)


def _asked(row: str, pairing: Pairing, within: float | None) -> tuple[Line, Case]:
    """A line, not judged yet, and the case that judges it."""
    column = pairing.columns[A]
    case = build_difference(question(column, within), pairing)
    case.remarks += collapses(case, pairing)
    line = line_of(row, column, case, within)
    if case.pairs and not any(case.values) and (pairing.same or pairing.identical):
        what = "the same runs" if pairing.same else "the same numbers to the last digit"
        return replace(line, change=Change.EQUAL, same=True, reasons=(), remarks=(what,)), case
    if len(case.pairs) < LEAST:
        return _unpaired(line, case, pairing, within)
    return line, case


def _unpaired(line: Line, case: Case, pairing: Pairing, within: float | None) -> tuple[Line, Case]:
    """The line from all seeds of each side, where too few are shared and each has enough."""
    metric = line.column.measure.name
    values = {
        side: [v for v in pairing.values(side, metric).values() if v is not None and isfinite(v)]
        for side in (A, B)
    }
    ours, theirs = values[B], values[A]
    if min(len(ours), len(theirs)) < LEAST:
        if line.effect is None and ours and theirs:
            one, two = summarise(ours).mean, summarise(theirs).mean
            counts = (len(theirs), len(ours))
            line = replace(line, a=two, b=one, effect=one - two, unpaired=counts)
        return line, case
    scale = max(abs(value) for value in (*ours, *theirs))
    means = summarise(theirs).mean, summarise(ours).mean
    remark = "no seeds in common" if not case.pairs else f"only {seed_list(case.seeds)} in common"
    asked = [q for s in (A, B) for q in _queries(pairing, s, metric)]
    unequal = None if pairing.own_data else unequal_queries(asked)
    if unequal:
        case.reasons = [unequal]
    elif has_spread(ours, scale) or has_spread(theirs, scale):
        case.test, case.reasons = unpaired_test(ours, theirs), []
        case.small = None if within is None else unpaired_negligible(ours, theirs, within)
        case.interval = (case.test.low, case.test.high)
    else:
        case.reasons = [NO_SPREAD]
    line = replace(
        line,
        a=means[0],
        b=means[1],
        effect=means[1] - means[0],
        interval=case.interval,
        seeds=(),
        unpaired=(len(theirs), len(ours)),
        queries=None,
        wide=None,
        reasons=tuple(case.reasons),
        remarks=(*line.remarks, f"{remark}: unpaired, by Welch's t test over all seeds of each"),
    )
    return line, case


def _queries(pairing: Pairing, side: str, metric: str) -> Iterable[Queries]:
    kept = (queries_of(metric, ranks) for ranks in pairing.ranks(side).values())
    return (queries for queries in kept if queries is not None)


def _judged(line: Line, case: Case, corrected: Sequence[float]) -> Line:
    if case.p is None:
        return line
    differs, near = corrected[0] <= LEVEL, len(corrected) > 1 and corrected[1] <= LEVEL
    change, asked = Change.UNDECIDED, 0
    if near:
        change, asked = Change.EQUAL, 1
        if differs:
            remark = "certainly not zero, and certainly within what does not matter"
            line = replace(line, remarks=(*line.remarks, remark))
    elif differs and line.effect is not None:
        change = _direction(line.column, line.effect)
    return replace(line, change=change, p=case.questions[asked], corrected=corrected[asked])


def _direction(column: Column, effect: float) -> Change:
    if not column.measure.ranked:
        return Change.DIFFERENT
    return Change.BETTER if (effect < 0) == column.measure.low else Change.WORSE


def _together(lines: Sequence[Line]) -> ColumnVerdict:
    counts = {change: sum(line.change is change for line in lines) for change in Change}
    change = next(change for change in Change if counts[change])  # the order of `Change` decides
    return ColumnVerdict(lines[0].column, change, {c: n for c, n in counts.items() if n})


def _columns(side: Side) -> list[Column]:
    found = {name: column for row in side.rows.values() for name, column in row.columns.items()}
    return list(found.values())


def bounds_of(within: Mapping[str, float], columns: Sequence[Column]) -> dict[str, float]:
    """Column -> the largest difference that does not matter, from what names columns or metrics.

    Raises InputError: it names none of the columns.
    """
    found = {column.name: within[""] for column in columns if "" in within}
    for name, bound in within.items():
        meant = [
            c.name for c in columns if name in (c.name, c.short_name, c.metric, c.measure.name)
        ]
        if name and not meant:
            known = [column.name for column in columns]
            raise InputError(
                f"--within {name}={bound:g}: no column '{name}' is compared{nearest(name, known)} "
                f"(columns: {', '.join(known)})"
            )
        found |= dict.fromkeys(meant, bound)
    return found


def _only(a: Side, b: Side) -> Iterable[str]:
    """Rows and columns that only one side has."""
    for one, other in ((a, b), (b, a)):
        rows = [name for name in one.rows if name not in other.rows]
        if rows:
            yield f"only {one.name} has {_counted(rows, 'the row', 'the {} rows')}"
        columns = [name for name in one.columns if name not in other.columns]
        if columns:
            yield f"only {one.name} has {_counted(columns, 'the column', 'the {} columns')}"


def _counted(names: Sequence[str], one: str, several: str) -> str:
    head = one if len(names) == 1 else several.format(len(names))
    return f"{head} {', '.join(names)}"


def _seeds_of_one_side(row: str, pairing: Pairing) -> Iterable[str]:
    """Seeds of which only one side has a finished run, and shared runs among others."""
    ours, theirs = pairing.results(A), pairing.results(B)
    for side, some, others in ((A, ours, theirs), (B, theirs, ours)):
        alone = [seed for seed in some if seed not in others]
        if alone:
            yield f"{row}: only {side} has {seed_list(alone)}"
    if pairing.shared and not pairing.same:
        yield (
            f"{row}: the run of {seed_list(sorted(pairing.shared))} is the same on both sides and "
            "left out"
        )


def _on_data(hashes: tuple[str, str], rows: Sequence[str]) -> str:
    a, b = hashes
    return (
        f"A and B saw different data in {len(rows)} rows ({', '.join(rows)}): A {a}, B {b}; a "
        "difference may be one of the data, and queries are not paired"
    )

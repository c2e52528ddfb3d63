"""An experiment's results as Arrow tables, one builder for each frame of `frame_columns`.

They show what table, report and figures are made of, from the same reading (`Evidence`). Every run
that the file declares is there, whatever its state: what failed, is stale or was declared after
results is a column and never left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from supclap.overrides import flat
from supclap.stored import Damaged, read_content
from supclap_platform.experiment.cells import INIT, Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.declared import late
from supclap_platform.ledger.records import State
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.frame_columns import (
    FRAMES,
    OBJECTIVE,
    PARAMETER,
    SETTING,
    SYSTEM,
    unit_of,
)
from supclap_platform.results.frame_making import Frame, OpenColumns, Values, filled, framed, typed
from supclap_platform.results.search_figures import TRIALS
from supclap_platform.results.tables import build_table

if TYPE_CHECKING:
    import numpy as np

    from supclap_platform.results.verdicts import Verdict

TOP = 10  # ranks that AP10 looks at


@dataclass(frozen=True)
class Part:
    """One experiment as it is by now, and where its results are read."""

    experiment: Experiment
    ledger: Snapshot

    @cached_property
    def evidence(self) -> Evidence:
        return Evidence(self.experiment, self.ledger)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        from supclap_platform.results.verdicts import judge  # SciPy takes a second to import

        return judge(self.experiment, self.ledger, self.evidence)

    @cached_property
    def why_stale(self) -> dict[str, str]:
        """Signature of a stale run -> which modules have changed since, in words."""
        other = self.evidence.of_other_code
        return {cell.signature: one.why for one in other for cell in one.cells}

    @cached_property
    def late_seeds(self) -> str:
        """Which seeds were declared after results; empty: none."""
        evidence = self.evidence
        return late(self.experiment, evidence.cells, evidence.finished, self.ledger).seeds

    def row(self, cell: Cell) -> str:
        """The row of the table that a cell belongs to."""
        if cell.variant == INIT:
            return INIT
        return self.experiment.variant(cell.variant).row

    def which(self, cell: Cell) -> dict[str, Any]:
        """What every frame says of the run that it speaks of."""
        return {
            "experiment": self.experiment.name,
            "row": self.row(cell),
            "group": cell.group,
            "seed": cell.seed,
            "signature": cell.signature,
        }


def runs_frame(parts: Sequence[Part]) -> Frame:
    """One row for each run that is declared."""
    rows, metrics, settings = [], OpenColumns(), OpenColumns()
    for part in parts:
        for cell in part.evidence.cells:
            row = _run(part, cell)
            result = part.evidence.result(cell.signature)
            row |= metrics.of(part.experiment.method, {} if result is None else result.metrics)
            row |= settings.of(part.experiment.method, _changes(part.experiment, cell), "set.")
            rows.append(row)
    return framed(
        "runs",
        rows,
        {"METRIC": metrics.metrics(), "set.KEY": typed(SETTING, settings.names, rows)},
    )


def epochs_frame(parts: Sequence[Part]) -> Frame:
    """One row for each epoch that has ended, of unfinished runs too."""
    rows, metrics, system = [], OpenColumns(), OpenColumns()
    for part in parts:
        for cell in part.evidence.cells:
            for one in part.evidence.epochs(cell.signature):
                row = part.which(cell) | {
                    "state": str(part.evidence.state(cell.signature)),
                    "stale": cell.signature in part.evidence.stale,
                    "epoch": one.epoch,
                    "step": one.step,
                    "seconds": one.seconds,
                    "ended": _moment(one.time),
                }
                row |= metrics.of(part.experiment.method, one.metrics)
                row |= system.of(part.experiment.method, one.system, "system.")
                rows.append(row)
    used = tuple(SYSTEM.named(name) for name in system.names)
    return framed("epochs", rows, {"METRIC": metrics.metrics(), "system.NAME": used})


def query_frames(parts: Sequence[Part]) -> Iterator[Frame]:
    """The queries of one finished run after another: a run may have thousands, a file millions."""
    columns = FRAMES["queries"]
    schema = pa.schema([(column.name, column.kind) for column in columns])
    yield Frame(columns, schema.empty_table())
    for part in parts:
        for cell in part.evidence.cells:
            arrays = part.evidence.arrays(cell.signature) or {}
            shared = part.which(cell) | {"stale": cell.signature in part.evidence.stale}
            for way in [n.removesuffix("_ranks") for n in arrays if n.endswith("_ranks")]:
                values = {**shared, "way": way, **_queries(way, arrays)}
                table = [filled(values[c.name], len(values["rank"]), c.kind) for c in columns]
                yield Frame(columns, pa.table(table, schema=schema))


def trials_frame(parts: Sequence[Part]) -> Frame:
    """One row for each trial of the search that has a value, as its last run has written them."""
    rows: list[dict[str, Any]] = []
    objectives: dict[str, None] = {}
    keys: dict[str, None] = {}
    for part in parts:
        if part.experiment.search is None:
            continue
        names = [objective.metric for objective in part.experiment.search.objectives]
        objectives |= dict.fromkeys(names)
        for row in part.ledger.spared(partial(_trials, part, names)) or ():
            keys |= dict.fromkeys(name for name in row if name.startswith("set."))
            rows.append(row)
    of_metric = tuple(OBJECTIVE.named(name, unit=unit_of(name)) for name in objectives)
    settings = typed(PARAMETER, keys, rows)
    return framed("trials", rows, {"OBJECTIVE": of_metric, "set.KEY": settings})


def _trials(part: Part, objectives: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of a search's trials; none before it has ended. Raises Damaged."""
    folder = part.ledger.experiment_folder(part.experiment.name)
    try:
        lines = csv.DictReader(io.StringIO(read_content(folder, TRIALS).decode()))
        return [_trial(part, line, objectives) for line in lines]
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError) as error:
        raise Damaged(folder.uri_of(TRIALS), str(error)) from None


def _trial(part: Part, line: dict[str, str], objectives: Sequence[str]) -> dict[str, Any]:
    epochs = line.pop("epochs")
    row: dict[str, Any] = {
        "experiment": part.experiment.name,
        "trial": int(line.pop("trial")),
        "state": line.pop("state"),
        "epochs": int(epochs) if epochs else None,
    }
    for name in objectives:
        value = line.pop(name)
        row[name] = float(value) if value else None
    return row | {f"set.{key}": _number_or_text(value) for key, value in line.items()}


def verdicts_frame(parts: Sequence[Part]) -> Frame:
    """One row for each claim."""
    from supclap_platform.results.verdict_formats import COLUMNS, FURTHER, numbers_of

    rows = []
    for part in parts:
        for one in part.verdicts:
            values = dict(zip((*COLUMNS, *FURTHER), numbers_of(one), strict=True))
            runs = {run.signature for _, run in one.runs}
            rows.append(
                {name: None if value == "" else value for name, value in values.items()}
                | {name: values[name] for name in _TEXTS}
                | {
                    "experiment": part.experiment.name,
                    "verdict": str(one.outcome),
                    "declared_late": "; ".join(one.late),
                    "stale_runs": len(runs & part.evidence.stale),
                }
            )
    return framed("verdicts", rows)


_TEXTS = ("seeds_needed", "cannot_be_judged", "remarks", "signatures", "looks", "path", "scope")


def table_frame(parts: Sequence[Part]) -> Frame:
    """One row for each entry of the table: a row of it on a column."""
    rows = []
    for part in parts:
        experiment = part.experiment
        table = build_table(experiment, part.ledger, mixed=True, cells=part.evidence.cells)
        for row in table.rows:
            for column, entry in zip(table.columns, row.entries, strict=True):
                runs = [run for run in row.runs if run.group == column.group]
                states = [run.state for run in runs]
                over = [s for s in states if s in (State.FAILED, State.DAMAGED)]
                difference, summary = entry.difference, entry.summary
                rows.append(
                    {
                        "experiment": experiment.name,
                        "row": row.variant,
                        "group": column.group,
                        "column": column.name,
                        "metric": column.measure.name,
                        "mean": None if summary is None else summary.mean,
                        "std": None if summary is None else summary.std,
                        "n": len(entry.values),
                        "wanted": entry.wanted,
                        "failed": len(over),
                        "unfinished": len(states) - len(over) - states.count(State.DONE),
                        "stale": sum(run.signature in part.evidence.stale for run in runs),
                        "best": entry.best,
                        "lower_is_better": column.measure.low,
                        "published": entry.published,
                        "baseline": None if difference is None else difference.baseline,
                        "difference": None if difference is None else difference.ours,
                        "difference_seeds": None if difference is None else len(difference.seeds),
                        "published_difference": difference and difference.published,
                        "seeds_declared_late": part.late_seeds,
                        "label": row.label or row.variant,
                        "column_label": column.heading,
                    }
                )
    return framed("table", rows)


def _run(part: Part, cell: Cell) -> dict[str, Any]:
    """What is known of a run but for its metrics."""
    signature = cell.signature
    result, state = part.evidence.result(signature), part.evidence.state(signature)
    failure = part.ledger.failure(signature) if state is State.FAILED else None
    damage = part.ledger.damage_of(signature) if state is State.DAMAGED else None
    row = part.which(cell) | {
        "stage": cell.variant == INIT,
        "state": str(state),
        "stale": signature in part.evidence.stale,
        "stale_because": part.why_stale.get(signature, ""),
        "seeds_declared_late": part.late_seeds,
        "attempts": None if failure is None else failure.attempts,
        "error": failure.error if failure else str(damage or ""),
        "starts_from": cell.start,
    }
    if result is not None:
        row |= {
            "code": result.code,
            "data": result.data,
            "epochs": result.epochs,
            "best_epoch": result.best_epoch,
            "steps": result.step,
            "workers": result.workers,
            "seconds": result.seconds,
            "setup_seconds": result.setup_seconds,
            "peak_MB": result.peak_MB,
            "ended": _moment(result.time) if result.time else None,
            **{name: result.made_with.get(name) for name in ("python", "torch", "device")},
        }
    return row


def _queries(way: str, arrays: Mapping[str, np.ndarray]) -> Values:
    """The columns of the queries of one way."""
    import numpy as np

    ranks = arrays[f"{way}_ranks"]
    precision = arrays.get(f"{way}_precision")
    if precision is None and way == "t2a":  # one right answer: that of its rank
        precision = np.where(ranks < TOP, 1.0 / (1 + ranks), 0.0)
    return {
        "query": np.arange(len(ranks), dtype=np.int32),
        "clip": arrays.get(f"{way}_clips"),
        "rank": ranks + 1,
        "AP10": None if precision is None else 100 * precision,
        "similarity": arrays.get(f"{way}_similarity"),
    }


def _changes(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    """What the row of a cell changes of the base: dotted key -> value."""
    return {} if cell.variant == INIT else flat(experiment.variant(cell.variant).changes)


def _number_or_text(value: str) -> float | str | None:
    if value == "":
        return None
    try:
        return float(value)
    except ValueError:
        return value


def _moment(seconds: float) -> int:
    """Milliseconds since 1970."""
    return round(seconds * 1000)

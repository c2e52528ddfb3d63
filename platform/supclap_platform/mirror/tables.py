"""Rows of MLflow's own tables, as its calls would write them, many runs in one transaction.

No call of MLflow's writes more than a part of one run, and each is several transactions. So this
knows MLflow's tables, and is used only where they have just the columns named here: any other
version of them is written by MLflow's calls. `tests/platform/test_mirror_tables.py` compares every
table, row by row, with what those calls leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4

_METRIC = "run_uuid key timestamp step value is_nan"  # in the order of a Point
# table -> its columns as they were when this was written (MLflow 3.17)
KNOWN = {
    "experiments": "experiment_id name artifact_location lifecycle_stage creation_time "
    "last_update_time workspace",
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time "
    "end_time deleted_time source_version lifecycle_stage artifact_uri experiment_id",
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": _METRIC,
    "latest_metrics": _METRIC,
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source "
    "dataset_schema dataset_profile",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
    "logged_models": "model_id experiment_id name artifact_location creation_timestamp_ms "
    "last_updated_timestamp_ms status lifecycle_stage model_type source_run_id status_message",
    "logged_model_params": "model_id experiment_id param_key param_value",
    "logged_model_tags": "model_id experiment_id tag_key tag_value",
    "logged_model_metrics": "model_id metric_name metric_timestamp_ms metric_step metric_value "
    "experiment_id run_id dataset_uuid dataset_name dataset_digest",
}
DIALECTS = ("sqlite", "postgresql")
_ASKED = 500  # ids in one question

Row = dict[str, Any]
Point = tuple[str, str, int, int, float, bool]  # run, key, time, step, value, whether it is NaN


@cache
def as_known() -> bool:
    """Whether MLflow's tables have the columns that are known here, and no others."""
    from mlflow.store.tracking.dbmodels.models import Base

    tables = Base.metadata.tables
    return all(
        name in tables and set(columns.split()) == {column.name for column in tables[name].columns}
        for name, columns in KNOWN.items()
    )


@dataclass
class Rows:
    """What is to be written at once. ``changes``: columns of runs that are in the table."""

    runs: dict[str, Row] = field(default_factory=dict)
    changes: dict[str, Row] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)  # every run that something is written of
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    params: dict[tuple[str, str], str] = field(default_factory=dict)
    points: dict[Point, None] = field(default_factory=dict)
    data_sets: list[tuple[str, Any]] = field(default_factory=list)  # run, MLflow's DatasetInput
    outputs: list[tuple[str, str, int]] = field(default_factory=list)  # run, model, step
    models: dict[str, Row] = field(default_factory=dict)
    finalized: dict[str, Row] = field(default_factory=dict)  # models that are in the table
    model_params: list[Row] = field(default_factory=list)
    model_tags: list[Row] = field(default_factory=list)
    model_points: list[Row] = field(default_factory=list)

    def __len__(self) -> int:
        """About how many rows there are."""
        return len(self.touched) + len(self.tags) + len(self.params) + len(self.points)

    def change(self, run: str, **values: Any) -> None:
        """Sets columns of a run."""
        self.touched.add(run)
        row = self.runs.get(run)
        (self.changes.setdefault(run, {}) if row is None else row).update(values)


def write(rows: Rows, session: Any, dialect: str) -> None:
    """Writes all rows in the transaction of a session.

    Raises:
        MlflowException: a run or an experiment is no longer there, or is deleted.
    """
    _Writing(rows, session, dialect).all()


def read_runs(session: Any, experiment: str, wanted: Mapping[str, str]) -> list[Row]:
    """The active runs of an experiment that have these tags, the latest first: columns of their
    rows, and ``tags``. MLflow's own search reads all that a run has: 14 ms for each, against 0.1.
    """
    from mlflow.store.tracking.dbmodels.models import Base
    from sqlalchemy import and_, select

    runs, tags = (Base.metadata.tables[name] for name in ("runs", "tags"))
    place = runs
    for key, value in wanted.items():
        tag = tags.alias()
        has = and_(tag.c.run_uuid == runs.c.run_uuid, tag.c.key == key, tag.c.value == value)
        place = place.join(tag, has)
    where = and_(runs.c.experiment_id == int(experiment), runs.c.lifecycle_stage == "active")
    order = (runs.c.start_time.desc(), runs.c.run_uuid)
    asked = select(*runs.c).select_from(place).where(where).order_by(*order)
    found = {row.run_uuid: {**row._mapping, "tags": {}} for row in session.execute(asked)}
    every = place.join(tags, tags.c.run_uuid == runs.c.run_uuid)
    asked = select(tags.c.run_uuid, tags.c.key, tags.c.value).select_from(every).where(where)
    for run, key, value in session.execute(asked):
        if run in found:
            found[run]["tags"][key] = value
    return list(found.values())


def read_params(session: Any, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """run -> its parameters; absent where it has none."""
    from mlflow.store.tracking.dbmodels.models import Base

    params = Base.metadata.tables["params"].c
    found: dict[str, dict[str, str]] = {}
    columns = (params.run_uuid, params.key, params.value)
    for run, key, value in _select(session, columns, params.run_uuid, ids):
        found.setdefault(run, {})[key] = value
    return found


class _Writing:
    def __init__(self, rows: Rows, session: Any, dialect: str) -> None:
        from mlflow.store.tracking.dbmodels.models import Base
        from sqlalchemy.dialects import postgresql, sqlite

        self._rows = rows
        self._session = session
        self._tables = Base.metadata.tables
        self._insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect]
        self._locks = dialect != "sqlite"  # which has one lock for the whole file

    def all(self) -> None:
        rows = self._rows
        if not self._locks:
            from sqlalchemy import text

            # Begun for reading, it would be refused where another process writes meanwhile.
            self._session.execute(text("BEGIN IMMEDIATE"))
        self._check()
        self._add("runs", rows.runs.values())
        self._update("runs", "run_uuid", rows.changes)
        self._put("tags", _keyed(rows.tags))
        self._add("params", _keyed(rows.params))
        self._metrics()
        self._inputs()
        self._add("logged_models", rows.models.values())
        self._update("logged_models", "model_id", rows.finalized)
        self._add("logged_model_params", rows.model_params)
        self._add("logged_model_tags", rows.model_tags)
        self._add("inputs", map(_output, rows.outputs))
        self._add("logged_model_metrics", rows.model_points)

    def _check(self) -> None:
        """That what is written to is there and not deleted, and stays so."""
        from mlflow.exceptions import MlflowException

        new = [*self._rows.runs.values(), *self._rows.models.values()]
        wanted = {
            ("runs", "run_uuid"): self._rows.touched - self._rows.runs.keys(),
            ("experiments", "experiment_id"): {row["experiment_id"] for row in new},
        }
        for (table, key), ids in wanted.items():
            columns = self._tables[table].c
            found = self._select(
                [columns[key]], columns[key], sorted(ids), columns.lifecycle_stage == "active"
            )
            for missing in ids - {row[0] for row in found}:
                raise MlflowException(f"{table}: {missing} is not there, or deleted")

    def _metrics(self) -> None:
        """Every point, and of each metric the latest by step, time and value."""
        latest: dict[tuple[str, str], Point] = {}
        table = self._tables["latest_metrics"]
        written = {point[0] for point in self._rows.points}
        columns = [table.c[name] for name in _METRIC.split()]
        for row in self._select(
            columns, table.c.run_uuid, sorted(written - self._rows.runs.keys())
        ):
            point: Point = tuple(row)
            latest[point[:2]] = point
        changed: dict[tuple[str, str], Point] = {}
        for point in self._rows.points:
            before = latest.get(point[:2])
            if before is None or _age(point) > _age(before):
                latest[point[:2]] = changed[point[:2]] = point
        self._add("metrics", map(_metric, self._rows.points))
        self._put("latest_metrics", map(_metric, changed.values()))

    def _inputs(self) -> None:
        """The data sets, each once in an experiment, and the edges from them to the runs."""
        runs, table = self._tables["runs"], self._tables["datasets"]
        wanted = sorted({run for run, _ in self._rows.data_sets})
        of = {run: row["experiment_id"] for run, row in self._rows.runs.items()}
        known = [run for run in wanted if run not in of]
        asked = [runs.c.run_uuid, runs.c.experiment_id]
        of |= dict(map(tuple, self._select(asked, runs.c.run_uuid, known)))
        sets = {
            (int(of[run]), one.dataset.name, one.dataset.digest): one.dataset
            for run, one in self._rows.data_sets
        }
        self._add("datasets", [_data_set(key, one) for key, one in sorted(sets.items(), key=_key)])
        columns = [table.c[name] for name in ("experiment_id", "name", "digest", "dataset_uuid")]
        digests = sorted({digest for _, _, digest in sets})
        ids = {tuple(row[:3]): row[3] for row in self._select(columns, table.c.digest, digests)}
        edges = self._tables["inputs"].c
        there = {
            (row[0], row[1])
            for row in self._select(
                [edges.source_id, edges.destination_id],
                edges.destination_id,
                known,
                edges.source_type == "DATASET",
            )
        }
        inputs, tags = [], []
        for run, one in self._rows.data_sets:
            source = ids[int(of[run]), one.dataset.name, one.dataset.digest]
            if (source, run) in there:
                continue
            there.add((source, run))
            inputs.append(_edge("DATASET", source, "RUN", run))
            uuid = inputs[-1]["input_uuid"]
            tags += [{"input_uuid": uuid, "name": tag.key, "value": tag.value} for tag in one.tags]
        self._add("inputs", inputs)
        self._add("input_tags", tags)

    def _add(self, table: str, rows: Iterable[Row]) -> None:
        """Inserts those that are not there."""
        self._execute(table, rows, lambda statement: statement.on_conflict_do_nothing())

    def _put(self, table: str, rows: Iterable[Row]) -> None:
        """Inserts rows, over those of the same key."""
        keys = [column.name for column in self._tables[table].primary_key]
        others = [c.name for c in self._tables[table].columns if c.name not in keys]
        self._execute(
            table,
            rows,
            lambda statement: statement.on_conflict_do_update(
                index_elements=keys, set_={name: statement.excluded[name] for name in others}
            ),
        )

    def _execute(self, table: str, rows: Iterable[Row], how: Callable[[Any], Any]) -> None:
        if values := list(rows):
            self._session.execute(how(self._insert(self._tables[table])), values)

    def _update(self, table: str, key: str, changes: Mapping[str, Row]) -> None:
        from sqlalchemy import bindparam, update

        place = self._tables[table]
        for identity, values in changes.items():
            where = place.c[key] == bindparam("identity")
            self._session.execute(update(place).where(where).values(values), {"identity": identity})

    def _select(
        self, columns: Sequence[Any], key: Any, ids: Sequence[Any], *where: Any
    ) -> Iterator[Any]:
        return _select(self._session, columns, key, ids, *where)


def _select(
    session: Any, columns: Sequence[Any], key: Any, ids: Sequence[Any], *where: Any
) -> Iterator[Any]:
    from sqlalchemy import select

    for at in range(0, len(ids), _ASKED):
        yield from session.execute(select(*columns).where(key.in_(ids[at : at + _ASKED]), *where))


def _age(point: Point) -> tuple[int, int, float]:
    _, _, time, step, value, _ = point
    return step, time, value


def _metric(point: Point) -> Row:
    return dict(zip(_METRIC.split(), point, strict=True))


def _keyed(values: Mapping[tuple[str, str], str]) -> Iterator[Row]:
    for (run, key), value in values.items():
        yield {"run_uuid": run, "key": key, "value": value}


def _edge(source_type: str, source: str, kind: str, target: str, step: int = 0) -> Row:
    return {
        "input_uuid": uuid4().hex,
        "source_type": source_type,
        "source_id": source,
        "destination_type": kind,
        "destination_id": target,
        "step": step,
    }


def _output(output: tuple[str, str, int]) -> Row:
    run, model, step = output
    return _edge("RUN_OUTPUT", run, "MODEL_OUTPUT", model, step)


def _data_set(key: tuple[int, str, str], one: Any) -> Row:
    experiment, name, digest = key
    return {
        "dataset_uuid": uuid4().hex,
        "experiment_id": experiment,
        "name": name,
        "digest": digest,
        "dataset_source_type": one.source_type,
        "dataset_source": one.source,
        "dataset_schema": one.schema,
        "dataset_profile": one.profile,
    }


def _key(item: tuple[tuple[int, str, str], Any]) -> tuple[int, str, str]:
    return item[0]

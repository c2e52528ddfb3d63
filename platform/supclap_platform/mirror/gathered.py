"""An MLflow client whose writes to a database are gathered: many runs go in one transaction.

MLflow's own calls make some ten transactions of a run, each a write to the disk. What is asked of a
`Gathered` client is noted, in the order asked, and written by `flush`: all of it, or nothing. What
reads flushes first. Other clients (of a server, of a database that `tables` does not know) are
`Direct`: each call is MLflow's own, at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from supclap.scratch import scratch_folder
from supclap_platform.mirror.stored_run import NAME, RUNS, StoredRun
from supclap_platform.mirror.tables import (
    DIALECTS,
    Row,
    Rows,
    as_known,
    read_params,
    read_runs,
    write,
)

MOST = 20_000  # rows in one transaction, and in memory
_AT_ONCE = 16  # tasks: an object store answers each in tens of milliseconds

Task = Callable[[], object]


class Direct:
    """Any client. What is asked is done at once."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_model_files(self, logged: Any, files: Mapping[str, bytes]) -> None:
        """Makes files those of a logged model."""
        with scratch_folder("mlflow") as scratch:
            _write_files(scratch, files)
            self._client.log_model_artifacts(logged.model_id, str(scratch))

    def flush(self) -> None:
        """Nothing is left to do."""

    def found_runs(self, experiment: str, tags: Mapping[str, str]) -> list[StoredRun]:
        """The active runs of an experiment that have these tags."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found: list[StoredRun] = []
        token = None
        while True:
            page = self._client.search_runs(
                [experiment], wanted, max_results=RUNS, page_token=token
            )
            found += [StoredRun.of(run) for run in page]
            token = page.token
            if not token:
                return found


class Gathered:
    """A client of a database; its methods take and return what MLflow's do."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._store = client._tracking_client.store
        self._rows = Rows()
        self._tasks: list[Task] = []
        self._places: dict[str, str] = {}  # experiment -> where its artifacts go

    def __getattr__(self, name: str) -> Any:
        """All that is not gathered: it sees what was asked before it."""
        self.flush()
        return getattr(self._client, name)

    def put_model_files(self, logged: Any, files: Mapping[str, bytes]) -> None:
        """As `Direct`'s; before the next flush writes, and beside those of other models."""
        self._tasks.append(partial(_put, logged.artifact_location, files))

    def flush(self) -> None:
        """Writes what is noted. Where that fails, nothing of it is written, and it is forgotten."""
        rows, self._rows = self._rows, Rows()
        tasks, self._tasks = self._tasks, []
        if tasks:
            with ThreadPoolExecutor(_AT_ONCE) as workers:
                for _ in workers.map(lambda task: task(), tasks):
                    pass
        if len(rows) or rows.models or rows.finalized:
            with self._store.ManagedSessionMaker(read_only=False) as session:
                write(rows, session, self._store.db_type)

    def found_runs(self, experiment: str, tags: Mapping[str, str]) -> list[StoredRun]:
        """As `Direct`'s."""
        self.flush()
        with self._store.ManagedSessionMaker() as session:
            rows = read_runs(session, experiment, tags)
            bare = [row["run_uuid"] for row in rows if "signature" not in row["tags"]]
            params = read_params(session, bare)  # those of cells are many, and nobody asks for them
        return [_stored(row, params) for row in rows]

    def create_run(self, experiment: str, began: int, tags: Mapping[str, str], name: str) -> Any:
        from mlflow.entities import Run, RunData, RunInfo, RunTag

        identity = uuid4().hex
        place = f"{self._place(experiment)}/{identity}/artifacts"
        row = {
            "run_uuid": identity,
            "name": name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "unknown",
            "status": "RUNNING",
            "start_time": began,
            "end_time": None,
            "deleted_time": None,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": place,
            "experiment_id": int(experiment),
        }
        self._rows.runs[identity] = row
        self._rows.touched.add(identity)
        every = {**tags, NAME: name}
        self._rows.tags |= {(identity, key): value for key, value in every.items()}
        info = RunInfo(
            identity, experiment, "unknown", "RUNNING", began, None, "active", place, name
        )
        return Run(info, RunData(tags=[RunTag(key, value) for key, value in every.items()]))

    def log_batch(
        self,
        run: str,
        metrics: Sequence[Any] = (),
        params: Sequence[Any] = (),
        tags: Sequence[Any] = (),
    ) -> None:
        from mlflow.utils.validation import _validate_batch_log_data

        metrics, params, tags = _validate_batch_log_data(metrics, params, tags)
        rows = self._rows
        rows.touched.add(run)
        for metric in metrics:
            is_nan, value = self._store.sanitize_metric_value(metric.value)
            rows.points[run, metric.key, metric.timestamp, metric.step, value, is_nan] = None
            if metric.model_id is not None:
                rows.model_points.append(
                    {
                        "model_id": metric.model_id,
                        "metric_name": metric.key,
                        "metric_timestamp_ms": metric.timestamp,
                        "metric_step": metric.step,
                        "metric_value": value,
                        "experiment_id": self._experiment_of(metric.model_id),
                        "run_id": run,
                        "dataset_uuid": None,
                        "dataset_name": metric.dataset_name,
                        "dataset_digest": metric.dataset_digest,
                    }
                )
        rows.params |= {(run, one.key): one.value for one in params}
        rows.tags |= {(run, one.key): one.value for one in tags}
        assert all(one.key != NAME for one in tags), "a run is renamed by update_run"
        if len(rows) > MOST:
            self.flush()

    def log_inputs(self, run: str, datasets: Sequence[Any]) -> None:
        from mlflow.utils.validation import _validate_dataset_inputs

        _validate_dataset_inputs(datasets)
        self._rows.touched.add(run)
        self._rows.data_sets += [(run, one) for one in datasets]

    def log_outputs(self, run: str, models: Sequence[Any]) -> None:
        self._rows.touched.add(run)
        self._rows.outputs += [(run, one.model_id, one.step) for one in models]

    def update_run(self, run: str, status: str | None = None, name: str | None = None) -> None:

        if status is not None:
            self._rows.change(run, status=status)
        if name is not None:
            self._rows.change(run, name=name)
            self._rows.tags[run, NAME] = name

    def set_terminated(self, run: str, status: str, ended: int | None = None) -> None:
        self._rows.change(run, status=status, end_time=ended or _now())

    def create_logged_model(
        self,
        experiment: str,
        name: str,
        source_run_id: str,
        params: Mapping[str, str],
        model_type: str,
        tags: Mapping[str, str] | None = None,
    ) -> Any:
        from mlflow.entities import LoggedModel, LoggedModelStatus
        from mlflow.utils.validation import _validate_logged_model_name

        _validate_logged_model_name(name)
        identity, moment = f"m-{uuid4().hex}", _now()
        place = f"{self._place(experiment)}/models/{identity}/artifacts"
        pending = LoggedModelStatus.PENDING
        self._rows.models[identity] = {
            "model_id": identity,
            "experiment_id": int(experiment),
            "name": name,
            "artifact_location": place,
            "creation_timestamp_ms": moment,
            "last_updated_timestamp_ms": moment,
            "status": pending.to_int(),
            "lifecycle_stage": "active",
            "model_type": model_type,
            "source_run_id": source_run_id,
            "status_message": None,
        }
        self._rows.model_params += [
            {
                "model_id": identity,
                "experiment_id": int(experiment),
                "param_key": key,
                "param_value": value,
            }
            for key, value in params.items()
        ]
        self._rows.model_tags += [
            {
                "model_id": identity,
                "experiment_id": int(experiment),
                "tag_key": key,
                "tag_value": value,
            }
            for key, value in (tags or {}).items()
        ]
        return LoggedModel(
            experiment, identity, name, place, moment, moment, model_type, source_run_id, pending
        )

    def log_model_artifacts(self, model: str, folder: str) -> None:
        """Those of a model that is still to be written go where MLflow will look for them."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        row = self._rows.models.get(model)
        if row is None:
            self.flush()
            self._client.log_model_artifacts(model, folder)
        else:
            get_artifact_repository(row["artifact_location"]).log_artifacts(folder)

    def finalize_logged_model(self, model: str, status: str) -> None:
        from mlflow.entities import LoggedModelStatus

        values = {
            "status": LoggedModelStatus(status).to_int(),
            "last_updated_timestamp_ms": _now(),
        }
        row = self._rows.models.get(model)
        (self._rows.finalized.setdefault(model, {}) if row is None else row).update(values)

    def _place(self, experiment: str) -> str:
        if experiment not in self._places:
            found = self._client.get_experiment(experiment)
            self._places[experiment] = found.artifact_location.rstrip("/")
        return self._places[experiment]

    def _experiment_of(self, model: str) -> int:
        row = self._rows.models.get(model)
        if row is not None:
            return int(row["experiment_id"])
        return int(self._client.get_logged_model(model).experiment_id)


def gathering(client: Any) -> Any:
    """The client such that it writes many runs at once, where it can."""
    from mlflow import MlflowClient
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if not isinstance(client, MlflowClient):
        return Direct(client)
    store = client._tracking_client.store
    ours = type(store) is SqlAlchemyStore and store.db_type in DIALECTS
    return Gathered(client) if ours and as_known() else Direct(client)


def _put(place: str, files: Mapping[str, bytes]) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with scratch_folder("mlflow") as scratch:
        _write_files(scratch, files)
        get_artifact_repository(place).log_artifacts(str(scratch))


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _stored(row: Row, params: Mapping[str, dict[str, str]]) -> StoredRun:
    identity = row["run_uuid"]
    return StoredRun(
        identity,
        row["status"],
        row["start_time"],
        row["end_time"],
        row["tags"].get(NAME, ""),
        row["tags"],
        params.get(identity, {}),
    )


def _now() -> int:
    return time.time_ns() // 1_000_000

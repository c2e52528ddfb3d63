"""The runs of one experiment and profile in an MLflow store: a parent, and a child for each cell.

MLflow is asked through its client alone, never through the global state of its fluent interface.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supclap.events import Event, Started
from supclap.run_files import MODEL as MODEL_FOLDER
from supclap.storage import Folder
from supclap_platform.ledger.history import History
from supclap_platform.mirror.content import (
    EARLY,
    ERROR,
    MIRRORED,
    MODEL,
    RUNNING,
    CellRecord,
    MetricPoint,
    cursor,
    marked,
    mirrored,
    params_of,
    points_of,
    tags_of,
)
from supclap_platform.mirror.logged_model import log_model, shared

PARENT = "supclap.parent"  # tag of a parent run: which
ARTIFACTS = "artifacts"  # tag of a parent run: hash of the artifacts it shows
_OF_PARENT = "mlflow.parentRunId"
_NAME, _NOTE, _TABLES = "mlflow.runName", "mlflow.note.content", "mlflow.loggedArtifacts"
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # which pages MLflow shows of it
# MLflow's limits on one call are 1,000 metrics and 100 parameters, 1,000 of all together.
_METRICS, _PARAMS, _RUNS = 800, 100, 1000


@dataclass
class _Run:
    """A run as the store has it."""

    id: str
    status: str
    began: int
    ended: int | None
    name: str
    tags: dict[str, str]
    experiment: str

    @classmethod
    def of(cls, run: Any) -> _Run:
        info = run.info
        name = run.data.tags.get(_NAME, "")
        return cls(
            info.run_id,
            info.status,
            info.start_time,
            info.end_time,
            name,
            dict(run.data.tags),
            info.experiment_id,
        )


class Runs:
    """The parent and its children. Raises whatever MLflow raises where the store is away."""

    def __init__(self, client: Any, history: History, artifacts: str | None) -> None:
        self.fresh = True  # no other process can have created a child since they were listed
        self._client = client
        self._experiment = self._open_experiment(history.experiment, artifacts)
        self._parent = self._open_parent(history)
        self._children = self._list_children()

    @property
    def parent_status(self) -> str:
        return self._parent.status

    def is_running(self, signature: str) -> bool:
        """Whether the store shows the cell as running."""
        child = self._children.get(signature)
        return child is not None and child.status == RUNNING

    def last_end(self) -> int:
        """When the last of the children ended, in milliseconds; 0 where none has."""
        return max((child.ended or 0 for child in self._children.values()), default=0)

    def show_parent(self, history: History, status: str, ended: int | None) -> None:
        """Sets the parent run's tags and status.

        A status that ends the run is set only where ``ended``, the time of its end, is given.
        """
        tags = dict(history.tags)
        if history.about:
            tags[_NOTE] = history.about
        self._set_tags(self._parent, tags)
        if status == RUNNING or ended is not None:
            self._set_status(self._parent, status, ended)

    def show_artifacts(self, history: History, files: Mapping[str, bytes]) -> None:
        """Logs the parent's artifacts where they are not those that it shows already."""
        state = hashlib.sha256()
        for name, content in sorted(files.items()):
            state.update(f"{name}\0{len(content)}\0".encode() + content)
        found = state.hexdigest()[:16]
        if not files or self._parent.tags.get(ARTIFACTS) == found:
            return
        with tempfile.TemporaryDirectory(prefix="supclap-mlflow-") as scratch:
            for name, content in files.items():
                path = Path(scratch, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(self._parent.id, scratch)
        tables = [{"path": name, "type": "table"} for name in files if _is_table(name)]
        self._set_tags(self._parent, {_TABLES: json.dumps(tables), ARTIFACTS: found})

    def show(self, record: CellRecord) -> None:
        """Brings a cell's child run up to what the ledger says of it."""
        events = record.events
        child, done = self._child(record)
        started = events[0] if events and isinstance(events[0], Started) else None
        tags = tags_of(record.cell, started, record.failure, record.early)
        if MIRRORED not in child.tags and started is not None:
            data_sets = [_data_set(started)]
            shared(lambda: self._client.log_inputs(child.id, data_sets))
            params = list(params_of(started.config).items())
            for at in range(0, len(params), _PARAMS):
                self._log(child, params=dict(params[at : at + _PARAMS]))
        for points, mark in _batches(events, done):
            self._log(child, points, tags={**tags, **({MIRRORED: mark} if mark else {})})
        self._set_tags(child, tags)
        for name in {ERROR, EARLY} & child.tags.keys() - tags.keys():  # it goes on now
            self._client.delete_tag(child.id, name)
            del child.tags[name]
        self._set_status(child, record.status, record.ended)

    def show_model(self, signature: str, folder: Folder, step: int) -> None:
        """Logs a finished cell's model, where `show` has shown the rest."""
        child = self._children[signature]
        if MODEL not in child.tags and folder.exists(f"{MODEL_FOLDER}/model.json"):
            run = self._client.get_run(child.id)
            model = log_model(self._client, run, folder.below(MODEL_FOLDER), step)
            self._set_tags(child, {MODEL: model})

    def _child(self, record: CellRecord) -> tuple[_Run, int]:
        """The run of a cell and how many of its events it shows; a new one where need be."""
        signature = record.cell.signature
        name = f"{record.cell.variant}, seed {record.cell.seed}"
        child = self._children.get(signature)
        if child is None and not self.fresh:
            child = self._find_child(signature)
        if child is not None:
            mark = child.tags.get(MIRRORED)
            done = mirrored(mark, record.events)
            if done is not None and (mark or child.began == record.began):
                if child.name != name:
                    self._client.update_run(child.id, name=name)
                    child.name = name
                self._children[signature] = child
                return child, done
            self._client.delete_run(child.id)  # of a cell that was discarded and began anew
        tags = tags_of(record.cell, None, None) | {_OF_PARENT: self._parent.id}
        run = self._client.create_run(self._experiment, record.began, tags, name)
        child = self._children[signature] = _Run.of(run)
        return child, 0

    def _open_experiment(self, name: str, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = f"{artifacts}/{name}" if artifacts else None
            return str(self._client.create_experiment(name, place, tags=_KIND))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _open_parent(self, history: History) -> _Run:
        found = self._search(f"tags.`{PARENT}` = '{history.key}'")
        kept = self._only_one(found)
        if kept is not None:
            return kept
        name = f"{history.experiment}, {history.profile}"
        run = self._client.create_run(
            self._experiment, history.began, {PARENT: history.key, **history.tags}, name
        )
        return _Run.of(run)

    def _list_children(self) -> dict[str, _Run]:
        groups: dict[str, list[_Run]] = {}
        for run in self._search(f"tags.`{_OF_PARENT}` = '{self._parent.id}'"):
            groups.setdefault(run.tags.get("signature", ""), []).append(run)
        kept = {signature: self._only_one(runs) for signature, runs in groups.items()}
        return {signature: run for signature, run in kept.items() if run is not None}

    def _find_child(self, signature: str) -> _Run | None:
        """A child that another process has created since the children were listed."""
        own = f"tags.`{_OF_PARENT}` = '{self._parent.id}'"
        return self._only_one(self._search(f"{own} and tags.signature = '{signature}'"))

    def _only_one(self, runs: list[_Run]) -> _Run | None:
        """The run that shows most; the others are deleted."""
        runs = sorted(runs, key=lambda run: (-marked(run.tags.get(MIRRORED, "0:")), run.id))
        for other in runs[1:]:
            self._client.delete_run(other.id)
        return runs[0] if runs else None

    def _search(self, wanted: str) -> list[_Run]:
        found: list[_Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], wanted, max_results=_RUNS, page_token=token
            )
            found += [_Run.of(run) for run in page]
            token = page.token
            if not token:
                return found

    def _log(
        self,
        run: _Run,
        points: list[MetricPoint] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run.id,
            [Metric(p.name, p.value, p.time, p.step) for p in points or []],
            [Param(key, value) for key, value in (params or {}).items()],
            [RunTag(key, value) for key, value in (tags or {}).items()],
        )
        run.tags |= tags or {}

    def _set_tags(self, run: _Run, tags: Mapping[str, str]) -> None:
        changed = {key: value for key, value in tags.items() if run.tags.get(key) != value}
        if changed:
            self._log(run, tags=changed)

    def _set_status(self, run: _Run, status: str, ended: int | None) -> None:
        if status == RUNNING:
            if run.status != RUNNING:
                self._client.update_run(run.id, status)
        elif run.status != status or run.ended != ended:
            self._client.set_terminated(run.id, status, ended)
            run.ended = ended
        run.status = status


def _batches(events: list[Event], done: int) -> Iterator[tuple[list[MetricPoint], str | None]]:
    """The points of the events after the first ``done``, in calls that MLflow takes, each with the
    mark that is true once it is logged (None: in the midst of an event)."""
    points: list[MetricPoint] = []
    for at in range(done, len(events)):
        new = points_of(events[at])
        if points and len(points) + len(new) > _METRICS:
            yield points, cursor(events[:at])
            points = []
        points += new
        while len(points) > _METRICS:
            yield points[:_METRICS], None
            points = points[_METRICS:]
    if done < len(events):
        yield points, cursor(events)


def _data_set(started: Started) -> Any:
    """The data set input: its name, and the content hash as its digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = started.config.get("data", {})
    name = Path(data["folder"]).name if data.get("folder") else str(data.get("name", "data"))
    source = json.dumps(data, ensure_ascii=False, sort_keys=True)
    profile = json.dumps({"clips": started.clips, "left_out": started.left_out})
    return DatasetInput(
        Dataset(name, started.data[:36], "supclap", source, profile=profile),
        [InputTag("mlflow.data.context", "training")],
    )


def _is_table(name: str) -> bool:
    return name.endswith("table.json")

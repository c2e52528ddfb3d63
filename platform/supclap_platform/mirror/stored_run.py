"""Single runs in an MLflow store: found, made, brought up to date, with as few calls as can be.

MLflow is asked through its client alone, never through the global state of its fluent interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supclap_platform.mirror.content import MIRRORED, RUNNING, MetricPoint, marked

PARENT_RUN, NAME = "mlflow.parentRunId", "mlflow.runName"
# MLflow's limits on one call are 1,000 metrics and 100 parameters, 1,000 of all together.
METRICS, PARAMS, RUNS = 800, 100, 1000


@dataclass
class StoredRun:
    """A run as the store has it. ``new``: made by this process, so that nothing is in it yet.

    ``params`` may be missing of the run of a cell.
    """

    id: str
    status: str
    began: int
    ended: int | None
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    new: bool = False

    @classmethod
    def of(cls, run: Any, new: bool = False) -> StoredRun:
        info, data = run.info, run.data
        name = data.tags.get(NAME, "")
        return cls(
            info.run_id,
            info.status,
            info.start_time,
            info.end_time,
            name,
            dict(data.tags),
            dict(data.params),
            new,
        )


class RunStore:
    """The runs of one experiment of MLflow's. Raises whatever MLflow raises where it is away.

    Args:
        client: one of `gathered`.
    """

    def __init__(self, client: Any, experiment: str) -> None:
        self.client = client
        self.experiment = experiment

    def create(self, name: str, began: int, tags: Mapping[str, str]) -> StoredRun:
        run = self.client.create_run(self.experiment, began, dict(tags), name)
        return StoredRun.of(run, new=True)

    def delete(self, run: StoredRun) -> None:
        self.client.delete_run(run.id)

    def search(self, tags: Mapping[str, str]) -> list[StoredRun]:
        """Every run that has these tags."""
        found: list[StoredRun] = self.client.found_runs(self.experiment, tags)
        return found

    def only_one(self, runs: Sequence[StoredRun]) -> StoredRun | None:
        """The run that shows most; the others are deleted."""
        runs = sorted(runs, key=lambda run: (-marked(run.tags.get(MIRRORED, "0:")), run.id))
        for other in runs[1:]:
            self.delete(other)
        return runs[0] if runs else None

    def log(
        self,
        run: StoredRun,
        points: Iterable[MetricPoint] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        of: Mapping[str, str] | None = None,
    ) -> None:
        """One call. ``of``: the model and the data set that the points are of, as MLflow's
        ``Metric`` takes them."""
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            run.id,
            [Metric(p.name, p.value, p.time, p.step, **(of or {})) for p in points],
            [Param(key, value) for key, value in (params or {}).items()],
            [RunTag(key, value) for key, value in (tags or {}).items()],
        )
        run.tags |= tags or {}
        run.params |= params or {}

    def set_tags(self, run: StoredRun, tags: Mapping[str, str]) -> None:
        changed = {key: value for key, value in tags.items() if run.tags.get(key) != value}
        if changed:
            self.log(run, tags=changed)

    def set_name(self, run: StoredRun, name: str) -> None:
        if run.name != name:
            self.client.update_run(run.id, name=name)
            run.name = name

    def set_status(self, run: StoredRun, status: str, ended: int | None) -> None:
        """``ended`` in milliseconds since 1970; of a run that goes on it is not used."""
        if status == RUNNING:
            if run.status != RUNNING:
                self.client.update_run(run.id, status)
        elif run.status != status or run.ended != ended:
            self.client.set_terminated(run.id, status, ended)
            run.ended = ended
        run.status = status

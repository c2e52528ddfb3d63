"""The runs of one experiment and profile in an MLflow store.

A parent for the experiment; below it a run for each row of the table (the search with its trials,
and stages, have one too); below that a run for each cell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from supclap.events import Started
from supclap.scratch import scratch_folder
from supclap_platform.ledger.history import History
from supclap_platform.ledger.journal import EXPERIMENT, Journal
from supclap_platform.ledger.records import Known
from supclap_platform.mirror.batches import batches, data_set, line_points
from supclap_platform.mirror.content import (
    BELOW,
    DECLARED,
    EARLY,
    ERROR,
    FINISHED,
    MIRRORED,
    MODEL,
    RUNNING,
    CellRecord,
    cursor_of,
    declared_of,
    milliseconds,
    mirrored,
    params_of,
    points_of,
    tags_of,
)
from supclap_platform.mirror.logged_model import drop_linked, log_model, shared
from supclap_platform.mirror.mark import SHOWN, mark_of
from supclap_platform.mirror.rows import (
    KIND,
    OF_CELL,
    OF_EXPERIMENT,
    OF_ROW,
    Group,
    Layout,
    status_of_group,
)
from supclap_platform.mirror.stamps import Stamp
from supclap_platform.mirror.stored_run import NAME, PARAMS, PARENT_RUN, RunStore, StoredRun
from supclap_platform.mirror.views import view_tag

PARENT = "supclap.parent"  # tag of a parent run: which
ARTIFACTS = "artifacts"  # tag of a parent run: hash of the artifacts it shows
NOTE, _TABLES = "mlflow.note.content", "mlflow.loggedArtifacts"
_MODELS = {"mlflow.experimentKind": "custom_model_development"}  # which pages MLflow shows of it


class Runs:
    """The parent, its groups and their cells. Raises whatever MLflow raises where it is away.

    Args:
        cells: every cell that any run of the history has asked for.
    """

    def __init__(
        self, client: Any, history: History, cells: list[Known], artifacts: str | None
    ) -> None:
        self.fresh = True  # no other process can have created a run since they were listed
        self._history = history
        self._client = client
        self._store = RunStore(client, self._open_experiment(history, artifacts))
        self._groups: dict[Group, StoredRun] = {}
        self._children: dict[str, StoredRun] = {}
        self.arrange(history, cells)
        self._open(history)

    def arrange(self, history: History, cells: list[Known]) -> None:
        """Takes note of which cells there are, and where each belongs."""
        self._history = history
        self._layout = Layout(history, cells)
        self._known = {cell.signature: cell for cell in cells}

    @property
    def parent_status(self) -> str:
        return self._parent.status

    def flush(self) -> None:
        """Has the store show all that was shown to it."""
        self._client.flush()

    def as_left(self) -> bool:
        """Whether the store has every run as it was found or left here, and no other."""
        there = self._listed(self._store.search({PARENT: self._history.key}))
        there |= self._listed(self._store.search({BELOW: self._history.key}))
        every = (self._parent, *self._groups.values(), *self._children.values())
        return there == self._listed(every)

    @staticmethod
    def _listed(runs: Iterable[StoredRun]) -> dict[str, tuple[object, ...]]:
        return {
            run.id: (
                run.status,
                run.began,
                run.ended,
                run.name,
                {key: value for key, value in run.tags.items() if key != NAME},
            )
            for run in runs
        }

    def is_running(self, signature: str) -> bool:
        """Whether the store shows the cell as running."""
        child = self._children.get(signature)
        return child is not None and child.status == RUNNING

    def last_end(self) -> int:
        """When the last of the cells ended, in milliseconds; 0 where none has."""
        return max((child.ended or 0 for child in self._children.values()), default=0)

    def show_parent(self, journal: Journal, status: str, ended: int | None) -> None:
        """Sets the parent run's description, counts and status.

        A status that ends the run is set only where ``ended``, the time of its end, is given.
        """
        note = journal.account.note if journal.account else self._history.about
        tags = {KIND: OF_EXPERIMENT, **self._history.tags, **({NOTE: note} if note else {})}
        self._show_lines(self._parent, journal, EXPERIMENT, tags)
        if status == RUNNING or ended is not None:
            self._store.set_status(self._parent, status, ended)

    def show_groups(self, journal: Journal, driving: bool) -> None:
        """Brings the runs of rows up to their cells' and to the journal."""
        wanted: dict[Group, set[str]] = {}
        for cell in self._history.cells:
            wanted.setdefault(self._layout.group(cell), set()).add(cell.signature)
        cells: dict[Group, list[StoredRun]] = {}
        for signature, child in self._children.items():
            if signature in self._known:
                group = self._layout.group(self._known[signature])
                cells.setdefault(group, []).append(child)
        for group, children in cells.items():
            run = self._group(group)
            if group.kind == OF_ROW:
                self._show_lines(run, journal, group.name, self._group_tags(group))
            self._store.set_name(run, self._layout.names[group.name])
            whole = wanted.get(group, set()) <= self._children.keys()
            status = status_of_group([child.status for child in children], whole, driving)
            ends = [child.ended or 0 for child in children]
            self._store.set_status(run, status, max(ends))

    def show_artifacts(self, files: Mapping[str, bytes]) -> None:
        """Logs the parent's artifacts where they are not those that it shows already."""
        state = hashlib.sha256()
        for name, content in sorted(files.items()):
            state.update(f"{name}\0{len(content)}\0".encode() + content)
        found = state.hexdigest()[:16]
        if not files or self._parent.tags.get(ARTIFACTS) == found:
            return
        with scratch_folder("mlflow") as scratch:
            for name, content in files.items():
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(self._parent.id, str(scratch))
        tables = [{"path": name, "type": "table"} for name in files if _is_table(name)]
        self._store.set_tags(self._parent, {_TABLES: json.dumps(tables), ARTIFACTS: found})

    def show(self, record: CellRecord) -> None:
        """Brings a cell's run up to what the ledger says of it."""
        child, done = self._child(record)
        events = record.events
        started = events[0] if events and isinstance(events[0], Started) else None
        tags = tags_of(record.cell, started, record.failure, record.early)
        params: list[tuple[str, str]] = []
        if MIRRORED not in child.tags and started is not None:
            used = [data_set(started)]
            shared(lambda: self._client.log_inputs(child.id, used))
            params = list(params_of(started.config).items())
        for at in range(PARAMS, len(params), PARAMS):
            self._store.log(child, params=dict(params[at : at + PARAMS]))
        new = batches(events, done)
        declared = declared_of(record, self._layout.columns(record.cell))
        if declared:
            tags[DECLARED] = hashlib.sha256(
                "\0".join(point.name for point in declared).encode()
            ).hexdigest()[:16]
            if child.tags.get(DECLARED) != tags[DECLARED]:
                *before, last = new or [([], None)]
                new = [*before, ([*declared, *last[0]], last[1])]
        over = {ERROR, EARLY} & child.tags.keys() - tags.keys()  # it goes on now
        if record.status == FINISHED and record.model is None and not self._history.frees_models:
            kept = {key: value for key, value in child.tags.items() if key not in over}
            end = {MIRRORED: cursor_of([milliseconds(event) for event in events])}
            tags[SHOWN] = self._mark(record, child, {**kept, **tags, **end})
        for number, (points, mark) in enumerate(new):
            also = dict(params[:PARAMS]) if number == 0 else {}
            marks = {MIRRORED: mark} if mark else {}
            whole = tags if number == len(new) - 1 else {}
            self._store.log(child, points, also, {**whole, **marks})
        self._store.set_tags(child, tags)
        for name in over:
            self._client.delete_tag(child.id, name)
            del child.tags[name]
        self._store.set_status(child, record.status, record.ended)

    def shows_all(self, cell: Known, stamp: Stamp) -> bool:
        """Whether the run of a finished cell carries a true mark that it shows all of it."""
        child = self._children.get(cell.signature)
        if child is None or child.status != FINISHED or stamp.result is None:
            return False
        columns = self._layout.columns(cell)
        return child.name == self._layout.cell_name(cell) and child.tags.get(SHOWN) == mark_of(
            cell, stamp, columns, child, child.ended, child.tags
        )

    def _mark(self, record: CellRecord, child: StoredRun, tags: Mapping[str, str]) -> str:
        """The mark that is true when the run of a finished cell has these tags."""
        columns = self._layout.columns(record.cell)
        return mark_of(record.cell, record.stamp, columns, child, record.ended, tags)

    def lacks_model(self, signature: str) -> bool:
        """Whether the store shows no model of the cell."""
        child = self._children.get(signature)
        return child is None or MODEL not in child.tags

    def show_model(self, record: CellRecord, link: bool) -> None:
        """Logs a finished cell's model, where `show` has shown the rest, and links to it and to
        the data set what the run ends with.

        Args:
            link: MLflow gets no copy of its files.
        """
        child = self._children[record.cell.signature]
        if MODEL in child.tags or record.model is None:
            return
        started, finished = record.events[0], record.events[-1]
        assert isinstance(started, Started)
        params = {**self._layout.params(record.cell), "seed": str(record.cell.seed)}
        if record.cell.group is not None:
            params["group"] = record.cell.group
        model = log_model(
            self._client,
            self._store.experiment,
            child,
            record.model,
            record.events[-1].step,
            f"{record.cell.variant}, seed {record.cell.seed}",
            params,
            link,
        )
        declared = declared_of(record, self._layout.columns(record.cell))
        used = data_set(started).dataset
        of = {"model_id": model, "dataset_name": used.name, "dataset_digest": used.digest}
        tags = {MODEL: model}
        if not self._history.frees_models:
            tags[SHOWN] = self._mark(record, child, {**child.tags, **tags})
        self._store.log(child, [*declared, *points_of(finished)], tags=tags, of=of)

    def _show_lines(
        self, run: StoredRun, journal: Journal, of: str, tags: Mapping[str, str]
    ) -> None:
        """The lines of the journal that a run does not show yet, and its tags."""
        lines = journal.of(of)
        times = [line.time for line in lines]
        done = mirrored(run.tags.get(MIRRORED), times) or 0
        if done < len(lines):
            for points, mark in line_points(lines, done, self._history.began):
                self._store.log(run, points, tags={MIRRORED: mark})
        if lines:
            tags = {**tags, MIRRORED: cursor_of(times)}
        self._store.set_tags(run, tags)

    def _child(self, record: CellRecord) -> tuple[StoredRun, int]:
        """The run of a cell and how many of its events it shows; a new one where need be."""
        signature = record.cell.signature
        name = self._layout.cell_name(record.cell)
        child = self._children.get(signature)
        if child is None and not self.fresh:
            own = {BELOW: self._history.key, "signature": signature}
            child = self._store.only_one(self._store.search(own))
        if child is not None:
            mark = child.tags.get(MIRRORED)
            done = mirrored(mark, [round(event.time * 1000) for event in record.events])
            same = done is not None and bool(mark or child.began == record.began)
            if done is not None and same and not record.model_gone:
                self._store.set_name(child, name)
                self._children[signature] = child
                self._place(child, record.cell)
                return child, done
            # Of a cell that was discarded and began anew, or that lost its model: MLflow has no
            # way to take a run's model from it.
            if MODEL in child.tags:
                drop_linked(self._client, self._store.experiment, child)
            self._store.delete(child)
        tags = tags_of(record.cell, None, None) | self._below(record.cell)
        child = self._children[signature] = self._store.create(name, record.began, tags)
        return child, 0

    def _below(self, cell: Known) -> dict[str, str]:
        run = self._group(self._layout.group(cell))
        return {KIND: OF_CELL, BELOW: self._history.key, PARENT_RUN: run.id}

    def _place(self, child: StoredRun, cell: Known) -> None:
        """Puts a cell's run below its row's."""
        self._store.set_tags(child, self._below(cell))

    def _group(self, group: Group) -> StoredRun:
        """The run of a row; a new one where need be."""
        run = self._groups.get(group)
        if run is None:
            tags = self._group_tags(group)
            name = self._layout.names[group.name]
            run = self._groups[group] = self._store.create(name, self._history.began, tags)
            params = list(self._group_params(group).items())
            for at in range(0, len(params), PARAMS):
                self._store.log(run, params=dict(params[at : at + PARAMS]))
        return run

    def _group_tags(self, group: Group) -> dict[str, str]:
        tags = {
            KIND: group.kind,
            "row": group.name,
            "profile": self._history.profile,
            BELOW: self._history.key,
            PARENT_RUN: self._parent.id,
        }
        found = self._layout.row(group)
        baseline = found[1].baseline if found else None
        return {**tags, **({"baseline": baseline} if baseline is not None else {})}

    def _group_params(self, group: Group) -> dict[str, str]:
        found = self._layout.row(group)
        return params_of(found[1].params) if found else {}

    def _open_experiment(self, history: History, artifacts: str | None) -> str:
        name = history.experiment
        view = view_tag(history)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = f"{artifacts}/{name}" if artifacts else None
            return str(self._client.create_experiment(name, place, tags={**_MODELS, **view}))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        for key, value in view.items():
            if found.tags.get(key) != value:
                self._client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)

    def _open(self, history: History) -> None:
        """Lists what the store has. What an earlier version of the code left there, or a parent
        that is replaced, keeps its cells' runs."""
        parents = self._store.search({PARENT: history.key})
        below = self._store.search({BELOW: history.key})
        for parent in parents:
            if KIND not in parent.tags:  # of an earlier version: its cells are directly below it
                found = self._store.search({PARENT_RUN: parent.id})
                below += [run for run in found if BELOW not in run.tags]
        # MLflow cannot change when a run began, or take its end away: a new run of the experiment
        # has a new parent, and the one before goes to MLflow's deleted runs.
        current = [run for run in parents if run.began >= history.starts]
        self._parent = self._store.only_one(current) or self._store.create(
            f"{history.experiment}, {history.profile}",
            history.starts,
            {PARENT: history.key, KIND: OF_EXPERIMENT, **history.tags},
        )
        self._list_groups([run for run in below if "signature" not in run.tags])
        self._list_children([run for run in below if "signature" in run.tags])
        for run in parents:
            if run not in current:
                self._store.delete(run)

    def _list_groups(self, runs: Iterable[StoredRun]) -> None:
        """Those of rows that are gone, or whose parameters (which cannot change) are others, go:
        what they showed is shown by another."""
        by_group: dict[Group, list[StoredRun]] = {}
        for run in runs:
            group = Group(run.tags.get(KIND, ""), run.tags.get("row", ""))
            by_group.setdefault(group, []).append(run)
        for group, same in by_group.items():
            one = self._store.only_one(same)
            assert one is not None
            wanted = self._group_params(group)
            if group in self._layout.groups and (not wanted or one.params == wanted):
                self._groups[group] = one
                self._store.set_tags(one, self._group_tags(group))
            else:
                self._store.delete(one)

    def _list_children(self, runs: Iterable[StoredRun]) -> None:
        by_cell: dict[str, list[StoredRun]] = {}
        for run in runs:
            by_cell.setdefault(run.tags["signature"], []).append(run)
        for signature, same in by_cell.items():
            one = self._store.only_one(same)
            assert one is not None
            self._children[signature] = one
            if signature in self._known:
                self._place(one, self._known[signature])


def _is_table(name: str) -> bool:
    return name.endswith("table.json")

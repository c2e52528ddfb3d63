"""What the ledger keeps of an experiment's runs, so that MLflow's parent run can be made from it.

    <storage>/experiments/<name>/parents/<digest>/parent.json   when it began, how it ended, cells
    <storage>/experiments/<name>/parents/<digest>/artifacts/    tables, figures, the experiment file
    <storage>/experiments/<name>/parents/<digest>/shown.json    what of it MLflow is known to show
    <storage>/experiments/<name>/parents/<digest>/lease~…       a driver is at work on it

There is one history for each experiment file and profile (with its ``--set`` changes).
"""

from __future__ import annotations

import hashlib
import posixpath
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow.fs as pafs

from supclap.storage import Folder
from supclap.stored import Count, Damaged, as_kind, plain, read_values, sealed
from supclap.wording import numbers
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.keep import COPY, LINK, frees_models
from supclap_platform.ledger.known_table import KnownTable, known_tables
from supclap_platform.ledger.leases import Lease, alive, hold, leases_in
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import EXPERIMENTS
from supclap_platform.ledger.plan import profile_key
from supclap_platform.ledger.records import Known, State

HISTORIES, RECORD, ARTIFACTS = "parents", "parent.json", "artifacts"
SEARCH = "search"  # tag of an experiment that searches: the name of its study
PARTS = "parts"  # tag of an experiment that includes others: the names of its parts


@dataclass(frozen=True)
class History:
    """An experiment under one profile. Times in milliseconds since 1970."""

    experiment: str
    profile: str  # with the changes of the command line
    about: str
    file: str  # name of the experiment file
    began: Count
    ended: Count | None = None  # of its last run; None while that goes on, or where it died
    status: str | None = None
    cells: tuple[Known, ...] = ()  # of its last run
    tags: dict[str, str] = field(default_factory=dict)
    # Of its last run that had something to train; histories of earlier versions lack it.
    started: Count | None = None
    resting: Count | None = None  # when that one ended, while one that has nothing to train goes on
    tables: tuple[KnownTable, ...] = ()
    frees_models: bool = False  # not all models stay, and which do is known at the end
    mlflow: str | None = None  # how MLflow has models: `keep.mlflow` of the file

    @property
    def starts(self) -> int:
        """When its last run that had something to train began."""
        return self.began if self.started is None else self.started

    @property
    def key(self) -> str:
        return hashlib.sha256(self.profile.encode()).hexdigest()[:16]


class Histories:
    """The histories in a ledger: one for each experiment file and profile that was run."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def begin(self, experiment: Experiment, cells: Sequence[Cell]) -> History:
        """Notes that a run of an experiment begins; the first one's time stays."""
        known = tuple(Known(c.variant, c.seed, c.signature, c.shape, c.group) for c in cells)
        moment = now()
        keeps = [part.keep for part in experiment.parts or (experiment,)]
        asked = {keep.mlflow for keep in keeps}
        history = History(
            experiment=experiment.name,
            profile=profile_key(experiment),
            about=experiment.about,
            file=experiment.path.name,
            began=moment,
            cells=known,
            tags={"profile": profile_key(experiment), **_tags(experiment)},
            started=moment,
            tables=known_tables(experiment, cells),
            frees_models=frees_models(keeps),
            mlflow=next((how for how in (COPY, LINK) if how in asked), None),
        )
        before = self.read(history.experiment, history.key)
        if before is not None:
            history = replace(history, began=before.began)
            if self.attended(before):  # more cells, or another driver's run: it goes on
                history = replace(history, started=before.starts)
            elif known and experiment.search is None and self._all_done(known):
                resting = before.ended or before.resting
                history = replace(history, started=before.starts, resting=resting)
        self._write(history)
        for one in (experiment, *experiment.parts):
            above = "" if one is experiment else f"{one.name}/"
            for file in (one.path, *one.shared):
                if file.is_file():
                    name = file.relative_to(one.path.parent).as_posix()
                    self.keep(history, {f"{above}{name}": file.read_bytes()})
            self.keep(history, {f"{above}{place}": c for place, c in one.code.files.items()})
        return history

    def end(self, history: History, status: str, moment: int | None = None) -> History:
        """Notes how a run ended, and when: by default now. One that had nothing to train changes no
        time."""
        ended = replace(history, status=status, ended=history.resting or moment or now())
        self._write(ended)
        return ended

    def keep(self, history: History, files: Mapping[str, bytes]) -> None:
        """Keeps files that the parent run shows as its artifacts."""
        self.folder(history).below(ARTIFACTS).write_all(files)

    def artifacts(self, history: History) -> dict[str, bytes]:
        """All files that `keep` has kept, by relative name."""
        folder = self.folder(history).below(ARTIFACTS)
        selector = pafs.FileSelector(folder.base, allow_not_found=True, recursive=True)
        infos = folder.filesystem.get_file_info(selector)
        names = sorted(
            posixpath.relpath(info.path.lstrip("/"), folder.base.lstrip("/"))
            for info in infos
            if info.type == pafs.FileType.File and not info.path.endswith(".part")
        )
        return {name: folder.read(name) for name in names}

    def read(self, experiment: str, key: str) -> History | None:
        """A history by its key, or None: there is none, or it is damaged (`Ledger.damage`)."""
        return self._ledger.spared(lambda: self._read(experiment, key))

    def _read(self, experiment: str, key: str) -> History | None:
        folder = self._at(experiment, key)
        where = folder.uri_of(RECORD)
        try:
            history = as_kind(read_values(folder, RECORD), History, where)
        except FileNotFoundError:
            return None
        if (history.experiment, history.key) != (experiment, key):
            raise Damaged(where, f"of {history.experiment}, {history.profile}")
        return history

    def of(self, experiment: str) -> list[History]:
        """All histories of an experiment."""
        keys = self._ledger.experiment_folder(experiment).names(HISTORIES)
        found = (self.read(experiment, key) for key in keys)
        return [history for history in found if history is not None]

    def all(self) -> Iterator[History]:
        """Every history in the ledger."""
        for experiment in self._ledger.storage.names(EXPERIMENTS):
            yield from self.of(experiment)

    def including(self, experiment: str) -> list[str]:
        """The experiments that have been run with this one as a part."""
        names = (
            history.experiment
            for history in self.all()
            if experiment in history.tags.get(PARTS, "").split(", ")
        )
        return list(dict.fromkeys(names))

    def cells(self, history: History) -> list[Known]:
        """The cells of its last run, then those that only earlier ones asked for."""
        found = {cell.signature: cell for cell in history.cells}
        for cell in self._ledger.known(history.experiment, history.profile):
            found.setdefault(cell.signature, cell)
        return list(found.values())

    def attend(self, history: History) -> Lease:
        """Shows to others that a driver is at work on the history, until the lease is released."""
        return hold(self.folder(history))

    def attended(self, history: History) -> bool:
        """Whether any living driver is at work on it."""
        return any(alive(name, beat) for name, beat in leases_in(self.folder(history)).items())

    def folder(self, history: History) -> Folder:
        """Where a history's files lie."""
        return self._at(history.experiment, history.key)

    def _all_done(self, cells: Sequence[Known]) -> bool:
        """Whether there is nothing to train."""
        overview = self._ledger.overview({cell.signature for cell in cells})
        return all(overview.of(cell.signature) is State.DONE for cell in cells)

    def _at(self, experiment: str, key: str) -> Folder:
        return self._ledger.experiment_folder(experiment).below(f"{HISTORIES}/{key}")

    def _write(self, history: History) -> None:
        self.folder(history).write(RECORD, sealed(plain(history)))


def _tags(experiment: Experiment) -> dict[str, str]:
    if experiment.parts:
        return {PARTS: ", ".join(part.name for part in experiment.parts)}
    tags = {
        "baseline": ", ".join(dict.fromkeys(experiment.baselines.values())),
        "seeds": seeds_of(experiment),
        "variants": str(len(experiment.rows)),
    }
    if experiment.groups:
        tags["groups"] = ", ".join(experiment.groups)
    if experiment.search is not None:
        tags[SEARCH] = experiment.search.name
    return tags


def seeds_of(experiment: Experiment) -> str:
    """The seeds that an experiment asks for, or its looks, in a line."""
    if experiment.looks is not None:
        return experiment.looks.text
    return numbers(experiment.seeds)


def now() -> int:
    """Milliseconds since 1970."""
    return round(time.time() * 1000)

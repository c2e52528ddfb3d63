"""What the files of a cell are, without reading them: whether there is anything of it to show.

The run of a finished cell that MLflow shows whole carries a mark of it (tag `SHOWN`): of the cell's
files, of where it stands in the experiment, and of the run's own tags, name and end. Who finds the
mark true need not read the cell; whatever has changed since, on either side, makes it untrue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow.fs as pafs

from supclap.run_files import EVENTS, RESULT
from supclap.s3 import Listed
from supclap_platform.ledger.known_table import KnownColumn
from supclap_platform.ledger.ledger import EARLY, FAILURE, Ledger
from supclap_platform.ledger.records import Known
from supclap_platform.mirror.content import MODEL
from supclap_platform.mirror.stored_run import StoredRun

SHOWN = "supclap.shown"  # tag of the run of a cell: all of it is there
FORM = 1  # to be raised when more is shown of a cell than before
_FILES = (EVENTS, FAILURE, RESULT, EARLY)  # in the order of a Stamp
_OF_A_RUN = (EVENTS, RESULT)  # the others are the cell's
_MLFLOWS = "mlflow."  # begins the tags that MLflow itself keeps: names of other runs among them


@dataclass(frozen=True)
class Stamp:
    """What a listing says of the files that say how a cell stands. None: there is no such file."""

    place: str  # of the run, below the cell's folder
    events: Listed | None
    failure: Listed | None
    result: Listed | None
    early: Listed | None

    @property
    def files(self) -> tuple[Listed | None, ...]:
        return self.events, self.failure, self.result, self.early


def stamps_of(cells: Iterable[Known], ledger: Ledger) -> dict[str, Stamp]:
    """By signature: from one call, or of a store of objects one listing; nothing is read."""
    signatures = list(dict.fromkeys(cell.signature for cell in cells))
    if ledger.storage.local is None:
        seen = ledger.overview(signatures).files
        found = {s: [seen.get(f"{s}/{name}") for name in _FILES] for s in signatures}
    else:
        places = [
            f"{(ledger.folder(s) if name in _OF_A_RUN else ledger.cell(s)).base}/{name}"
            for s in signatures
            for name in _FILES
        ]
        infos = iter(ledger.storage.filesystem.get_file_info(places))
        found = {s: [_listed(next(infos)) for _ in _FILES] for s in signatures}
    return {s: _stamp(ledger.folder(s).base.rpartition(s)[2], *found[s]) for s in signatures}


def mark_of(
    cell: Known,
    stamp: Stamp,
    columns: Iterable[KnownColumn],
    run: StoredRun,
    ended: int | None,
    tags: Mapping[str, str],
) -> str:
    """The mark of a finished cell whose run shows all of it.

    Args:
        columns: of the table that it is in.
        run: its run. ended, tags: as they are when all is there.
    """
    own = {key: value for key, value in tags.items() if not key.startswith(_MLFLOWS)}
    own.pop(SHOWN, None)
    whole = (
        FORM,
        [None if one is None else [one.size, str(one.time), one.tag] for one in stamp.files],
        stamp.place,
        [cell.variant, cell.seed, cell.signature, cell.shape, cell.group],
        [[c.name, c.metric, c.group] for c in columns],
        run.name,
        ended,
        sorted({**own, MODEL: str(MODEL in own)}.items()),  # its id is any
    )
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


def _stamp(
    place: str,
    events: Listed | None,
    failure: Listed | None,
    result: Listed | None,
    early: Listed | None,
) -> Stamp:
    """An empty result says nothing: it has ended a term without one."""
    return Stamp(place, events, failure, result if result and result.size else None, early)


def _listed(info: pafs.FileInfo) -> Listed | None:
    there = info.type != pafs.FileType.NotFound
    return Listed(info.size or 0, info.mtime) if there else None

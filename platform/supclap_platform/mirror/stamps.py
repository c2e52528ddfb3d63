"""What the files of a cell are, without reading them: whether there is anything of it to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow.fs as pafs

from supclap.run_files import EVENTS, MODEL, MODEL_INDEX, RESULT
from supclap.s3 import Listed
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import EARLY, FAILURE
from supclap_platform.ledger.records import Known
from supclap_platform.ledger.snapshot import Snapshot

_INDEX = f"{MODEL}/{MODEL_INDEX}"  # a model that comes or goes later is something to show
_FILES = (EVENTS, FAILURE, RESULT, EARLY, _INDEX)  # in the order of a Stamp
_OF_A_RUN = (EVENTS, RESULT, _INDEX)  # the others are the cell's


@dataclass(frozen=True)
class Stamp:
    """What a listing says of the files that say how a cell stands. None: there is no such file."""

    place: str  # of the run, below the cell's folder
    events: Listed | None
    failure: Listed | None
    result: Listed | None
    early: Listed | None
    model: Listed | None

    @property
    def files(self) -> tuple[Listed | None, ...]:
        return self.events, self.failure, self.result, self.early, self.model


def stamps_of(cells: Iterable[Known], ledger: Ledger) -> dict[str, Stamp]:
    """By signature: from one call, or of a store of objects one listing; nothing is read. Of a
    `Snapshot` they are as they were in its listing."""
    signatures = list(dict.fromkeys(cell.signature for cell in cells))
    listing = ledger.storage.local is None or isinstance(ledger, Snapshot)
    if listing:
        seen = ledger.overview(signatures).files
        found = {s: [seen.get(f"{s}/{name}") for name in _FILES] for s in signatures}
    # Each is looked up once, so that all files of a run are of one term.
    folders = dict(zip(signatures, ledger.folders(signatures), strict=True))
    if not listing:
        places = [
            f"{(folder if name in _OF_A_RUN else ledger.cell(s)).base}/{name}"
            for s, folder in folders.items()
            for name in _FILES
        ]
        infos = iter(ledger.storage.filesystem.get_file_info(places))
        found = {s: [_listed(next(infos)) for _ in _FILES] for s in signatures}
    return {s: _stamp(folder.base.rpartition(s)[2], *found[s]) for s, folder in folders.items()}


def _stamp(
    place: str,
    events: Listed | None,
    failure: Listed | None,
    result: Listed | None,
    early: Listed | None,
    model: Listed | None,
) -> Stamp:
    """An empty result says nothing: it has ended a term without one."""
    return Stamp(place, events, failure, result if result and result.size else None, early, model)


def _listed(info: pafs.FileInfo) -> Listed | None:
    there = info.type != pafs.FileType.NotFound
    return Listed(info.size or 0, info.mtime) if there else None

"""The mark (tag `SHOWN`) of a finished cell of which its run in MLflow shows all there is.

It is of the cell's files, of where the cell stands in the experiment, and of the run's own tags,
name and end. Who finds it true need not read the cell; whatever has changed since, on either side,
makes it untrue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from supclap_platform.ledger.known_table import KnownColumn
from supclap_platform.ledger.records import Known
from supclap_platform.mirror.content import MODEL
from supclap_platform.mirror.stamps import Stamp
from supclap_platform.mirror.stored_run import StoredRun

SHOWN = "supclap.shown"  # the tag
FORM = 1  # to be raised when more is shown of a cell than before
_MLFLOWS = "mlflow."  # begins the tags that MLflow itself keeps: names of other runs among them


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

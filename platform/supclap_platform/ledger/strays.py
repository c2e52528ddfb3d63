"""What killed drivers and nodes that never answered leave in a storage beside its cells.

experiments/<name>/ray-tune     Tune's own files, of a search that nobody drives
preflight-…  probe-…            empty files by which the storage was tried out, an hour old
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pyarrow.fs as pafs

from supclap.storage import Folder
from supclap_platform.ledger.leases import acquire, alive, leases_in
from supclap_platform.ledger.names import EXPERIMENTS, PREFLIGHT, PROBE, RAY_TUNE, SEARCH

OLD = 3600.0  # seconds: far more than anybody looks for such a file
_TRIED = re.compile(rf"{PREFLIGHT}[0-9a-f]{{8}}(-[0-9a-f]{{8}})?|{PROBE}[0-9a-f]{{8}}")


def unused_by_tune(storage: Folder) -> Iterator[tuple[str, int]]:
    """Tune's files of searches that nobody drives: their place, and its bytes."""
    for name in storage.names(EXPERIMENTS):
        folder = storage.below(f"{EXPERIMENTS}/{name}")
        sizes = [listed.size for _, listed in folder.files(RAY_TUNE)]
        held = leases_in(folder.below(SEARCH)) if sizes else {}
        if sizes and not any(alive(*lease) for lease in held.items()):
            yield f"{EXPERIMENTS}/{name}/{RAY_TUNE}", sum(sizes)


def remove_of_tune(storage: Folder, place: str) -> bool:
    """Removes Tune's files of a search; False where the search is driven by now."""
    lease = acquire(storage.below(place).above().below(SEARCH))
    if lease is None:
        return False
    with lease:
        storage.delete(place)
    return True


def tried_out(storage: Folder) -> list[str]:
    """The names of old files by which the storage was tried out, in the storage itself."""
    selector = pafs.FileSelector(storage.base, allow_not_found=True)
    now = time.time()
    return sorted(
        info.base_name
        for info in storage.filesystem.get_file_info(selector)
        if info.type == pafs.FileType.File and _TRIED.fullmatch(info.base_name)
        if not info.size and info.mtime is not None and now - info.mtime.timestamp() > OLD
    )

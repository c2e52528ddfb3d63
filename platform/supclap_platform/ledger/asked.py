"""The lists of cells that runs of an experiment have asked for.

<storage>/experiments/<name>/cells-<hash>.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, parse_values, plain, read_content
from supclap_platform.ledger.records import Known
from supclap_platform.ledger.results import Spared


@dataclass(frozen=True)
class _Asked:
    """The cells that a run of an experiment has asked for, under a profile."""

    profile: str
    cells: tuple[Known, ...]


def keep_asked(folder: Folder, profile: str, cells: Sequence[Known]) -> None:
    """Notes a list in an experiment's folder, where it is not there."""
    asked = plain(_Asked(profile, tuple(cells)))
    text = json.dumps(asked, ensure_ascii=False, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    if not folder.exists(f"cells-{name}.json"):
        folder.write(f"cells-{name}.json", text.encode())


def read_asked(folder: Folder, spared: Spared) -> Iterator[tuple[str, Known]]:
    """Profile and cell, of every list; one that is damaged is passed over."""
    for name in folder.names():
        if name.startswith("cells-") and name.endswith(".json"):
            asked = spared(partial(_asked, folder, name))
            if asked is not None:
                yield from ((asked.profile, cell) for cell in asked.cells)


def _asked(folder: Folder, name: str) -> _Asked:
    """Raises Damaged where it is not the content that the file is named by."""
    where = folder.uri_of(name)
    content = read_content(folder, name)
    if name != f"cells-{hashlib.sha256(content).hexdigest()[:16]}.json":
        raise Damaged(where, "altered: its content is not the one that it is named by")
    return as_kind(parse_values(content, where), _Asked, where)

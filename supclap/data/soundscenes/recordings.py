"""Which recordings a labelled collection offers, and which splits may use each.

Official folds are kept apart. Of three or more folds the last is for test (and shifted and
events), the one before it for val, the others for train (and pretrain). Of two folds the last is
for test; of the first, every fifth source recording of each class is for val. Clips cut from one
source recording are never on both sides.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supclap.data.soundscenes.kinds import RECORDED, SAME_KIND, Kind
from supclap.data.sources.files import Files, no_file
from supclap.data.sources.tables import rows
from supclap.errors import InputError, nearest

ROLES = ("train", "val", "test")
_VAL_SHARE = 5  # with two folds: every fifth source recording of the first is for val
_SAMPLE = 4096  # bytes


@dataclass(frozen=True)
class Recording:
    """One labelled sound file. ``where``: its row in the index, for messages."""

    kind: str
    role: str
    path: Path
    where: str


@dataclass(frozen=True)
class _Row:
    kind: str
    fold: int
    origin: str  # the source recording it was cut from
    path: Path
    where: str


@dataclass(frozen=True)
class _Layout:
    index: str
    file: str  # column of the file's name
    label: str  # column of the class
    origin: str  # column of the source recording
    folder: str  # of the sounds, with {fold}


_LAYOUTS = (
    _Layout("meta/esc50.csv", "filename", "category", "src_file", "audio"),
    _Layout("metadata/UrbanSound8K.csv", "slice_file_name", "class", "fsID", "audio/fold{fold}"),
)


def find_recordings(folders: Sequence[str]) -> list[Recording]:
    """The recordings of all folders, in the order of their indices.

    Raises:
        InputError: a folder of neither layout, a row whose class has no words here, whose fold is
            no number or whose file is absent, or a single fold, which cannot be kept apart.
    """
    found: list[Recording] = []
    for folder in folders:
        found += _assign(list(_rows(Path(folder).expanduser())), folder)
    return found


def usable_kinds(recordings: Iterable[Recording]) -> dict[str, dict[str, Kind]]:
    """For each role the kinds that have recordings there; none that cannot be trained on.

    Raises:
        InputError: a role has no kind left.
    """
    by_role: dict[str, set[str]] = {role: set() for role in ROLES}
    for recording in recordings:
        by_role[recording.role].add(recording.kind)
    kinds = {
        role: {name: kind for name, kind in RECORDED.items() if name in names & by_role["train"]}
        for role, names in by_role.items()
    }
    for role, usable in kinds.items():
        if not usable:
            raise InputError(
                f"data.events: no class of sound has recordings both for train and for {role}; "
                "its folds must share classes"
            )
    return kinds


def used_recordings(
    recordings: Iterable[Recording], kinds: Mapping[str, Mapping[str, Kind]]
) -> dict[str, dict[str, int]]:
    """How many recordings each role has of each kind, and how many are left out.

    Left out are those of a kind that has none to train on.
    """
    counts: dict[str, Counter[str]] = {role: Counter() for role in (*ROLES, "left out")}
    for recording in recordings:
        used = recording.kind in kinds[recording.role]
        counts[recording.role if used else "left out"][recording.kind] += 1
    return {role: dict(sorted(counter.items())) for role, counter in counts.items()}


def fingerprint(recordings: Iterable[Recording]) -> str:
    """A hash of roles, kinds, and each file's size and three samples of its bytes.

    Whole files would take seconds to read at every start; two recordings of equal size that agree
    in their beginning, middle and end are taken for one.
    """
    digest = hashlib.sha256()
    for recording in recordings:
        with open(recording.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(f"{recording.role} {recording.kind} {size}\n".encode())
            for start in (0, size // 2, size - _SAMPLE):
                file.seek(max(0, start))
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:16]


def _rows(folder: Path) -> Iterable[_Row]:
    files = Files(folder)
    layout = next((one for one in _LAYOUTS if (folder / one.index).is_file()), None)
    if layout is None:
        raise InputError(
            f"{folder}: neither meta/esc50.csv nor metadata/UrbanSound8K.csv is there; "
            "data.events wants a collection in the layout of ESC-50 or UrbanSound8K"
        )
    columns = (layout.file, "fold", layout.label, layout.origin)
    for line, row in rows(folder / layout.index, columns):
        where = f"{folder}, {line}"
        kind = SAME_KIND.get(row[layout.label], row[layout.label])
        if kind not in RECORDED:
            raise InputError(
                f"{where}: no words are known for the class '{kind}'{nearest(kind, RECORDED)}"
            )
        if not row["fold"].isdecimal():
            raise InputError(f"{where}: fold '{row['fold']}' is not a number")
        name = f"{layout.folder.format(fold=row['fold'])}/{row[layout.file]}"
        path = files.find(name, where)
        if path is None:
            raise InputError(f"{where}: {name} is not there, in any audio format")
        fault = no_file(path)
        if fault:
            raise InputError(f"{where}: {name} {fault}; mend the file or remove the row")
        yield _Row(kind, int(row["fold"]), row[layout.origin], path, where)


def _assign(found: list[_Row], folder: str) -> list[Recording]:
    folds = sorted({row.fold for row in found})
    if len(folds) < 2:
        raise InputError(
            f"{folder}: all of its {len(found)} rows are of one fold; two or more are needed to "
            "keep the sounds of train and test apart"
        )
    if len(folds) > 2:
        roles = {folds[-1]: "test", folds[-2]: "val"}
        held_out: set[tuple[str, str]] = set()
    else:
        roles = {folds[-1]: "test"}
        held_out = _held_out(row for row in found if row.fold == folds[0])
    return [
        Recording(
            row.kind,
            "val"
            if row.fold == folds[0] and (row.kind, row.origin) in held_out
            else roles.get(row.fold, "train"),
            row.path,
            row.where,
        )
        for row in found
    ]


def _held_out(found: Iterable[_Row]) -> set[tuple[str, str]]:
    """Kind and source recording of those that are for val; a kind with a single one has none."""
    origins: dict[str, dict[str, None]] = defaultdict(dict)
    for row in found:
        origins[row.kind][row.origin] = None
    return {
        (kind, origin)
        for kind, of_kind in origins.items()
        for origin in sorted(of_kind)[1::_VAL_SHARE]
    }

"""The results of finished cells, each read as few times as can be.

A result is written once and for all (`terms`). What a listing of its cell shows as it was when this
process read it last is not read again; of a store of objects, what the index holds is not read at
all (`index`). Neither says which cells are finished: the listing does.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeVar

from supclap.events import current_names
from supclap.run_files import RANKS, RESULT, parse_ranks, read_kept
from supclap.s3 import Listed
from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, check_percentages, parse_values, read_content
from supclap_platform.ledger.index import Index
from supclap_platform.ledger.records import Result
from supclap_platform.ledger.terms import is_term

FEW = 8  # results that are read one by one, rather than the index
READERS = 16  # files read at once: an object store answers each in tens of milliseconds
_Found = TypeVar("_Found")


class Spared(Protocol):
    """What reads, and passes over what is damaged."""

    def __call__(self, read: Callable[[], _Found], /) -> _Found | None: ...


class Results:
    """The results below a storage folder, as this process has read them so far."""

    def __init__(self, storage: Folder) -> None:
        self._index = Index(storage)
        self._seen: dict[str, tuple[str, Listed, Result]] = {}  # by signature: where, as what

    def all(
        self,
        wanted: Sequence[str],
        files: Mapping[str, Listed],
        folder_of: Callable[[str], Folder],
        spared: Spared,
    ) -> dict[str, Result]:
        """Those of the wanted cells that have one.

        Args:
            files: by signature: what a listing that was just made says of the result; where it says
                nothing, the file is read.
            folder_of: where a cell's run lies.
        """
        same = {s: kept for s in wanted if (kept := self._kept(s, files, folder_of)) is not None}
        left = [signature for signature in wanted if signature not in same]
        tagged = {s: tag for s in left if s in files and (tag := files[s].tag) is not None}
        known = self._index.known(tagged, FEW)
        read: dict[str, tuple[str, bytes]] = {}

        def one(signature: str) -> Result | None:
            folder = folder_of(signature)
            try:
                content = known.get(signature) or read_content(folder, RESULT)
            except FileNotFoundError:
                return None
            if _taken_over(folder, content):
                return None
            if signature in tagged and signature not in known:
                read[signature] = (tagged[signature], content)
            result = parse_result(content, folder, signature)
            if signature in files:
                self._seen[signature] = (folder.base, files[signature], result)
            return result

        # Some at a time: handing each to a thread would cost as much as reading it does.
        step = max(1, len(left) // (4 * READERS))
        some = [left[at : at + step] for at in range(0, len(left), step)]
        with ThreadPoolExecutor(READERS) as readers:
            made = readers.map(lambda few: [spared(partial(one, s)) for s in few], some)
            new = dict(zip(left, chain.from_iterable(made), strict=True))
        if read:
            self._index.note(read, FEW)
        every = ((signature, same.get(signature) or new[signature]) for signature in wanted)
        return {signature: result for signature, result in every if result is not None}

    def _kept(
        self, signature: str, files: Mapping[str, Listed], folder_of: Callable[[str], Folder]
    ) -> Result | None:
        """What was read of a result that is still the same file."""
        seen, listed = self._seen.get(signature), files.get(signature)
        if seen is None or listed is None or listed != seen[1]:
            return None
        return seen[2] if folder_of(signature).base == seen[0] else None


def read_result(folder: Folder, signature: str) -> Result | None:
    """What the finished run in a folder reports; None where it has not finished. Raises Damaged."""
    try:
        content = read_content(folder, RESULT)
    except FileNotFoundError:
        return None
    return None if _taken_over(folder, content) else parse_result(content, folder, signature)


def _taken_over(folder: Folder, content: bytes) -> bool:
    """Whether a result says that a term has ended without one."""
    return not content and is_term(posixpath.basename(folder.base))


def parse_result(content: bytes, folder: Folder, signature: str) -> Result:
    """What the content of a result file in a folder says. Raises Damaged."""
    where = folder.uri_of(RESULT)
    values = parse_values(content, where)
    result = as_kind({**values, "signature": signature}, Result, where)
    result = replace(result, metrics=current_names(result.metrics))
    if result.best_epoch > result.epochs:
        raise Damaged(where, f"best_epoch {result.best_epoch} of {result.epochs}")
    check_percentages(result.metrics, where)
    return result


def read_ranks(folder: Folder, result: Result, only: str | None = None) -> dict[str, Any]:
    """The arrays of ranks that the finished run in a folder keeps. Raises Damaged."""
    try:
        content = read_kept(folder, RANKS, result.files)
    except FileNotFoundError:
        return {}
    return parse_ranks(content, folder.uri_of(RANKS), only)

"""A ledger as it was under another version of the code: what cells reported before a rerun.

<storage>/earlier/<signature>/<code>/    what `Ledger.set_aside` has kept, without the model
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace

import pyarrow.fs as pafs

from supclap.errors import InputError, nearest
from supclap.run_files import RESULT
from supclap.storage import Folder
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import EARLIER
from supclap_platform.ledger.records import Overview, Result, State
from supclap_platform.ledger.snapshot import Snapshot

BEFORE = "earlier"  # in the place of a version: what each cell reported before its last rerun


class Earlier(Snapshot):
    """The same storage; of each cell the result of one version of the code.

    Args:
        code: a version, as results name it: a cell that no run of it has finished counts as to run.
            Or `BEFORE`: the result that a rerun has last set aside, and where a cell was never
            trained anew, its result of now.

    Raises:
        InputError: nothing in the storage is of that version.
    """

    def __init__(self, ledger: Ledger, code: str) -> None:
        super().__init__(ledger)
        self.code = code
        kept = self._listed()
        if code != BEFORE:
            self._kept = {signature: code for signature, codes in kept.items() if code in codes}
            if not self._kept:
                self._check_known({one for codes in kept.values() for one in codes})
            return
        self._kept = {
            signature: codes[0] if len(codes) == 1 else self._last(signature)
            for signature, codes in kept.items()
        }

    def folder(self, signature: str) -> Folder:
        """The folder of a cell: of one that was set aside, what is kept of it."""
        code = self._kept.get(signature)
        if code is None:
            return super().folder(signature)
        return self.storage.below(f"{EARLIER}/{signature}/{code}")

    def overview(self, signatures: Iterable[str] | None = None) -> Overview:
        """The states of the named cells; one that another version has finished is to run."""
        wanted = None if signatures is None else set(signatures)
        seen = super().overview(wanted)
        states = seen.states | dict.fromkeys(self._kept, State.DONE)
        if self.code != BEFORE:
            done = (s for s, state in states.items() if state is State.DONE)
            found = [s for s in done if s not in self._kept and (wanted is None or s in wanted)]
            results = self.results(found, seen)
            states |= {s: State.TO_RUN for s in found if not self._is_of(results.get(s))}
        # What is kept lies elsewhere than what the listing has named.
        files = {at: one for at, one in seen.files.items() if at.split("/")[0] not in self._kept}
        return replace(seen, states=states, files=files)

    def kept(self, signature: str) -> bool:
        """Whether what is shown of a cell was set aside, and is not its result of now."""
        return signature in self._kept

    def _is_of(self, result: Result | None) -> bool:
        return result is None or result.code == self.code

    def _listed(self) -> dict[str, list[str]]:
        """Signature -> the versions of the code that something is kept of."""
        place = self.storage.below(EARLIER).base
        selector = pafs.FileSelector(place, allow_not_found=True, recursive=True)
        found: dict[str, list[str]] = {}
        for info in self.storage.filesystem.get_file_info(selector):
            if info.base_name == RESULT:
                above = posixpath.dirname(info.path)
                signature = posixpath.basename(posixpath.dirname(above))
                found.setdefault(signature, []).append(posixpath.basename(above))
        return found

    def _last(self, signature: str) -> str:
        """The version that was last set aside of a cell."""
        results = self.earlier(signature)
        return max(results, key=lambda code: results[code].time)

    def _check_known(self, kept: set[str]) -> None:
        """Raises InputError unless a finished cell is of the version."""
        seen = super().overview()
        done = [s for s, state in seen.states.items() if state is State.DONE]
        known = kept | {result.code for result in self.results(done, seen).values()}
        if self.code not in known:
            raise InputError(
                f"code '{self.code}': no result in {self.storage.uri} is of that version"
                f"{nearest(self.code, known)} (versions: {', '.join(sorted(known)) or 'none'}, "
                f"or {BEFORE}: what each cell reported before it was trained anew)"
            )

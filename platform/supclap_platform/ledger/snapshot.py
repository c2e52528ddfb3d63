"""A ledger as it was at one moment: table, verdicts, figures and runs of a page agree."""

from __future__ import annotations

from collections.abc import Iterable

from supclap_platform.ledger.kept_files import copy_of, keep_copy
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Overview, Result


class Snapshot(Ledger):
    """Reads every listing and result once, however many ask for it; for one page, then gone."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.storage)
        self.damage = ledger.damage
        self.read = ledger.read  # what has not changed since is not read once more
        self._places = ledger._places
        self._seen: Overview | None = None
        self._results: dict[str, Result] = {}

    def overview(self, signatures: Iterable[str] | None = None) -> Overview:
        """The states of all cells when it was first asked for any."""
        if self._seen is None:
            self._seen = super().overview()
        return self._seen

    def results(
        self, signatures: Iterable[str], overview: Overview | None = None
    ) -> dict[str, Result]:
        """The results of those that are done, read at first asking."""
        wanted = list(dict.fromkeys(signatures))
        self._results |= super().results([s for s in wanted if s not in self._results], overview)
        return {s: self._results[s] for s in wanted if s in self._results}

    def kept_file(self, result: Result, name: str) -> bytes:
        """A file that a finished cell keeps; of an object store, from this machine's copies."""
        digest = result.files.get(name)
        listed = self.overview().files.get(f"{result.signature}/{name}")
        if digest is None or listed is None or listed.tag is None:
            return super().kept_file(result, name)
        content = copy_of(digest, listed.tag)
        if content is None:
            content = super().kept_file(result, name)
            keep_copy(digest, content)
        return content

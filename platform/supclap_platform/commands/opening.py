"""Opening results without training: by an experiment's file, or by its name in a storage."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from supclap.document import read_document
from supclap.errors import InputError, nearest
from supclap_platform.commands.now import as_of_now
from supclap_platform.experiment.own_code import CodePolicy
from supclap_platform.experiment.profile import DEFAULT_PROFILE
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.earlier import Earlier
from supclap_platform.ledger.history import Histories, History
from supclap_platform.ledger.kept_code import kept_in
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.names import EXPERIMENTS
from supclap_platform.ledger.plan import key_of
from supclap_platform.results.opened import Results

STORAGE, DEFAULT_STORAGE = "SUPCLAP_STORAGE", "supclap-results"


def open_results(
    experiment: str | Path,
    storage: str | Path | None = None,
    profile: str = DEFAULT_PROFILE,
    changes: Mapping[str, Any] | None = None,
    code: str | None = None,
    no_code: bool = False,
) -> Results:
    """See `supclap_platform.open`."""
    place = storage or os.environ.get(STORAGE) or DEFAULT_STORAGE
    ledger = open_ledger(place)
    policy = CodePolicy(not no_code, kept=kept_in(place), broken=_warn_of_code)
    asked, file, scratch = dict(changes or {}), Path(experiment), None
    if not _is_file(file):
        history = _history(str(experiment), profile, asked, ledger)
        scratch = tempfile.TemporaryDirectory(prefix="supclap-opened-")
        file = _laid_out(history, Histories(ledger), Path(scratch.name))
    read = load_experiment(file, profile, asked, policy)
    seen = ledger if code is None else Earlier(ledger, code)
    found = Results(as_of_now(read, seen)[0], seen)
    found.scratch = scratch
    return found


def _is_file(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") or path.is_file()


def _warn_of_code(fault: str) -> None:
    warnings.warn(f"{fault}; shown with the code of the last run, as it is kept", stacklevel=2)


def _history(name: str, profile: str, changes: Mapping[str, Any], ledger: Ledger) -> History:
    """What the storage keeps of an experiment under a profile. Raises InputError."""
    where = ledger.storage.uri
    known = ledger.storage.names(EXPERIMENTS)
    if name not in known:
        raise InputError(
            f"'{name}': no experiment file (FILE.yaml), and no experiment of that name in "
            f"{where}{nearest(name, known)} (experiments: {', '.join(known) or 'none'})"
        )
    histories = Histories(ledger).of(name)
    wanted = key_of(profile, changes)
    found = next((history for history in histories if history.profile == wanted), None)
    if found is None:
        ran = ", ".join(sorted(history.profile for history in histories))
        raise InputError(
            f"'{name}' was never run as '{wanted}' in {where} (as: {ran or 'nothing'}); give its "
            "file, or profile= and changes= of a run"
        )
    return found


def _laid_out(history: History, histories: Histories, folder: Path) -> Path:
    """The experiment file of a run in a folder, with all that it names beside it; its path."""
    kept = histories.artifacts(history)
    if history.file not in kept:
        raise InputError(f"{histories.folder(history).uri}: its experiment file is absent")
    for name, content in kept.items():
        _put(folder, name, content)
    path = folder / history.file
    for named in read_document(path).values.get("include") or ():
        _put_part(folder, PurePosixPath(str(named)), kept)
    return path


def _put_part(folder: Path, named: PurePosixPath, kept: Mapping[str, bytes]) -> None:
    """An included file, which is kept in a folder called like its experiment, where it was named;
    with it what lies there beside it."""
    for name in kept:
        place = PurePosixPath(name)
        if place.name == named.name and len(place.parts) == 2:
            for other, content in kept.items():
                if other.startswith(f"{place.parent}/"):
                    beside = PurePosixPath(other).relative_to(place.parent)
                    _put(folder, str(named.parent / beside), content)


def _put(folder: Path, name: str, content: bytes) -> None:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        return  # not as it was kept: what then is absent is said by whoever needs it
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

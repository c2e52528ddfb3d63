"""How a side of a comparison is written: ``FILE@PROFILE@code=earlier@KEY=VALUE@storage=PLACE``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supclap.errors import InputError
from supclap.user_code import forgotten
from supclap_platform.commands.options import Asked
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.profile import DEFAULT_PROFILE
from supclap_platform.ledger.earlier import BEFORE, Earlier
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.sides import Side, side_of

FORM = (
    "FILE, then any of @PROFILE, @code=earlier or @code=HASH, @KEY=VALUE of the base, and last "
    "@storage=PLACE"
)


@dataclass(frozen=True)
class Written:
    """A side as it was written. ``code``: `Earlier.which`, or None for the results of now."""

    text: str
    file: Path
    profile: str = DEFAULT_PROFILE
    changes: tuple[str, ...] = ()
    code: str | None = None
    storage: str | None = None


def parse_side(text: str) -> Written:
    """A side from its text. A file that is called like the whole text is that file.

    Raises InputError: it does not have the form of one.
    """
    if Path(text).exists():
        return Written(text, Path(text))
    rest, _, storage = text.partition("@storage=")
    file, *words = rest.split("@")
    profile: str | None = None
    code: str | None = None
    changes = []
    if not file:
        raise InputError(f"'{text}': expected {FORM}")
    if "@storage=" in text and not storage:
        raise InputError(f"'{text}': @storage= names no place")
    for word in words:
        key, sign, value = word.partition("=")
        if sign and key == "code":
            if code is not None:
                raise InputError(f"'{text}': @code= stands twice")
            if not value:
                raise InputError(f"'{text}': expected @code={BEFORE} or @code=HASH")
            code = value
        elif sign and key == "profile":
            raise InputError(f"'{text}': a profile is written @{value or 'PROFILE'}")
        elif sign:
            changes.append(word)
        elif not word:
            raise InputError(f"'{text}': nothing stands behind an @; expected {FORM}")
        elif profile is not None:
            raise InputError(f"'{text}': two profiles, {profile} and {word}")
        else:
            profile = word
    return Written(
        text, Path(file), profile or DEFAULT_PROFILE, tuple(changes), code, storage or None
    )


def open_side(
    name: str, written: Written, storage: str, columns: tuple[str, ...], no_code: bool
) -> Side:
    """The side, read from its storage. Raises InputError as `Asked.open` and `side_of` do."""
    place = written.storage or storage
    asked = Asked(written.file, written.profile, written.changes, place, no_code)
    with forgotten():  # the other side may have parts of the same names
        experiment, ledger = asked.open()
        if written.code is not None:
            ledger = _earlier(name, written, experiment, ledger)
        return side_of(name, written.text, experiment, ledger, columns)


def _earlier(name: str, written: Written, experiment: Experiment, ledger: Ledger) -> Earlier:
    """The ledger of then. Raises InputError: no cell of the experiment was trained anew."""
    try:
        then = Earlier(ledger, str(written.code))
    except InputError as error:
        raise InputError(f"{name} ({written.text}): {error}") from None
    cells = cells_of(experiment)
    if written.code == BEFORE and not any(then.kept(cell.signature) for cell in cells):
        raise InputError(
            f"{name} ({written.text}): no run of it was trained anew in {ledger.storage.uri}, so "
            "there is no earlier result; --rerun-stale of `supclap run` keeps what it replaces"
        )
    return then

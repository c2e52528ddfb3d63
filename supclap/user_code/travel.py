"""The user's code in a storage, named by its content, from where any process loads the same.

    <storage>/code/<hash>/code.json          the entries, their modules, the SHA-256 of each file
    <storage>/code/<hash>/my_idea.py ...     the sources, as they lay beside the experiment file

Sources that are there are never replaced: an attempt that began with them can be repeated.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from supclap.data.cache import build_once, cache_folder
from supclap.errors import InputError
from supclap.regular import NotAFile
from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, read_values, sealed
from supclap.user_code.folder import LARGEST, TRAVELLED, Source, Unit
from supclap.user_code.identity import parts_in
from supclap.user_code.loading import load_units, units_of

CODE = "code"  # the folder in a storage
INDEX = "code.json"
WHERE = "run the experiment again where its code lies, which writes it anew"
AGAIN = f"remove that folder, and {WHERE}"


@dataclass(frozen=True)
class _Module:
    module: str
    place: str
    package: bool
    sha256: str | None  # None: a folder without __init__.py


@dataclass(frozen=True)
class _Entry:
    name: str
    module: str
    modules: tuple[_Module, ...]


@dataclass(frozen=True)
class _Index:
    entries: tuple[_Entry, ...]


@dataclass(frozen=True)
class UserCode:
    """Files of the user's, as they were read, with all that they import from their own folders."""

    units: tuple[Unit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.units)

    @property
    def names(self) -> tuple[str, ...]:
        """The entries, as they were named."""
        return tuple(unit.name for unit in self.units)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The sources by their place in a folder that travels."""
        sources = (source for unit in self.units for source in unit.sources.values())
        return {s.place: s.content for s in sources if s.content is not None}

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the sources were read, each once."""
        sources = (source for unit in self.units for source in unit.sources.values())
        return tuple(dict.fromkeys(s.path for s in sources if s.content is not None))

    @property
    def origins(self) -> tuple[tuple[str, str], ...]:
        """What is run: each source's path, and the folder of the copy where it has travelled."""
        sources = (source for unit in self.units for source in unit.sources.values())
        found = (
            (s.place, str(s.path)[: -len(s.place) - 1])
            if s.origin == TRAVELLED
            else (str(s.path), "")
            for s in sources
            if s.content is not None
        )
        return tuple(dict.fromkeys(found))

    @cached_property
    def hash(self) -> str:
        """What names this code wherever it lies: 16 hexadecimal digits; "" for none."""
        if not self.units:
            return ""
        text = json.dumps([asdict(entry) for entry in self._index().entries], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __or__(self, other: UserCode) -> UserCode:
        """Both, each entry once."""
        units = {unit.name: unit for unit in (*self.units, *other.units)}
        return UserCode(tuple(units.values()))

    def only(self, names: tuple[str, ...]) -> UserCode:
        """Those of its entries that have one of the names."""
        return UserCode(tuple(unit for unit in self.units if unit.name in names))

    def load(self) -> UserCode:
        """Runs the sources, unless they have been run as they are. Raises InputError, with file and
        line of the user's code."""
        load_units(self.units)
        return self

    def attribute(self, name: str, attribute: str) -> Any:
        """What an entry that is loaded calls so. Raises InputError where it calls nothing so."""
        unit = next(unit for unit in self.units if unit.name == name)
        try:
            return getattr(sys.modules[unit.module], attribute)
        except AttributeError:
            raise InputError(f"{unit.main.path}: has no '{attribute}'") from None

    def write(self, storage: Folder) -> None:
        """Keeps the sources in a storage, where they are not there yet. Raises OSError."""
        if not self.units:
            return
        folder = storage.below(f"{CODE}/{self.hash}")
        if folder.exists(INDEX):
            return
        for place, content in self.files.items():
            folder.write(place, content)
        folder.write(INDEX, self.index_file())  # the last: then all is there

    def index_file(self) -> bytes:
        """The content of code.json."""
        return sealed(asdict(self._index()), indent=1)

    def _index(self) -> _Index:
        return _Index(tuple(_entry(unit) for unit in sorted(self.units, key=lambda u: u.name)))


def fetch(storage: Folder, named: str) -> UserCode:
    """Loads the code of a hash from a storage; see `stored`. Raises InputError, too, where it does
    not run."""
    return stored(storage, named).load()


def stored(storage: Folder, named: str) -> UserCode:
    """The code of a hash from a storage, copied to this machine once; nothing is run.

    Raises:
        InputError: the storage has no such code, or it is not what was written.
    """
    here = build_once(
        cache_folder() / f"code-{named}",
        lambda scratch: _copied(_verified(storage.below(f"{CODE}/{named}"), named), scratch),
    )
    return _verified(Folder.at(here), named)


def read_folder(folder: Folder) -> UserCode:
    """The code in a folder that `UserCode.write` or `fetch` has made; nothing is run.

    Raises:
        InputError: it is not what was written.
    """
    where = folder.uri_of(INDEX)
    try:
        index = as_kind(read_values(folder, INDEX, AGAIN), _Index, where, AGAIN)
    except FileNotFoundError:
        raise InputError(f"{folder.uri}: has no {INDEX}; {WHERE}") from None
    return UserCode(tuple(_unit(entry, folder) for entry in index.entries))


def needed_by(config: Any, code: UserCode | None = None) -> UserCode:
    """The loaded entries that have the parts which a configuration names.

    Args:
        code: those among which to look first; by default all that are loaded.
    """
    wanted: dict[str, Unit] = {}
    for part in parts_in(config):
        units = units_of(part)
        names = [unit.name for unit in units]
        among = [unit for unit in (code.units if code else ()) if unit.name in names]
        for unit in (among or units)[:1]:
            wanted[unit.name] = unit
    return UserCode(tuple(wanted[name] for name in sorted(wanted)))


def _verified(folder: Folder, named: str) -> UserCode:
    code = read_folder(folder)
    if code.hash != named:
        raise Damaged(folder.uri, f"its files give the hash {code.hash}", AGAIN)
    return code


def _copied(code: UserCode, scratch: Path) -> None:
    folder = Folder.at(scratch)
    for place, content in code.files.items():
        folder.write(place, content)
    folder.write(INDEX, code.index_file())


def _entry(unit: Unit) -> _Entry:
    modules = (
        _Module(s.module, s.place, s.package, _sha256(s.content)) for s in unit.sources.values()
    )
    return _Entry(unit.name, unit.module, tuple(sorted(modules, key=lambda m: m.module)))


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _unit(entry: _Entry, folder: Folder) -> Unit:
    sources = {}
    for one in entry.modules:
        content = None
        if PurePosixPath(one.place).is_absolute() or ".." in PurePosixPath(one.place).parts:
            raise Damaged(folder.uri_of(INDEX), f"'{one.place}' leads out of it", AGAIN)
        if one.sha256 is not None:
            try:
                content = folder.read(one.place, LARGEST)
            except (FileNotFoundError, NotAFile) as error:
                raise Damaged(folder.uri_of(one.place), str(error) or "gone", AGAIN) from None
            if _sha256(content) != one.sha256:
                raise Damaged(folder.uri_of(one.place), "not what was written", AGAIN)
        path = Path(folder.base if folder.local else folder.uri) / one.place
        sources[one.module] = Source(one.module, path, one.place, content, one.package, TRAVELLED)
    if entry.module not in sources:
        raise Damaged(folder.uri_of(INDEX), f"{entry.name} has no module", AGAIN)
    return Unit(entry.name, entry.module, sources)

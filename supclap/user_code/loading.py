"""Running the user's sources: as modules of this process, each exactly as it was read and hashed.

The folder of a file is not put on `sys.path`: only the modules that its imports reach can be found
through it, so that a ``random.py`` that lies there by chance stands for nothing. They stay
importable for as long as the process lives.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType
from typing import Any

from supclap import registry
from supclap.errors import InputError
from supclap.registry import Registered
from supclap.user_code.folder import TRAVELLED, Source, Unit, own_imports
from supclap.wording import gist

_lock = threading.RLock()
_units: dict[str, Unit] = {}  # loaded, by the entry's module
_parts: dict[str, tuple[Registered, ...]] = {}  # what each of them has registered
_sources: dict[str, Source] = {}  # of all of them, by module


def load_units(units: Sequence[Unit]) -> None:
    """Runs the sources of entries, unless they have been run as they are.

    Sources that have been edited since are run again, and all that rests on them; what they had
    registered is forgotten. Where anything fails, all is as before.

    Raises:
        InputError: with file and line of the user's code: it does not run to its end, a part of it
            cannot be registered. Or two files stand for one module.
    """
    with _lock:
        _refuse_two(units)
        changed = [unit for unit in units if not _as_loaded(unit)]
        if changed:
            restore = _remembered()
            try:
                _load(changed)
            except BaseException:
                restore()
                raise
        for unit in units:
            _put_back(_parts[unit.module])


def source_of(module: str) -> Source | None:
    """The source of a module that the user's code has brought into this process."""
    return _sources.get(module)


def units_of(part: Registered) -> list[Unit]:
    """The loaded entries that a registered part comes from; none: it comes from elsewhere."""
    return [_units[name] for name, parts in _parts.items() if part in parts]


def unit_with(module: str) -> Unit | None:
    """A loaded entry that has the module among its own."""
    return next((unit for unit in _units.values() if module in unit.sources), None)


def place_in_user_code(error: BaseException) -> str | None:
    """``file:line`` of the user's code where an exception was raised, or passed through last."""
    files = {str(source.path) for source in _sources.values()}
    if isinstance(error, SyntaxError) and error.filename in files:
        return f"{error.filename}:{error.lineno or 1}"
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if frame.filename in files), None)
    return None if last is None else f"{last.filename}:{last.lineno}"


@contextmanager
def forgotten() -> Iterator[None]:
    """What is loaded inside is forgotten at the end, with all that it has registered."""
    with _lock:
        restore = _remembered()
    try:
        yield
    finally:
        with _lock:
            restore()


def _remembered() -> Callable[[], None]:
    """Brings back, when it is called, what is loaded and registered now."""
    units, parts, sources = dict(_units), dict(_parts), dict(_sources)
    known = registry.all_parts()
    # At once: another thread may import meanwhile.
    modules = {name: module for name, module in sys.modules.copy().items() if name in sources}
    others = sys.modules.keys() - modules.keys()

    def restore() -> None:
        for name in _sources.keys() - others:
            sys.modules.pop(name, None)
        sys.modules.update(modules)
        _units.clear()
        _units.update(units)
        _parts.clear()
        _parts.update(parts)
        _sources.clear()
        _sources.update(sources)
        registry.restore(known)

    return restore


def _as_loaded(unit: Unit) -> bool:
    """Whether it is loaded, and all of its sources are what they were."""
    loaded = _units.get(unit.module)
    return loaded is not None and _contents(loaded) == _contents(unit)


def _contents(unit: Unit) -> dict[str, bytes | None]:
    return {name: source.content for name, source in unit.sources.items()}


def _refuse_two(units: Iterable[Unit]) -> None:
    """Two entries may share a module, and it must be the same file."""
    seen: dict[str, Source] = {}
    for unit in units:
        for name, source in unit.sources.items():
            other = seen.setdefault(name, source)
            if (other.path, other.content) != (source.path, source.content):
                raise InputError(
                    f"{source.path}: {other.path} stands for the module '{name}' already; rename "
                    "one of them"
                )
            loaded = _sources.get(name)
            if loaded is None:
                if name in sys.modules and source.content is not None:
                    _refuse_loaded(name, source)
            elif not _may_replace(loaded, source):
                raise InputError(
                    f"{source.path}: {loaded.path}, which differs from it, is loaded in this "
                    f"process as the module '{name}'; rename one of them, or start another process"
                )


def _refuse_loaded(name: str, source: Source) -> None:
    """A module may have been imported in the ordinary way before; another file's may not."""
    file = getattr(sys.modules[name], "__file__", None)
    if file is None or Path(file).resolve() != source.path.resolve():
        raise InputError(
            f"{source.path}: a module '{name}' is loaded in this process already; rename the file"
        )


def _may_replace(loaded: Source, source: Source) -> bool:
    """The same file after an edit; the same content elsewhere; a copy that has travelled."""
    if loaded.content == source.content or TRAVELLED in (loaded.origin, source.origin):
        return True
    return loaded.path.resolve() == source.path.resolve()


def _load(changed: Sequence[Unit]) -> None:
    new = {name: source for unit in changed for name, source in unit.sources.items()}
    dirty = {n for n, s in new.items() if n in _sources and _sources[n].content != s.content}
    for unit in changed:
        _units[unit.module] = unit
    wanted = [unit.module for unit in changed]
    resting = _resting_on(dirty)
    again = wanted + [name for name in _units if name in resting and name not in wanted]
    kept: dict[str, list[Registered]] = {}
    for module in again:
        unit = _units[module]
        unit = _units[module] = replace(unit, sources=unit.sources | _shared(unit, new))
        left = unit.sources.keys() - dirty
        kept[module] = [p for p in _parts.get(module, ()) if p.make.__module__ in left]
        for part in _parts.pop(module, ()):
            registry.forget(part)
    gone = dirty | (_sources.keys() - {name for unit in _units.values() for name in unit.sources})
    for name in gone:
        sys.modules.pop(name, None)
    _sources.clear()
    for unit in _units.values():
        _sources.update(unit.sources)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for module in again:
        _put_back(kept[module])
    for module in again:
        _run(_units[module], kept[module])


def _shared(unit: Unit, new: dict[str, Source]) -> dict[str, Source]:
    return {name: new[name] for name in unit.sources if name in new}


def _resting_on(dirty: set[str]) -> set[str]:
    """The loaded entries that use one of the modules; all modules that must be run again with
    them are added to ``dirty``."""
    resting: set[str] = set()
    while True:
        before = len(dirty)
        for unit in _units.values():
            if not dirty & unit.sources.keys():
                continue
            resting.add(unit.module)
            dirty.add(unit.module)
            dirty |= {n for n, s in unit.sources.items() if dirty & set(own_imports(unit, s))}
        if len(dirty) == before:
            return resting


def _run(unit: Unit, kept: list[Registered]) -> None:
    """Imports an entry, and notes what it has registered."""
    before = registry.all_parts()
    try:
        importlib.import_module(unit.module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{_place(error, unit)}: {_text(error)}") from None
    owned = [part for parts in _parts.values() for part in parts] + kept
    new = [
        part
        for part in registry.all_parts()
        if part not in owned and (part not in before or part.make.__module__ in unit.sources)
    ]
    _parts[unit.module] = (*kept, *new)
    for part in new:
        try:
            _ = part.keys
        except ValueError as error:
            place = f"{unit.main.path}:{_line(part, unit)}"
            raise InputError(f"{place}: the {part.kind} '{part.name}': {error}") from None


def _place(error: BaseException, unit: Unit) -> str:
    return place_in_user_code(error) or f"{unit.main.path}:1"


def _text(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    if isinstance(error, registry.CannotRegister):
        return str(error)
    if isinstance(error, SystemExit):
        return "it ends the process while it is imported"
    return f"{type(error).__name__}: {gist(error)}"


def _line(part: Registered, unit: Unit) -> int:
    """Where the class of a part begins in the entry's own file; 1 where it lies elsewhere."""
    source = unit.sources.get(part.make.__module__)
    if source is None or source is not unit.main or source.content is None:
        return 1
    wanted = getattr(part.make, "__name__", "")
    for node in ast.parse(source.content).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == wanted:
            return node.lineno
    return 1


def _put_back(parts: Iterable[Registered]) -> None:
    """Registers parts again that have been forgotten since (`registry.forgotten`)."""
    for part in parts:
        try:
            registry.put(part)
        except registry.CannotRegister as error:
            raise InputError(f"{part.make.__module__}: {error}") from None


class _Finder(MetaPathFinder):
    """Finds the user's own modules, and nothing else."""

    of_user_code = True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        source = _sources.get(name)
        if source is None:
            return None
        if source.content is None:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(source.path)]
            return spec
        below = [str(source.path.parent)] if source.package else None
        return importlib.util.spec_from_file_location(
            name, source.path, loader=_Loader(source), submodule_search_locations=below
        )


class _Loader(InspectLoader):
    """Runs what was read, never what lies in the file by now or in a cache of bytecode."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        assert self._source.content is not None
        return compile(self._source.content, str(self._source.path), "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> str:
        assert self._source.content is not None
        return importlib.util.decode_source(self._source.content)

    def is_package(self, fullname: str) -> bool:
        return self._source.package


_FINDER = _Finder()

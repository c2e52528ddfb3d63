"""Which of the user's parts a configuration names, and the version of each: a hash of its source.

The version of a part is made of the syntax tree of its class and of what that needs at the top
level of its file (`supclap.user_code.outline`), and of the whole files that this imports from the
file's own folder, and what those import. An edit of one part changes no other that stands in the
same file. Where names cannot be followed (``from x import *``, ``getattr`` of a name that is
computed, `importlib`, ``globals()``), it is the whole file.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from supclap import registry
from supclap.errors import InputError
from supclap.open_section import sections_that_name_parts
from supclap.registry import Registered
from supclap.syntax import hash_of, parse
from supclap.user_code.folder import NOT_OWN, Source, Unit, own_imports
from supclap.user_code.imports import imports_of, named, with_packages
from supclap.user_code.loading import unit_with
from supclap.user_code.outline import outline_of

NOT_OF_USERS = ("builtins", "abc", "typing", "torch", *NOT_OWN)


def parts_in(config: Any) -> list[Registered]:
    """The user's parts that a configuration names, in the order of their kinds and names.

    Raises:
        InputError: one that is not registered: the file that has it is not loaded.
    """
    found: dict[tuple[str, str], Registered] = {}
    for section in sections_that_name_parts(config):
        key, kind = section.names_part
        name = getattr(section, key)
        part = registry.own(kind, name)
        if part is not None:
            found[kind, name] = part
        elif name not in registry.names(kind):
            raise InputError(
                f"no {kind} '{name}': it is none of SupCLAP's own, and the file that registers it "
                "is not loaded; name the file ('code:' in an experiment file, --code, code=)"
            )
    return [found[key] for key in sorted(found)]


def parts_of(config: Any, parts: Iterable[Registered] | None = None) -> dict[str, str]:
    """The user's parts that a configuration names, each as ``"my_idea.py: angle"``, with the
    version of its source, 12 hexadecimal digits. Raises InputError as `parts_in` does.

    Args:
        parts: what `parts_in` finds in it, where that is at hand.
    """
    found: dict[str, list[str]] = {}
    for part in parts_in(config) if parts is None else parts:
        place, version = version_of_object(part.make)
        found.setdefault(f"{place}: {part.name}", []).append(version)
    # A loss term and a metric of one file may have one name.
    return {name: some[0] if len(some) == 1 else hash_of(some) for name, some in found.items()}


def version_of_object(made: Callable[..., Any]) -> tuple[str, str]:
    """Where the source of a class or function is, such as "my_idea.py", and its version."""
    unit = unit_with(made.__module__)
    if unit is None:
        return _of_elsewhere(made)
    needs = _of_object(unit, made)
    words = [*needs.words, *(word for item in sorted(needs.modules.items()) for word in item)]
    return _place(unit, unit.sources[made.__module__]), hash_of(words)


def imported_by(parts: Iterable[Registered]) -> frozenset[str]:
    """All that parts of the user's import, by absolute name: what of `supclap` they rest on is code
    of the run, too."""
    names: set[str] = set()
    for part in parts:
        unit = unit_with(part.make.__module__)
        if unit is not None:
            names |= _of_object(unit, part.make).imported
    return frozenset(names)


def _of_object(unit: Unit, made: Callable[..., Any]) -> _Needs:
    name = made.__name__ if made.__qualname__ == made.__name__ else ""
    return _needs(unit, unit.sources[made.__module__], name)


def _place(unit: Unit, source: Source) -> str:
    """A source as it is called wherever it lies."""
    if not unit.name.endswith(".py"):
        return source.module
    above = Path(unit.main.place).parent
    return Path(source.place).relative_to(above).as_posix()


@dataclass(frozen=True)
class _Needs:
    """What a class or function needs: its own words, whole modules, and names that it imports."""

    words: list[str]
    modules: dict[str, str]
    imported: frozenset[str]


def _needs(unit: Unit, source: Source, name: str) -> _Needs:
    """What that which is called ``name`` in a source of a loaded entry needs; "": all of it."""
    assert source.content is not None
    outline = outline_of(source.content)
    needed = outline.needed_by(name) if name else None
    if needed is None:
        below = own_imports(unit, source)
        words = ["whole", parse(source.content).version]
        imported = set(imports_of(source.content, source.module, source.package).names)
    else:
        below = [*_own(unit, source, needed.imports), *_acting(unit, source)]
        words = needed.words
        imported = _imported(source, needed.imports)
    # A package runs its __init__.py before anything in it.
    below += [one for one in with_packages([source.module]) if one != source.module]
    modules = {}
    for module in _reached(unit, below):
        other = unit.sources[module]
        if module != source.module and other.content is not None:
            modules[module] = parse(other.content).version
            imported |= imports_of(other.content, module, other.package).names
    return _Needs(words, modules, frozenset(imported))


def _imported(source: Source, imports: Iterable[ast.Import | ast.ImportFrom]) -> set[str]:
    return {name for node in imports for name in named(node, source.module, source.package)}


def _own(unit: Unit, source: Source, imports: Iterable[ast.Import | ast.ImportFrom]) -> list[str]:
    return [name for name in with_packages(_imported(source, imports)) if name in unit.sources]


def _acting(unit: Unit, source: Source) -> list[str]:
    """Own modules that the file imports, needed or not, which may act when they are imported."""
    assert source.content is not None
    found = []
    for name in _own(unit, source, outline_of(source.content).other_imports()):
        for module in _reached(unit, [name]):
            content = unit.sources[module].content
            if content is not None and outline_of(content).acts:
                found.append(name)
                break
    return found


def _reached(unit: Unit, modules: Iterable[str]) -> set[str]:
    found: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name not in found and name in unit.sources:
            found.add(name)
            left += own_imports(unit, unit.sources[name])
    return found


def _of_elsewhere(made: Callable[..., Any]) -> tuple[str, str]:
    """Of a part that no entry of ``code:`` has brought: the whole files of its class and of its
    bases, or, in a notebook's cell, the text of the class."""
    words: list[str] = []
    place = made.__module__
    try:
        for one in inspect.getmro(made) if isinstance(made, type) else [made]:
            if one is not made and one.__module__.partition(".")[0] in NOT_OF_USERS:
                continue
            file = getattr(sys.modules.get(one.__module__), "__file__", None)
            if file is None:
                words.append(inspect.getsource(one))
                continue
            path = Path(file)
            place = path.name if one is made else place
            words.append(_of_file(path, path.stat().st_mtime_ns))
        return place, hash_of(words)
    except (OSError, TypeError, SyntaxError):
        raise InputError(
            f"the source of '{made.__qualname__}' cannot be read, so nothing says what it does; "
            "put it into a file, and name that in 'code:'"
        ) from None


@lru_cache(maxsize=64)
def _of_file(path: Path, _changed: int) -> str:
    return parse(path.read_bytes()).version

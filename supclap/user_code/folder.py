"""The sources behind an entry of ``code:``: the file itself, and what it imports from its folder.

An entry is a file beside or below the experiment file ("my_idea.py", "ideas/angle.py"), or an
installed module by its dotted name ("mylab.losses"). Its *own* modules are those that come from the
file's own folder, or from the package that the installed module is in. All else is the
environment's, as PyTorch is.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from supclap.errors import InputError, nearest
from supclap.regular import read_regular
from supclap.user_code.imports import Imports, imports_of, with_packages
from supclap.wording import gist, one_line, shown

LARGEST = 5_000_000  # bytes of a source
MOST_SOURCES = 500  # of one entry
NOT_OWN = ("supclap", "supclap_platform")
TRAVELLED = "travelled"
INSTALLED = "@installed"  # the folder of installed modules' sources, where they travel


@dataclass(frozen=True)
class Source:
    """One module's source, as it was read: what is hashed is what runs."""

    module: str
    path: Path  # where it was read
    place: str  # where it lies in a folder that travels, with "/"
    content: bytes | None  # None: a folder without __init__.py
    package: bool = False
    origin: str = ""  # TRAVELLED: a copy, fetched by its hash


@dataclass(frozen=True)
class Unit:
    """An entry of ``code:`` with its own modules, by name; the entry's is ``module``."""

    name: str
    module: str
    sources: dict[str, Source]

    @property
    def main(self) -> Source:
        return self.sources[self.module]


class WrongName(InputError):
    """An entry of ``code:`` that names nothing that could be loaded; ``name`` is the entry."""

    name = ""


def own_imports(unit: Unit, source: Source) -> list[str]:
    """The unit's own modules that one of its sources imports; all of them, where only running it
    would show which."""
    if source.content is None:
        return []
    imports = _parsed(source)
    if not imports.all_known:
        return [name for name in unit.sources if name != source.module]
    return [name for name in with_packages(imports.names) if name in unit.sources]


def is_file(name: str) -> bool:
    """Whether an entry names a file; else it is an installed module's name."""
    return name.endswith(".py")


def read_unit(name: str, beside: Path) -> Unit:
    """The sources of an entry. Nothing is run.

    Args:
        beside: the folder of the experiment file.

    Raises:
        WrongName: no such file or module, one outside of the folder, a name that Python cannot
            import or that stands for another module already.
        InputError: a source that cannot be read as Python, with its line.
    """
    try:
        return _of_file(name, beside) if is_file(name) else _of_installed(name)
    except WrongName as error:
        error.name = name
        raise


def _of_installed(name: str) -> Unit:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise WrongName(
            f"{shown(name)}: expected a file beside this one, such as my_idea.py, or the name of "
            "an installed module, such as mylab.losses"
        )
    top = name.partition(".")[0]
    if top in NOT_OWN or top in sys.stdlib_module_names:
        raise WrongName(f"{name}: is no module of yours; name the one that has your parts")
    place = _found(top, folders=True)
    if place is None:
        raise WrongName(f"no installed module '{top}', and no file: files end in .py")
    search = _Search(place, PurePosixPath(INSTALLED), place, top)
    sources = search.reach(name)
    if name not in sources:
        raise WrongName(f"no module '{name}' in the installed {top}")
    return Unit(name, name, sources)


def _of_file(name: str, beside: Path) -> Unit:
    relative = PurePosixPath(name)
    if not name.isprintable() or relative.is_absolute() or ".." in relative.parts:
        raise WrongName(f"{shown(name)}: expected a file in this file's folder or below it")
    path = beside / relative
    try:
        there = path.is_file()
    except OSError:  # a name longer than the system takes
        there = False
    if not there:
        others = (file.name for file in path.parent.glob("*.py")) if path.parent.is_dir() else ()
        raise WrongName(f"no file '{one_line(name)}' in {beside}{nearest(path.name, others)}")
    module = relative.stem
    if not module.isidentifier():
        raise WrongName(
            f"{one_line(name)}: is no name that Python can import; rename it as my_idea.py"
        )
    search = _Search(path.parent, relative.parent, beside)
    return Unit(name, module, search.reach(module))


class _Search:
    """Follows imports through one folder.

    Args:
        root: where a top-level module lies.
        above: the place of ``root`` in a folder that travels.
        bounds: what no link may lead out of.
        only: the one top-level name that counts; None: whatever lies in the folder.
    """

    def __init__(
        self, root: Path, above: PurePosixPath, bounds: Path, only: str | None = None
    ) -> None:
        self.root, self.above, self.only = root, above, only
        self.bounds = bounds.resolve()
        self.found: dict[str, Source] = {}

    def reach(self, module: str) -> dict[str, Source]:
        left = deque(with_packages([module]))  # a package before what lies in it
        while left:
            name = left.popleft()
            if name in self.found:
                continue
            source = self._source(name)
            if source is None:
                continue
            self.found[name] = source
            if len(self.found) > MOST_SOURCES:
                raise InputError(
                    f"{source.path.parent}: {module} imports over {MOST_SOURCES} modules from here"
                )
            if source.content is None:
                continue
            imports = _parsed(source)
            left += with_packages(imports.names)
            if not imports.all_known:
                left += self._everything()
        return self.found

    def _source(self, name: str) -> Source | None:
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts):
            return None
        if parts[0] in NOT_OWN or (self.only is not None and parts[0] != self.only):
            return None
        if len(parts) > 1 and ".".join(parts[:-1]) not in self.found:
            return None  # below a module that is not own
        below = PurePosixPath(*parts)
        for place, package in ((below / "__init__.py", True), (below.with_suffix(".py"), False)):
            path = self.root / place
            if path.is_file():
                self._refuse_shadow(parts, path)
                return Source(name, path, str(self.above / place), self._read(path), package)
        path = self.root / below
        if path.is_dir() and any(path.rglob("*.py")) and (len(parts) > 1 or not _elsewhere(name)):
            return Source(name, path, str(self.above / below), None, True)
        return None

    def _refuse_shadow(self, parts: list[str], path: Path) -> None:
        """Another module of that name would no longer be found, or ours would not be."""
        if len(parts) > 1 or self.only is not None:
            return
        if parts[0] in sys.stdlib_module_names:
            raise WrongName(f"{path}: stands for Python's own module '{parts[0]}'; rename it")
        other = _found(parts[0])
        if other is not None and not _same(other, path.parent):
            raise WrongName(f"{path}: stands for the installed module '{parts[0]}'; rename it")

    def _read(self, path: Path) -> bytes:
        if not path.resolve().is_relative_to(self.bounds):
            raise WrongName(f"{path}: is a link that leads out of {self.bounds}")
        try:
            return read_regular(path, LARGEST)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None

    def _everything(self) -> Iterator[str]:
        """Each module of the folder that could be meant where a name is made as the code runs."""
        start = self.root if self.only is None else self.root / self.only
        for folder, folders, files in os.walk(start):
            folders[:] = sorted(name for name in folders if name.isidentifier() and name[0] != "_")
            for file in sorted(files):
                path = Path(folder, file).relative_to(self.root)
                parts = [*path.parent.parts, *([] if file == "__init__.py" else [path.stem])]
                # A script that lies there and could not be imported is nobody's module.
                if file.endswith(".py") and parts and not _elsewhere(parts[0], self.root):
                    yield from with_packages([".".join(parts)])


def _parsed(source: Source) -> Imports:
    assert source.content is not None
    try:
        return imports_of(source.content, source.module, source.package)
    except SyntaxError as error:
        raise InputError(f"{source.path}:{error.lineno or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{source.path}:1: cannot be read as Python: {gist(error)}") from None


def _elsewhere(top: str, root: Path | None = None) -> bool:
    """Whether a top-level name stands for Python's own module, or for an installed one that is not
    in ``root``."""
    if top in NOT_OWN or top in sys.stdlib_module_names:
        return True
    other = _found(top)
    return other is not None and (root is None or not _same(other, root))


def _found(top: str, folders: bool = False) -> Path | None:
    """The folder that an installed top-level module is in; nothing is imported for it.

    What `supclap.user_code.loading` has loaded itself does not count.

    Args:
        folders: a folder without ``__init__.py`` counts too, which any module of its name outdoes.
    """
    for finder in sys.meta_path:
        if getattr(finder, "of_user_code", False) or not hasattr(finder, "find_spec"):
            continue
        try:
            spec = finder.find_spec(top, None)
        except (ImportError, ValueError, AttributeError):
            continue
        if spec is not None and spec.origin is not None:
            path = Path(spec.origin)
            return path.parent.parent if path.name == "__init__.py" else path.parent
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        if places and folders:
            return Path(places[0]).parent
    return None


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False

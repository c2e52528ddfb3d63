"""What a source imports: by statement, or by a call whose argument is written out."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

_BY_NAME = ("import_module", "__import__")


@dataclass(frozen=True)
class Imports:
    """The modules that a source may import, by absolute name; of ``from a import b`` both "a" and
    "a.b". ``all_known`` is False where it also imports what only running it would show."""

    names: frozenset[str]
    all_known: bool


@lru_cache(maxsize=512)
def imports_of(source: bytes, module: str, package: bool) -> Imports:
    """What a source imports. Raises SyntaxError, and ValueError for a null byte.

    Args:
        module: its own name, which relative imports start from.
        package: whether it is the ``__init__.py`` of a package.
    """
    found: set[str] = set()
    all_known = True
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update(named(node, module, package))
        elif isinstance(node, ast.Call) and _last_name(node.func) in _BY_NAME:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
            else:
                all_known = False
        elif isinstance(node, ast.Name) and node.id in ("exec", "eval"):
            all_known = False
    return Imports(frozenset(found), all_known)


def named(node: ast.Import | ast.ImportFrom, module: str, package: bool) -> Iterator[str]:
    """The modules that a statement may import, by absolute name."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    start = node.module or ""
    if node.level:
        parts = module.split(".")
        kept = parts[: len(parts) - node.level + (1 if package else 0)]
        start = ".".join([*kept, *([node.module] if node.module else [])])
    if start:
        yield start
    yield from (f"{start}.{alias.name}".lstrip(".") for alias in node.names)


def with_packages(names: Iterable[str]) -> Iterator[str]:
    """Each name after the packages that it lies in: importing "a.b" runs "a" too."""
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""

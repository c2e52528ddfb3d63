"""What a source says to Python: its syntax tree without docstrings, comments and layout."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache


class Parsed:
    """A module's hash, and the names that it imports."""

    def __init__(self, version: str, imports: frozenset[str]) -> None:
        self.version, self.imports = version, imports


@lru_cache(maxsize=512)
def parse(source: bytes) -> Parsed:
    """What a source says to Python. Equal for sources that differ in comments, docstrings, layout
    and what only a type checker reads."""
    words, imports = words_of(ast.parse(source))
    return Parsed(hash_of(words), frozenset(imports))


def words_of(node: ast.AST) -> tuple[list[str], set[str]]:
    """A node spelled out, and the names that it imports."""
    words: list[str] = []
    imports: set[str] = set()
    _walk(node, words, imports)
    return words, imports


def hash_of(words: list[str]) -> str:
    """12 hexadecimal digits over words."""
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:12]


# Set by the parser for its own sake: the context of a name follows from where it stands.
_SILENT = frozenset({"ctx", "kind", "type_comment"})
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _walk(node: ast.AST, words: list[str], imports: set[str]) -> None:
    """Spells a node out. Empty fields are left out: newer Pythons have more of them."""
    if isinstance(node, ast.Import):
        imports.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        imports.add(node.module)
        imports.update(f"{node.module}.{alias.name}" for alias in node.names)
    words.append(f"({type(node).__name__}")
    for name in node._fields:
        if name in _SILENT:
            continue
        value = getattr(node, name, None)
        if isinstance(value, list):
            if name == "body" and isinstance(node, _WITH_DOCSTRING) and _is_text(value[:1]):
                value = value[1:]
            value = [one for one in value if not for_types_alone(one)]
        if value is None or value == []:
            continue
        words.append(name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST):
                _walk(one, words, imports)
            else:
                words.append(f"{type(one).__name__}={one!r}")
    words.append(")")


def _is_text(body: list[ast.stmt]) -> bool:
    """Whether a body's first statement is a docstring."""
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def for_types_alone(node: object) -> bool:
    """Whether it is an ``if TYPE_CHECKING:`` without an else."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        and not node.orelse
    )

"""A source at its top level: which statements a class there needs, and which count for everything.

A class needs the statements that bind the names that it mentions, and they theirs. A statement that
may do more than bind names (a bare call, an assignment to an attribute, a call of what sets or
registers something) counts for every class of the file, whatever it mentions. Where names cannot be
followed, the whole file is needed: never less than what could change a result.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from supclap.syntax import for_types_alone, words_of

# Reading a name as a value, so that no reader of the source knows which.
_BY_TEXT = frozenset({"globals", "vars", "eval", "exec", "compile", "__import__", "builtins"})
_BY_TEXT_OF = frozenset({"import_module", "__import__", "run_path", "run_module"})  # a module's
_ACTS = re.compile(
    r"_*(set|seed|manual|enable|disable|use|regist|patch|install|config|init|add|append|insert"
    r"|extend|update|pop|remove|clear|del|fill|put|write|load|run|exec|eval)",
    re.IGNORECASE,
)
_HARMLESS = ("set", "setter", "deleter", "__init__")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Simple = ast.Assign | ast.AnnAssign | ast.AugAssign


@dataclass(frozen=True)
class Needed:
    """What a class needs of its file: its words (`supclap.syntax`), and the imports among it."""

    words: list[str] = field(default_factory=list)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)


@lru_cache(maxsize=128)
def outline_of(source: bytes) -> Outline:
    """The outline of a source that can be parsed."""
    return Outline(ast.parse(source))


class Outline:
    """The statements of a file's top level, and the names that each binds and mentions."""

    def __init__(self, tree: ast.Module) -> None:
        body = tree.body[1:] if _is_docstring(tree.body[:1]) else tree.body
        self._statements = [one for one in body if not _never_runs(one)]
        self._binders: dict[str, list[int]] = {}
        for place, statement in enumerate(self._statements):
            for name in _bound(statement):
                self._binders.setdefault(name, []).append(place)
        self._acting = {p for p, one in enumerate(self._statements) if self._acts(one)}
        stars = any(
            alias.name == "*"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        )
        self._followed = not stars

    @property
    def acts(self) -> bool:
        """Whether importing the file may do more than bind names."""
        return bool(self._acting)

    def defines(self, name: str) -> bool:
        """Whether a class or function of that name stands at the top level."""
        return any(
            isinstance(self._statements[place], ast.ClassDef | _Function)
            for place in self._binders.get(name, ())
        )

    def needed_by(self, name: str) -> Needed | None:
        """What the class or function of a name needs; None: the whole file."""
        if not self._followed or not self.defines(name):
            return None
        places: set[int] = set()
        asked: set[str] = set()
        left: list[str | int] = [name, *self._acting]
        while left:
            one = left.pop()
            if isinstance(one, str):
                if one not in asked:
                    asked.add(one)
                    left += self._binders.get(one, ())
            elif one not in places:
                places.add(one)
                statement = self._statements[one]
                if isinstance(statement, ast.Import | ast.ImportFrom):
                    continue
                mentioned = _mentioned(statement)
                if mentioned is None:
                    return None
                left += mentioned & self._binders.keys()
        needed = Needed()
        for place in sorted(places):
            self._spell(self._statements[place], asked, needed)
        return needed

    def other_imports(self) -> list[ast.Import | ast.ImportFrom]:
        """Every import that runs when the file does: what it reaches may act, too."""
        found = []
        for statement in self._statements:
            nodes = [statement] if isinstance(statement, _Function) else ast.walk(statement)
            found += [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        return found

    def _spell(self, statement: ast.stmt, asked: set[str], needed: Needed) -> None:
        """Of an import only the names that are asked for: another one more changes nothing."""
        if isinstance(statement, ast.Import | ast.ImportFrom):
            kept = [a for a in statement.names if _as_bound(a) in asked or _future(statement)]
            for alias in kept:
                one: ast.Import | ast.ImportFrom = ast.Import([alias])
                if isinstance(statement, ast.ImportFrom):
                    one = ast.ImportFrom(statement.module, [alias], statement.level)
                needed.words.extend(words_of(one)[0])
                needed.imports.append(one)
            return
        needed.words.extend(words_of(statement)[0])
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                needed.imports.append(node)

    def _acts(self, statement: ast.stmt) -> bool:
        """Whether a statement may do more, as the file is imported, than bind names in it."""
        match statement:
            case ast.Expr(value=ast.Constant()):
                return False
            case ast.Expr():
                return not _is_registration(statement.value)
            case ast.ImportFrom():
                return _future(statement)
            case ast.Import() | ast.Pass():
                return False
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                defaults = [*statement.args.defaults, *statement.args.kw_defaults]
                return any(
                    node is not None and self._may_act(node, decorator)
                    for node, decorator in (
                        *((one, True) for one in statement.decorator_list),
                        *((one, False) for one in defaults),
                    )
                )
            case ast.ClassDef():
                return (
                    any(self._may_act(one, True) for one in statement.decorator_list)
                    or any(self._may_act(one.value) for one in statement.keywords)
                    or any(self._may_act(one) for one in statement.bases)
                    or any(self._made_by_own(one) for one in statement.bases)
                    or any(self._made_by_own(one.value) for one in statement.keywords)
                    or any(self._acts(one) for one in statement.body)
                )
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                return not all(_is_plain(one) for one in _targets(statement)) or (
                    statement.value is not None and self._may_act(statement.value)
                )
            case ast.If() | ast.For() | ast.While() | ast.Try():
                heads = [getattr(statement, name, None) for name in ("test", "iter")]
                blocks = [
                    inner
                    for name in ("body", "orelse", "finalbody")
                    for inner in getattr(statement, name, ())
                ]
                blocks += [
                    inner for one in getattr(statement, "handlers", ()) for inner in one.body
                ]
                return any(one is not None and self._may_act(one) for one in heads) or any(
                    self._acts(one) for one in blocks
                )
        return True

    def _may_act(
        self, node: ast.AST, decorator: bool = False, seen: frozenset[str] = frozenset()
    ) -> bool:
        """Whether evaluating something may do more than give a value."""
        if decorator and _is_register(node):
            return False
        if decorator and isinstance(node, ast.Name | ast.Attribute):  # it is called
            node = ast.Call(node, [], [])
        for one in ast.walk(node):
            if isinstance(one, ast.Global | ast.Nonlocal | ast.NamedExpr):
                return True
            if isinstance(one, ast.Attribute | ast.Subscript) and isinstance(one.ctx, ast.Store):
                root = _root(one)
                if root is None or root in self._binders:
                    return True
            if isinstance(one, ast.Call):
                called = _last_name(one.func)
                if called is None or (called not in _HARMLESS and _ACTS.match(called)):
                    return True
                root = _root(one.func)
                if root in self._binders and self._own_may_act(root, seen):
                    return True
        return False

    def _own_may_act(self, name: str, seen: frozenset[str]) -> bool:
        """Whether calling what a name of this file stands for may; imported things are taken by
        what they are called alone."""
        if name in seen:
            return False
        for place in self._binders[name]:
            statement = self._statements[place]
            if isinstance(statement, ast.Import | ast.ImportFrom):
                if isinstance(statement, ast.ImportFrom) and statement.level:
                    return True
            elif self._may_act(statement, False, seen | {name}):
                return True
        return False

    def _made_by_own(self, base: ast.expr) -> bool:
        """Whether a class of this file, as a base or metaclass, sees classes being made."""
        root = _root(base)
        for place in self._binders.get(root or "", ()):
            statement = self._statements[place]
            if isinstance(statement, ast.ClassDef) and any(
                isinstance(inner, _Function)
                and inner.name in ("__init_subclass__", "__new__", "__init__", "__prepare__")
                and (inner.name == "__init_subclass__" or _root_of_bases(statement) == "type")
                for inner in statement.body
            ):
                return True
        return False


def _root_of_bases(statement: ast.ClassDef) -> str | None:
    return _root(statement.bases[0]) if statement.bases else None


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds at the top level."""
    if isinstance(statement, ast.ClassDef | _Function):
        yield statement.name
        return
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield from map(_as_bound, statement.names)
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
        elif isinstance(node, ast.ClassDef | _Function):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from map(_as_bound, node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def _as_bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _mentioned(statement: ast.stmt) -> set[str] | None:
    """The names that a statement mentions anywhere; None where it may reach others by their text.

    A name of its own inside of it counts too, and so does a text that could be a name.
    """
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            if node.id in _BY_TEXT or node.id in _BY_TEXT_OF:
                return None
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            if node.attr in _BY_TEXT_OF or (node.attr == "modules" and _root(node) == "sys"):
                return None
        elif isinstance(node, ast.Global | ast.Nonlocal):
            found.update(node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.findall(r"[A-Za-z_]\w*", node.value) if len(node.value) < 200 else ())
        if isinstance(node, ast.Call) and _last_name(node.func) in ("getattr", "attrgetter"):
            texts = node.args[1:2] if _last_name(node.func) == "getattr" else node.args
            if not all(isinstance(one, ast.Constant) for one in texts):
                return None
    return found


def _is_registration(value: ast.expr) -> bool:
    """``register("angle")(Angle)``: it counts for that class, whose name is in the registry."""
    return (
        isinstance(value, ast.Call)
        and _is_register(value.func)
        and all(isinstance(one, ast.Name) for one in value.args)
    )


def _is_register(node: ast.AST) -> bool:
    """``register("angle")``, of `supclap.parts`."""
    if not isinstance(node, ast.Call) or len(node.args) != 1 or node.keywords:
        return False
    if not isinstance(node.args[0], ast.Constant):
        return False
    name = ast.unparse(node.func)
    return name in ("register", "parts.register", "supclap.parts.register")


def _is_docstring(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


def _never_runs(statement: ast.stmt) -> bool:
    """What only a type checker reads, and what runs only where the file is the program."""
    if for_types_alone(statement):
        return True
    return (
        isinstance(statement, ast.If)
        and not statement.orelse
        and isinstance(statement.test, ast.Compare)
        and ast.unparse(statement.test) in ("__name__ == '__main__'", "'__main__' == __name__")
    )


def _future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _targets(statement: _Simple) -> list[ast.expr]:
    return statement.targets if isinstance(statement, ast.Assign) else [statement.target]


def _is_plain(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_is_plain, target.elts))
    if isinstance(target, ast.Starred):
        return _is_plain(target.value)
    return isinstance(target, ast.Name)


def _root(node: ast.expr) -> str | None:
    """The first name of ``a.b[c].d``; None where it begins with no name."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None

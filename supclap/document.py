"""A YAML file with the line of every key, so that a mistake is shown where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from supclap.errors import InputError, closest
from supclap.regular import NotAFile, read_regular
from supclap.scalars import AMBIGUOUS, Loader, two_readings
from supclap.secrets import check_no_secret
from supclap.wording import one_line

Place = Callable[[yaml.Node], str]  # what an error says of where a node stands
Key = tuple[str, ...]  # ("variants", "InfoNCE", "loss.svr"): keys from the top, list places as text

# An alias is expanded where it stands. Ten nested lists of ten aliases each are a few hundred
# bytes of text and ten thousand million values: a file may be large, an expansion may not.
MOST_VALUES = 50_000
MOST_DEPTH = 50
EXPERIMENTS = Path("experiments")  # where a clone has the shipped files
MOST_BYTES = 2_000_000
# What PyYAML raises for a scalar that looks like a date or has a tag, and cannot be read as one.
_UNREADABLE = (ValueError, AttributeError, TypeError, OverflowError, KeyError)


class Document:
    """The mapping in a YAML file, and where each of its keys stands."""

    def __init__(self, path: Path, values: dict[str, Any], lines: dict[Key, int]) -> None:
        self.path = path
        self.values = values
        self._lines = lines
        self._elsewhere: dict[Key, Path] = {}  # the files of keys that stand in another

    def over(
        self, below: Document, at: Key, values: dict[str, Any], replaced: Iterable[Key] = ()
    ) -> Document:
        """This document laid over another one, whose keys stand below ``at`` of this one's.

        Args:
            values: what both say together.
            replaced: keys of ``below`` of which this document leaves nothing.
        """
        gone = tuple(replaced)
        kept = {
            key: line
            for key, line in below._lines.items()
            if not any(key[: len(other)] == other for other in gone)
        }
        lines = {(*at, *key): line for key, line in kept.items()}
        files = {(*at, *key): below._elsewhere.get(key, below.path) for key in kept}
        for key in self._lines:  # this one's own are the last word, and the last in order
            lines.pop(key, None)
            files.pop(key, None)
        result = Document(self.path, values, lines | self._lines)
        result._elsewhere = files | self._elsewhere
        return result

    def line(self, key: Iterable[str]) -> int:
        """The line (from 1) of a key, or of the nearest key above it that is in the file."""
        return self._lines.get(self._known(key), 1)

    def error(self, key: Iterable[str], message: str) -> InputError:
        """An InputError ``file:line: message``, always of one line."""
        file = self._elsewhere.get(self._known(key), self.path)
        return InputError(f"{file}:{self.line(key)}: {one_line(message, 600)}")

    def _known(self, key: Iterable[str]) -> Key:
        parts = tuple(key)
        while parts and parts not in self._lines:
            parts = parts[:-1]
        return parts

    def setting(self, places: Iterable[Key], dotted: str) -> Key:
        """The key that set the configuration value ``dotted``: the last of ``places`` to name it.

        Each place is a mapping of overrides, whose keys may be dotted or nested or both. Where no
        place names the value itself, one that names a part above it is taken, else the last place.
        """
        wanted = tuple(dotted.split(".")) if dotted else ()
        best: Key = ()
        reach = -1
        for place in places:
            best = best or place
            for key, named in self._settings(place):
                shared = _shared(named, wanted)
                if shared == min(len(named), len(wanted)) and shared >= reach:
                    best, reach = key, shared
        return best

    def names(self, places: Iterable[Key], dotted: str) -> bool:
        """Whether one of the places sets the value ``dotted`` itself, or something below it."""
        wanted = tuple(dotted.split("."))
        return any(
            named[: len(wanted)] == wanted for place in places for _, named in self._settings(place)
        )

    def _settings(self, place: Key) -> Iterator[tuple[Key, tuple[str, ...]]]:
        """Every key below ``place`` with the dotted path it sets, as parts."""
        depth = len(place)
        for key in self._lines:
            if len(key) > depth and key[:depth] == place:
                yield key, tuple(part for name in key[depth:] for part in name.split("."))


def read_value(where: str, text: str) -> Any:
    """Reads one YAML value. Raises InputError, beginning with ``where``, for one that is none."""
    check_no_secret(text, where)
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        return None if root is None else _values(loader, root, lambda _: where)[0]
    except InputError:
        raise
    except (yaml.YAMLError, RecursionError, *_UNREADABLE):
        raise InputError(f"{where}: the value is not valid YAML: {one_line(text, 60)}") from None
    finally:
        loader.dispose()


def _file_like(path: Path) -> str:
    """A hint at the YAML file beside a missing one, or in `EXPERIMENTS`, of the nearest name."""
    files = [*sorted(EXPERIMENTS.glob("*.yaml")), *sorted(path.parent.glob("*.yaml"))]
    found = closest(path.stem, (file.stem for file in files), 0.7)
    return next((f"; did you mean {file}?" for file in files if file.stem == found), "")


def read_document(path: Path, empty: bool = False) -> Document:
    """Reads a YAML mapping.

    Args:
        empty: take a file without content for a mapping without keys.

    Raises:
        InputError: with the line: wrong syntax, a key twice, a number that can be read in two ways,
            aliases that expand to too much, or a secret.
    """
    try:
        content = read_regular(path, MOST_BYTES)
        text = content.decode("utf-8")
    except NotAFile as error:
        raise InputError(
            f"{path}: {error}; expected a YAML file of at most {MOST_BYTES:,} bytes"
        ) from None
    except OSError as error:
        hint = _file_like(path) if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"{path}: cannot be read: {error.strerror}{hint}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is not UTF-8 text") from None
    for number, written in enumerate(text.splitlines(), 1):
        check_no_secret(written, f"{path}:{number}")
    try:
        return _compose(path, text, empty)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = one_line(str(error.problem or error.context or "cannot be read"), 400)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {one_line(str(error), 400)}") from None
    except RecursionError:
        raise InputError(f"{path}: nested deeper than {MOST_DEPTH} levels") from None


def _compose(path: Path, text: str, empty: bool) -> Document:
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        if root is None and not empty:
            raise InputError(f"{path}: is empty")
        if root is None:
            return Document(path, {}, {})
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path}:1: expected a mapping of keys, found a {_kind(root)}")
        try:
            values, lines = _values(loader, root, lambda at: f"{path}:{at.start_mark.line + 1}")
        except InputError:
            raise
        except _UNREADABLE as error:
            fault = one_line(str(error), 400)
            raise InputError(f"{path}: a value cannot be read: {fault}") from None
    finally:
        loader.dispose()
    return Document(path, values, lines)


def _values(loader: Loader, root: yaml.Node, place: Place) -> tuple[Any, dict[Key, int]]:
    """What the nodes below ``root`` stand for, and the line of every key."""
    _bound(root, place)
    lines: dict[Key, int] = {}
    _walk(root, (), lines, place)
    return loader.construct_document(root), lines


def _bound(root: yaml.Node, place: Place) -> None:
    """Refuses what expands to too many values, too deep, or into itself."""
    sizes: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        known = sizes.get(id(node))
        if known:
            return known
        if id(node) in open_nodes:
            raise InputError(f"{place(node)}: an anchor that contains itself")
        open_nodes.add(id(node))
        size, depth = 1, 1
        for child in _children(node):
            below, deep = measure(child)
            size, depth = size + below, max(depth, deep + 1)
            if size > MOST_VALUES or depth > MOST_DEPTH:
                raise InputError(
                    f"{place(node)}: its aliases expand to more than {MOST_VALUES} values "
                    f"or {MOST_DEPTH} levels"
                )
        open_nodes.discard(id(node))
        sizes[id(node)] = (size, depth)
        return size, depth

    measure(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _walk(node: yaml.Node, at: Key, lines: dict[Key, int], place: Place) -> None:
    """Notes the line of every key below ``node``.

    Raises InputError for a key that stands twice or is no text, and for an ambiguous number.
    """
    if isinstance(node, yaml.ScalarNode) and node.tag == AMBIGUOUS:
        key = f"{one_line('.'.join(at), 200)}: " if at else ""
        raise InputError(f"{place(node)}: {key}{two_readings(node.value)}")
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            lines.setdefault((*at, str(number)), child.start_mark.line + 1)
            _walk(child, (*at, str(number)), lines, place)
        return
    if not isinstance(node, yaml.MappingNode):
        return
    own: dict[str, int] = {}
    merged: list[yaml.Node] = []
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            continue
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            shown = one_line(key.value, 60) if isinstance(key, yaml.ScalarNode) else _kind(key)
            raise InputError(f"{place(key)}: the key {shown} is not text; put it in quotes")
        if key.value in own:
            raise InputError(
                f"{place(key)}: the key '{one_line(key.value, 60)}' stands twice "
                f"(first in line {own[key.value]})"
            )
        own[key.value] = line
        lines.setdefault((*at, key.value), line)
        _walk(value, (*at, key.value), lines, place)
    for source in merged:  # what a merge brings stands where the anchor is written
        _walk(source, at, lines, place)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "list"
    return "mapping" if isinstance(node, yaml.MappingNode) else "single value"


def _shared(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count

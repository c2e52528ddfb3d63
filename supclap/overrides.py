"""Overrides: values of a configuration laid over others, under dotted or nested keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from supclap.document import read_value
from supclap.errors import InputError
from supclap.wording import one_line


def override(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with dotted keys replaced: ``{"loss.svr.radius": "static"}``.

    A mapping replaces key by key, so ``{"loss": {"svr": {...}}}`` keeps the temperature. A string
    on the way is a shorthand name and becomes ``{"name": ...}``.
    """
    result = deepcopy(dict(values))
    for dotted, value in changes.items():
        *path, last = str(dotted).split(".")
        node = result
        for key in path:
            below = node.get(key)
            if not isinstance(below, dict):
                below = {"name": below} if isinstance(below, str) else {}
                node[key] = below
            node = below
        if isinstance(value, Mapping):
            below = node.get(last)
            below = {"name": below} if isinstance(below, str) else below
            node[last] = override(below if isinstance(below, dict) else {}, value)
        else:
            node[last] = deepcopy(value)
    return result


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """``values`` with every key dotted in full: ``{"loss": {"svr": 1}}`` is ``{"loss.svr": 1}``."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        dotted = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{dotted}.")
        else:
            result[dotted] = value
    return result


def parse_changes(items: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` of a command line (``--set``), each value read as a YAML file's is.

    Raises:
        InputError: no ``=``, a key that stands twice, or a value that cannot be read.
    """
    changes: dict[str, Any] = {}
    for item in items:
        key, sign, text = item.partition("=")
        key = key.strip()
        where = f"--set {one_line(key, 100)}"
        if not sign or not key:
            raise InputError(f"{where}: expected KEY=VALUE, such as epochs=3")
        if key in changes:
            raise InputError(f"{where}: is given twice")
        changes[key] = read_value(where, text)
    return changes


def covers(key: str, dotted: str) -> bool:
    """Whether a dotted key sets what another one names, something above it or something below."""
    return f"{dotted}.".startswith(f"{key}.") or f"{key}.".startswith(f"{dotted}.")

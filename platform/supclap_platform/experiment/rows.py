"""Rows of an experiment: its variants, what `ablate` adds, and the product that `grid` makes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from pydantic import ValidationError

from supclap.document import Document, Key
from supclap.errors import nearest
from supclap.overrides import override
from supclap_platform.experiment.method import Method
from supclap_platform.experiment.schema import MOST_CELLS, ExperimentFile, Overrides

RESERVED = "init"  # what the plan calls the stage that `init` trains
MOST_NAME = 100


@dataclass(frozen=True)
class DeclaredRow:
    """A row before its configuration is built: layers of overrides, and where they stand."""

    name: str
    layers: tuple[Overrides, ...]
    places: tuple[Key, ...]
    multiplied: tuple[str, str] | None = None  # by a grid: the row's name before, and the settings


def rows_of(
    file: ExperimentFile, document: Document, base: Overrides, method: Method
) -> list[DeclaredRow]:
    """The rows in the table's order: variants as written, ablated ones after their full row.

    ``base`` is only read, to find what a removed component is set to. Raises InputError.
    """
    rows = [
        DeclaredRow(name, (changes or {},), (("variants", name),))
        for name, changes in file.variants.items()
    ]
    if file.ablate is not None:
        rows = _with_ablated(rows, file, document, base, method)
    if file.grid is not None:
        rows = _with_grid(rows, file, document)
    rows = rows or [DeclaredRow(file.experiment, ({},), (("base",),))]
    seen: set[str] = set()
    for row in rows:
        if not row.name.strip() or not row.name.isprintable() or len(row.name) > MOST_NAME:
            raise document.error(
                row.places[-1],
                f"a variant's name is 1 to {MOST_NAME} printable characters, got {row.name!r}",
            )
        if row.name == RESERVED:
            raise document.error(row.places[-1], f"'{RESERVED}' names the stage of init")
        if row.name in seen:
            raise document.error(row.places[-1], f"two rows are called '{row.name}'")
        seen.add(row.name)
    return rows


def _with_ablated(
    rows: list[DeclaredRow],
    file: ExperimentFile,
    document: Document,
    base: Overrides,
    method: Method,
) -> list[DeclaredRow]:
    ablate = file.ablate
    assert ablate is not None
    place: Key = ("ablate",)
    if isinstance(ablate.full, str):
        full = next((row for row in rows if row.name == ablate.full), None)
        if full is None:
            raise document.error(
                ("ablate", "full"),
                f"no variant '{ablate.full}'{nearest(ablate.full, file.variants)} "
                f"(variants: {', '.join(file.variants) or 'none'})",
            )
    else:
        full = DeclaredRow("full", (ablate.full,), (("ablate", "full"),))
        rows = [*rows, full]
    added = []
    if isinstance(ablate.remove, dict):
        for name, changes in ablate.remove.items():
            at: Key = (*place, "remove", name)
            added.append(_without(full, name, changes, at))
    else:
        values = base
        for layer in full.layers:
            values = override(values, layer)
        values = _with_defaults(values, method)
        for position, dotted in enumerate(ablate.remove):
            at = (*place, "remove", str(position))
            changes = {dotted: _off(values, dotted, document, at)}
            added.append(_without(full, dotted.split(".")[-1], changes, at))
    after = rows.index(full) + 1
    return rows[:after] + added + rows[after:]


def _with_defaults(values: Overrides, method: Method) -> Overrides:
    """A configuration with what it leaves to the defaults, where it is one."""
    try:
        return method.config.model_validate(
            {key: value for key, value in values.items() if key != "resources"}
        ).model_dump()
    except ValidationError:
        return values


def _without(full: DeclaredRow, name: str, changes: Overrides, place: Key) -> DeclaredRow:
    words = name if name.startswith("w/o ") else f"w/o {name}"
    return DeclaredRow(f"{full.name} {words}", (*full.layers, changes), (*full.places, place))


def _off(values: Overrides, dotted: str, document: Document, place: Key) -> Any:
    """What a component is set to when it is removed: none, zero or no, by what it is."""
    node: Any = values
    for part in dotted.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, bool):
        return False
    scheduled = isinstance(node, dict) and {"from", "to"} <= node.keys()
    if isinstance(node, int | float) or scheduled:
        return 0
    if isinstance(node, dict):
        return None
    raise document.error(
        place,
        f"'{dotted}' is not set to a number, a yes or no, or a section in the full configuration; "
        "write remove as a mapping, NAME: {key: value without it}",
    )


def _with_grid(
    rows: list[DeclaredRow], file: ExperimentFile, document: Document
) -> list[DeclaredRow]:
    grid = dict(file.grid or {})
    chosen = grid.pop("variants", None)
    names = [row.name for row in rows]
    for name in chosen or ():
        if name not in names:
            raise document.error(
                ("grid", "variants"),
                f"no variant {name!r}{nearest(str(name), names)} (variants: {', '.join(names)})",
            )
    if not grid:
        raise document.error(("grid",), "expected at least one key with a list of values")
    size = max(1, len(rows))
    for key, values in grid.items():
        if not values:
            raise document.error(("grid", key), f"'{key}' has an empty list of values")
        size *= len(values)
        if size > MOST_CELLS:
            raise document.error(("grid", key), f"the product has more than {MOST_CELLS} rows")
    labels = dict(zip(grid, short_names(list(grid)), strict=True))
    combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    places: tuple[Key, ...] = (("grid",),)
    if not rows:
        return [DeclaredRow(_named(c, labels), (c,), places) for c in combinations]
    result = []
    for row in rows:
        if chosen is not None and row.name not in chosen:
            result.append(row)
            continue
        for combination in combinations:
            result.append(
                replace(
                    row,
                    name=f"{row.name}, {_named(combination, labels)}",
                    multiplied=(row.name, _named(combination, labels)),
                    layers=(*row.layers, combination),
                    places=(*row.places, *places),
                )
            )
    return result


def _named(combination: Overrides, labels: dict[str, str]) -> str:
    return ", ".join(f"{labels[key]}={_shown(value)}" for key, value in combination.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return str(value["name"])
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def short_names(keys: list[str]) -> list[str]:
    """The shortest endings in which dotted keys still differ: ``loss.svr.alpha`` -> alpha."""
    parts = [key.split(".") for key in keys]
    count = 1
    while count < max(len(p) for p in parts):
        endings = [".".join(p[-count:]) for p in parts]
        if len(set(endings)) == len(endings):
            return endings
        count += 1
    return keys

"""Columns of a table: a metric, and with groups the group whose cells it is taken from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from supclap.document import Document, Key
from supclap.errors import InputError, nearest
from supclap.events import current_name
from supclap_platform.experiment.measure import Measure
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.supclap_method import SUPCLAP

AT = " @ "  # between a row and its group in the name of a variant


@dataclass(frozen=True)
class Column:
    """One column. Where the file has groups, each column belongs to one of them."""

    name: str  # as a table calls it: "t2a.R@1", with groups "24.t2a.R@1"
    metric: str  # as declared, without the group
    measure: Measure  # what a run reports under it
    group: str | None = None
    label: str = ""  # what stands at its head; nothing: its name

    @property
    def heading(self) -> str:
        """What stands at its head below its group's."""
        return self.label or self.metric

    @property
    def head(self) -> str:
        """What stands at its head where the headings are of one line."""
        if not self.label:
            return self.name
        return self.label if self.group is None else f"{self.group}: {self.label}"

    @property
    def short_name(self) -> str:
        """The name without the split that a table means anyway."""
        metric = self.metric.removeprefix("test.")
        return metric if self.group is None else f"{self.group}.{metric}"

    def __str__(self) -> str:
        return self.name


def in_group(row: str, group: str | None) -> str:
    """The name of the variant that a row is in a group."""
    return row if group is None else f"{row}{AT}{group}"


def split_group(
    name: str, groups: Sequence[str], method: Method = SUPCLAP
) -> tuple[str | None, str]:
    """The group that a metric's name begins with, if any, and the rest.

    Raises InputError where groups exist and what stands before the first dot is neither one of them
    nor the beginning of a metric.
    """
    first, dot, rest = name.partition(".")
    if dot and first in groups:
        return first, rest
    if groups and dot and first not in method.first_words and not _reported(name, method):
        raise InputError(
            f"'{name}': no group '{first}'{nearest(first, groups)} (groups: {', '.join(groups)})"
        )
    return None, name


def _reported(name: str, method: Method) -> bool:
    try:
        method.measure(name)
    except InputError:
        return False
    return True


def check_columns(
    document: Document,
    place: Key,
    declared: Sequence[tuple[str, str]],
    groups: Sequence[str],
    configs: Mapping[str, Mapping[str, Configuration]],
    method: Method,
) -> tuple[Column, ...]:
    """The columns, group by group; each one that some row reports there, none twice.

    Args:
        place: where they stand in the document.
        declared: name and label of each.
        configs: group ("" where the file has none) -> row -> configuration.

    Raises InputError at the column that is wrong.
    """
    found: list[Column] = []
    for position, (text, label) in enumerate(declared):
        key: Key = (*place, str(position))
        try:
            own, metric = split_group(text, groups, method)
            metric = current_name(metric)
            measure = method.measure(metric)
        except InputError as error:
            raise document.error(key, str(error)) from None
        for group in configs if own is None else (own,):
            name = f"{group}.{metric}" if groups else metric
            if any(c.measure == measure and (c.group or "") == group for c in found):
                raise document.error(key, f"the column '{name}' stands twice")
            reasons = {
                row: method.why_not_reported(measure.name, c) for row, c in configs[group].items()
            }
            if all(reasons.values()):
                row = in_group(next(iter(reasons)), group or None)
                reason = next(iter(reasons.values()))
                raise document.error(key, f"no variant reports '{name}': {row}: {reason}")
            found.append(Column(name, metric, measure, group or None, label))
    order = list(configs)
    return tuple(sorted(found, key=lambda column: order.index(column.group or "")))

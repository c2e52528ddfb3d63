"""The names of metrics of one's own, as runs report them, and which way is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from supclap import registry

Direction = Literal["higher", "lower"]
# What the names of SupCLAP's own metrics begin with, and codes of languages do: a name of one's own
# must not be taken for one of them.
RESERVED = frozenset(
    [
        *("test", "val", "shifted", "also", "chance", "train"),
        *("t2a", "a2t", "MRV", "zero_shot"),
        *("drift", "drift_cosine", "push", "radius", "contraction"),
        *("similarity", "distance", "temperature"),
        *("seconds", "seconds_per_epoch", "best_epoch", "steps", "peak_MB"),
        *("eng", "fra", "deu", "spa", "nld", "cat", "jpn", "zho"),
    ]
)


class Named(Protocol):
    """A section of a configuration's ``metrics``."""

    name: str


@dataclass(frozen=True)
class OwnName:
    """A number of a metric of one's own.

    label: what a configuration calls the metric; its registered name where it says no other.
    part: its registered name.
    name: as it declares the number.
    """

    label: str
    part: str
    name: str

    @property
    def short(self) -> str:
        """As a run reports it, without the split."""
        return self.name if self.label == self.part else f"{self.label}.{self.name}"

    @property
    def direction(self) -> Direction | None:
        found: Direction | None = _class(self.part).direction(self.name)
        return found


def own_names(metrics: Mapping[str, Named]) -> list[OwnName]:
    """What the metrics of a configuration report.

    Raises ValueError: a label that could be one of SupCLAP's own names, or that makes a name which
    another metric gives.
    """
    found = []
    for label, section in metrics.items():
        if label in RESERVED:
            raise ValueError(f"a metric cannot be called '{label}': SupCLAP's own begin so")
        for name in _class(section.name).names:
            one = OwnName(label, section.name, name)
            other = find(one.short)
            if other is not None and other != one:
                raise ValueError(
                    f"a metric cannot be called '{label}': '{one.short}' is what the metric "
                    f"'{other.part}' gives"
                )
            found.append(one)
    return found


def find(short: str) -> OwnName | None:
    """The number that a name without its split means; None where no registered metric has it."""
    first, _, rest = short.partition(".")
    if first in RESERVED:
        return None
    for part, name in _declared():
        if name == short:
            return OwnName(part, part, name)
    return next((OwnName(first, part, name) for part, name in _declared() if name == rest), None)


def declared_names() -> list[str]:
    """The names that all registered metrics declare."""
    return [name for _, name in _declared()]


def _declared() -> Iterator[tuple[str, str]]:
    for part in registry.names("metric"):
        yield from ((part, name) for name in _class(part).names)


def _class(part: str) -> Any:
    """The class of a metric (`supclap.parts.metric.Metric`)."""
    return registry.class_of("metric", part)

"""Claims: the comparisons that an experiment file declares, read into typed objects.

The little language (``>`` compares the numbers; where a low number is the good one, such as medR,
``A < B`` says it and is read as ``B > A``)::

    A > B on METRIC
    A > B on METRIC by at least X
    A > B on METRIC [by at least X] matters from Y     (a difference below Y is negligible)
    METRIC of A falls over epochs        (or: rises)
    A within X % of B on METRIC

Behind a metric ``after epoch N`` asks for its value then, in place of that of the whole run: of
what each epoch measures, so on ``val``.

In a file with groups, either the metric names the group of the rows (``A > B on 24.t2a.R@1``), or
the names do (``A @ 24 > A @ 48 on t2a.R@1``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from supclap.errors import InputError, nearest
from supclap.events import EARLIER_NAMES, current_name
from supclap_platform.experiment.columns import AT, in_group, split_group
from supclap_platform.experiment.measure import Measure
from supclap_platform.experiment.method import Method
from supclap_platform.experiment.supclap_method import SUPCLAP

GRAMMAR = (
    "'A > B on METRIC [after epoch N] [by at least X] [matters from Y]', "
    "'METRIC of A falls|rises over epochs' or 'A within X % of B on METRIC [after epoch N]'"
)


@dataclass(frozen=True)
class Greater:
    """``greater`` exceeds ``lesser`` on ``metric`` by ``margin`` or more (0: by anything).

    A difference that is certainly smaller than ``matters``, either way, is negligible.
    """

    text: str = field(compare=False)  # as it was written: other words ask the same
    greater: str
    lesser: str
    metric: str
    margin: float = 0.0
    matters: float | None = field(default=None, compare=False)  # the same question with another one
    method: Method = field(default=SUPCLAP, compare=False, repr=False)
    epoch: int | None = None  # after which it is asked, from 1; None: of the whole run

    @property
    def measure(self) -> Measure:
        """The metric as the method declares it."""
        return self.method.measure(self.metric)

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.greater, self.lesser)


@dataclass(frozen=True)
class Trend:
    """``metric`` of ``variant`` falls or rises over the epochs."""

    text: str = field(compare=False)
    variant: str
    metric: str
    way: Literal["falls", "rises"]
    method: Method = field(default=SUPCLAP, compare=False, repr=False)

    @property
    def measure(self) -> Measure:
        """The metric as the method declares it."""
        return self.method.measure(self.metric)

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.variant,)


@dataclass(frozen=True)
class Within:
    """``variant`` differs from ``other`` on ``metric`` by at most ``percent`` % of the other."""

    text: str = field(compare=False)
    variant: str
    other: str
    metric: str
    percent: float
    method: Method = field(default=SUPCLAP, compare=False, repr=False)
    epoch: int | None = None

    @property
    def measure(self) -> Measure:
        """The metric as the method declares it."""
        return self.method.measure(self.metric)

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.variant, self.other)


Claim = Greater | Trend | Within


def asked_of(claim: Claim) -> str:
    """The number that a claim is about, in words: its metric, and after which epoch."""
    epoch = None if isinstance(claim, Trend) else claim.epoch
    return claim.metric if epoch is None else f"{claim.metric} after epoch {epoch}"


_NO_MATTERS = "'matters from' belongs to claims 'A > B on METRIC', and to no other"
_NUMBER = r"(?P<number>\d+(?:\.\d*)?|\.\d+)"
_BY = re.compile(rf"^(?P<rest>.*\S)\s+by\s+at\s+least\s+{_NUMBER}$")
_MATTERS = re.compile(rf"^(?P<rest>.*\S)\s+matters\s+from\s+{_NUMBER}$")
_AFTER = re.compile(r"^(?P<rest>.*\S)\s+after\s+epoch\s+(?P<number>\d+)$")
_TREND = re.compile(
    r"^(?P<metric>\S+)\s+of\s+(?P<variant>.*\S)\s+(?P<way>falls|rises)\s+over\s+epochs$"
)
_WITHIN = re.compile(rf"\s+within\s+{_NUMBER}\s*%\s+of\s+")


def parse_claim(
    text: str, variants: Sequence[str], groups: Sequence[str] = (), method: Method = SUPCLAP
) -> Claim:
    """The claim that ``text`` states about some of ``variants`` (full names where groups exist).

    Raises InputError: not of the grammar, a variant that does not exist, a metric no run reports, a
    row without its group.
    """
    clean = " ".join(w if w in variants else _of_today(w) for w in text.split())
    body, matters = clean, None
    small = _MATTERS.match(clean)
    if small:
        body, matters = small["rest"], _number(small["number"], clean)
        if not matters:
            raise InputError(f"claim '{clean}': 'matters from' needs a number above 0")
    trend = _TREND.match(body)
    if trend:
        if matters is not None:
            raise InputError(f"claim '{clean}': {_NO_MATTERS}")
        way: Literal["falls", "rises"] = "falls" if trend["way"] == "falls" else "rises"
        names = _Names(trend["metric"], variants, groups, clean, method)
        return Trend(clean, names.variant(trend["variant"]), names.metric, way, method)
    margin = 0.0
    by = _BY.match(body)
    if by:
        margin, body = _number(by["number"], clean), by["rest"]
    after, epoch = _AFTER.match(body), None
    if after:
        epoch, body = int(after["number"]), after["rest"]
        if epoch < 1:
            raise InputError(f"claim '{clean}': epochs are counted from 1")
    sides, _, metric = body.rpartition(" on ")
    if not sides or not metric or " " in metric:
        raise InputError(f"claim '{clean}': expected {GRAMMAR}")
    names = _Names(metric, variants, groups, clean, method)
    if " within " in sides and not by:
        for left, right, percent in _around(_WITHIN, sides):
            first, second = names.pair(left, right)
            if matters is not None:
                raise InputError(f"claim '{clean}': {_NO_MATTERS}")
            bound = _number(percent, clean)
            return Within(clean, first, second, names.metric, bound, method, epoch)
    for sign in (" > ", " < "):
        found = [_ for _ in _splits(sides, sign) if _[0] in names and _[1] in names]
        found = found or list(_splits(sides, sign))[:1]
        for left, right in found:
            first, second = names.pair(left, right)
            if sign == " < ":
                first, second = second, first
            return Greater(clean, first, second, names.metric, margin, matters, method, epoch)
    raise InputError(f"claim '{clean}': expected {GRAMMAR}")


def _of_today(word: str) -> str:
    """A metric by its name of today, so that a claim reads as it means."""
    group, dot, rest = word.partition(".")
    if word in EARLIER_NAMES or not dot:
        return current_name(word)
    return f"{group}.{current_name(rest)}"


class _Names:
    """The names that a claim may use: of rows where its metric names a group, else of variants."""

    def __init__(
        self,
        metric: str,
        variants: Sequence[str],
        groups: Sequence[str],
        claim: str,
        method: Method,
    ) -> None:
        self._claim = claim
        self._groups = groups
        try:
            self._group, rest = split_group(metric, groups, method)
            self.metric = method.measure(rest).name
        except InputError as error:
            raise InputError(f"claim '{claim}': {error}") from None
        self._rows = list(dict.fromkeys(name.rpartition(AT)[0] for name in variants if groups))
        self._valid = list(variants) if self._group is None else self._rows

    def __contains__(self, name: str) -> bool:
        return name in self._valid

    def variant(self, name: str) -> str:
        """The variant's full name. Raises InputError where there is none of that name."""
        if name in self._valid:
            return in_group(name, self._group)
        groups = f" (groups: {', '.join(self._groups)})"
        if name in self._rows:
            raise InputError(
                f"claim '{self._claim}': does not say which group of '{name}'; put one before the "
                f"metric, '{self._groups[0]}.METRIC', or behind the name, "
                f"'{in_group(name, self._groups[0])}'{groups}"
            )
        raise InputError(
            f"claim '{self._claim}': no variant '{name}'{nearest(name, self._valid)} "
            f"(variants: {', '.join(self._rows or self._valid)})"
            + (groups if self._groups and self._group is None else "")
        )

    def pair(self, left: str, right: str) -> tuple[str, str]:
        """Two of them. Raises InputError where they are one."""
        first, second = self.variant(left), self.variant(right)
        if first == second:
            raise InputError(f"claim '{self._claim}': compares '{first}' with itself")
        return first, second


def _splits(text: str, sign: str) -> Iterator[tuple[str, str]]:
    """Every way to cut at ``sign``: the names of variants may hold it themselves."""
    at = text.find(sign)
    while at >= 0:
        yield text[:at].strip(), text[at + len(sign) :].strip()
        at = text.find(sign, at + 1)


def _around(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str, str]]:
    for match in pattern.finditer(text):
        yield text[: match.start()].strip(), text[match.end() :].strip(), match["number"]


def _number(text: str, claim: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise InputError(f"claim '{claim}': {text} is not a usable number")
    return value

"""Claims: the comparisons that an experiment file declares, read into typed objects.

The little language (``>`` compares the numbers; where a low number is the good one, such as medR,
``A < B`` says it and is read as ``B > A``)::

    A > B on METRIC
    A > B on METRIC by at least X
    METRIC of A falls over epochs        (or: rises)
    A within X % of B on METRIC
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from supclap.errors import InputError, nearest
from supclap_platform.metrics import full_name

GRAMMAR = (
    "'A > B on METRIC [by at least X]', 'METRIC of A falls|rises over epochs' "
    "or 'A within X % of B on METRIC'"
)


@dataclass(frozen=True)
class Greater:
    """``greater`` exceeds ``lesser`` on ``metric`` by ``margin`` or more (0: by anything)."""

    text: str
    greater: str
    lesser: str
    metric: str
    margin: float = 0.0

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.greater, self.lesser)


@dataclass(frozen=True)
class Trend:
    """``metric`` of ``variant`` falls or rises over the epochs."""

    text: str
    variant: str
    metric: str
    way: Literal["falls", "rises"]

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.variant,)


@dataclass(frozen=True)
class Within:
    """``variant`` differs from ``other`` on ``metric`` by at most ``percent`` % of the other."""

    text: str
    variant: str
    other: str
    metric: str
    percent: float

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.variant, self.other)


Claim = Greater | Trend | Within

_NUMBER = r"(?P<number>\d+(?:\.\d*)?|\.\d+)"
_BY = re.compile(rf"^(?P<rest>.*\S)\s+by\s+at\s+least\s+{_NUMBER}$")
_TREND = re.compile(
    r"^(?P<metric>\S+)\s+of\s+(?P<variant>.*\S)\s+(?P<way>falls|rises)\s+over\s+epochs$"
)
_WITHIN = re.compile(rf"\s+within\s+{_NUMBER}\s*%\s+of\s+")


def parse_claim(text: str, variants: Sequence[str]) -> Claim:
    """The claim that ``text`` states about some of ``variants``.

    Raises InputError: not of the grammar, a variant that does not exist, a metric no run reports.
    """
    clean = " ".join(text.split())
    trend = _TREND.match(clean)
    if trend:
        way: Literal["falls", "rises"] = "falls" if trend["way"] == "falls" else "rises"
        variant = _variant(trend["variant"], variants, clean)
        return Trend(clean, variant, _metric(trend["metric"], clean), way)
    margin, body = 0.0, clean
    by = _BY.match(clean)
    if by:
        margin, body = _number(by["number"], clean), by["rest"]
    sides, _, metric = body.rpartition(" on ")
    if not sides or not metric or " " in metric:
        raise InputError(f"claim '{clean}': expected {GRAMMAR}")
    if " within " in sides and not by:
        for left, right, percent in _around(_WITHIN, sides):
            first, second = _pair(left, right, variants, clean)
            return Within(clean, first, second, _metric(metric, clean), _number(percent, clean))
    for sign in (" > ", " < "):
        found = [_ for _ in _splits(sides, sign) if _[0] in variants and _[1] in variants]
        found = found or list(_splits(sides, sign))[:1]
        for left, right in found:
            first, second = _pair(left, right, variants, clean)
            if sign == " < ":
                first, second = second, first
            return Greater(clean, first, second, _metric(metric, clean), margin)
    raise InputError(f"claim '{clean}': expected {GRAMMAR}")


def _splits(text: str, sign: str) -> Iterator[tuple[str, str]]:
    """Every way to cut at ``sign``: the names of variants may hold it themselves."""
    at = text.find(sign)
    while at >= 0:
        yield text[:at].strip(), text[at + len(sign) :].strip()
        at = text.find(sign, at + 1)


def _around(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str, str]]:
    for match in pattern.finditer(text):
        yield text[: match.start()].strip(), text[match.end() :].strip(), match["number"]


def _pair(left: str, right: str, variants: Sequence[str], claim: str) -> tuple[str, str]:
    first, second = _variant(left, variants, claim), _variant(right, variants, claim)
    if first == second:
        raise InputError(f"claim '{claim}': compares '{first}' with itself")
    return first, second


def _variant(name: str, variants: Sequence[str], claim: str) -> str:
    if name not in variants:
        raise InputError(
            f"claim '{claim}': no variant '{name}'{nearest(name, variants)} "
            f"(variants: {', '.join(variants)})"
        )
    return name


def _metric(name: str, claim: str) -> str:
    try:
        return full_name(name)
    except InputError as error:
        raise InputError(f"claim '{claim}': {error}") from None


def _number(text: str, claim: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise InputError(f"claim '{claim}': {text} is not a usable number")
    return value

"""What a plain word of a YAML file stands for: one reading, the same in every place.

YAML 1.1, which PyYAML follows, reads ``010`` as 8, ``1:30`` as 90, ``no`` as false, ``2024-01-02``
as a date and ``1e-3`` as a text; YAML 1.2 reads each of them otherwise. Here a number is a decimal
one, ``true`` and ``false`` are the only booleans, there are no dates, and what the two versions
read as different numbers is refused with both readings (docs/experiments.md).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_PREFIX = "tag:yaml.org,2002:"
AMBIGUOUS = "!ambiguous"  # the tag of a word that has two readings

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# Leading zeros, other bases, digits in groups, and base 60.
_TWO_READINGS = re.compile(
    r"[-+]?0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?0[oO][0-7_]+|[-+]?0[xX][0-9a-fA-F_]+|[-+]?0[bB][01_]+"
    r"|[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?:\.[0-9]*_[0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"
)
_NAMED = re.compile(r"\.(inf|nan)", re.IGNORECASE)
MOST_DIGITS = 100  # Python itself refuses thousands, each Python another count
_BASES = {"o": (8, "octal"), "x": (16, "hexadecimal"), "b": (2, "binary")}


def read_number(text: str) -> int | float | None:
    """The number that a word writes, or None where it writes none.

    Raises ValueError: a word that could be two (with both readings), or far too many digits.
    """
    if _INT.fullmatch(text):
        if len(text) > MOST_DIGITS:
            raise ValueError(f"a number of more than {MOST_DIGITS} digits")
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(_NAMED.sub(lambda match: match[1], text))
    if _TWO_READINGS.fullmatch(text):
        raise ValueError(two_readings(text))
    return None


def two_readings(text: str) -> str:
    """Says what a word could mean that `_TWO_READINGS` has found."""
    shown = text if len(text) <= 40 else f"{text[:39]}…"
    first, second = _readings(text)
    return (
        f"{shown} can be read as {first} or as {second}; write the decimal number that is meant, "
        "or put a text in quotes"
    )


def _readings(text: str) -> tuple[str, str]:
    sign = "-" if text[0] == "-" else ""
    body = text.lstrip("+-")
    plain = body.replace("_", "")
    if ":" in body:
        seconds = 0.0
        for part in body.split(":"):
            seconds = 60 * seconds + float(part or 0)
        return f"{sign}{seconds:g} (base 60)", "a text"
    if body[:2].lower() in ("0o", "0x", "0b"):
        base, name = _BASES[body[1].lower()]
        digits = plain[2:]
        return f"{sign}{_short(int(digits, base)) if digits else 0} ({name})", "a text"
    if "_" in body:
        return f"{sign}{_short(plain)}", "a text"
    decimal = body.lstrip("0")
    decimal = decimal if decimal[:1].isdigit() else f"0{decimal}"
    if re.fullmatch(r"[0-7]+", body):
        return f"{sign}{_short(int(body, 8))} (octal)", f"{sign}{_short(decimal)}"
    return f"{sign}{_short(decimal)}", "a text"


def _short(number: int | str) -> str:
    if isinstance(number, int) and number.bit_length() > 128:
        return f"{number:#x}"[:20] + "…"  # decimal digits of such a number take long to compute
    text = str(number)
    return text if len(text) <= 40 else f"{text[:39]}…"


Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]  # by the first sign of a word


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the readings of this module."""

    yaml_implicit_resolvers: Resolvers = {}  # noqa: RUF012  the base's is one of the instance

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """The value of a word that is tagged as a number, by its look or by ``!!int``."""
        try:
            value = read_number(str(node.value))
        except ValueError as error:
            problem = str(error)
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None
        if value is None or (node.tag == f"{_PREFIX}int" and not isinstance(value, int)):
            kind = node.tag.removeprefix(_PREFIX)
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value!r} is no {kind}", node.start_mark
            )
        return float(value) if node.tag == f"{_PREFIX}float" else value


class Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, whose texts `Loader` reads back as texts."""

    yaml_implicit_resolvers: Resolvers = {  # noqa: RUF012
        sign: list(resolvers) for sign, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


def _whole(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern.pattern})\Z")


for _tag, _pattern, _signs in (
    (f"{_PREFIX}null", _NULL, ["~", "n", "N", ""]),
    (f"{_PREFIX}bool", _BOOL, list("tTfF")),
    (f"{_PREFIX}int", _INT, list("-+0123456789")),
    (f"{_PREFIX}float", _FLOAT, list("-+.0123456789")),
    (AMBIGUOUS, _TWO_READINGS, list("-+0123456789")),
    (f"{_PREFIX}merge", re.compile("<<"), ["<"]),
):
    Loader.add_implicit_resolver(_tag, _whole(_pattern), _signs)
    if _tag in (f"{_PREFIX}float", AMBIGUOUS):  # its own resolvers quote what else looks odd
        Dumper.add_implicit_resolver(_tag, _whole(_pattern), _signs)
for _tag in (f"{_PREFIX}int", f"{_PREFIX}float", AMBIGUOUS):
    Loader.add_constructor(_tag, Loader.construct_number)

"""How an error, a time and a list of numbers are put into one line, everywhere."""

from __future__ import annotations

from collections.abc import Sequence

GIST = 200  # characters of an error that a line quotes
SINGLY = 12  # numbers that a line names one by one


def one_line(text: str, most: int | None = 400) -> str:
    """A text as one printable line of ``most`` characters at most, with ``…`` where it is cut."""
    text = text if most is None else text[: 4 * most]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if most is None or len(line) <= most else line[: most - 1] + "…"


def shown(value: object, most: int = 80) -> str:
    """A value as an error quotes it, on one line of ``most`` characters at most."""
    return one_line(repr(value), most)


def is_text(text: str) -> bool:
    """Whether all of it is Unicode text: no byte that was not UTF-8, no half of a pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def spelled(name: str) -> str:
    r"""The name of a file in one printable line: ``two\nlines.wav``, ``caf\xe9.wav``.

    What is not UTF-8 text in it, and what cannot be printed, is spelled as Python spells it.
    """
    return "".join(c if c.isprintable() else _spelled(c) for c in name)


def _spelled(letter: str) -> str:
    byte = ord(letter) - 0xDC00  # Python's stand-in for a byte that is no UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(letter)[1:-1]


def gist(error: BaseException, most: int | None = GIST) -> str:
    """What an error says, as `one_line`; the name of its kind where it says nothing."""
    return one_line(str(error), most) or type(error).__name__


def duration(seconds: float) -> str:
    """A time, as exact as one wants to read it: ``41 s``, ``12 min 05 s``, ``3 h 24 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A count with its noun: ``1 cell``, ``1,500 clips``, ``2 entries`` (with its plural)."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def numbers(values: Sequence[int]) -> str:
    """Rising whole numbers in a line: up to a dozen one by one, more as stretches of neighbours:
    ``0 to 499``; of the stretches too a dozen, and how many numbers more there are."""
    if len(values) <= SINGLY:
        return ", ".join(map(str, values))
    stretches: list[list[int]] = []
    for value in values:
        if stretches and value == stretches[-1][-1] + 1:
            stretches[-1].append(value)
        else:
            stretches.append([value])
    shown = [f"{s[0]} to {s[-1]}" if len(s) > 1 else str(s[0]) for s in stretches[:SINGLY]]
    more = sum(map(len, stretches[SINGLY:]))
    return ", ".join(shown) + (f" and {more} more" if more else "")


def seed_list(seeds: Sequence[int]) -> str:
    """``seed 3``, ``seeds 3, 4`` or ``seeds 0 to 499``."""
    return f"seed{'s' if len(seeds) > 1 else ''} {numbers(seeds)}"


def size(number: int) -> str:
    """A number of bytes as one reads it: ``340 B``, ``12.5 kB``, ``3.10 MB``, ``1.24 GB``."""
    for unit, bound in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= bound:
            return f"{number / bound:,.{1 if unit == 'kB' else 2}f} {unit}"
    return f"{number} B"

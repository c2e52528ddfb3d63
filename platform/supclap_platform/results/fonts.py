"""Which fonts a figure's words need: DejaVu Sans, and others for the signs that it lacks.

DejaVu Sans comes with matplotlib, so that a figure in its signs is the same on every machine.
Chinese, Japanese or Korean names, emoji and the like are drawn in a font of this machine that has
them. Where none has, a figure says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import findSystemFonts, fontManager, get_font

OWN = "DejaVu Sans"
# Looked at first, as they are made for reading; any other font that has the signs comes after.
PREFERRED = (
    *(f"Noto Sans CJK {place}" for place in ("SC", "JP", "KR", "TC", "HK")),
    *("Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans", "Source Han Sans SC"),
    *(
        "IPAexGothic",
        "IPAGothic",
        "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei",
        "Droid Sans Fallback",
    ),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "MS Gothic", "Yu Gothic", "Malgun Gothic", "SimHei", "Unifont"),
)
_WITHOUT_GLYPH = frozenset("\n\t ")


def families_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """The families to draw texts with, the own one first, and the signs that none of them has."""
    missing = {sign for text in texts for sign in text} - _signs(OWN) - _WITHOUT_GLYPH
    families = [OWN]
    for name in _others() if missing else ():
        if missing & _signs(name):
            families.append(name)
            missing -= _signs(name)
    return families, "".join(sorted(missing))


@cache
def _others() -> tuple[str, ...]:
    """Families of this machine in the order to look at them, those that matplotlib has noted before
    and those that were installed since."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known:
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                fontManager.addfont(path)
    shipped = Path(matplotlib.get_data_path())  # its others are for formulas
    names = {e.name for e in fontManager.ttflist if not Path(e.fname).is_relative_to(shipped)}
    names -= {OWN}
    first = [name for name in PREFERRED if name in names]
    return (*first, *sorted(names - set(first)))


@cache
def _signs(family: str) -> frozenset[str]:
    """The signs that a family's upright font of regular weight has; none where it is unreadable."""
    upright = [e for e in fontManager.ttflist if e.name == family and e.style == "normal"]
    for entry in sorted(upright, key=lambda e: (abs(_weight(e.weight) - 400), e.fname)):
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            return frozenset(map(chr, get_font(entry.fname).get_charmap()))
    return frozenset()


def _weight(value: int | str) -> int:
    return value if isinstance(value, int) else 400

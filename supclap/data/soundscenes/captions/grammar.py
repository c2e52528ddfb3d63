"""What the languages share: a table of words, and an event put into words.

A caption is a frame, such as "First {a.noun}, then {b.noun}.", filled with events in words. A
language's table holds for every kind a noun phrase and a clause; its subclass of `Spoken` adds
the attributes so that the grammar comes out right: agreement, articles, word order. All
languages have the same frames in the same order, each the translation of the others'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from supclap.data.soundscenes.kinds import ATTRIBUTE_OF
from supclap.data.soundscenes.scenes import Event

Frames = Mapping[str, tuple[str, ...]]  # by arrangement
Synonyms = Mapping[str, tuple[str, str]]  # by attribute word


def table(text: str, columns: int) -> dict[str, tuple[str, ...]]:
    """A table of lines "kind | column | ... ", by kind."""
    rows = {}
    for line in text.strip().splitlines():
        kind, *cells = (cell.strip() for cell in line.split("|"))
        if len(cells) != columns or kind in rows:
            raise ValueError(f"bad row in a table of words: {line!r}")
        rows[kind] = tuple(cells)
    return rows


class Spoken:
    """An event in words. Subclasses offer at least the properties ``noun`` and ``clause``."""

    def __init__(self, event: Event, synonym: int) -> None:
        self.kind = event.kind
        self.synonym = synonym
        self.words = {ATTRIBUTE_OF[word]: word for word in event.attributes}

    def said(self, synonyms: Synonyms, *names: str) -> list[str]:
        """The attributes out of ``names`` that the event has, in words, in this order."""
        return [synonyms[self.words[name]][self.synonym] for name in names if name in self.words]


@dataclass(frozen=True)
class Language:
    """Everything needed to caption scenes in one language."""

    code: str
    words: Mapping[str, tuple[str, ...]]
    frames: Frames
    spoken: type[Spoken]
    class_names: Mapping[str, str]
    prompt: str  # with {} for the class name


def spaced(*parts: str) -> str:
    """The parts that are not empty, with spaces between."""
    return " ".join(part for part in parts if part)

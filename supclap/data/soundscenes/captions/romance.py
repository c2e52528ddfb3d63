"""What French, Spanish and Catalan share: adjectives behind the noun that agree in gender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from supclap.data.soundscenes.captions.grammar import Spoken, Synonyms, spaced

# Masculine and feminine form, by attribute word, for each synonym.
Adjectives = Mapping[str, tuple[tuple[str, str], tuple[str, str]]]


class Romance(Spoken):
    """Rows of WORDS: article and head noun (always singular), complement, clause."""

    WORDS: ClassVar[Mapping[str, tuple[str, ...]]]
    ADJECTIVES: ClassVar[Adjectives]
    ADVERBS: ClassVar[Synonyms]
    AND: ClassVar[str]

    @property
    def noun(self) -> str:
        head, complement, _ = self.WORDS[self.kind]
        feminine = head.startswith(("une ", "una "))
        adjectives = [
            self.ADJECTIVES[self.words[name]][self.synonym][feminine]
            for name in ("level", "pace", "pitch")
            if name in self.words
        ]
        place = self.said(self.ADVERBS, "distance")
        return spaced(head, f" {self.AND} ".join(adjectives), complement, *place)

    @property
    def clause(self) -> str:
        manner = f" {self.AND} ".join(self.said(self.ADVERBS, "pace", "level"))
        others = self.said(self.ADVERBS, "pitch", "distance")
        return spaced(self.WORDS[self.kind][2], manner, *others)


def class_names(words: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The noun without article, and its complement."""
    return {
        kind: spaced(head.split(" ", 1)[1], complement)
        for kind, (head, complement, _) in words.items()
    }

"""What German and Dutch share: where the verb stands depends on the kind of clause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from supclap.data.soundscenes.captions.grammar import Spoken, Synonyms, spaced


class Germanic(Spoken):
    """Rows of WORDS: definite article and noun (singular), subject, verb, object or place.

    No verb has a separable prefix, so there is one word to move.
    """

    WORDS: ClassVar[Mapping[str, tuple[str, ...]]]
    ADVERBS: ClassVar[Synonyms]
    AND: ClassVar[str]

    @property
    def clause(self) -> str:
        """Verb second: "ein Hund bellt laut"."""
        _, subject, verb, rest = self.WORDS[self.kind]
        return spaced(subject, verb, self._manner, rest)

    @property
    def inverted(self) -> str:
        """Behind an adverb, which stands first: "(dann) bellt ein Hund laut"."""
        _, subject, verb, rest = self.WORDS[self.kind]
        return spaced(verb, subject, self._manner, rest)

    @property
    def subordinate(self) -> str:
        """Behind a conjunction: "(während) ein Hund laut bellt"."""
        _, subject, verb, rest = self.WORDS[self.kind]
        return spaced(subject, self._manner, rest, verb)

    @property
    def _manner(self) -> str:
        manner = f" {self.AND} ".join(self.said(self.ADVERBS, "pace", "level"))
        return spaced(manner, *self.said(self.ADVERBS, "pitch", "distance"))


def class_names(words: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The noun without its article."""
    return {kind: row[0].split(" ", 1)[1] for kind, row in words.items()}

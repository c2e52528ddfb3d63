"""What every part has: a kind, keys of its own, and a moment to make its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Place:
    """What is known of a run when its parts are made.

    batch_size: pairs of the global batch, N.
    dim: width of the embeddings, d.
    languages: of the captions, as ISO 639-3 codes.
    epochs: of the run.
    """

    batch_size: int = 2
    dim: int = 1
    languages: tuple[str, ...] = ("eng",)
    epochs: int = 1


class Part:
    """A part of one's own. Each protocol derives from it and names its ``kind``.

    The annotated attributes of a class below a protocol are its keys in a configuration: typed,
    checked, searchable (`supclap.part_keys`). They are set before anything else is called, so a
    part needs no ``__init__``; what it makes of them it makes in `setup`.
    """

    kind: ClassVar[str]
    # What it is called in messages: its name in the registry, or its label in a configuration.
    _label: str = ""

    @classmethod
    def check_class(cls) -> None:
        """Called when the class is registered. Raises ValueError where it cannot be used."""

    def __init__(self, **keys: Any) -> None:
        super().__init__()
        for name, value in keys.items():
            if name.startswith("_") or not _is_attribute(type(self), name):
                known = ", ".join(sorted(_annotated(type(self)))) or "none"
                raise TypeError(f"{type(self).__name__} has no key '{name}' (its keys: {known})")
            setattr(self, name, value)
        for name in _annotated(type(self)):
            if name not in keys and not hasattr(self, name):
                raise TypeError(f"{type(self).__name__} needs the key '{name}'")

    def setup(self, *place: Any, **more: Any) -> None:
        """Called once, when the keys are set: the moment to make parameters and buffers.

        It is given a `Place`, or what its protocol says in the place of one.

        Random numbers of torch's global generator are those of the run's seed and of the part's
        label, whatever other parts a run has.
        """


def _annotated(made: type) -> Iterator[str]:
    """The names of the keys of a part's class."""
    for one in made.__mro__:
        if hasattr(one, "kind") and "kind" not in vars(one):
            for name, hint in inspect.get_annotations(one).items():
                if not name.startswith("_") and "ClassVar" not in str(hint):
                    yield name


def _is_attribute(made: type, name: str) -> bool:
    """Whether a name is a key of a part's class, or of its protocol."""
    declared = (inspect.get_annotations(one) for one in made.__mro__ if issubclass(one, Part))
    return any(name in names for names in declared)

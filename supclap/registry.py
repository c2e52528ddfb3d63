"""Parts: what a configuration names, the built-in ones and those of somebody else's file.

A part is a class of one of the protocols in `supclap.parts`. Its kind says where in a configuration
it is named; the annotated attributes of the class are its own keys there. A built-in part is known
here by its place alone, and imported when it is first used; one of the user's is known once the
file that registers it has been imported. Neither has a right that the other has not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # the losses themselves need no pydantic
    from supclap.section import Section

# Kind -> name -> where the built-in part is. The keys of these stand in `supclap.config` itself.
BUILT_IN: dict[str, dict[str, str]] = {
    "base loss": {
        "infonce": "supclap.losses.infonce:InfoNCE",
        "siglip": "supclap.losses.siglip:SigLIP",
    },
    "loss term": {},
    "radius": {
        "static": "supclap.losses.static_radius:StaticRadius",
        "dynamic": "supclap.losses.dynamic_radius:DynamicRadius",
    },
    "batch order": {},
    "augmentation": {},
    "audio encoder": {
        "cnn": "supclap.model.cnn:AudioCNN",
        "transformer": "supclap.model.audio_transformer:AudioTransformer",
        "ced": "supclap.model.ced:CED",
        "huggingface": "supclap.model.hf.audio:HuggingFaceAudio",
        "features": "supclap.model.given:GivenAudio",
    },
    "text encoder": {
        "transformer": "supclap.model.text:TextTransformer",
        "sonar": "supclap.model.sonar:SONAR",
        "features": "supclap.model.given:GivenText",
        "huggingface": "supclap.model.hf.text:HuggingFaceText",
        "sentence_transformers": "supclap.model.hf.sentence:SentenceTransformer",
    },
    "head": {"mlp": "supclap.model.head:MLP"},
    "optimizer": {
        "adam": "supclap.optimization:Adam",
        "adamw": "supclap.optimization:AdamW",
    },
    "schedule": {
        "constant": "supclap.optimization:Constant",
        "cosine": "supclap.optimization:Cosine",
    },
    "data source": {
        "soundscenes": "supclap.data.soundscenes:open_scenes",
        "collection": "supclap.data.clips:Collection",
        "features": "supclap.data.features:open_features",
    },
    "metric": {"geometry": "supclap.evaluation.geometry:Geometry"},
}
# Built-in parts with keys of their own, each with the section of them.
KEYS: dict[tuple[str, str], str] = {
    ("audio encoder", "huggingface"): "supclap.encoder_keys:Heard",
    ("text encoder", "huggingface"): "supclap.encoder_keys:Pooled",
    ("text encoder", "sentence_transformers"): "supclap.encoder_keys:Prefixed",
}


@dataclass(frozen=True)
class Registered:
    """A part of the user's: its kind, its name, and what makes it, a class of `supclap.parts`."""

    kind: str
    name: str
    make: Callable[..., Any]

    @cached_property
    def keys(self) -> type[Section]:
        """The section of its own keys. Raises ValueError: an annotation that no key can have."""
        from supclap.part_keys import keys_of_class

        # A number of a loss may change over a run; the other parts are made once.
        return keys_of_class(self.make, self.kind in ("base loss", "loss term", "radius"))


_parts: dict[tuple[str, str], Registered] = {}


class CannotRegister(ValueError):
    """A class that is no part, or a name that is taken."""


Class = TypeVar("Class", bound=type)


def register(name: str) -> Callable[[Class], Class]:
    """A class decorator: the part is named ``name`` in configurations.

    Raises:
        CannotRegister: the class follows no protocol of `supclap.parts`, or not as it should, or
            the name is taken.
    """

    def registered(made: Class) -> Class:
        kind = getattr(made, "kind", None)
        if kind not in BUILT_IN:
            raise CannotRegister(
                f"register('{name}'): {made.__name__} is of no kind of part; derive it from a "
                "class of supclap.parts, such as LossTerm"
            )
        try:
            made.check_class()  # type: ignore[attr-defined] # as `kind`, of every protocol
        except ValueError as error:
            raise CannotRegister(f"register('{name}'): {error}") from None
        add(kind, name, made)
        made._label = name  # type: ignore[attr-defined] # for messages
        return made

    return registered


def add(kind: str, name: str, make: Callable[..., Any]) -> None:
    """Makes a part known. Raises CannotRegister: there is one of that kind and name."""
    if name in BUILT_IN[kind] or (kind, name) in _parts:
        raise CannotRegister(f"register('{name}'): there is already the {kind} '{name}'")
    _parts[kind, name] = Registered(kind, name, make)


def names(kind: str) -> list[str]:
    """The names of all parts of a kind: built-in ones, then the user's."""
    return [*BUILT_IN[kind], *(name for of, name in _parts if of == kind)]


def own(kind: str, name: str) -> Registered | None:
    """The user's part of that kind and name; None where it is a built-in one, or nobody's."""
    return _parts.get((kind, name))


def class_of(kind: str, name: str) -> Callable[..., Any]:
    """What makes a part; a built-in one is imported. Raises KeyError: there is none."""
    found = own(kind, name)
    if found is not None:
        return found.make
    made: Callable[..., Any] = _at(BUILT_IN[kind][name])
    return made


def keys_of(kind: str, name: str) -> type[Section] | None:
    """The section of a part's own keys; None of a built-in one that has none, or of nobody's.

    Raises ValueError: an annotation that no key can have.
    """
    found = own(kind, name)
    if found is not None:
        return found.keys
    place = KEYS.get((kind, name))
    keys: type[Section] | None = None if place is None else _at(place)
    return keys


def _at(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def all_parts() -> list[Registered]:
    """Every part of the user's, in the order in which they were registered."""
    return list(_parts.values())


def forget(part: Registered) -> None:
    """Makes a part unknown again."""
    if _parts.get((part.kind, part.name)) is part:
        del _parts[part.kind, part.name]


def put(part: Registered) -> None:
    """Makes a part known that was forgotten. Raises CannotRegister where its name is taken."""
    if _parts.setdefault((part.kind, part.name), part) != part:
        raise CannotRegister(f"there is already another {part.kind} '{part.name}'")


def restore(parts: Iterable[Registered]) -> None:
    """Leaves known just those parts, as `all_parts` gave them."""
    _parts.clear()
    _parts.update({(part.kind, part.name): part for part in parts})


@contextmanager
def forgotten() -> Iterator[None]:
    """What is registered inside is forgotten at the end."""
    before = all_parts()
    try:
        yield
    finally:
        restore(before)

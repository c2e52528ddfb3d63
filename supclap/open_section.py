"""A section that names a part: that part's own keys stand beside the section's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from supclap import registry
from supclap.errors import nearest
from supclap.section import Section, unknown_keys


class OpenSection(Section):
    """A section one of whose keys names a part (`supclap.registry`).

    The own keys of a part are checked by that part's annotations (a built-in's: `registry.KEYS`)
    and stand, with their defaults filled in, among the section's: ``config.loss.beta``. They are
    thus a part of a run's identity.
    """

    model_config = ConfigDict(extra="allow")
    names_part: ClassVar[tuple[str, str]]  # the key that names it, and of which kind it is
    # Keys of the section that are for the part alone: one that declares such a key has it there,
    # by its own annotation and with its own default.
    for_the_part: ClassVar[frozenset[str]] = frozenset()

    @property
    def own_keys(self) -> dict[str, Any]:
        """The keys that the named part has declared, with their values."""
        key, kind = self.names_part
        part = registry.own(kind, getattr(self, key)) if self.for_the_part else None
        declared = () if part is None else self.for_the_part & part.keys.model_fields.keys()
        return {name: getattr(self, name) for name in declared} | (self.__pydantic_extra__ or {})

    @classmethod
    def default_of_own(cls, name: str, key: str) -> Any:
        """What the part of that name says of a key of its own; None where it says nothing."""
        keys = registry.keys_of(cls.names_part[1], name)
        field = None if keys is None else keys.model_fields.get(key)
        return None if field is None else field.get_default(call_default_factory=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_of_the_part(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        key, kind = cls.names_part
        name = values.get(key, cls.model_fields[key].get_default())
        if not isinstance(name, str):
            return values  # for the field itself to refuse
        known = registry.names(kind)
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise _fault(
                key,
                f"no {kind} '{name}'{nearest(name, known)} (known: {listed}); one of your own "
                "comes from a file that 'code' names",
                name,
            )
        own = registry.keys_of(kind, name)
        keys = {} if own is None else own.model_fields
        taken = sorted((keys.keys() & cls.model_fields.keys()) - cls.for_the_part)
        if taken:
            raise _fault(
                key,
                f"the {kind} '{name}' calls a key of its own '{taken[0]}', "
                "which is one of this section's; give it another name",
                name,
            )
        given = {
            name: value
            for name, value in values.items()
            if name not in cls.model_fields or (name in cls.for_the_part and name in keys)
        }
        unknown = [name for name in given if name not in keys]
        if unknown:
            raise unknown_keys({name: given[name] for name in unknown}, {*cls.model_fields, *keys})
        if own is None:
            return values
        checked = own.model_validate(given)  # a fault of it is one of this section's
        filled = {name: getattr(checked, name) for name in keys}
        return {**values, **filled}


_HOLDERS = (BaseModel, Mapping, list, tuple)


def sections_that_name_parts(value: Any) -> Iterator[OpenSection]:
    """All sections of a configuration, or of a section, that name a part."""
    if isinstance(value, OpenSection):
        yield value
    inner: Iterable[Any] = ()
    if isinstance(value, BaseModel):
        inner = (getattr(value, name) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    for one in inner:
        # A plan asks it of every cell, and most of what there is are numbers and words.
        if isinstance(one, _HOLDERS):
            yield from sections_that_name_parts(one)


def _fault(key: str, message: str, value: object) -> ValidationError:
    """A fault of a kind that `supclap.explaining` knows."""
    error = PydanticCustomError("unknown_part", "{message}", {"message": message})
    return ValidationError.from_exception_data(
        key, [InitErrorDetails(type=error, loc=(key,), input=value)]
    )

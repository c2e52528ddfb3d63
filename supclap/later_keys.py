"""Keys that came into a configuration after results existed.

Such a key has, beside its default, a value that means "as it was before the key existed":

    clip: Annotated[float, AsBefore(0.0)] = 0.0

While it stands at that value it is no part of a run's identity, so that the new version finds the
results of the old one. A default that is changed later keeps its ``AsBefore``: a run that takes the
new default is then another run, and one that names the old value is the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class AsBefore:
    """Marks a key that came later (in its ``Annotated``): the value, as JSON has it, that means
    what was done before there was the key."""

    value: Any


def identity_of(model: BaseModel) -> dict[str, Any]:
    """What a configuration says, as JSON values: all keys but later ones that mean "as before"."""
    return _without_later(model, model.model_dump(mode="json"))


def as_written(kind: type[BaseModel], values: Any) -> Any:
    """Stored values of an earlier version, with each later key that they lack at "as before".

    Args:
        kind: the section that the values are of. Values that are none of its own, or of its
            sections', stay as they are, for the section itself to refuse.
    """
    if not isinstance(values, Mapping):
        return values
    filled = dict(values)
    for name, field in kind.model_fields.items():
        if name not in filled:
            mark = _mark(field)
            if mark is not None:
                filled[name] = mark.value
            continue
        section = _section(field)
        if section is None or not isinstance(filled[name], Mapping):
            continue
        if _is_mapping(field):
            filled[name] = {key: as_written(section, one) for key, one in filled[name].items()}
        else:
            filled[name] = as_written(section, filled[name])
    return filled


def _without_later(model: BaseModel, values: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, mark in _marks(type(model)):
        value = values[name]
        if mark is not None and value == mark.value:
            continue
        inner = getattr(model, name)
        if isinstance(inner, BaseModel):
            value = _without_later(inner, value)
        elif isinstance(inner, Mapping):
            value = {
                key: _without_later(one, value[key]) if isinstance(one, BaseModel) else value[key]
                for key, one in inner.items()
            }
        kept[name] = value
    # The own keys of a part that the section names (`supclap.open_section`).
    return kept | {name: values[name] for name in model.model_extra or {}}


@cache
def _marks(kind: type[BaseModel]) -> tuple[tuple[str, AsBefore | None], ...]:
    return tuple((name, _mark(field)) for name, field in kind.model_fields.items())


def _mark(field: FieldInfo) -> AsBefore | None:
    return next((one for one in field.metadata if isinstance(one, AsBefore)), None)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, alone, or as the values of a mapping."""
    left: list[Any] = [field.annotation]
    while left:
        kind = left.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        left += get_args(kind)
    return None


def _is_mapping(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is dict

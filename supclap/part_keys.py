"""The keys of a part: the annotated attributes of its class, as a section of a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

from pydantic import PydanticUserError, create_model

from supclap.number_schedule import with_schedule
from supclap.section import Section, leaves


def keys_of_class(made: Callable[..., Any], schedules: bool = False) -> type[Section]:
    """A section with a key for each annotated attribute that the class or a base of its own has.

    An attribute without a value is a key that must be given. Not keys are those of the protocols
    in `supclap.parts` (which have a ``kind``), of other libraries' classes (`torch.nn.Module`),
    those that begin with ``_``, and class variables.

    Args:
        schedules: whether a float may have a schedule (`supclap.number_schedule`) in its place.

    Raises:
        ValueError: an annotation that cannot be read, or that no key can have.
    """
    fields: dict[str, Any] = {}
    classes = (
        [one for one in inspect.getmro(made) if _has_keys(one)] if isinstance(made, type) else []
    )
    for one in reversed(classes):
        try:
            hints = get_type_hints(one, include_extras=True)
        except (NameError, TypeError) as error:
            raise ValueError(f"{one.__name__}: an annotation cannot be read: {error}") from None
        for name in inspect.get_annotations(one):
            hint = hints[name]
            if not name.startswith("_") and ClassVar not in (hint, get_origin(hint)):
                number = schedules and _is_float(hint)
                fields[name] = (with_schedule(hint) if number else hint, getattr(one, name, ...))
    try:
        section: type[Section] = create_model(
            getattr(made, "__name__", "Part"), __base__=Section, **fields
        )
    except (PydanticUserError, NameError, TypeError) as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return section


def _has_keys(one: type) -> bool:
    """Whether a class is a part, or stands between a part and its protocol."""
    return hasattr(one, "kind") and "kind" not in vars(one)


def _is_float(hint: Any) -> bool:
    """Whether a key is one float, with bounds or without, or null."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    alone = kind is float or get_origin(kind) in (Union, UnionType)
    return alone and float in (found := set(leaves(kind))) and found <= {float, NoneType}

"""The keys of a part: the annotated attributes of its class, as a section of a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, get_origin, get_type_hints

from pydantic import PydanticUserError, create_model

from supclap.section import Section


def keys_of_class(made: Callable[..., Any]) -> type[Section]:
    """A section with a key for each annotated attribute that the class or a base of its own has.

    An attribute without a value is a key that must be given. Not keys are those of the protocols
    in `supclap.parts` (which have a ``kind``), of other libraries' classes (`torch.nn.Module`),
    those that begin with ``_``, and class variables.

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
                fields[name] = (hint, getattr(one, name, ...))
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

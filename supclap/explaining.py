"""What is wrong with a configuration, in one line, with the key that somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from supclap.errors import closest, nearest
from supclap.open_section import OpenSection
from supclap.wording import one_line, shown


def explain(error: ValidationError, model: type[BaseModel], unsettable: Iterable[str] = ()) -> str:
    """The first fault of a pydantic error as one line, with the nearest valid key.

    Args:
        unsettable: keys of the top level that cannot be set where the fault is, and so are no hint.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    dotted = one_line(".".join(path), 200)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "unknown_part":  # `supclap.open_section` raises it, and the next
        return f"{dotted}: {first['msg']}{more}"
    if first["type"] in ("extra_forbidden", "unknown_key"):
        section = section_at(model, path[:-1])
        known = first.get("ctx", {}).get("valid") or section.model_fields
        valid = sorted(set(known) - set(() if path[:-1] else unsettable))
        settable = [key for key in keys_of(model) if key not in set(unsettable)]
        meant = [key for key in nearest_keys(path[-1], settable) if key != dotted]
        elsewhere = " or ".join(f"'{key}'" for key in meant)
        hint = nearest(path[-1], valid, 0.75 if meant else 0.5)
        hint = hint or (f"; did you mean {elsewhere}?" if meant else "")
        return f"unknown key '{dotted}'{hint} (valid: {', '.join(valid)}){more}"
    message = first["msg"].removeprefix("Value error, ")
    problem = f"{message[0].lower()}{message[1:]}, got {shown(first['input'])}{more}"
    return f"{dotted or 'top level'}: {problem}"


# What others call a setting, by the last part of its key.
_ALIASES = {
    "learning_rate": "optimizer.lr",
    "wd": "optimizer.weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "tau": "loss.temperature",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "num_workers": "workers",
}


def keys_of(model: type[BaseModel], above: str = "") -> list[str]:
    """The dotted keys of a configuration: its settings and its sections."""
    found = []
    for name, field in model.model_fields.items():
        found.append(f"{above}{name}")
        below = _model_of(field.annotation)
        if below is not None and get_origin(field.annotation) is not dict:
            found += keys_of(below, f"{above}{name}.")
    return found


def nearest_keys(name: str, keys: Iterable[str]) -> list[str]:
    """The keys that somebody may mean by a name: ``lr`` is ``optimizer.lr``; none where it is none.

    Those that it names, or whose last parts it names; else those whose last part is spelled much
    alike.
    """
    keys = list(keys)
    name = _ALIASES.get(name, name)
    named = [key for key in keys if key == name or f".{key}".endswith(f".{name}")]
    if named:
        return [name] if name in named else named
    last = {key.rpartition(".")[2] for key in keys}
    close = closest(name, last, 0.8)
    return nearest_keys(close, keys) if close else []


def section_at(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """The model class at ``path`` below ``model``."""
    keys = iter(path)
    for key in keys:
        if key in model.model_fields:
            annotation = model.model_fields[key].annotation
            model = _model_of(annotation) or model
            if get_origin(annotation) is dict:
                next(keys, None)  # a name of the user's own
    return model


def default_at(model: type[BaseModel], path: list[str]) -> Any:
    """The default of the key at ``path`` below ``model``, be it a section's or a part's own, where
    its label names the part (``loss.terms.angle.margin``); None where there is none."""
    section = section_at(model, path[:-1])
    field = section.model_fields.get(path[-1])
    if issubclass(section, OpenSection) and len(path) > 1:
        if field is None:
            return section.default_of_own(path[-2], path[-1])
        if path[-1] == section.names_part[0] and field.is_required():
            return path[-2]
    if field is None or field.is_required():
        return None
    return field.get_default(call_default_factory=True)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated, dict):
        found = (_model_of(argument) for argument in get_args(annotation))
        return next((model for model in found if model), None)
    return None

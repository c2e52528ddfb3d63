"""`profiles_from`: profiles that several experiment files share, in files of their own.

A profiles file is a mapping of profiles by name, each as under `profiles`. The first file lies
lowest, then the next, then what the experiment file itself says of the profile: overrides are laid
over each other key by key, all else stands in the place of what is below.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supclap.document import Document, Key, read_document
from supclap.overrides import override
from supclap_platform.experiment.include import named_file

KEY, PROFILES = "profiles_from", "profiles"
_OVERRIDES = ("base", "init", "search", "resources")


def with_profiles(document: Document) -> tuple[Document, tuple[Path, ...]]:
    """The document with the profiles of the files that it names, and those files.

    A key that came from a profiles file has its line there. Where `profiles_from` is no name or
    list of names, nothing is done: the schema refuses it.

    Raises:
        InputError: a file that is named is outside of the document's folder, absent, named twice,
            or cannot be read.
    """
    given = document.values.get(KEY)
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return document, ()
    paths: list[Path] = []
    below = Document(document.path, {}, {})
    for position, name in enumerate(names):
        key: Key = (KEY,) if isinstance(given, str) else (KEY, str(position))
        path = named_file(document, key, KEY, name)
        if path in paths:
            raise document.error(key, f"{KEY}: {name} stands twice")
        paths.append(path)
        below = _laid_over(below, read_document(path), ())
    return _laid_over(below, document, (PROFILES,)), tuple(paths)


def _laid_over(below: Document, above: Document, at: Key) -> Document:
    """``above`` with the profiles of ``below`` under its own, which stand at ``at``."""
    own = above.values.get(PROFILES, {}) if at else above.values
    if not isinstance(own, Mapping):  # the schema refuses it
        return above
    replaced: list[Key] = []
    profiles = dict(below.values)
    for name, section in own.items():
        under = profiles.get(name)
        if isinstance(under, Mapping) and isinstance(section, Mapping):
            profiles[name] = _section(under, section, (name,), replaced)
        else:
            profiles[name] = section
            replaced.append((name,))
    values = {**above.values, PROFILES: profiles} if at else profiles
    return above.over(below, at, values, replaced)


def _section(
    under: Mapping[str, Any], own: Mapping[str, Any], at: Key, replaced: list[Key]
) -> dict[str, Any]:
    """One profile over another. ``replaced`` gets the places of which nothing is left."""
    result = dict(under)
    for key, value in own.items():
        before = under.get(key)
        if not isinstance(before, Mapping) or not isinstance(value, Mapping):
            result[key] = value
            replaced.append((*at, key))
        elif key == "groups":
            result[key] = dict(before)
            for group, changes in value.items():
                both = isinstance(before.get(group), Mapping) and isinstance(changes, Mapping)
                result[key][group] = (
                    override(override({}, before[group]), changes) if both else changes
                )
                if not both:
                    replaced.append((*at, key, group))
        elif key in _OVERRIDES:
            result[key] = override(override({}, before), value)
        else:
            result[key] = value
            replaced.append((*at, key))
    return result

"""`include`: a file that defines no rows of its own, and includes other experiment files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from supclap.document import Document, Key
from supclap_platform.experiment.schema import ExperimentFile

_ALONE = ("experiment", "about", "include")  # the keys that such a file may have


def included(document: Document, file: ExperimentFile) -> list[tuple[Key, Path]]:
    """The files that one includes, and where each is named.

    Raises InputError: other keys beside the list, an empty one, a file named twice, outside of the
    folder, or absent.
    """
    other = next((key for key in document.values if key not in _ALONE), None)
    if other is not None:
        raise document.error(
            (other,),
            f"'{other}' beside 'include': a file that includes others defines nothing of its own "
            f"(valid: {', '.join(_ALONE)})",
        )
    if not file.include:
        raise document.error(("include",), "include: expected at least one file")
    found: list[tuple[Key, Path]] = []
    for position, name in enumerate(file.include):
        key: Key = ("include", str(position))
        path = named_file(document, key, "include", name)
        if any(path == other for _, other in found):
            raise document.error(key, f"include: {name} stands twice")
        found.append((key, path))
    return found


def named_file(document: Document, key: Key, what: str, name: str) -> Path:
    """A file that a document names; it lies in the document's folder or below it.

    Args:
        key: where it is named.
        what: what an error calls the naming.

    Raises InputError where the name leads elsewhere, or there is no such file.
    """
    relative = PurePosixPath(name)
    if not name.isprintable() or relative.is_absolute() or ".." in relative.parts:
        raise document.error(
            key, f"{what}: {name!r}: expected a file in this file's folder or below it"
        )
    path = document.path.parent / relative
    try:
        there = path.is_file()
    except OSError:  # a name longer than the system takes
        there = False
    if not there:
        raise document.error(key, f"{what}: no file '{name}' in {document.path.parent}")
    if not path.resolve().is_relative_to(document.path.parent.resolve()):
        raise document.error(key, f"{what}: {path}: is a link that leads out of {path.parent}")
    return path


def check_part(document: Document, key: Key, inner: Document, file: ExperimentFile) -> None:
    """Raises InputError where an included file includes others itself, or searches."""
    if "include" in inner.values:
        raise document.error(
            key, f"include: {inner.path.name} includes others itself; name its files here"
        )
    if file.search is not None:
        raise document.error(
            key, f"include: {inner.path.name} has a search; run it by itself, its winner is a row"
        )


def check_names(document: Document, name: str, parts: Sequence[tuple[Key, str]]) -> None:
    """Raises InputError where two experiments share a name, and so a folder of results."""
    seen = {name}
    for key, part in parts:
        if part in seen:
            raise document.error(key, f"include: two experiments are called '{part}'")
        seen.add(part)

"""A file of text that a command writes where its user says."""

from __future__ import annotations

from pathlib import Path

from supclap.errors import InputError


def check_target(path: Path) -> None:
    """Raises InputError where a device, a pipe or a folder would be replaced by a file."""
    from supclap.data.sources.files import no_file

    if path.exists() and (fault := no_file(path)):
        raise InputError(f"{path}: {fault}; expected a file to write, or nothing yet")


def write_text(path: Path, text: str) -> None:
    """Writes it whole or not at all, folders above it included. Raises InputError."""
    from supclap.storage import Folder

    try:
        Folder.at(path.parent).write(path.name, text.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error

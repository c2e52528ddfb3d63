"""The groups of an experiment: which there are under a profile, and a row's place in one."""

from __future__ import annotations

from collections.abc import Collection

from supclap.document import Document, Key
from supclap.errors import nearest
from supclap_platform.experiment.columns import AT, in_group
from supclap_platform.experiment.rows import DeclaredRow
from supclap_platform.experiment.schema import ExperimentFile, ProfileSection


def groups_of(
    document: Document,
    file: ExperimentFile,
    profile: tuple[str, ProfileSection],
    first_words: Collection[str],
) -> tuple[str, ...]:
    """The groups' names: the file's without those that the profile takes away, then its own.

    Args:
        profile: its name and what it says.
        first_words: that begin the names of metrics, and so no group's.

    Raises InputError for a group to take away that is none, for a name that begins metrics' names,
    and where none is left.
    """
    profile_name, section = profile
    own = section.groups
    for name, changes in own.items():
        if changes is None and name not in file.groups:
            raise document.error(
                ("profiles", profile_name, "groups", name),
                f"no group '{name}' to take away{nearest(name, file.groups)}",
            )
    names = dict.fromkeys([*file.groups, *own])
    for name in names:
        if name in first_words:
            place = () if name in file.groups else ("profiles", profile_name)
            key: Key = (*place, "groups", name)
            raise document.error(
                key,
                f"{'.'.join(key)}: '{name}' begins the names of metrics; call the group "
                "another name",
            )
    kept = tuple(name for name in names if name not in own or own[name] is not None)
    if names and not kept:
        raise document.error(
            ("profiles", profile_name, "groups"), "the profile takes every group away"
        )
    return kept


def placed_in(
    document: Document,
    file: ExperimentFile,
    profile: tuple[str, ProfileSection],
    row: DeclaredRow,
    group: str | None,
) -> DeclaredRow:
    """A row as it is in a group: below its own layers those of the group; the row itself for None.

    Raises InputError for a row's name that holds what stands between a row and its group.
    """
    if group is None:
        return row
    if AT in row.name:
        raise document.error(
            row.places[-1], f"'{row.name}': '{AT}' stands between a row and its group"
        )
    profile_name, section = profile
    place: Key = ("profiles", profile_name, "groups", group)
    layers = (file.groups.get(group) or {}, section.groups.get(group) or {})
    return DeclaredRow(
        in_group(row.name, group),
        (*layers, *row.layers),
        (("groups", group), place, *row.places),
    )

"""The profile under which an experiment file is read."""

from __future__ import annotations

from supclap.document import Document
from supclap.errors import nearest
from supclap_platform.experiment.schema import ExperimentFile, ProfileSection
from supclap_platform.experiment.shared_profiles import KEY, PROFILES

DEFAULT_PROFILE = "laptop"  # exists in every file: where it is not written, it changes nothing


def profile_of(document: Document, file: ExperimentFile, name: str, shared: bool) -> ProfileSection:
    """What a file says of a profile.

    Args:
        shared: whether the file names files of profiles, so that one may be missing there.

    Raises InputError where there is no such profile, or the file has no part in it.
    """
    found = file.profiles.get(name)
    if found is not None:
        return found
    if name in file.profiles:
        raise document.error(
            (PROFILES, name), f"the file has no part in the profile '{name}'; choose another"
        )
    if name == DEFAULT_PROFILE:
        return ProfileSection()
    valid = sorted({DEFAULT_PROFILE, *(n for n, p in file.profiles.items() if p)})
    raise document.error(
        (KEY if shared else PROFILES,),
        f"no profile '{name}'{nearest(name, valid)} (profiles: {', '.join(valid)})",
    )

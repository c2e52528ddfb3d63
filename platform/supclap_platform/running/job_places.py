"""Whether a place that is given to a job is one on the cluster, too: found before a result goes
where nobody finds it. A job stands in a folder of its own, which Ray clears away."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from supclap.errors import InputError
from supclap.objects import in_store
from supclap.secrets import without_password
from supclap_platform.mirror.store import DATABRICKS, check_uri, sqlite_path

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # a variable that Ray gives to every job's driver
WANTED = "a place that every node sees: s3://BUCKET/NAME, gs://BUCKET/NAME or a network folder"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Kinds of file systems that other machines see as well, as /proc/mounts names them.
_SHARED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "gluster", "fuse", "9p", "afs")


def check_given(name: str, what: str, place: str, address: str) -> None:
    """Raises InputError for a place that cannot be one on the cluster, or is none anywhere.

    Args:
        name: which place it is: storage, tracking_uri or study_storage.
        what: the option or variable that names it.
        address: the job server's. Behind a loopback address is this machine, or a tunnel.
    """
    try:
        _KINDS[name](place)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    path = _path(place)
    if path is None or (name, place) == ("tracking_uri", DATABRICKS):
        return
    shown = f"{what} {without_password(place)}"
    if not path.is_absolute():
        raise InputError(f"{shown}: not a whole path, and a job's folder is cleared away: {WANTED}")
    if urlsplit(address).hostname in LOOPBACK:
        return
    for own in (Path.home(), Path(tempfile.gettempdir())):
        if path.is_relative_to(own) and not _is_shared(path):
            raise InputError(f"{shown}: a folder of this machine alone: {WANTED}")


def check_in_job(storage: str, others: tuple[str | None, ...]) -> None:
    """Raises InputError, in a job, for a place that the job's end would clear away, or that was a
    folder of the machine it was sent from. Elsewhere nothing is checked.

    Args:
        others: of MLflow's store, of a study.
    """
    if JOB not in os.environ:
        return
    in_store(storage)
    given = "give --storage, or set SUPCLAP_STORAGE where `ray start` is called"
    for place in (storage, *(one for one in others if one != DATABRICKS)):
        path = _path(place or "")
        if place and path is not None and not path.is_absolute():
            raise InputError(
                f"{without_password(place)}: a job's own folder, which is cleared away, is no "
                f"place for results: {given}, to {WANTED}"
            )
    path = _path(storage)
    if path is not None and not path.parent.exists():
        raise InputError(
            f"storage {storage}: the cluster's head has no folder {path.parent}: {given}, to "
            f"{WANTED}"
        )


def _check_database(url: str) -> None:
    """Raises InputError for what is no database's URL."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url).get_dialect()
    except (ArgumentError, ImportError):  # NoSuchModuleError is one of the first kind
        raise InputError(
            f"{without_password(url)}: expected a database as SQLAlchemy names it, such as "
            "postgresql://HOST/NAME; by default a study is in the storage"
        ) from None


_KINDS: Mapping[str, Callable[[str], object]] = {
    "storage": in_store,
    "tracking_uri": check_uri,
    "study_storage": _check_database,
}


def _path(place: str) -> Path | None:
    """The path of a folder or of a database's file; None for what lies elsewhere. What begins with
    ``~`` is not whole: another user has another home."""
    if place.startswith("sqlite"):
        return sqlite_path(place)
    if place.startswith("file://"):
        return Path(unquote(urlsplit(place).path))
    if _URI.match(place) or not place:
        return None
    return Path(place)


def _is_shared(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether other machines see a path too, as far as the system says."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    except OSError:  # another system: not known, so nothing is refused
        return True
    kinds = {Path(words[1]): words[2] for words in lines if len(words) > 2}
    resolved = path.resolve()
    kind = next((kinds[one] for one in (resolved, *resolved.parents) if one in kinds), "")
    return kind.startswith(_SHARED)

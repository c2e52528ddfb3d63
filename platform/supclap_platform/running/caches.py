"""What of the cache of this machine can be removed, and who may be using it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supclap.data.cache import cache_folder, cache_named_by

# What is made there, by name: the folder may be one that holds other things too.
_ALONE = re.compile(r"(soundscenes|code|stage)-[0-9a-f]{12,}|mlflow-\d[\w.]*")
# What a killed process has left: half made, or to be gone on with.
_BUILDING = re.compile(rf"\.({_ALONE.pattern}|[0-9a-f]{{12,}})\.(building-[0-9a-f]{{8}}|work)")
_SHELVES = ("frozen", "features", "sources", "copies")
_SHELVED = re.compile(r"[0-9a-f]{12,}")


@dataclass(frozen=True)
class Cached:
    """Something that was made once and is made again where it is needed."""

    path: Path
    size: int  # bytes


def cached() -> list[Cached]:
    """All that this program has put into the cache of this machine."""
    folder = cache_folder()
    found = [path for path in _inside(folder) if _ALONE.fullmatch(path.name)]
    for shelf in _SHELVES:
        found += [path for path in _inside(folder / shelf) if _SHELVED.fullmatch(path.name)]
    for place in (folder, *(folder / shelf for shelf in _SHELVES)):
        found += [path for path in _inside(place) if _BUILDING.fullmatch(path.name)]
    return [Cached(path, _size(path)) for path in sorted(found)]


def remove(one: Cached) -> None:
    """Removes it in one step for whoever looks for it. Raises OSError."""
    gone = one.path
    if not gone.name.startswith("."):  # so called, what a killed removal leaves is found again
        gone = gone.with_name(f".{gone.name}.building-{secrets.token_hex(4)}")
        os.rename(one.path, gone)
    shutil.rmtree(gone)


def users() -> list[str]:
    """The other processes that may use this cache, in words: programs of ours and Ray's workers
    whose cache is this folder, or cannot be known."""
    import psutil

    folder = cache_folder().absolute()
    process = psutil.Process()
    own = {process.pid, *(one.pid for one in process.parents())}
    found = []
    for one in psutil.process_iter(["name", "cmdline"]):
        words = " ".join(one.info["cmdline"] or []) or one.info["name"] or ""
        if one.pid in own or not ("supclap" in words or words.startswith("ray::")):
            continue
        try:
            theirs = _cache_of(one.environ())
        except psutil.NoSuchProcess:
            continue
        except psutil.Error:  # another user's
            theirs = None
        if theirs is None or theirs == folder:
            found.append(f"process {one.pid} ({words.split('/')[-1][:40]})")
    return found


def _cache_of(environment: Mapping[str, str]) -> Path | None:
    """As `cache_folder`, of another process; None where it does not say."""
    named, home = cache_named_by(environment), environment.get("HOME")
    if named is not None:
        return named.absolute()
    return Path(home).absolute() / ".cache" / "supclap" if home else None


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())

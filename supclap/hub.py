"""Where a pretrained encoder lies: a folder, here or in a store, or a repository of the Hugging
Face hub.

``repo: NAME@REVISION`` stands for ``folder: hf://NAME@REVISION``. Such a place is resolved by
huggingface_hub into its own cache (``HF_HOME``), which locks what it downloads; what is there
already is asked nothing more, so that a node resolves a revision once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from supclap.errors import InputError
from supclap.wording import gist, shown

PREFIX = "hf://"
# What an encoder reads. Weights in safetensors come first; where there are none, those that are
# read as tensors alone.
SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
SAFE, TENSORS = ("*.safetensors",), ("*.bin", "*.pt", "*.pth", "*.ckpt")
# The same model for other programs.
OTHERS = ("onnx/*", "openvino/*", "coreml/*", "tf_*", "rust_*", "flax_*", ".*", "*/.*")
_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")


def as_place(repo: str) -> str:
    """The place that ``repo: NAME@REVISION`` names. Raises ValueError: it is no such name."""
    name, at, revision = repo.partition("@")
    if not _NAME.fullmatch(name) or (at and not revision) or revision != revision.strip():
        raise ValueError("expected NAME@REVISION, such as intfloat/e5-small-v2@COMMIT")
    return PREFIX + repo


def in_hub(place: str) -> bool:
    """Whether a place is a repository's."""
    return place.startswith(PREFIX)


def located(place: str, key: str = "folder") -> Path:
    """The folder of a place, fetched where it is a store's (`supclap.copies`) or a repository's
    that is not in the cache.

    Args:
        key: of the configuration, for messages.

    Raises:
        InputError: no such repository or revision, one that must be asked for, or no network; it
            says what to download. Or as `supclap.copies.local`.
    """
    if not in_hub(place):
        from supclap.copies import local  # pyarrow: for who reads a configuration it is not needed

        return local(place)
    return _snapshot(place.removeprefix(PREFIX), key)


def files_read(folder: Path) -> list[Path]:
    """The files of a repository's snapshot that an encoder reads, by name: others may lie there
    because another program has asked for them."""
    for weights in (SAFE, TENSORS):
        found = _matching(folder, weights)
        if found:
            return sorted([*_matching(folder, SMALL), *found])
    return sorted(_matching(folder, SMALL))


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*")}
    return [f for n, f in files.items() if f.is_file() and _fits(n, patterns)]


def _fits(name: str, patterns: Iterable[str]) -> bool:
    """As huggingface_hub chooses files: a star stands for folders too."""

    def one_of(patterns: Iterable[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return one_of(patterns) and not one_of(OTHERS)


@cache
def _snapshot(named: str, key: str) -> Path:
    try:
        folder = _fetched(named, (*SMALL, *SAFE))
        if not _matching(folder, SAFE):
            folder = _fetched(named, (*SMALL, *SAFE, *TENSORS))
    except ImportError:
        raise InputError(
            f"{key}: {named} needs huggingface_hub; install it: pip install 'supclap[train]'"
        ) from None
    return folder


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it downloads."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(place: str) -> Path | None:
    """The folder of a repository's snapshot in the cache; None where it is not there as a whole.
    Nothing is asked of the network. Raises InputError: it is no name of a repository."""
    named = place.removeprefix(PREFIX)
    folder = _local(named, (*SMALL, *SAFE))
    if folder is None or _matching(folder, SAFE):
        return folder
    folder = _local(named, (*SMALL, *SAFE, *TENSORS))
    return folder if folder is not None and _matching(folder, TENSORS) else None


def to_fetch(place: str, seconds: float) -> tuple[int, int]:
    """How many files of a repository an encoder reads, and their bytes, as the hub lists them.

    Args:
        seconds: that an answer may take.

    Raises:
        InputError: as `located`.
    """
    from huggingface_hub import HfApi

    named = place.removeprefix(PREFIX)
    name, revision = _parted(named)
    with _answered(named):
        try:
            told = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=seconds)
        except OSError:
            raise
        except Exception as error:  # of the library below, which goes by several names
            raise ConnectionError(gist(error, 80)) from error
    sizes = {one.rfilename: one.size or 0 for one in told.siblings or ()}
    safe = any(_fits(file, SAFE) for file in sizes)
    read = [
        size for file, size in sizes.items() if _fits(file, (*SMALL, *(SAFE if safe else TENSORS)))
    ]
    return len(read), sum(read)


def _fetched(named: str, patterns: tuple[str, ...]) -> Path:
    """Raises InputError: neither in the cache nor to be had."""
    folder = _local(named, patterns)
    if folder is not None:
        return folder
    with _answered(named):
        return _downloaded(named, patterns, local=False)


def _local(named: str, patterns: tuple[str, ...]) -> Path | None:
    """What of a repository lies in the cache. Raises InputError: it is no name of one."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return _downloaded(named, patterns, local=True)
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise InputError(f"{named}: is no name of a repository: {gist(error)}") from None


def _downloaded(named: str, patterns: tuple[str, ...], local: bool) -> Path:
    from huggingface_hub import snapshot_download

    name, revision = _parted(named)
    return Path(
        snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(OTHERS),
            local_files_only=local,
        )
    )


def _parted(named: str) -> tuple[str, str | None]:
    name, _, revision = named.partition("@")
    return name, revision or None


@contextmanager
def _answered(named: str) -> Iterator[None]:
    """Within it what the hub refuses, or cannot be asked, is an InputError that says what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, revision = _parted(named)
    command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    try:
        yield
    except GatedRepoError:
        raise InputError(
            f"{named}: is given to those who have asked for it: accept its terms on "
            f"https://huggingface.co/{name}, then `hf auth login`, then `{command}` on each node"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{named}: the repository has no revision {shown(revision)}") from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{named}: there is no such repository, or it is not shown without `hf auth login`"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"{named}: is not in the cache of huggingface_hub, and cannot be downloaded from here "
            f"({gist(error, 80)}); where there is a network: `{command}`, into the HF_HOME that "
            "the run has; or download it with --local-dir FOLDER and give folder: FOLDER"
        ) from None

"""Finds the file that an index means, also after somebody has transcoded or renamed it."""

from __future__ import annotations

import html
import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from supclap.errors import InputError

# What libsndfile reads, the likeliest first: of x.wav and x.mp3 the former is the better copy.
READABLE = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".snd", ".caf", ".w64"),
    *(".rf64", ".oga", ".voc", ".nist", ".sph", ".ircam", ".paf", ".svx", ".mp2", ".wave"),
)
# Known by name only, so that the reason given is "cannot be read" and not "is not there".
OTHER = (".mp4", ".m4a", ".webm", ".mkv", ".aac", ".wma", ".avi", ".mov")
_ORDER = {suffix: place for place, suffix in enumerate(READABLE + OTHER)}


def stem(name: str) -> str:
    """The name without a suffix that means audio: "a.02.wav" -> "a.02", "a.02" -> "a.02"."""
    base, suffix = posixpath.splitext(name)
    return base if suffix.lower() in _ORDER else name


def checked(name: str, where: str) -> str:
    """The relative path ``name`` in one spelling.

    Raises:
        InputError: it is empty, absolute, or leads out of the folder.
    """
    clean = posixpath.normpath(name.replace("\\", "/"))
    if not name.strip() or "\0" in name:
        raise InputError(f"{where}: the name of the file is empty or holds a null character")
    if clean.startswith(("/", "../")) or clean in ("..", ".") or clean[1:3] == ":/":
        raise InputError(f"{where}: '{name}' leads out of the collection's folder; it is refused")
    return clean


@dataclass(frozen=True)
class Match:
    path: Path | None
    reason: str = ""
    unusual: bool = False  # found under another spelling, not merely another format


class Files:
    """All files below a folder, by name. Links are followed: the owner of the folder set them."""

    def __init__(self, root: Path, paths: Sequence[str] | None = None) -> None:
        if not root.is_dir():
            raise InputError(f"{root}: there is no such folder")
        self.root = root
        self.paths = sorted(_walk(root)) if paths is None else paths

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """Audio files by their path without suffix, the most readable format first."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            base, suffix = posixpath.splitext(path)
            if suffix.lower() in _ORDER:
                found[_composed(base)].append(path)
        for same in found.values():
            same.sort(key=lambda path: (_ORDER[posixpath.splitext(path)[1].lower()], path))
        return found

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """Audio files by their own name without folder and suffix."""
        found: dict[str, list[str]] = defaultdict(list)
        for base, same in self.by_stem.items():
            found[posixpath.basename(base)].append(same[0])
        return found

    def locate(self, name: str) -> Path | None:
        """The index file of that name nearest to the root; None where there is none.

        Raises:
            InputError: two are equally near.
        """
        found = [path for path in self.paths if posixpath.basename(path) == name]
        found.sort(key=lambda path: (path.count("/"), path))
        if len(found) > 1 and found[0].count("/") == found[1].count("/"):
            raise InputError(f"{self.root}: which one is meant, {found[0]} or {found[1]}?")
        return self.root / found[0] if found else None

    def inside(self, folder: str) -> Files:
        """The files below a folder given by its relative path, under names relative to it."""
        head = "" if folder in ("", ".") else f"{folder}/"
        chosen = [path[len(head) :] for path in self.paths if path.startswith(head)]
        return Files(self.root / folder, chosen)

    def folders(self, *names: str) -> list[str]:
        """Relative paths of the folders called so (in any case) that hold audio themselves.

        The fullest comes first.
        """
        wanted = {name.casefold() for name in names}
        counts: dict[str, int] = defaultdict(int)
        for base in self.by_stem:
            folder = posixpath.dirname(base)
            if posixpath.basename(folder).casefold() in wanted:
                counts[folder] += 1
        return sorted(counts, key=lambda folder: (-counts[folder], folder))

    def find(self, name: str, where: str) -> Path | None:
        """The file of that relative path, in whatever audio format it is there."""
        clean = _composed(checked(name, where))
        same = self.by_stem.get(stem(clean), [])
        if not same:
            return None
        exact = [path for path in same if _composed(path) == clean]
        return self.root / (exact or same)[0]

    def match(self, names: Sequence[tuple[str, str]]) -> list[Match]:
        """The file of each (name, where).

        Names that are not there are looked for under ever freer spellings (HTML entities, blanks
        as underscores, case, punctuation), and a file is taken only where name and file are the
        only ones of that spelling: a near miss must not put another clip's sound in its place.
        """
        result = [Match(self.find(name, where)) for name, where in names]
        taken = {match.path for match in result}
        free = {
            base: self.root / same[0]
            for base, same in self.by_stem.items()
            if not any(self.root / path in taken for path in same)
        }
        open_names = {i: stem(names[i][0]) for i, match in enumerate(result) if match.path is None}
        for spelling in (_plain, _underscored, _letters):
            by_file = _grouped(free, spelling, free)
            by_index = _grouped(open_names, spelling, list(open_names.values()))
            for key, indices in by_index.items():
                files = by_file.get(key, [])
                if len(indices) == 1 and len(files) == 1:
                    result[indices[0]] = Match(free.pop(files[0]), unusual=True)
                    del open_names[indices[0]]
                elif files:
                    reason = f"{len(files)} files and {len(indices)} names are spelled alike"
                    for index in indices:
                        result[index] = Match(None, reason)
        return [match if match.path or match.reason else Match(None, ABSENT) for match in result]


ABSENT = "no such file, in any audio format"


def _grouped(keys: Iterable, spelling: Callable[[str], str], texts: Iterable[str]) -> dict:
    groups: dict = defaultdict(list)
    for key, text in zip(keys, texts, strict=True):
        groups[spelling(text)].append(key)
    return groups


def _walk(root: Path) -> Iterable[str]:
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        head = "" if relative == "." else f"{relative}/"
        yield from (head + name for name in names if not name.startswith("._"))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _plain(text: str) -> str:
    return posixpath.join(*(part.strip() for part in _composed(html.unescape(text)).split("/")))


def _underscored(text: str) -> str:
    return "_".join(_plain(text).replace("_", " ").split())


def _letters(text: str) -> str:
    kept = (c if c.isalnum() or c == "/" else " " for c in _underscored(text).casefold())
    return "_".join("".join(kept).split())

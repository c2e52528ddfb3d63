"""Finds the file that an index means, also after somebody has transcoded or renamed it."""

from __future__ import annotations

import html
import os
import posixpath
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from supclap.errors import InputError
from supclap.wording import is_text

# What libsndfile reads, the likeliest first: of x.wav and x.mp3 the former is the better copy.
READABLE = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf"),
    *(".w64", ".rf64", ".bw64", ".bwf", ".wave", ".oga", ".mp2", ".mp1", ".mpga", ".voc", ".nist"),
    *(".sph", ".ircam", ".sf", ".paf", ".pvf", ".svx", ".8svx", ".iff", ".avr", ".sds", ".sd2"),
    *(".wve", ".xi", ".htk"),
)
# Known by name only, so that the reason given is "cannot be read" and not "is not there".
OTHER = (
    *(".mp4", ".m4a", ".m4b", ".webm", ".mkv", ".mka", ".aac", ".ac3", ".wma", ".avi", ".mov"),
    *(".3gp", ".amr", ".ape", ".wv", ".spx", ".ra", ".dts", ".tta"),
)
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


def no_file(path: Path) -> str:
    """Why there is no regular file at ``path``, as the end of a sentence; "" where there is one.

    Nothing is opened: a pipe would make the reader wait, and a device may do anything.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            return "is a link to a file that is not there"
        return f"cannot be read: {error.strerror}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return (
        "" if stat.S_ISREG(mode) else f"is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file"
    )


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def bad_name(path: str) -> str:
    """Why a name could not be stored or printed as text; "" for any other name."""
    if not is_text(path):
        return "its name is not UTF-8 text; rename it"
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in path):
        return "its name holds a line break or another control character; rename it"
    return ""


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
        self.paths = sorted(_below(root)) if paths is None else paths

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.paths)

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
        """The file of that relative path: by its exact name, whatever its suffix, or else in
        whatever audio format it is there."""
        clean = checked(name, where)
        for spelling in (name, clean):
            if spelling in self._exact:
                return self.root / spelling
        # In a hidden folder, or one that a second link leads to, it is on disk and not listed.
        place = self.root / clean
        if os.path.lexists(place) and not place.is_dir():
            return place
        clean = _composed(clean)
        same = self.by_stem.get(stem(clean), [])
        if not same:
            return None
        exact = [path for path in same if _composed(path) == clean]
        return self.root / (exact or same)[0]

    def _match(self, name: str, where: str) -> Match:
        try:
            return Match(self.find(name, where))
        except InputError as error:  # it leads out of the folder, or is empty
            return Match(None, str(error).removeprefix(f"{where}: "))

    def match(self, names: Sequence[tuple[str, str]]) -> list[Match]:
        """The file of each (name, where).

        Names that are not there are looked for under ever freer spellings (HTML entities, blanks
        as underscores, case, punctuation), and a file is taken only where name and file are the
        only ones of that spelling: a near miss must not put another clip's sound in its place.
        """
        result = [self._match(name, where) for name, where in names]
        taken = {match.path for match in result}
        free = {
            base: self.root / same[0]
            for base, same in self.by_stem.items()
            if not any(self.root / path in taken for path in same)
        }
        open_names = {
            i: stem(names[i][0]) for i, match in enumerate(result) if match == Match(None)
        }
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


def walk(root: Path) -> Iterator[tuple[str, str]]:
    """All below a folder, as (relative path, why it is passed over); "" for what is to be read.

    Links are followed. Passed over are folders that cannot be listed, were listed under another
    name, or whose name begins with a dot.
    """
    seen = set()
    closed: list[OSError] = []
    for folder, folders, names in os.walk(root, followlinks=True, onerror=closed.append):
        relative = os.path.relpath(folder, root)
        head = "" if relative == "." else f"{relative}/"
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up would never end
            folders.clear()
            yield relative, "is a folder that is read under another name already"
            continue
        seen.add(real)
        yield from ((head + name, "is a hidden folder") for name in folders if name[0] == ".")
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from ((head + name, "") for name in names)
    for error in closed:
        yield os.path.relpath(error.filename, root), f"cannot be listed: {error.strerror}"


def _below(root: Path) -> Iterable[str]:
    for path, passed_over in walk(root):
        # "._x" is what macOS leaves beside x on other file systems.
        if not passed_over and not posixpath.basename(path).startswith("._"):
            yield path


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _plain(text: str) -> str:
    return posixpath.join(*(part.strip() for part in _composed(html.unescape(text)).split("/")))


def _underscored(text: str) -> str:
    return "_".join(_plain(text).replace("_", " ").split())


def _letters(text: str) -> str:
    kept = (c if c.isalnum() or c == "/" else " " for c in _underscored(text).casefold())
    return "_".join("".join(kept).split())

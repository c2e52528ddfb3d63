"""From a collection in its official layout to one that training reads: `supclap prepare`.

Three steps: read the index, decode what it lists in parallel (`shards`), write one Arrow file per
split (`clips`). Killed at any moment and started again it goes on where it was, and ends with the
same bytes. The folder ``out`` then holds, beside the collection itself::

    skipped.csv      every clip and caption that is not in the collection, and why; of the last call
    prepared.json    what each split was made of, so that a second call has nothing to do
    .prepare/        decoded parts; only while it is not finished
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

from supclap.csv_text import csv_text
from supclap.data import shards
from supclap.data.clips import INDEX, SAMPLE_RATE, Clip, Collection, write_split
from supclap.data.overlap.exclusion import read_exclusions, without
from supclap.data.published import edition_line
from supclap.data.sources import read_source
from supclap.data.sources.files import bad_name
from supclap.data.sources.listing import (
    BROKEN,
    CAPTION,
    LOSSES,
    MISSING,
    RENAMED,
    UNCAPTIONED,
    UNREADABLE,
    Entry,
    Listing,
    Skipped,
    check_language,
)
from supclap.errors import FULL, InputError, nearest
from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, read_values, sealed
from supclap.wording import spelled

SKIPPED = "skipped.csv"
RECORD = "prepared.json"
WORK = ".prepare"
_IN_THE_WAY = {*(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)}

Progress = Callable[[str, int, int], None]  # what is done, clips so far, clips in all
# Lists the clips of a data source; given a folder, what is no file yet becomes one there.
Own = Callable[[Path | None], Listing]


@dataclass
class SplitReport:
    """What became of one split. ``listed`` = ``read`` + the lost ones, broken rows among them."""

    listed: int
    read: int = 0
    seconds: float = 0.0
    lost: dict[str, int] = field(default_factory=dict)  # kind -> clips

    @property
    def share_lost(self) -> float:
        return sum(self.lost.values()) / self.listed

    @property
    def read_or_open(self) -> int:
        """Clips that are read, or of which nothing bad is known yet."""
        return self.listed - sum(self.lost.values())


@dataclass
class PrepareReport:
    """What `prepare` did.

    ``decoded``: clips decoded in this call; the others were there before. ``broken``: rows of the
    index that cannot be read and name no split. ``excluded``: clips that lists leave out;
    ``of_no_clip``: names in these that are of none. ``edition``: a sentence on whether the index
    lists what the published one does; "" where that is not known.
    """

    name: str
    out: Path
    splits: dict[str, SplitReport] = field(default_factory=dict)
    captions_dropped: int = 0
    renamed: int = 0
    broken: int = 0
    decoded: int = 0
    excluded: int = 0
    of_no_clip: int = 0
    edition: str = ""

    @property
    def skipped_file(self) -> Path:
        return self.out / SKIPPED


def prepare(
    name: str,
    source: Path,
    out: Path,
    *,
    splits: Sequence[str] = (),
    into: str | None = None,
    languages: Sequence[str] = (),
    captions: Mapping[str, Path] | None = None,
    seconds: float | None = None,
    workers: int = 1,
    max_loss: float = 0.05,
    progress: Progress | None = None,
    own: Own | None = None,
    exclude: Sequence[Path] = (),
) -> PrepareReport:
    """Reads the collection ``name`` below ``source`` and writes it to the folder ``out``.

    Args:
        splits: only these; all, where none is named.
        into: put all clips into one split of this name.
        languages: keep only captions in these languages (ISO 639-3).
        captions: a folder of caption files for each further language.
        seconds: keep no more than so much of every clip, from its beginning.
        workers: processes that decode.
        max_loss: the greatest share of a split's clips (0 to 1) that may be missing, unreadable,
            silent, without a caption, or in a row of the index that is broken.
        own: lists what a data source of the user's lists, which ``name`` names; ``source`` is only
            the folder that its files are called after.
        exclude: files with lists of clips that are left out (`overlap.exclusion`).

    Raises:
        InputError: something is wrong with the input, more than ``max_loss`` of a split is lost,
            or the disk is full. The collection is then as it was before.
    """
    if workers < 1 or not 0 <= max_loss <= 1 or (seconds is not None and not seconds > 0):
        raise InputError(
            f"expected workers >= 1, max-loss from 0 to 1 and seconds > 0; "
            f"got {workers}, {max_loss:g} and {seconds}"
        )
    lists = [read_exclusions(file) for file in exclude]
    listed = read_source(name, source, captions) if own is None else own(None)
    edition = edition_line(listed)
    listed, excluded, of_no_clip = without(listed, lists)
    if not listed.entries:
        raise InputError(f"{', '.join(map(str, exclude))}: leaves out every clip of {name}")
    listing = _chosen(listed, splits, into, languages)
    _check_place(out, listing.name)
    try:
        with _only_one(out):
            if own is not None:  # again, and now what is no file becomes one
                made, _, _ = without(own(out / WORK / "made"), lists)
                listing = _chosen(made, splits, into, languages)
            parts = [_Part(listing, split, source, out, seconds) for split in listing.splits]
            report = _run(listing, parts, out, workers, max_loss, progress or _silent)
            return replace(report, excluded=excluded, of_no_clip=of_no_clip, edition=edition)
    except OSError as error:
        if error.errno in FULL:
            raise InputError(
                f"{out}: the disk is full; what is decoded is kept: free some space and run the "
                f"same command again"
            ) from None
        if error.errno in _IN_THE_WAY:
            place = error.filename2 or out  # what a file should have replaced
            raise InputError(f"{place}: cannot be written to: {error.strerror}") from None
        raise


class _Part:
    """One split on its way: what is to be decoded, and what is lost of it so far."""

    def __init__(
        self, listing: Listing, split: str, source: Path, out: Path, seconds: float | None
    ) -> None:
        entries = [entry for entry in listing.entries if entry.split == split]
        self.split = split
        self.skipped = [note for note in listing.notes if note.split == split]
        broken = sum(note.kind == BROKEN for note in self.skipped)
        self.report = SplitReport(len(entries) + broken, lost={BROKEN: broken} if broken else {})
        self.entries = []
        for entry in entries:
            if entry.path is None:
                self.lose(entry.skipped(MISSING, entry.reason))
            elif fault := bad_name(os.path.relpath(entry.path, source)):
                self.lose(entry.skipped(UNREADABLE, fault))
            elif not entry.captions and not entry.labels:
                self.lose(entry.skipped(UNCAPTIONED, "neither a caption nor a label is left"))
            else:
                self.entries.append(entry)
        paths = [entry.path for entry in self.entries if entry.path is not None]
        self.shards = shards.plan(out / WORK, source, split, paths, seconds)
        facts = [[replace(e, path=None).__dict__ for e in entries], self.report.lost]
        sounds = [shard.target.name for shard in self.shards]
        text = json.dumps([facts, sounds], default=lambda caption: caption.__dict__)
        self.key = hashlib.sha256(text.encode()).hexdigest()

    def lose(self, line: Skipped) -> None:
        self.skipped.append(line)
        self.report.lost[line.kind] = self.report.lost.get(line.kind, 0) + 1

    def pairs(self) -> Iterator[tuple[Entry, shards.Sound]]:
        """Every clip with its sound, in the order of the index; all shards must be done."""
        sounds = chain.from_iterable(shard.sounds() for shard in self.shards)
        return zip(self.entries, sounds, strict=True)

    def count(self) -> None:
        """Enters what decoding has shown."""
        for entry, sound in self.pairs():
            if sound.kind:
                self.lose(entry.skipped(sound.kind, sound.reason))
            else:
                self.report.read += 1
                self.report.seconds += len(sound.audio) / SAMPLE_RATE

    def clips(self) -> Iterator[Clip]:
        for entry, sound in self.pairs():
            if not sound.kind:
                yield Clip(entry.clip_id, sound.audio, entry.captions, entry.labels, entry.file)


def _run(
    listing: Listing,
    parts: Sequence[_Part],
    out: Path,
    workers: int,
    max_loss: float,
    progress: Progress,
) -> PrepareReport:
    record = _Record(out)
    report = PrepareReport(listing.name, out, {part.split: part.report for part in parts})
    report.captions_dropped = sum(note.kind == CAPTION for note in listing.notes)
    report.renamed = sum(note.kind == RENAMED for note in listing.notes)
    unplaced = [note for note in listing.broken_rows if note.split not in listing.splits]
    report.broken = len(unplaced)
    fresh = [part for part in parts if not record.recall(part)]
    _judge(parts, unplaced, out, max_loss)  # before hours of decoding
    every = [shard for part in fresh for shard in part.shards]
    left = [shard for shard in every if not shard.done]
    total = sum(len(shard.paths) for shard in every)
    done = total - sum(len(shard.paths) for shard in left)
    for clips in shards.make(left, workers):
        done += clips
        report.decoded += clips
        progress("decoding", done, total)
    for part in fresh:
        part.count()
    _judge(parts, unplaced, out, max_loss)
    for number, part in enumerate(fresh):
        progress("writing", number, len(fresh))
        write_split(out, listing.name, part.split, part.clips())
        record.enter(part)
        for shard in part.shards:
            shard.target.unlink(missing_ok=True)
    return report


@dataclass(frozen=True)
class _Made:
    """What a split was made of: a hash of it, the content it gave, and what was lost."""

    key: str
    content: str
    report: SplitReport
    skipped: list[tuple[str, str, str, str, str, str]]


class _Record:
    """prepared.json: what each split of the collection was made of."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.entries: dict[str, Any] = {}
        with suppress(FileNotFoundError, Damaged):  # damaged: the splits are made anew
            self.entries = read_values(Folder.at(out), RECORD)

    def recall(self, part: _Part) -> bool:
        """Whether the split is there already, as this call would make it; then its report too."""
        if part.split not in self.entries or not (self.out / INDEX).is_file():
            return False
        collection = Collection(self.out)
        try:
            known = as_kind(self.entries[part.split], _Made, str(self.out / RECORD))
            if (
                known.key != part.key
                or part.split not in collection.splits
                or collection.content_hash(part.split) != known.content
            ):
                return False
            collection.split(part.split)
        except Damaged:
            return False
        report = known.report
        part.report.read, part.report.seconds = report.read, report.seconds
        part.report.lost = report.lost
        part.skipped[:] = [Skipped(*line) for line in known.skipped]
        return True

    def enter(self, part: _Part) -> None:
        self.entries[part.split] = {
            "key": part.key,
            "content": Collection(self.out).content_hash(part.split),
            "report": asdict(part.report),
            "skipped": [astuple(line) for line in part.skipped],
        }
        Folder.at(self.out).write(RECORD, sealed(self.entries, indent=1, sort=False))


def _judge(parts: Sequence[_Part], unplaced: Sequence[Skipped], out: Path, max_loss: float) -> None:
    """Writes skipped.csv; raises InputError where too much is lost, of a split or of all rows."""
    lines = chain(unplaced, chain.from_iterable(part.skipped for part in parts))
    heads = [column.name for column in fields(Skipped)]
    text = csv_text([heads, *(astuple(line) for line in lines)])
    Folder.at(out).write(SKIPPED, text.encode("utf-8", "backslashreplace"))
    total = len(unplaced) + sum(part.report.listed for part in parts)
    if len(unplaced) > max_loss * total:
        raise InputError(
            f"{len(unplaced):,} of {total:,} rows of the index are broken and name no split, more "
            f"than the {max_loss:.1%} allowed; the first: {unplaced[0].row}: "
            f"{unplaced[0].reason}; all are in {out / SKIPPED}; {_accepting(len(unplaced) / total)}"
        )
    for part in parts:
        report = part.report
        if report.read_or_open and report.share_lost <= max_loss:
            continue
        lost = sum(report.lost.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.lost.items())
        first = next(line for line in part.skipped if line.kind in LOSSES)
        file = f", '{spelled(first.file)}'" if first.file else ""
        if report.read_or_open:
            verdict = f"more than the {max_loss:.1%} allowed"
            remedy = _accepting(report.share_lost)
        else:
            verdict, remedy = "nothing is left", "--splits leaves a split out"
        raise InputError(
            f"split {part.split}: {lost:,} of {report.listed:,} clips are lost ({kinds}), "
            f"{verdict}; the first: {first.row}{file}: {first.reason}; "
            f"all are in {out / SKIPPED}; {remedy}"
        )


def _accepting(share: float) -> str:
    return f"--max-loss {math.ceil(share * 1000) / 1000:g} accepts it"


def _chosen(
    listing: Listing, splits: Sequence[str], into: str | None, languages: Sequence[str]
) -> Listing:
    """The listing cut down to splits and languages, under the split's new name if there is one."""
    for split in splits:
        if split not in listing.splits:
            raise InputError(
                f"{listing.name} has no split '{split}'{nearest(split, listing.splits)} "
                f"(found: {', '.join(listing.splits)})"
            )
    kept = {check_language(language, "--languages") for language in languages}
    chosen = Listing(listing.name)
    for entry in listing.entries:
        if not splits or entry.split in splits:
            said = tuple(c for c in entry.captions if not kept or c.language in kept)
            chosen.add(replace(entry, split=into or entry.split, captions=said))
    chosen.notes = [
        replace(note, split=into or note.split)
        for note in listing.notes
        if not splits or note.split in (*splits, "")
    ]
    return chosen


def _check_place(out: Path, name: str) -> None:
    Folder.at(out)  # raises InputError where it cannot be one
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; expected a folder, or nothing yet")
    if (out / INDEX).is_file():
        there = Collection(out).name
        if there != name:
            raise InputError(f"{out}: holds the collection '{there}' already; choose another --out")


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """One preparation at a time in a folder. The lock ends with the process, however it ends."""
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out}: another process is preparing it") from None
        try:
            _sweep(out)
            yield
        except BaseException:
            _sweep(out)
            raise  # what is decoded is worth keeping
        shutil.rmtree(work)


def _sweep(out: Path) -> None:
    """Removes what a killed process, of this call or another, had not finished writing."""
    for rest in (*out.glob(".*.arrow.*"), *(out / WORK).glob("*.part")):
        rest.unlink(missing_ok=True)


def _silent(stage: str, done: int, total: int) -> None:
    """Shows no progress."""

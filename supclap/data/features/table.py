"""What a table says of two arrays: which row is which clip, and which rows are its sentences.

A CSV file with a line for each clip, or for each clip and caption. Its columns:

    row        the clip's row of the audio array; without this column, line n is row n
    text...    rows of the text array, a sentence each; an empty field is none
    split      "train" where it is empty or there is no such column
    clip_id    by default the audio row
    group      clips that belong together; counted where one is in two splits
    caption... the words of the sentence in the column text...; others by `ArraysConfig.words`

Several lines of one clip are further captions of it. Nothing is repaired or skipped: the first
mistake ends the reading, with the line that it is in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from supclap.config import ArraysConfig
from supclap.config.data import language_of_columns
from supclap.data.sources.files import no_file
from supclap.data.sources.listing import SPLIT_NAME, check_language
from supclap.data.sources.tables import Row, rows
from supclap.errors import InputError, nearest
from supclap.wording import gist, is_text

TRAIN = "train"  # the split whose rows decide how arrays are standardized
KINDS = ("float16", "float32", "float64")


@dataclass(slots=True)
class Sentence:
    """A caption: its row of the text array, its words where they are known, its language, and the
    line where it stands."""

    row: int
    words: str
    language: str
    where: str


@dataclass(slots=True)
class FeatureClip:
    """A clip: its row of the audio array, and what is said of it."""

    clip_id: str
    row: int
    split: str
    where: str  # its first line
    sentences: list[Sentence] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FeatureTable:
    """All clips of the chosen splits in the order of the table, and the arrays they point into.

    left_out: clips of the splits that were not chosen.
    classes: the sentences of each label that clips are to be classified by.
    """

    name: str
    clips: dict[str, list[FeatureClip]]
    audio: np.ndarray
    text: np.ndarray
    columns: Mapping[str, str]  # of sentences, with their languages
    left_out: Mapping[str, int]
    classes: Mapping[str, list[Sentence]] = field(default_factory=dict)  # by label
    standardize: tuple[str, ...] = ()  # "audio", "text"

    @property
    def unused(self) -> tuple[int, int]:
        """Rows of the audio and of the text array that no clip of any chosen split points to."""
        heard = {clip.row for clips in self.clips.values() for clip in clips}
        read = {s.row for clips in self.clips.values() for clip in clips for s in clip.sentences}
        read |= {s.row for sentences in self.classes.values() for s in sentences}
        return len(self.audio) - len(heard), len(self.text) - len(read)

    @property
    def split_groups(self) -> int:
        """Groups that have clips in more than one of the splits."""
        seen: dict[str, set[str]] = defaultdict(set)
        for split, clips in self.clips.items():
            for clip in clips:
                for group in clip.groups:
                    seen[group].add(split)
        return sum(len(splits) > 1 for splits in seen.values())


def read_table(arrays: ArraysConfig) -> FeatureTable:
    """The table and its arrays, which are mapped and not read.

    Raises:
        InputError: a file that cannot be read, an array of another shape or type, a column that is
            not there, a row that is out of range, a clip that stands twice in different ways.
    """
    audio, text = open_array(arrays.audio), open_array(arrays.text)
    path = Path(arrays.captions).expanduser()
    reader: _Reader | None = None
    count, numbered = 0, True
    for where, line in rows(path, ()):  # one at a time: a table may be long
        if reader is None:
            reader = _Reader(arrays, path, list(line), audio, text)
            numbered = "row" in line
        if numbered or count < len(audio):
            reader.read(count, where, line)
        count += 1
    if reader is None:
        raise InputError(f"{path}: lists no clip")
    if not numbered and count != len(audio):
        raise InputError(
            f"{path}: has no column row, so that line n is row n of {arrays.audio}, but there are "
            f"{count:,} lines and {len(audio):,} rows"
        )
    return reader.table(path.stem, _classes(arrays, text))


def open_array(place: str) -> np.ndarray:
    """A mapped array (rows, width) of floats. Raises InputError where it is none."""
    path = Path(place).expanduser()
    fault = no_file(path)
    if fault:
        raise InputError(f"{path}: {fault}")
    try:
        with open(path, "rb") as file:
            archive = file.read(2) == b"PK"
        if archive:
            raise InputError(f"{path}: is an archive of arrays (.npz); expected one array, .npy")
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(
            f"{path}: not a readable .npy array (np.save writes one): {gist(error)}"
        ) from None
    if found.ndim != 2 or 0 in found.shape:
        raise InputError(f"{path}: expected an array (rows, width), found {found.shape}")
    if found.dtype.name not in KINDS:
        raise InputError(f"{path}: expected {', '.join(KINDS)}, found {found.dtype}")
    return np.asarray(found)


class _Reader:
    def __init__(
        self,
        arrays: ArraysConfig,
        path: Path,
        header: Sequence[str],
        audio: np.ndarray,
        text: np.ndarray,
    ) -> None:
        self._arrays, self._path, self._header = arrays, path, header
        self._audio, self._text = audio, text
        self._texts = self._columns()
        self._words = self._columns_of_words()
        for name in arrays.labels:
            self._check_column(name, "labels")
        self._clips: dict[str, FeatureClip] = {}
        self._ids: dict[int, str] = {}
        self._lines: dict[tuple[str, ...], str] = {}

    def read(self, number: int, where: str, line: Row) -> None:
        """Takes in one line; ``number`` counts them from 0."""
        row = number
        if "row" in line:
            row = _number(line["row"], where, "row", len(self._audio), self._arrays.audio)
        split = line.get("split") or "train"
        if not SPLIT_NAME.fullmatch(split):
            raise InputError(
                f"{where}: '{split}' is no name of a split; expected letters, digits, '-' and '_'"
            )
        name = line.get("clip_id") or str(row)
        if not is_text(name):
            raise InputError(f"{where}: clip id is not Unicode text")
        clip = self._clip(FeatureClip(name, row, split, where))
        first = self._lines.setdefault((name, *(line[column] for column in self._texts)), where)
        if first != where:
            raise InputError(f"{where}: says of clip '{name}' what {first} has said already")
        labels = [line[name].strip() for name in self._arrays.labels]
        clip.labels += [one for one in labels if one and one not in clip.labels]
        if line.get("group"):
            clip.groups.append(line["group"])
        for column, language in self._texts.items():
            if line[column].strip():
                clip.sentences.append(self._sentence(where, line, column, language))

    def table(self, name: str, classes: Mapping[str, list[Sentence]]) -> FeatureTable:
        by_split: dict[str, list[FeatureClip]] = defaultdict(list)
        for clip in self._clips.values():
            if not clip.sentences and not clip.labels:
                raise InputError(
                    f"{clip.where}: clip '{clip.clip_id}' has neither a sentence (in "
                    f"{', '.join(self._texts)}) nor a label"
                )
            by_split[clip.split].append(clip)
        chosen = self._arrays.splits
        for split in chosen or ():
            if split not in by_split:
                raise InputError(
                    f"{self._path}: no split '{split}'{nearest(split, by_split)} (found: "
                    f"{', '.join(by_split)})"
                )
        kept = {s: clips for s, clips in by_split.items() if chosen is None or s in chosen}
        left = Counter({s: len(clips) for s, clips in by_split.items() if s not in kept})
        scaled = self._arrays.standardize
        if scaled and TRAIN not in kept:
            raise InputError(
                f"standardize: is by the clips of split '{TRAIN}', and there are none (splits: "
                f"{', '.join(kept)})"
            )
        return FeatureTable(name, kept, self._audio, self._text, self._texts, left, classes, scaled)

    def _clip(self, clip: FeatureClip) -> FeatureClip:
        """The clip itself, or what is known of it from lines before."""
        known = self._clips.setdefault(clip.clip_id, clip)
        owner = self._ids.setdefault(clip.row, clip.clip_id)
        if known.row != clip.row:
            raise InputError(
                f"{clip.where}: clip id '{clip.clip_id}' stands already in {known.where}, for "
                f"row {known.row}"
            )
        if owner != clip.clip_id:
            raise InputError(f"{clip.where}: row {clip.row} is already that of clip '{owner}'")
        if known.split != clip.split:
            raise InputError(
                f"{clip.where}: clip '{clip.clip_id}' is of split '{clip.split}', but of "
                f"'{known.split}' in {known.where}"
            )
        return known

    def _sentence(self, where: str, line: Row, column: str, language: str) -> Sentence:
        row = _number(line[column], where, column, len(self._text), self._arrays.text)
        words = " ".join(line[self._words[column]].split()) if column in self._words else ""
        if not is_text(words):
            raise InputError(f"{where}: {self._words[column]} is not Unicode text")
        return Sentence(row, words, language, where)

    def _columns(self) -> Mapping[str, str]:
        texts: Mapping[str, str] | None = self._arrays.texts
        if texts is None:
            texts = language_of_columns(n for n in self._header if n.startswith("text"))
            if not texts:
                raise InputError(
                    f"{self._path}: no column begins with 'text'; name those that hold rows of "
                    f"{self._arrays.text} (--texts, data.arrays.texts; found "
                    f"{', '.join(self._header)})"
                )
        for name, language in texts.items():
            self._check_column(name, "texts")
            check_language(language, f"column '{name}'")
        return texts

    def _columns_of_words(self) -> Mapping[str, str]:
        given = self._arrays.words
        if given is not None:
            for column, words in given.items():
                if column not in self._texts:
                    raise InputError(
                        f"words: '{column}' is none of the columns of sentences"
                        f"{nearest(column, self._texts)} (they are {', '.join(self._texts)})"
                    )
                self._check_column(words, "words")
            return given
        named = {name: f"caption{name.removeprefix('text')}" for name in self._texts}
        return {name: words for name, words in named.items() if words in self._header}

    def _check_column(self, name: str, key: str) -> None:
        if name not in self._header:
            raise InputError(
                f"{self._path}: no column '{name}' ({key}){nearest(name, self._header)} (found: "
                f"{', '.join(self._header)})"
            )


def _classes(arrays: ArraysConfig, text: np.ndarray) -> dict[str, list[Sentence]]:
    """The sentences of each label: a line has a ``label`` and, in ``text...``, rows."""
    if arrays.classes is None:
        return {}
    if not arrays.labels:
        raise InputError(
            "classes: go with labels, the columns that say of which class a clip is (--labels)"
        )
    path = Path(arrays.classes).expanduser()
    found: dict[str, list[Sentence]] = defaultdict(list)
    for where, line in rows(path, ("label",)):
        columns = [name for name in line if name.startswith("text")]
        label = line["label"].strip()
        if not columns:
            raise InputError(f"{path}: no column begins with 'text' (found: {', '.join(line)})")
        if not label or not is_text(label):
            raise InputError(f"{where}: expected a label, found '{label}'")
        for name in columns:
            if line[name].strip():
                row = _number(line[name], where, name, len(text), arrays.text)
                found[label].append(Sentence(row, "", "", where))
        if not found[label]:
            raise InputError(f"{where}: label '{label}' has no sentence ({', '.join(columns)})")
    if len(found) < 2:
        raise InputError(f"{path}: names {len(found)} labels; two are the least to classify by")
    return dict(found)


def _number(text: str, where: str, column: str, count: int, array: str) -> int:
    """A column's value as a row of an array. Raises InputError."""
    clean = text.strip().removesuffix(".0")  # as pandas writes a column with gaps
    if not clean.isascii() or not clean.isdigit() or len(clean) > 15:
        raise InputError(f"{where}: {column} '{text}' is not the number of a row")
    row = int(clean)
    if row >= count:
        raise InputError(
            f"{where}: {column} {row} is out of range: {array} has rows 0 to {count - 1}"
        )
    return row

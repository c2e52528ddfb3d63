"""`supclap data`: what there is to know of collections. `overlap`: clips that two of them share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supclap.csv_text import csv_text
from supclap.errors import InputError, nearest
from supclap.given_paths import HerePath
from supclap.progress import activity
from supclap.text_files import check_target, write_text
from supclap.wording import counted

if TYPE_CHECKING:
    from supclap.data.overlap import Shared, Side

LISTED = 5  # clips of a kind that are printed; all of them stand in a file
HEADS = ("clip_id", "split", "kind", "other_clip_id", "other_split", "others")
NEAR_HEADS = ("starts_at_second", "seconds_compared", "bits_that_differ")


@click.group("data", invoke_without_command=False)
def data_group() -> None:
    """What collections hold, and what they share."""


@data_group.command("overlap")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--splits-a", default="", help="Only these of A, as train,val.  [default: all]")
@click.option("--splits-b", default="", help="Only these of B.  [default: all]")
@click.option(
    "--by",
    default="",
    metavar="KINDS",
    help="As id,content.  [default: id,recording,content,near]",
)
@click.option("--out", type=HerePath(), help="Write every clip of A that is found as CSV.")
@click.option("--workers", type=int, help="Processes that read sound.  [default: one per core]")
def overlap_command(
    a: str, b: str, splits_a: str, splits_b: str, by: str, out: Path | None, workers: int | None
) -> None:
    """Show which clips of A are also in B.

    A and B are folders of prepared collections; or NAME=FOLDER, a collection in its official
    layout, of which the index alone is read. The same folder twice: its splits are compared with
    each other. By id, by recording (a YouTube video, a sound of Freesound), by content (the same
    samples) and near (the same sound behind another codec, at another level, or shifted).

    The exit code is 1 where clips are shared. `supclap prepare --exclude` takes the CSV.
    """
    from supclap.data.overlap import KINDS, OF_SOUND, read_side, shared_clips

    asked = _listed(by)
    for kind in asked:
        if kind not in KINDS:
            valid = ", ".join(KINDS)
            raise InputError(f"--by: unknown '{kind}'{nearest(kind, KINDS)} (valid: {valid})")
    if workers is not None and workers < 1:
        raise InputError(f"--workers: expected at least 1, got {workers}")
    if out is not None:  # before hours of reading sound, not behind them
        check_target(out)
    with activity("opening the collections"):
        one, other = read_side(a, _listed(splits_a)), read_side(b, _listed(splits_b))
    alone = [side.place for side in (one, other) if side.folder is None]
    kinds = [kind for kind in asked or KINDS if not alone or kind not in OF_SOUND]
    if not kinds:
        raise InputError(
            f"{alone[0]}: is an index without sound; give the folder of a prepared collection, or "
            "--by id,recording"
        )
    found = shared_clips(one, other, kinds, workers or len(os.sched_getaffinity(0)))
    _print(one, other, kinds, found)
    if alone and not asked:
        click.echo(f"not by {' and '.join(OF_SOUND)}: {alone[0]} is an index without sound")
    if out is not None:
        write_text(out, csv_text([(*HEADS, *NEAR_HEADS), *_rows(one, other, found)]))
        click.echo(f"{out}: {counted(len(found), 'row')}")
    if found:
        raise SystemExit(1)


def _print(one: Side, other: Side, kinds: Sequence[str], found: Sequence[Shared]) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"clips of {one.place} that are in {other.place}"
    if one.place == other.place:
        title = f"clips of {one.place} that are in another of its splits"
    table = Table(title=title, title_justify="left", box=None)
    for column in ("split", "clips", *kinds, "in all"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split in dict.fromkeys(clip.split for clip in one.clips):
        of = [shared for shared in found if one.clips[shared.row].split == split]
        counts = [sum(shared.kind == kind for shared in of) for kind in kinds]
        total = sum(clip.split == split for clip in one.clips)
        every = len({shared.row for shared in of})
        table.add_row(split, *(f"{number:,}" for number in (total, *counts, every)))
    Console(soft_wrap=True, highlight=False).print(table)
    for kind in kinds:
        of = [shared for shared in found if shared.kind == kind]
        for shared in of[:LISTED]:
            click.echo(f"{kind}: {_sentence(one, other, shared)}")
        if len(of) > LISTED:
            click.echo(f"{kind}: and {len(of) - LISTED:,} more; --out FILE.csv has all")


def _sentence(one: Side, other: Side, shared: Shared) -> str:
    clip, their, near = one.clips[shared.row], other.clips[shared.others[0]], shared.near
    text = f"{clip.split} {clip.clip_id} is {their.split} {their.clip_id}"
    if near is not None:
        begins = f"which begins at its second {near.shift:.2f}"
        text += f" ({begins}; over {near.seconds:.1f} s {near.errors:.0%} of the bits differ)"
    more = len(shared.others) - 1
    return f"{text} and {more:,} more" if more else text


def _rows(one: Side, other: Side, found: Sequence[Shared]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for shared in found:
        clip, their = one.clips[shared.row], other.clips[shared.others[0]]
        near = shared.near
        more = ("", "", "")
        if near is not None:
            more = (f"{near.shift:.2f}", f"{near.seconds:.2f}", f"{near.errors:.4f}")
        whose = (clip.clip_id, clip.split, shared.kind, their.clip_id, their.split)
        rows.append((*whose, len(shared.others), *more))
    return rows


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]

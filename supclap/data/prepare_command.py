"""`supclap prepare`: a real collection, read to the format that training opens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from supclap.config import FEATURES
from supclap.copies import local
from supclap.data.json_keys import check_index
from supclap.data.prepare import Own, PrepareReport, prepare
from supclap.data.sources import SOURCES
from supclap.data.sources.listing import BROKEN, LOSSES
from supclap.errors import InputError
from supclap.given_paths import HerePath
from supclap.overrides import override, parse_changes
from supclap.progress import Doing, activity, relay


@click.command("prepare")
@click.argument("name", metavar="NAME")
@click.option(
    "--source", metavar="FOLDER", help="Where it lies, here or in a store (s3://, gs://)."
)
@click.option("--audio", metavar="A.npy", help="features: the clips' vectors.")
@click.option("--text", metavar="T.npy", help="features: the sentences' vectors.")
@click.option("--out", required=True, type=HerePath(), help="Folder to write.")
@click.option("--splits", default="", help="Only these, separated by commas.  [default: all]")
@click.option("--into", metavar="SPLIT", help="Put all clips into one split of this name.")
@click.option("--languages", default="", help="Keep only captions in these, as eng,jpn.")
@click.option(
    "--captions",
    multiple=True,
    metavar="LANGUAGE=DIR",
    help="Captions in a further language: files of the official names. May be repeated. "
    "features: a CSV file that says which row is what.",
)
@click.option(
    "--texts",
    metavar="COLUMNS",
    help="features: columns with rows of T.npy, as text1,text2=fra.  [default: text...]",
)
@click.option(
    "--words",
    metavar="COLUMN=COLUMN",
    help="features: the column of a column's words, as text1=caption1.  [default: by the name]",
)
@click.option("--labels", metavar="COLUMNS", help="features: columns with a label of the clip.")
@click.option(
    "--standardize",
    metavar="ARRAYS",
    help="features: audio, text or both, each column to mean 0 and spread 1 over split train.",
)
@click.option(
    "--classes",
    metavar="CSV",
    help="features: labels with the rows of T.npy that say them, to classify by.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="FILE",
    help="Leave out the clips of this list: one of WavCaps' .json files, or a CSV file with a "
    "column clip_id. May be repeated.",
)
@click.option("--seconds", type=float, help="Keep so much of each clip.  [default: all]")
@click.option(
    "--code",
    multiple=True,
    metavar="FILE.py",
    help="Run this file first, which has the data source NAME. May be repeated.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="A key of that data source's own."
)
@click.option("--workers", type=int, help="Processes that decode.  [default: one per core]")
@click.option(
    "--max-loss",
    default=0.05,
    show_default=True,
    help="Share of a split's clips that may be lost; above it nothing is written.",
)
def prepare_command(
    name: str,
    source: str | None,
    audio: str | None,
    text: str | None,
    out: Path,
    splits: str,
    into: str | None,
    languages: str,
    captions: tuple[str, ...],
    texts: str | None,
    words: str | None,
    labels: str | None,
    standardize: str | None,
    classes: str | None,
    exclude: tuple[str, ...],
    seconds: float | None,
    code: tuple[str, ...],
    changes: tuple[str, ...],
    workers: int | None,
    max_loss: float,
) -> None:
    """Read the collection NAME in its official layout.

    NAME is audiocaps, clotho, esc50, urbansound8k, vggsound, wavcaps, or captions: a plain folder
    with captions.csv; or a data source of your own, from a file that --code names. Sound in any
    format that libsndfile reads becomes 16 kHz mono. After an interruption the same command goes on
    where it was.

    NAME features takes precomputed features in the place of a collection: two arrays, and a CSV
    file with a line for each clip.
    """
    given = {"--audio": audio, "--text": text, "--texts": texts}
    given |= {"--words": words, "--labels": labels, "--classes": classes}
    given |= {"--standardize": standardize}
    if name == FEATURES:
        others: dict[str, object] = {"--source": source, "--into": into, "--code": code}
        others |= {"--languages": languages, "--seconds": seconds, "--set": changes}
        others |= {"--workers": workers, "--exclude": exclude}
        _refuse(others, "goes with collections of sounds, not with features")
        from supclap.data.prepare_features import prepare_features

        prepare_features(given, captions, _listed(splits), out)
        return
    _refuse(given, "goes with features")
    own = _own(name, code, changes, source)
    if own is None and source is None:
        raise InputError("--source is missing: the folder where the collection lies")
    folder = Path("/") if source is None else local(source)
    with activity("reading the index"):
        if own is None:
            check_index(name, folder)
        report = prepare(
            name,
            folder,
            out,
            splits=_listed(splits),
            into=into,
            languages=_listed(languages),
            captions=dict(_translation(text) for text in captions),
            seconds=seconds,
            workers=workers or len(os.sched_getaffinity(0)),
            max_loss=max_loss,
            progress=lambda what, done, of: relay(Doing(what, done, of, "clips")),
            own=own,
            exclude=[Path(file) for file in exclude],
        )
    _print(report)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raises InputError where one of the options is given."""
    for option, value in options.items():
        if value:
            raise InputError(f"{option}: {why}")


def _own(name: str, code: Sequence[str], changes: Sequence[str], folder: str | None) -> Own | None:
    """The data source of the user's that NAME names; None where it is a built-in collection."""
    if not code:
        if changes:
            raise InputError("--set goes with --code, and a data source of your own")
        return None
    from supclap import registry
    from supclap.config import parse_config
    from supclap.user_code import load_given

    load_given(code)
    if registry.own("data source", name) is None and name in SOURCES and not changes:
        return None
    from supclap.data.sources.own import list_items, source_in

    keys = {"name": name, "folder": folder}
    config = parse_config({"data": override(keys, parse_changes(changes))}, "supclap prepare")
    source = source_in(config.data)
    return lambda made: list_items(source, name, made).listing


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _translation(text: str) -> tuple[str, Path]:
    language, mark, folder = text.partition("=")
    if not mark or not folder:
        raise InputError(f"--captions {text}: expected LANGUAGE=DIR, such as jpn=captions-ja")
    return language, local(folder)


def _print(report: PrepareReport) -> None:
    table = Table(title=f"{report.name}: {report.out}", title_justify="left", box=None)
    found = {kind for part in report.splits.values() for kind in part.lost}
    kinds = [kind for kind in LOSSES if kind != BROKEN or kind in found]  # which is rare
    for column in ("split", "listed", "read", *kinds, "hours"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, part in report.splits.items():
        lost = [f"{part.lost.get(kind, 0):,}" for kind in kinds]
        hours = f"{part.seconds / 3600:.2f}"
        table.add_row(split, f"{part.listed:,}", f"{part.read:,}", *lost, hours)
    Console(soft_wrap=True).print(table)
    if report.edition:
        click.echo(report.edition)
    notes = []
    if report.excluded or report.of_no_clip:
        none = f" ({report.of_no_clip:,} names in it are of no clip here)"
        notes.append(
            f"{report.excluded:,} clips excluded by --exclude{none if report.of_no_clip else ''}"
        )
    if report.captions_dropped:
        notes.append(f"{report.captions_dropped:,} captions left out")
    if report.renamed:
        notes.append(f"{report.renamed:,} files found under another spelling of their name")
    if report.broken:
        notes.append(f"{report.broken:,} broken rows of the index that name no split")
    if notes or any(part.lost for part in report.splits.values()):
        notes.append(f"each with its reason in {report.skipped_file}")
        click.echo("; ".join(notes))

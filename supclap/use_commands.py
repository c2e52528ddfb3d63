"""`supclap evaluate`, `embed` and `search`: what one does with a trained model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supclap.copies import local
from supclap.csv_text import csv_text
from supclap.errors import InputError
from supclap.given_paths import HerePath
from supclap.progress import Doing, activity, relay
from supclap.text_files import check_target, write_text
from supclap.wording import counted, spelled

if TYPE_CHECKING:  # PyTorch takes seconds to import; `supclap --help` must not wait for it
    from rich.table import Table

    from supclap.data.clips import Clips
    from supclap.evaluation.collection import RetrievalReport, ZeroShotReport
    from supclap.model.clap import CLAP

LISTED = 10  # skipped files that are printed; all of them stand in a file


code_option = click.option(
    "--code",
    multiple=True,
    metavar="FILE.py",
    help="Run this file first, where the model needs a part of it. May be repeated.",
)


@click.command("evaluate")
@click.argument("model")
@click.option(
    "--data", required=True, metavar="FOLDER", help="A prepared collection, or: soundscenes."
)
@click.option("--split", default="test", show_default=True)
@click.option("--languages", metavar="CODES", help="As eng,fra.  [default: all of the split]")
@click.option(
    "--task",
    type=click.Choice(["retrieval", "zero-shot"]),
    help="[default: retrieval where the split has captions, else zero-shot]",
)
@click.option(
    "--template",
    "templates",
    multiple=True,
    help="Zero-shot prompt with {label}; several are averaged.",
)
@click.option("--seed", default=0, show_default=True, help="Of soundscenes.")
@click.option(
    "--events",
    multiple=True,
    metavar="FOLDER",
    help="Of soundscenes: take the sounds from here. May be repeated.",
)
@code_option
@click.option("--json", "out", type=HerePath(), help="Write all figures here too.")
def evaluate_command(
    model: str,
    data: str,
    split: str,
    languages: str | None,
    task: str | None,
    templates: tuple[str, ...],
    seed: int,
    events: tuple[str, ...],
    code: tuple[str, ...],
    out: Path | None,
) -> None:
    """Measure MODEL, a folder here or in a store (s3://, gs://), beside chance level.

    Retrieval where the split has captions, else zero-shot classification of its labels.
    """
    found: dict[str, Any]
    if out:
        check_target(out)
    opened = open_model(model, code)
    from supclap.evaluation.collection import evaluate_retrieval, evaluate_zero_shot
    from supclap.evaluation.zero_shot import TEMPLATES

    with activity("opening the data"):
        clips = open_clips(data, split, languages, seed, events)
    spoken = languages.split(",") if languages else None
    if (task or ("retrieval" if any(clips.captions) else "zero-shot")) == "retrieval":
        with activity("measuring retrieval"):
            retrieved = evaluate_retrieval(opened, clips, spoken)
        _print(*_retrieval_view(retrieved, split))
        found = _retrieval_figures(retrieved)
    else:
        with activity("measuring zero-shot classification"):
            classified = evaluate_zero_shot(
                opened, clips, templates or TEMPLATES, spoken[0] if spoken else "eng"
            )
        _print(*_zero_shot_view(classified, split))
        found = _zero_shot_figures(classified)
    if out:
        about = {"model": opened.content_hash(), "data": clips.content_hash, "split": split}
        write_text(out, json.dumps(about | found, indent=1) + "\n")


@click.command("embed")
@click.argument("folder")
@click.option("--model", required=True, metavar="FOLDER", help="A model folder.")
@click.option("--out", required=True, type=HerePath(), help="Parquet to write.")
@code_option
def embed_command(folder: str, model: str, out: Path, code: tuple[str, ...]) -> None:
    """Embed the sounds below FOLDER, here or in a store (s3://, gs://), to search them."""
    opened = _hearing(open_model(model, code), model)
    from supclap.embedding import embed_folder, skipped_file

    listing = skipped_file(out)
    check_target(listing)
    sounds = local(folder)
    with activity("looking for sounds"):
        report = embed_folder(
            opened, sounds, out, lambda done, of: relay(Doing("embedding", done, of, "files"))
        )
    click.echo(
        f"{spelled(str(out))}: {counted(report.files, 'file')} in "
        f"{counted(report.windows, 'window')} of {opened.seconds:g} s; "
        f"{counted(len(report.skipped), 'file')} skipped, "
        f"{counted(len(report.others), 'other')} passed over"
    )
    left_out = [(spelled(path), reason) for path, reason in (*report.skipped, *report.others)]
    if not left_out:
        listing.unlink(missing_ok=True)
        return
    write_text(listing, csv_text([("path", "reason"), *left_out]))
    for path, reason in left_out[: min(LISTED, len(report.skipped))]:
        click.echo(f"  {path}: {reason}", err=True)
    click.echo(f"  all of them, with reasons: {spelled(str(listing))}", err=True)


@click.command("search")
@click.argument("index", metavar="INDEX")
@click.argument("query")
@click.option("--model", metavar="FOLDER", help="[default: the one that made the index]")
@click.option("-k", default=5, show_default=True, help="How many files.")
@click.option("--language", default="eng", show_default=True, help="Of the query.")
@code_option
def search_command(
    index: str, query: str, model: str | None, k: int, language: str, code: tuple[str, ...]
) -> None:
    """Print the sounds that fit QUERY best."""
    with activity("loading PyTorch"):
        from supclap.embedding import model_folder, search_index
    found = local(index)
    place = model or model_folder(found)
    opened = _hearing(open_model(place, code), place)
    with activity("searching"):
        hits = search_index(opened, found, query, k, language)
    for hit in hits:
        click.echo(f"{hit.score:6.3f}  {spelled(hit.path)}  {hit.start:.1f}-{hit.end:.1f} s")


def open_model(folder: Path | str, code: Sequence[str]) -> CLAP:
    """A saved model, here or in a store, after the files that it needs a part of. Raises
    InputError."""
    with activity("loading PyTorch"):
        from supclap.model.clap import load
    with activity("opening the model"):
        return load(folder, code)


def _hearing(model: CLAP, folder: Path | str) -> CLAP:
    """The model. Raises InputError where it takes vectors and neither hears nor reads."""
    if model.config.audio.name == "features":
        raise InputError(
            f"{folder}: was trained on features, so that it hears no sound and reads no words; "
            "`supclap evaluate` measures it on features"
        )
    return model


def open_clips(
    data: str, split: str, languages: str | None = None, seed: int = 0, events: Sequence[str] = ()
) -> Clips:
    """A split of a prepared collection, here or in a store, or of soundscenes. Raises
    InputError."""
    from supclap.config import parse_config
    from supclap.data import kind_of, open_data

    values: dict[str, Any]
    if data != "soundscenes":
        values = {"name": kind_of(data), "folder": data}
    if data == "soundscenes":
        values = {"name": data, "seed": seed, "events": events or None}
        if languages:
            values["languages"] = languages.split(",")
    elif events:
        raise InputError("--events goes with --data soundscenes")
    return open_data(parse_config({"data": values}, "supclap evaluate").data).split(split)


def _retrieval_view(report: RetrievalReport, split: str) -> tuple[Table, str]:
    from rich.table import Table

    languages = report.result.by_language
    table = Table(title=f"Retrieval, {split}", title_justify="left", box=None)
    table.add_column("")
    single = len(languages) == 1
    for heading in (*languages, *(() if single else ("mean",)), "chance"):
        table.add_column(heading, justify="right")
    for name, mean in report.result.metrics.items():
        if name.split(".")[0] in languages:
            continue  # a language's own figures are a column
        own = [one.metrics.get(name) for one in languages.values()]
        values = [*own, *(() if single else (mean,)), report.chance.get(name)]
        table.add_row(name, *("" if v is None else f"{v:.2f}" for v in values))
    note = f"{counted(report.clips, 'clip')}, {counted(report.captions, 'caption')}"
    if report.uncaptioned:
        note += f"; {report.uncaptioned:,} clips without a caption are candidates only"
    return table, note


def _zero_shot_view(report: ZeroShotReport, split: str) -> tuple[Table, str]:
    from rich.table import Table

    result = report.result
    table = Table(title=f"Zero-shot classification, {split}", title_justify="left", box=None)
    table.add_column("")
    table.add_column("%", justify="right")
    table.add_column("clips", justify="right")
    table.add_column("most often taken for")
    for row, label in enumerate(result.labels):
        wrong = result.confusion[row].copy()
        wrong[row] = 0
        other = f"{result.labels[wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""
        clips = int(result.confusion[row].sum())
        table.add_row(label, f"{result.per_class[row]:.1f}", f"{clips:,}", other)
    table.add_section()
    for name, value in result.metrics.items():
        table.add_row(name, f"{value:.2f}", f"{report.clips:,}", "")
    table.add_row("chance", f"{report.chance['zero_shot.accuracy']:.2f}", "", "")
    note = f"{counted(report.clips, 'clip')} of {counted(len(result.labels), 'class', 'classes')}"
    if report.left_out:
        note += f"; {report.left_out:,} clips that do not have exactly one label are left out"
    return table, note


def _retrieval_figures(report: RetrievalReport) -> dict[str, Any]:
    ranks = {
        language: {"t2a": result.t2a_ranks.tolist(), "a2t": result.a2t_ranks.tolist()}
        for language, result in report.result.by_language.items()
    }
    counts = {key: getattr(report, key) for key in ("clips", "captions", "uncaptioned")}
    return {
        "metrics": report.result.metrics,
        "chance": report.chance,
        "counts": counts,
        "ranks": ranks,
    }


def _zero_shot_figures(report: ZeroShotReport) -> dict[str, Any]:
    result = report.result
    return {
        "metrics": result.metrics,
        "chance": report.chance,
        "counts": {"clips": report.clips, "left_out": report.left_out},
        "labels": list(result.labels),
        "per_class": result.per_class.tolist(),
        "confusion": result.confusion.tolist(),
    }


def _print(table: Table, note: str) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(table)
    click.echo(note)

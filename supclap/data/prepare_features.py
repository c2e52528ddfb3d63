"""`supclap prepare features`: arrays and a table, written to the folder that training opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from supclap.config import ArraysConfig
from supclap.config.data import language_of_columns
from supclap.data.features.table import TRAIN, FeatureTable, read_table
from supclap.data.features.writing import write_features
from supclap.data.places import with_arrays_here
from supclap.errors import InputError
from supclap.explaining import explain
from supclap.progress import activity
from supclap.wording import counted


def prepare_features(
    given: Mapping[str, str | None], captions: Sequence[str], splits: Sequence[str], out: Path
) -> None:
    """Reads what the options name and writes it to ``out``.

    Raises:
        InputError: an option that is missing or wrong, or as `read_table` and `write_features`.
    """
    if len(captions) != 1:
        raise InputError("--captions: expected one CSV file, which says which row is what")
    for option in ("--audio", "--text"):
        if not given[option]:
            raise InputError(f"{option} is missing: an array of vectors, as np.save writes it")
    values: dict[str, Any] = {"audio": given["--audio"], "text": given["--text"]}
    values["captions"] = captions[0]
    values["texts"] = _texts(given["--texts"])
    values["words"] = _pairs(given["--words"], "--words")
    values["labels"] = _listed(given["--labels"])
    values["classes"] = given["--classes"]
    values["standardize"] = _listed(given["--standardize"])
    values["splits"] = list(splits) or None
    try:
        arrays = ArraysConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"supclap prepare features: {explain(error, ArraysConfig)}") from None
    arrays = with_arrays_here(arrays)
    with activity("reading the table"):
        table = read_table(arrays)
    with activity("copying the arrays"):
        write_features(table, out)
    _print(table, out)


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _texts(text: str | None) -> dict[str, str] | None:
    """Columns with their languages, from "text1,text2=fra"."""
    found: dict[str, str] = {}
    for one in _listed(text):
        column, mark, language = (part.strip() for part in one.rpartition("="))
        found |= {column: language} if mark else language_of_columns([language])
    return found or None


def _pairs(text: str | None, option: str) -> dict[str, str] | None:
    found = {}
    for one in _listed(text):
        column, mark, words = (part.strip() for part in one.partition("="))
        if not mark or not column or not words:
            raise InputError(f"{option} {one}: expected COLUMN=COLUMN, such as text1=caption1")
        found[column] = words
    return found or None


def _print(table: FeatureTable, out: Path) -> None:
    languages = list(dict.fromkeys(table.columns.values()))
    shown = Table(title=f"{table.name}: {out}", title_justify="left", box=None)
    for column in ("split", "clips", *(f"captions ({one})" for one in languages), "sentences"):
        shown.add_column(column, justify="left" if column == "split" else "right")
    for split, clips in table.clips.items():
        said = [sentence for clip in clips for sentence in clip.sentences]
        by_language = [sum(s.language == language for s in said) for language in languages]
        counts = [len(clips), *by_language, len({s.row for s in said})]
        shown.add_row(split, *(f"{count:,}" for count in counts))
    Console(soft_wrap=True).print(shown)
    widths = table.audio.shape[1], table.text.shape[1]
    notes = [f"audio vectors of {widths[0]} numbers, text vectors of {widths[1]}"]
    if table.standardize:
        notes.append(f"{' and '.join(table.standardize)} standardized by split '{TRAIN}'")
    notes += [
        f"{counted(count, 'clip')} of split '{split}' left out"
        for split, count in table.left_out.items()
    ]
    for kind, count in zip(("audio", "text"), table.unused, strict=True):
        if count:
            notes.append(f"{counted(count, 'row')} of the {kind} array not used")
    if table.classes:
        notes.append(f"{counted(len(table.classes), 'class', 'classes')} with sentences")
        named = {label for clips in table.clips.values() for clip in clips for label in clip.labels}
        without = len(named - table.classes.keys())
        if without:
            notes.append(f"{counted(without, 'label')} of clips without one")
    silent = sum(not clip.sentences for clips in table.clips.values() for clip in clips)
    if silent:
        notes.append(f"{counted(silent, 'clip')} without a caption")
    if table.split_groups:
        notes.append(f"{counted(table.split_groups, 'group')} with clips in more than one split")
    click.echo("; ".join(notes))

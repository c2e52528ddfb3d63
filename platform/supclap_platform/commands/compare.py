"""`supclap compare`: B against A, for people and for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import click

from supclap.errors import InputError
from supclap.given_paths import HerePath
from supclap.objects import in_store
from supclap.progress import activity
from supclap_platform.commands.compare_models import kept, measured, model_folder
from supclap_platform.commands.compare_sides import FORM, open_side, parse_side
from supclap_platform.commands.options import storage_option

REGRESSION = 1  # exit code: a column is worse
FORMS = ("txt", "md", "json", "html")


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--within",
    "bounds",
    multiple=True,
    metavar="[COLUMN=]NUMBER",
    help="The largest difference that does not matter: of all columns, or of one. May be repeated.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="Compare this column. May be repeated.  [default: those of the table]",
)
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="txt", show_default=True, help="Printed."
)
@click.option(
    "--out",
    "targets",
    multiple=True,
    type=HerePath(),
    metavar="FILE",
    help="Write it here too, in the format of the name's ending. May be repeated.",
)
@click.option(
    "--data", metavar="FOLDER", help="Of two models: measure both on it, or on: soundscenes."
)
@click.option("--split", default="test", show_default=True, help="Of --data.")
@click.option(
    "--code",
    multiple=True,
    metavar="FILE.py",
    help="Run this file first, where a model needs a part of it. May be repeated.",
)
@click.option("--no-code", is_flag=True, help="Refuse a FILE that names code of its own to run.")
@storage_option
def compare(
    a: str,
    b: str,
    bounds: tuple[str, ...],
    columns: tuple[str, ...],
    form: str,
    targets: tuple[Path, ...],
    data: str | None,
    split: str,
    code: tuple[str, ...],
    no_code: bool,
    storage: str,
) -> None:
    """Compare B with A, seed by seed and query by query: is it better, worse or equal?

    A and B are experiments, FILE[@PROFILE][@code=earlier][@KEY=VALUE][@storage=PLACE], or folders
    of trained models, here or in a store. Exit code 0: no column is worse; 1: one is; 2: they
    cannot be compared.
    """
    within = _bounds(bounds)
    _check_targets(targets)
    models = [model_folder(a), model_folder(b)]
    if any(models) and not all(models):
        one, other = ("A", "B") if models[0] else ("B", "A")
        raise InputError(
            f"{one} is a trained model and {other} ({b if models[0] else a}) is none: compare two "
            "models, or two experiments"
        )
    with activity("comparing"):
        from supclap_platform.results.comparison import compare as compared
        from supclap_platform.results.comparison_formats import COMPARISON_FORMATS

    if models[0] is not None and models[1] is not None:
        from supclap_platform.results.model_comparison import compare_models

        places = ((a, models[0]), (b, models[1]))
        if data is None:
            first, second = (kept(text, place) for text, place in places)
        else:
            first, second = (measured(text, place, data, split, code) for text, place in places)
        found = compare_models(first, second, within, columns)
    else:
        _only_of_models(a, b, data, code)
        written = parse_side(a), parse_side(b)
        with activity("reading the runs"):
            sides = [
                open_side(name, one, storage, columns, no_code)
                for name, one in zip("AB", written, strict=True)
            ]
        with activity("comparing"):
            found = compared(sides[0], sides[1], within)
    for target in targets:
        _write(target, COMPARISON_FORMATS[target.suffix[1:]](found))
    click.echo(COMPARISON_FORMATS[form](found), nl=False)
    for target in targets:
        click.echo(f"wrote {target}", err=True)
    if found.regression:
        raise SystemExit(REGRESSION)


def _bounds(given: Sequence[str]) -> dict[str, float]:
    """Column -> the largest difference that does not matter; "" for all others."""
    found: dict[str, float] = {}
    for text in given:
        name, sign, number = text.rpartition("=")
        try:
            bound = float(number)
        except ValueError:
            bound = float("nan")
        if (sign and not name) or not isfinite(bound) or bound <= 0:
            raise InputError(
                f"--within {text}: expected a number above 0, or COLUMN=NUMBER, such as t2a.R@1=0.5"
            )
        if name in found:
            what = f"of {name}" if name else "of all columns"
            raise InputError(f"--within {text}: there is one {what} already")
        found[name] = bound
    return found


def _check_targets(targets: Sequence[Path]) -> None:
    """Raises InputError where a file could not be written, before anything is read."""
    for target in targets:
        if target.suffix[1:] not in FORMS:
            endings = ", ".join(f".{form}" for form in FORMS)
            raise InputError(f"--out {target}: expected a name that ends in one of {endings}")
        if target.exists() and not target.is_file():
            raise InputError(f"--out {target}: is no file; give the name of one to write")
        if not target.parent.is_dir():
            raise InputError(f"--out {target}: there is no folder {target.parent}; make it first")


def _only_of_models(a: str, b: str, data: str | None, code: Sequence[str]) -> None:
    for text in (a, b):
        if in_store(text) or Path(text).is_dir():
            raise InputError(
                f"{text}: a folder without a trained model (model.json); expected {FORM}, or the "
                "folder of a model or its run"
            )
    if data is not None or code:
        raise InputError(
            f"--{'data' if data is not None else 'code'} belongs to two trained models; A and B "
            "are experiments, whose runs have been measured"
        )


def _write(target: Path, text: str) -> None:
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {target}: cannot be written: {error.strerror or error}") from None

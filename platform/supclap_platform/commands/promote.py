"""`supclap promote`: the best settings of a search become the variants of a new experiment file,
and the winner's model a version in MLflow's registry, or a folder with a model card."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import click

from supclap.errors import InputError
from supclap.given_paths import HerePath
from supclap.secrets import masked
from supclap.user_code import is_file
from supclap.wording import counted
from supclap_platform.commands.model_export import export_model
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.profile import DEFAULT_PROFILE
from supclap_platform.mirror.registry import ALIAS, register
from supclap_platform.mirror.store import choose_store
from supclap_platform.mirror.tracking import reason
from supclap_platform.search.best_cell import winner_of
from supclap_platform.search.promotion import promoted
from supclap_platform.search.winner import read_findings


@click.command()
@experiment_options
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="How many.")
@click.option(
    "--as",
    "target",
    type=HerePath(),
    help="The file to write; one that exists is not overwritten.",
)
@click.option("--register", "name", metavar="NAME", help="Register the winner's model in MLflow.")
@click.option(
    "--to",
    "folder",
    type=HerePath(),
    metavar="DIR",
    help="Write the winner's model with a model card, as the Hugging Face Hub takes it.",
)
@click.option("--row", help="The row whose model it is; default: the best on validation.")
@click.option("--tracking-uri", help="MLflow's store; default: as for `supclap run`.")
def promote(
    asked: Asked,
    top: int,
    target: Path | None,
    name: str | None,
    folder: Path | None,
    row: str | None,
    tracking_uri: str | None,
) -> None:
    """Write the best settings that FILE's search has found as a new experiment file; register the
    model of FILE's winner in MLflow; or write it with a model card."""
    asked = replace(asked, file=_found(asked.file))
    if target is None and name is None and folder is None:
        raise InputError(
            "give --as FILE (settings of a search), --register NAME or --to DIR (a model)"
        )
    if row is not None and name is None and folder is None:
        raise InputError("--row: belongs to --register NAME and --to DIR")
    if target is not None:
        _write_settings(asked, top, target)
    if name is not None:
        _register(asked, name, row, tracking_uri)
    if folder is not None:
        export_model(*asked.open(), row, folder)


def _write_settings(asked: Asked, top: int, target: Path) -> None:
    file = asked.file
    experiment = asked.experiment()
    if experiment.search is None:
        raise InputError(f"{file}: declares no search, so that there is nothing to promote")
    _refuse_another_folder(experiment, target)
    ledger = asked.ledger()
    findings = read_findings(experiment, ledger, so_far=True)
    if findings is None or not findings.best:
        raise InputError(
            f"{file}: no trial of its search has finished in {ledger.storage.uri}; "
            f"run it first: supclap run {file}"
        )
    if target.exists():
        raise InputError(f"--as {target}: exists already; give another name, or remove it")
    best = findings.best[:top]
    text = promoted(experiment, best, f"supclap promote {file} --top {top} --as {target}")
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--as {target}: cannot be written: {error.strerror}") from None
    replace(asked, file=target, profile=DEFAULT_PROFILE, changes=()).experiment()
    fewer = f" (no more have finished than {len(best)})" if len(best) < top else ""
    click.echo(
        f"wrote {target}: {counted(len(best), 'setting')}{fewer}; next: supclap run {target}"
    )


def _register(asked: Asked, name: str, row: str | None, tracking_uri: str | None) -> None:
    experiment, ledger = asked.open()
    if not re.fullmatch(r"[\w. -]+", name):  # MLflow's filters, addresses and files take these
        raise InputError(
            f"--register '{name}': expected letters, digits, spaces, '.', '_' and '-' alone"
        )
    best = winner_of(experiment, ledger, row)
    store = choose_store(tracking_uri, ledger.storage)
    if store is None:
        raise InputError(f"storage '{ledger.storage.uri}' is not here: give --tracking-uri")
    tags = {"experiment": experiment.name, "row": best.cell.variant, "seed": str(best.cell.seed)}
    try:
        signature = best.cell.signature
        kept = ledger.model(signature)
        version = register(store, experiment.name, signature, name, tags, kept)
    except InputError:
        raise
    except Exception as error:
        why = masked(reason(error), store.uri)
        raise InputError(f"MLflow at {store.shown} cannot be used: {why}") from error
    click.echo(f"registered {name}, version {version}: {best.cell.label} ({best.why})")
    click.echo(
        f'load it: import mlflow; mlflow.set_tracking_uri("{store.shown}"); '
        f'mlflow.pyfunc.load_model("models:/{name}@{ALIAS}")'
    )


def _refuse_another_folder(experiment: Experiment, target: Path) -> None:
    """The new file names the same code, which has to lie beside it."""
    beside = experiment.path.parent
    named = [name for name in experiment.code.names if is_file(name)]
    if named and target.parent.resolve() != beside.resolve():
        raise InputError(
            f"--as {target}: the file will name {', '.join(named)} of {beside}; write it there"
        )


def _found(file: Path) -> Path:
    """The file, or the shipped one of that name."""
    shipped = Path("experiments", f"{file}.yaml")
    return shipped if not file.exists() and shipped.is_file() else file

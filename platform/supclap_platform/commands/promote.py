"""`supclap promote`: the best settings of a search become the variants of a new experiment file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from supclap.errors import InputError
from supclap.user_code import is_file
from supclap.wording import counted
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.experiment.reader import DEFAULT_PROFILE, Experiment
from supclap_platform.search.promotion import promoted
from supclap_platform.search.winner import read_findings


@click.command()
@experiment_options
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="How many.")
@click.option(
    "--as",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write; one that exists is not overwritten.",
)
def promote(asked: Asked, top: int, target: Path) -> None:
    """Write the best settings that FILE's search has found as a new experiment file."""
    file = _found(asked.file)
    experiment = replace(asked, file=file).experiment()
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

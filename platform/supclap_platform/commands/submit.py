"""`supclap submit`: the same experiment file, run on a Ray cluster as a job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from supclap.errors import InputError
from supclap.overrides import parse_changes
from supclap.scratch import scratch_folder
from supclap.secrets import names_secret, secret_in, without_password
from supclap.wording import counted, size
from supclap_platform.commands.jobs import followed, server_option
from supclap_platform.commands.only import Only
from supclap_platform.commands.options import file_options, show_code
from supclap_platform.commands.run_options import passed_on, places_of, run_options
from supclap_platform.commands.stale import RerunCommand
from supclap_platform.experiment.own_code import CodePolicy
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.running.job_places import check_given
from supclap_platform.running.jobs import connect
from supclap_platform.running.jobs import submit as submit_job
from supclap_platform.running.submit import Request, entrypoint, pack, packages

OWN = ("file", "address", "variables", "dry_run", "no_wait")  # what `run` is not given


@click.command(cls=RerunCommand)
@file_options
@run_options
@server_option
@click.option("--storage", help="Shared place of all results; default: the cluster's own setting.")
@click.option(
    "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable in the job."
)
@click.option("--dry-run", is_flag=True, help="Only list what would be uploaded and started.")
@click.option("--no-wait", is_flag=True, help="Return when the job is accepted.")
def submit(
    file: Path,
    address: str,
    profile: str,
    changes: tuple[str, ...],
    no_code: bool,
    only: Only,
    variables: tuple[str, ...],
    dry_run: bool,
    no_wait: bool,
    **passed: Any,
) -> None:
    """Run FILE on the cluster at --address: upload the code, start, follow, exit as it exits.

    What `supclap run` takes, this takes and passes on; see `supclap run --help`.
    """
    env = _variables(variables)
    given = list(places_of(passed, env))
    _refuse_secrets(env, {what: place for _, what, place in given})
    for name, what, place in given:
        check_given(name, what, place, address)
    os.environ.update(env)  # the file may name them
    policy = CodePolicy(not no_code, announce=show_code)
    experiment = load_experiment(file, profile, parse_changes(changes), policy)
    only.check(experiment)
    options, secret = passed_on(click.get_current_context(), OWN)
    request = Request(
        file, options, env | secret, experiment.files[1:], experiment.code_files, experiment.name
    )
    if dry_run:
        _show(request)
        return
    client = connect(address)
    with scratch_folder("submit") as scratch:
        job = submit_job(client, request, scratch)
    shown = without_password(address)
    click.echo(f"job {job} at {shown}")
    if no_wait:
        click.echo(f"its output: supclap logs {job} --follow --address {shown}")
        return
    raise SystemExit(followed(client, job, shown))


def _refuse_secrets(env: dict[str, str], places: dict[str, str]) -> None:
    """Ray (2.60) writes a job's variables to a log that all users of the head can read, gives them
    to whoever lists jobs, and starts processes with them among their arguments.

    Raises InputError.
    """
    for what, text in {**places, **{f"--env {name}": text for name, text in env.items()}}.items():
        found = secret_in(text)
        if found is None and names_secret(what.rpartition(" ")[2]):
            found = "a secret by its name"
        if found is not None:
            raise InputError(
                f"{what}: {found}: Ray shows what a job is given in its logs, its list of jobs and "
                "the titles of its processes; set the variable where `ray start` is called on the "
                "cluster, which the job then has"
            )


def _show(request: Request) -> None:
    """Lists what would be uploaded, with sizes, and the command that would be started."""
    for place, content in sorted(request.own().items()):
        click.echo(f"would upload {place} ({size(len(content))})")
    for name, files in packages().items():
        whole = size(sum(map(len, files.values())))
        click.echo(f"would upload the package {name} ({counted(len(files), 'file')}, {whole})")
    with scratch_folder("submit") as scratch:
        packed = pack(request, scratch / "supclap.zip").stat().st_size
    click.echo(f"in all {size(packed)}, packed")
    click.echo(f"would start {entrypoint(request)}")


def _variables(items: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"--env {item}: expected NAME=VALUE")
        found[name] = value
    return found

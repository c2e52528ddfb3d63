"""`supclap submit`: the same experiment file, run on a Ray cluster as a job."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from supclap.errors import INTERRUPTED, InputError
from supclap.overrides import parse_changes
from supclap.secrets import has_secret, without_password
from supclap_platform.commands.only import Only, only_options
from supclap_platform.commands.options import file_options, show_code
from supclap_platform.experiment.own_code import CodePolicy
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.running.submit import Request, connect, entrypoint, follow
from supclap_platform.running.submit import submit as submit_job


@click.command()
@file_options
@only_options
@click.option("--address", required=True, help="The cluster's dashboard, such as http://head:8265.")
@click.option("--storage", help="Shared place of all results; default: the cluster's own setting.")
@click.option("--tracking-uri", help="MLflow server; default: the cluster's own setting.")
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
    storage: str | None,
    tracking_uri: str | None,
    variables: tuple[str, ...],
    dry_run: bool,
    no_wait: bool,
) -> None:
    """Run FILE on the cluster at --address: upload the code, start, follow, exit as it exits."""
    env = _variables(variables)
    os.environ.update(env)  # the file may name them
    policy = CodePolicy(not no_code, announce=show_code)
    experiment = load_experiment(file, profile, parse_changes(changes), policy)
    only.check(experiment)
    options = ["--profile", profile, *only.words]
    options += [word for change in changes for word in ("--set", change)]
    # The cluster shows a job's command line to everyone, and so does the head's list of processes.
    for option, variable, uri in (
        ("--storage", "SUPCLAP_STORAGE", storage),
        ("--tracking-uri", "MLFLOW_TRACKING_URI", tracking_uri),
    ):
        if uri and has_secret(uri):
            env[variable] = uri
        elif uri:
            options += [option, uri]
    request = Request(file, options, env, experiment.files[1:], experiment.code_files)
    if dry_run:
        for place in sorted(request.uploaded()):
            click.echo(f"would upload {place}")
        click.echo("would upload the packages supclap and supclap_platform")
        click.echo(f"would start {entrypoint(request)}")
        return
    client = connect(address)
    with tempfile.TemporaryDirectory(prefix="supclap-submit-") as scratch:
        job = submit_job(client, request, Path(scratch))
    shown = without_password(address)
    click.echo(f"job {job} at {shown}")
    if no_wait:
        click.echo(f"its output: ray job logs {job} --follow --address {shown}")
        return
    try:
        code = follow(client, job, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(f"\nthe job goes on; to end it: ray job stop {job} --address {shown}")
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(code)


def _variables(items: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"--env {item}: expected NAME=VALUE")
        found[name] = value
    return found

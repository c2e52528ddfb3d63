"""`supclap status` and `supclap stop`: an experiment seen, and ended, from another shell."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.live import Live

from supclap_platform.commands.now import as_of_now
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.drivers import ask_to_stop, drivers_of
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Status, make_plan
from supclap_platform.running.monitor import watch
from supclap_platform.running.progress import Progress, Reader
from supclap_platform.running.view import drawn, line
from supclap_platform.search.winner import search_line

EVERY = 2.0  # seconds between looks with --watch
PATIENCE = 30.0  # seconds that `stop` waits for the cells to be given back


@click.command()
@experiment_options
@click.option("--watch", "watching", is_flag=True, help="Keep looking until nothing runs.")
def status(asked: Asked, watching: bool) -> None:
    """Show how far FILE is, from any shell that sees the storage."""
    experiment = asked.experiment()
    ledger = asked.ledger()
    console = Console(highlight=False)
    reader = Reader(ledger, every=0.0)

    def look() -> Progress:
        now, claims = as_of_now(experiment, ledger)
        since = _since(experiment, ledger)
        return watch(make_plan(now, ledger), ledger, reader, since, claims)

    progress = look()
    if watching and console.is_terminal:
        with Live(drawn(progress), console=console, refresh_per_second=2) as live:
            while progress.counts.get(Status.RUNNING) or drivers_of(ledger, experiment.name):
                time.sleep(EVERY)
                progress = look()
                live.update(drawn(progress))
    else:
        while watching and (
            progress.counts.get(Status.RUNNING) or drivers_of(ledger, experiment.name)
        ):
            click.echo(line(progress))
            time.sleep(15 * EVERY)
            progress = look()
        console.print(drawn(progress))
    if experiment.search is not None:
        console.print(search_line(experiment, ledger), markup=False, soft_wrap=True)
    for trouble in progress.troubles:
        console.print(trouble, style="red", markup=False, soft_wrap=True)
    for name, driver in _drivers(experiment, ledger):
        whole = "" if name == experiment.name else f", as a part of {name}"
        shown = f"driven by process {driver.pid} on {driver.host_name}{whole}"
        console.print(shown, markup=False, soft_wrap=True)
    if progress.seconds is None:
        console.print("nobody drives it now", markup=False)


def _drivers(experiment: Experiment, ledger: Ledger) -> list[tuple[str, LeaseName]]:
    """The live drivers of an experiment and of those that include it, each with what it runs."""
    names = (experiment.name, *Histories(ledger).including(experiment.name))
    return [(name, driver) for name in names for driver in drivers_of(ledger, name)]


def _since(experiment: Experiment, ledger: Ledger) -> float | None:
    """Seconds since the first of its live drivers began, None where it has none."""
    born = [driver.born for _, driver in _drivers(experiment, ledger)]
    return max(0.0, time.time() - min(born) / 1000) if born else None


@click.command()
@experiment_options
def stop(asked: Asked) -> None:
    """Stop every run of FILE, on whatever machine; each can go on later."""
    experiment = asked.experiment()
    ledger = asked.ledger(writing=True)
    drivers = ask_to_stop(ledger, experiment.name)
    if not drivers:
        click.echo(f"nothing runs {experiment.name} in {ledger.storage.uri}")
        for name in Histories(ledger).including(experiment.name):
            for driver in drivers_of(ledger, name):
                click.echo(
                    f"process {driver.pid} on {driver.host_name} runs it as a part of {name}; to "
                    "stop that, give its file"
                )
        return
    for driver in drivers:
        click.echo(f"asked process {driver.pid} on {driver.host_name} to stop")
    until = time.monotonic() + PATIENCE
    now, _ = as_of_now(experiment, ledger)
    while make_plan(now, ledger).count(Status.RUNNING):
        if time.monotonic() > until:
            click.echo("cells still run; `supclap status` shows when they are given back", err=True)
            raise SystemExit(1)
        time.sleep(EVERY / 2)
        ask_to_stop(ledger, experiment.name)  # a heartbeat at that moment undoes the request
    click.echo("stopped; `supclap run` goes on from the last checkpoints")

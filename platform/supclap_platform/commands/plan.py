"""`supclap plan`: what would run, what is done, how long it takes. Nothing is started."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from supclap.copies import Awaited
from supclap.errors import InputError
from supclap.events import EARLIER_NAMES
from supclap.progress import activity
from supclap.wording import counted
from supclap_platform.commands.only import Only, only_options
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.commands.plan_fetches import fetch_lines
from supclap_platform.commands.plan_forecast import forecast_line, places
from supclap_platform.commands.plan_missing import short
from supclap_platform.commands.plan_own import own_of_seeds
from supclap_platform.commands.plan_preview import open_lines, run_lines
from supclap_platform.commands.plan_room import disk_line, room_lines, smallest_card
from supclap_platform.commands.plan_shares import share_lines
from supclap_platform.commands.plan_without import show_without
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.folders import awaited_folders, check_folders
from supclap_platform.ledger.declared import late
from supclap_platform.ledger.forecast import Forecast, Times, forecast, time_shapes
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status, make_plan
from supclap_platform.ledger.room import room
from supclap_platform.ledger.staleness import code_of_today, stale_lines
from supclap_platform.running.machine import machine, misfit
from supclap_platform.search.winner import search_line

MOST_SEEDS = 8  # more do not fit a line: the plan then counts them
_STYLES = {
    Status.DONE: "green",
    Status.STALE: "yellow",
    Status.RUNNING: "cyan",
    Status.FAILED: "bold red",
    Status.RESUMABLE: "blue",
    Status.REMOVED: "dim",
}


@click.command()
@experiment_options
@only_options
@click.option("--at-once", type=click.IntRange(min=1), help="Cells side by side in the forecast.")
@click.option(
    "--no-timing",
    is_flag=True,
    help="Time no steps where no finished cell says how long one takes: no first forecast.",
)
def plan(asked: Asked, only: Only, at_once: int | None, no_timing: bool) -> None:
    """Show what FILE would run, what is done, and a forecast; start nothing."""
    coming: list[Awaited] = []
    try:
        with activity("reading the experiment and its results"):
            experiment, ledger = asked.open(announce=True)
            only.check(experiment)
            whole = make_plan(experiment, ledger)
            only.refuse_nothing(whole)
            made = only.of(whole)
            if made.to_run or experiment.search is not None:
                check_folders(experiment)
                coming = awaited_folders(experiment)
    except InputError:
        show_without(asked, only, at_once, no_timing)
        raise
    first = None if no_timing else time_shapes(made, ledger)
    console = Console(soft_wrap=True, highlight=False)
    if experiment.search is not None:
        console.print(Text(search_line(experiment, ledger)))
    side = at_once or places(made)
    expected = forecast(made, ledger, side, first)
    needed = room(made, side, first)
    *above, last = describe(made, expected, ledger, whole)
    for line in above:
        console.print(line)
    for missing in short(experiment, asked) if made.to_run else ():
        console.print(Text(f"to run it: {missing.command}"))
    for text in run_lines(made, first):
        console.print(Text(text))
    for line in () if needed is None else room_lines(needed, made, ledger, side):
        console.print(line)
    for text in share_lines(made, ledger, smallest_card(made)):
        console.print(Text(text))
    console.print(last)
    for text in open_lines(made, first, asked):
        console.print(Text(text))
    for line in fetch_lines(coming):
        console.print(line)
    left_out = only.left_out(whole, made)
    if left_out:
        console.print(Text(f"{left_out} of {counted(len(whole.to_run), 'run')} that are left"))
    if experiment.sequential and not only:  # looks are of the whole
        from supclap_platform.commands.plan_looks import describe_looks, refuse_margins
        from supclap_platform.results.looks import left_at_worst

        worst = make_plan(left_at_worst(experiment, ledger), ledger)
        times = Times.of(worst, ledger, first)
        for line in describe_looks(experiment, ledger, worst, times, at_once or places(worst)):
            console.print(line)
        most = room(worst, side, first)
        if most is not None and (most.disk or most.kept or most.made):
            console.print(disk_line(most, ledger, "disk at worst"))
        refuse_margins(experiment, ledger)  # at the end: what would do stands above


def describe(
    plan: Plan, expected: Forecast, ledger: Ledger, whole: Plan | None = None
) -> Iterator[Text]:
    """The plan as lines, coloured where the terminal can. ``whole``: what it is a part of."""
    experiment = plan.experiment
    stages = sum(cell.variant == "init" for cell in plan.cells)
    count = counted(len(experiment.rows), "variant")
    count += f" x {counted(len(experiment.groups), 'group')}" if experiment.groups else ""
    count += f" x {_seeds(experiment)}"
    also = f" + {stages} init" if stages else ""
    changes = "".join(f", {key}={value}" for key, value in sorted(experiment.changes.items()))
    if experiment.parts:
        count = f"{counted(len(experiment.parts), 'experiment')}, {counted(len(plan.cells), 'run')}"
    yield Text(f"{experiment.name}, profile {experiment.profile}{changes}: {count}{also}")
    if experiment.without:
        yield Text(experiment.without)
    yield Text(f"storage {ledger.storage.uri}, code {code_of_today(plan.cells)}")
    yield Text()
    yield from _parts(plan) if experiment.parts else _grid(plan)
    yield Text()
    counts = [(status, plan.count(status)) for status in Status]
    yield Text(", ".join(f"{n} {status}" for status, n in counts if n))
    for name, own in own_of_seeds(experiment):
        yield Text(f"{name}{': ' if name else ''}each seed's own: {own}")
    yield from _remarks(plan, ledger, whole or plan)
    yield Text(forecast_line(expected))


def _seeds(experiment: Experiment) -> str:
    if experiment.looks is None:
        return counted(len(experiment.seeds), "seed")
    return f"{experiment.looks.seeds[0]} to {counted(len(experiment.seeds), 'seed')}"


def _grid(plan: Plan) -> Iterator[Text]:
    rows: dict[str, list[tuple[int, Status]]] = {}
    for cell in plan.cells:
        rows.setdefault(cell.variant, []).append((cell.seed, plan.status(cell)))
    for known in plan.removed:
        rows.setdefault(f"{known.variant} (removed)", []).append((known.seed, Status.REMOVED))
    width = max(len(name) for name in rows)
    for name, cells in rows.items():
        line = Text(f"{name:<{width}}")
        if len(cells) <= MOST_SEEDS:
            for seed, status in cells:
                line.append("  ")
                line.append(f"{seed}: {status:<9}", style=_STYLES.get(status, ""))
        else:
            found = [status for _, status in cells]
            parts = (f"{found.count(s)} {s}" for s in Status if s in found)
            line.append(f"  {counted(len(cells), 'seed')}: {', '.join(parts)}")
        line.rstrip()
        yield line


def _parts(plan: Plan) -> Iterator[Text]:
    """A line for each part of an including experiment; a run that several share counts in each."""
    above: set[str] = set()
    width = max(len(part.name) for part in plan.experiment.parts)
    for part in plan.experiment.parts:
        own = {cell.signature for cell in cells_of(part)} & plan.statuses.keys()
        found = [plan.statuses[signature] for signature in own]
        line = Text(f"{part.name:<{width}}  {counted(len(own), 'run'):>9}: ")
        counts = [(status, found.count(status)) for status in Status if status in found]
        for place, (status, n) in enumerate(counts):
            line.append(f"{', ' if place else ''}{n} {status}", style=_STYLES.get(status, ""))
        shared = len(own & above)
        line.append(f" ({shared} of them shared with a part above)" if shared else "")
        above |= own
        yield line


def _remarks(plan: Plan, ledger: Ledger, whole: Plan) -> Iterator[Text]:
    for part in plan.experiment.parts or (plan.experiment,):
        words = set(re.findall(r"[\w.]+", part.path.read_text(encoding="utf-8")))
        for earlier, today in EARLIER_NAMES.items():
            if earlier in words or any(word.endswith(f".{earlier}") for word in words):
                yield Text(f"{part.path.name}: {earlier} is the earlier name of {today}", "yellow")
        yield from (Text(line, "yellow") for line in _late(part, whole, ledger))
    yield from (Text(line, style="yellow") for line in stale_lines(plan.stale))
    # A remark: what is planned here may be meant for a cluster.
    unfit = misfit(plan.to_run, machine(plan.to_run))
    if unfit is not None:
        yield Text(f"not on this machine: {unfit}", style="yellow")
    for cell in {c.signature: c for c in plan.cells}.values():
        status = plan.status(cell)
        if status is Status.FAILED:
            failure = ledger.failure(cell.signature)
            if failure is not None:
                tries = counted(failure.attempts, "attempt")
                yield Text(f"failed: {cell.label}, {tries}: {failure.error}", style="red")
        elif status is Status.RUNNING:
            holder = plan.leases[cell.signature]
            yield Text(f"running: {cell.label}, on {holder.host_name}, process {holder.pid}")


def _late(part: Experiment, plan: Plan, ledger: Ledger) -> Iterator[str]:
    """What is asked, or would be by a run, after there were results."""
    cells = plan.cells if part is plan.experiment else cells_of(part)
    found = late(part, cells, plan.results.keys(), ledger)
    for claim, words in found.claims.items():
        yield f"'{claim.text}': {words}; its verdict says so"
    if found.seeds:
        yield f"{found.seeds}; the verdicts say so"

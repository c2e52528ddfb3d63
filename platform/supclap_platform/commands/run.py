"""`supclap run`: what an experiment still lacks, trained on Ray; then its table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click
from rich.console import Console

from supclap.errors import INTERRUPTED
from supclap.progress import activity
from supclap.waiting import clear
from supclap_platform.commands.beginning import refuse_mixture, say_stale, show_head, to_come
from supclap_platform.commands.only import Only
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.commands.rounds import first_round, next_round
from supclap_platform.commands.run_options import STUDIES, TRACKING, run_options
from supclap_platform.commands.stale import RerunCommand, with_reruns
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.folders import check_folders, fetch_folders
from supclap_platform.ledger.history import now as right_now
from supclap_platform.ledger.journal import Account
from supclap_platform.ledger.kept_code import keep_code
from supclap_platform.ledger.kept_models import free_models
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status, make_plan, remember
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.mirror.store import Store, choose_store, preload
from supclap_platform.mirror.tracking import LAST_LOOK, Tracker, tracked
from supclap_platform.results.account import account_now, account_of
from supclap_platform.results.conclusion import Conclusion, conclude_parts
from supclap_platform.results.formats import FORMATS
from supclap_platform.results.search_figures import search_files
from supclap_platform.results.table_files import table_json, tables_of
from supclap_platform.running.cluster import connected
from supclap_platform.running.drive import drive, say_unwritten
from supclap_platform.running.job_places import check_in_job
from supclap_platform.running.machine import check_fits, machine
from supclap_platform.running.monitor import look_line
from supclap_platform.search.winner import with_winner

if TYPE_CHECKING:
    from supclap_platform.results.figures import Drawing
    from supclap_platform.running.executor import RayExecutor


@click.command(cls=RerunCommand)
@experiment_options
@run_options
@click.option("--address", help="Ray cluster to join: auto or HOST:PORT. Default: an own Ray.")
@click.option(
    "--cpus",
    type=click.IntRange(min=1),
    help="Cores that an own Ray may use; default: all that this process may.",
)
def run(
    asked: Asked,
    only: Only,
    address: str | None,
    cpus: int | None,
    tracking_uri: str | None,
    mixed: bool,
    rerun_stale: tuple[str, ...],
    study_storage: str | None,
) -> None:
    """Run what FILE still lacks, then print its table. Run it again to go on after any stop."""
    experiment = asked.experiment(announce=True)
    only.check(experiment)
    study_storage = study_storage or os.environ.get(STUDIES)
    check_in_job(asked.storage, (tracking_uri or os.environ.get(TRACKING), study_storage))
    ledger = asked.ledger(writing=True)
    store = choose_store(
        tracking_uri, ledger.storage
    )  # a wrong URI is refused before anything starts
    console = Console(highlight=False)
    if experiment.search is not None and only.asks_for(experiment.search.rows):
        from supclap_platform.search.phase import run_search

        _look_at_folders(experiment, address)
        keep_code(experiment, ledger)
        rows = make_plan(with_winner(experiment, ledger), ledger)
        _check_machine(rows, address, cpus)  # not after hours of search
        place = (address, cpus, tracking_uri, study_storage)
        code = run_search(experiment, ledger, console, *place, mixed=mixed)
        if code:
            raise SystemExit(code)
    whole = experiment
    seen = Snapshot(ledger)  # as long as nothing is run, all agree on one moment
    now = first_round(whole, seen)
    only.refuse_nothing(now.plan)
    plan, anew = with_reruns(now.plan, rerun_stale, only=only)
    work = only.of(plan, anew)  # the plan stays whole: what is asked, shown and compared is
    if work.to_run:
        _look_at_folders(experiment, address)
    coming, again = to_come(plan, anew, ledger, rerun_stale, only)
    _check_machine(only.of(coming, again), address, cpus)
    refuse_mixture(coming, only.of(coming, again), ledger, mixed)
    show_head(plan, work, only, ledger, console)
    code = 0
    with ExitStack() as stack:
        ray = stack.enter_context(ExitStack())
        executor, tracker = None, None
        while True:
            if now.claims:
                console.print(look_line(now.claims, len(work.to_run)), markup=False, soft_wrap=True)
            if executor is None and (work.to_run or work.count(Status.RUNNING)):
                preload()
                executor = _executor(ray, work, ledger, address, cpus)
            for signature in anew:  # nothing is taken away before Ray is there to make it anew
                ledger.set_aside(signature)
            keep_code(whole, ledger)
            remember(plan, ledger)
            if tracker is None:
                resting = executor is None
                view = seen if resting else ledger
                say, uri = _sayer(console), tracking_uri
                tracker = stack.enter_context(
                    tracked(plan.experiment, plan.cells, view, uri, say, account_now, resting)
                )
            else:
                tracker.widen(plan.experiment, plan.cells)
            if executor is not None:
                code = drive(work, ledger, executor, tracker, console, now.claims) or code
            stopped = code == INTERRUPTED or (executor is not None and executor.lost)
            over = stopped or executor is None  # where nothing was run, nothing new follows
            following = None if over else next_round(whole, ledger, only)
            if following is None:
                break
            now = following
            plan, anew = with_reruns(now.plan, rerun_stale, known=False, only=only)
            work = only.of(plan, anew)
        ray.close()
        if stopped:
            tracker.close("KILLED", tables_of(plan.experiment, ledger), patience=LAST_LOOK)
        else:
            view = seen if executor is None else Snapshot(ledger)
            code = _end(plan, work, view, tracker, console, mixed, store, code)
    if not code and plan.stale and not mixed:
        code = say_stale(plan, console)
    raise SystemExit(code)


def _end(
    plan: Plan,
    work: Plan,
    seen: Snapshot,
    tracker: Tracker,
    console: Console,
    mixed: bool,
    store: Store | None,
    code: int,
) -> int:
    """What a run ends with whose cells are all over; the exit code. ``code``: of its cells."""
    experiment = plan.experiment
    files: dict[str, bytes] = {}
    account, ended = None, right_now()  # which the report and MLflow show
    try:  # the last words need no room: they are printed before they are written
        files, account = _conclude(plan, seen, tracker, console, mixed, store, ended)
        files |= search_files(experiment, seen)
    except OSError as error:
        own = seen.experiment_folder(experiment.name).uri
        rest = "every cell's result is kept: make room, and the same command writes the rest"
        say_unwritten(own, error, rest, console)
        code = code or 1
    code = code or (1 if work.count(Status.DAMAGED) else 0)
    if line := free_models(experiment, seen).line:
        console.print(line, markup=False, soft_wrap=True)
    tracker.close("FAILED" if code else "FINISHED", files, account=account, ended=ended)
    return code


def _look_at_folders(experiment: Experiment, address: str | None) -> None:
    """Raises InputError for data that no run can use. What lies in a store is fetched first where
    this machine trains; of a cluster the nodes fetch it, and its head need not have the room."""
    if address is None:
        fetch_folders(experiment)
    check_folders(experiment)


def _check_machine(plan: Plan, address: str | None, cpus: int | None) -> None:
    """Raises InputError for a cell that an own Ray, which is not started yet, can never run."""
    if address is None:
        check_fits(plan.to_run, machine(plan.to_run, cpus))


def _executor(
    stack: ExitStack, plan: Plan, ledger: Ledger, address: str | None, cpus: int | None
) -> RayExecutor:
    """Ray, for as long as ``stack`` is open."""
    with activity("loading Ray"):
        from supclap_platform.running.executor import RayExecutor

    cluster = stack.enter_context(connected(address, cpus))
    executor = RayExecutor(cluster, ledger, plan.experiment.name)
    with activity("asking the nodes what they have"):
        executor.shares.learn(plan.cells, plan.results)
        executor.begin(plan.to_run)
    return executor


def _sayer(console: Console) -> Callable[[str], None]:
    def say(line: str) -> None:
        clear()  # it comes from another thread, maybe while a wait is drawn
        console.print(line, style="yellow", markup=False, soft_wrap=True)

    return say


def _conclude(
    plan: Plan,
    seen: Snapshot,
    tracker: Tracker,
    console: Console,
    mixed: bool,
    store: Store | None,
    ended: int,
) -> tuple[dict[str, bytes], Account]:
    """Prints and writes what an experiment ends with; its files by name, and what it says."""
    console.print()
    experiment = plan.experiment
    concluded = conclude_parts(experiment, seen, mixed, plan.cells)
    drawings: dict[str, Sequence[Drawing]] = {}  # part -> its figures, drawn for files and page
    if experiment.parts:
        files = _conclude_parts(experiment, concluded, drawings, seen, console)
    else:
        console.print(concluded[0].text(), markup=False, soft_wrap=True)
        files = _write(concluded[0], drawings, seen, console)
    account = account_of(experiment, concluded)
    tracker.settle(account)  # the page leads to MLflow's runs
    files |= _report(experiment, concluded, drawings, seen, console, mixed, store, ended)
    browse = "" if store is None else "`supclap ui` shows every run; "
    console.print(f"next: {browse}edit the file and run it again:")
    console.print("      only what is new will be trained")
    return files, account


def _conclude_parts(
    experiment: Experiment,
    concluded: Sequence[Conclusion],
    drawings: dict[str, Sequence[Drawing]],
    ledger: Ledger,
    console: Console,
) -> dict[str, bytes]:
    """Each part in its own folder, as if it had been run by itself; then all of them together."""
    from supclap_platform.results.summary import SUMMARY_FORMATS, summarise

    summary = summarise(experiment, concluded)
    files = dict(summary.files)
    console.print(SUMMARY_FORMATS["txt"](summary), markup=False, soft_wrap=True)
    for one in concluded:
        own = _write(one, drawings, ledger, console)
        files |= {f"{one.name}/{name}": content for name, content in own.items()}
    places = summary.write(ledger.experiment_folder(experiment.name))
    console.print(f"written: {places[0]} (also .md, .csv)", markup=False, soft_wrap=True)
    return files


def _write(
    found: Conclusion,
    drawings: dict[str, Sequence[Drawing]],
    ledger: Ledger,
    console: Console,
) -> dict[str, bytes]:
    """Writes table, verdicts and figures to the experiment's folder; the files by name, with the
    form of the table that MLflow shows. The figures are added to ``drawings``."""
    folder = ledger.experiment_folder(found.name)
    places = found.write(folder)
    drawn = {}
    if found.experiment.figures:
        from supclap_platform.results.figures import draw_figures, figure_files

        drawings[found.name] = draw_figures(found.experiment, ledger, evidence=found.evidence)
        drawn = figure_files(drawings[found.name])
    folder.write_all(drawn)
    also = f"also {', '.join(f'.{ending}' for ending in list(FORMATS)[1:])}"
    also += "; verdicts" if found.verdicts else ""
    also += f"; {folder.uri_of('figures')}" if drawn else ""
    console.print(f"written: {places[0]} ({also})", markup=False, soft_wrap=True)
    return {**found.files, **table_json(found.table), **drawn}


def _report(
    experiment: Experiment,
    concluded: Sequence[Conclusion],
    drawings: Mapping[str, Sequence[Drawing]],
    seen: Snapshot,
    console: Console,
    mixed: bool,
    store: Store | None,
    ended: int,
) -> dict[str, bytes]:
    """Writes the page on the experiment; its file by name."""
    from supclap_platform.results.report import REPORT, build_report

    page = build_report(experiment, seen, mixed, store, ended, concluded, drawings)
    folder = seen.experiment_folder(experiment.name)
    folder.write(REPORT, page)
    text = f"report: {folder.uri_of(REPORT)} (verdicts, table, figures and runs on one page)"
    console.print(text, markup=False, soft_wrap=True)
    return {REPORT: page}

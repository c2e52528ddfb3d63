"""The first half of `supclap run` on a file with a search: the search. Then comes the grid of the
winner and the rows it is compared with, as in any other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from supclap.errors import INTERRUPTED, InputError
from supclap.secrets import without_password
from supclap.wording import counted, duration
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.drivers import announce, drivers_of
from supclap_platform.ledger.leases import acquire
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan
from supclap_platform.ledger.records import State
from supclap_platform.ledger.staleness import stale_cells
from supclap_platform.mirror.tracking import Tracker, open_tracker
from supclap_platform.results.table_files import tables_of
from supclap_platform.running.attempt import task_of
from supclap_platform.running.cluster import connected
from supclap_platform.running.drive import drive
from supclap_platform.running.executor import RayExecutor
from supclap_platform.running.progress import Progress
from supclap_platform.running.view import View
from supclap_platform.search.explain import explain
from supclap_platform.search.job import Common
from supclap_platform.search.judging import keep_findings
from supclap_platform.search.searcher import StudySearch
from supclap_platform.search.study import Book
from supclap_platform.search.trials import Trials
from supclap_platform.search.tuning import tune_search
from supclap_platform.search.warm import finished
from supclap_platform.search.winner import with_winner

LOCK = "search"  # in the experiment's folder: held by the search's one driver
LAST_LOOK = 10.0


def run_search(
    experiment: Experiment,
    ledger: Ledger,
    console: Console,
    address: str | None,
    cpus: int | None,
    tracking_uri: str | None,
    study_storage: str | None,
    mixed: bool,
) -> int:
    """Goes on with the file's search until its trials or its budget are used up; the exit code.

    Raises InputError for a study that this file cannot go on with, before anything starts.
    """
    with _only_driver(experiment, ledger):
        book = Book(Trials(experiment), ledger, study_storage)
        _refuse_mixture(book, ledger, mixed)
        book.prepare(finished(book.trials, ledger) if book.search.warm_start else ())
        _head(book, ledger, console)
        if not book.left or book.exhausted():
            return _conclude(book, ledger, None, None, console)
        return _drive(book, ledger, console, address, cpus, tracking_uri)


@contextmanager
def _only_driver(experiment: Experiment, ledger: Ledger) -> Iterator[None]:
    """Holds the search while it is driven. Raises InputError where another process does."""
    lock = acquire(ledger.experiment_folder(experiment.name).below(LOCK))
    if lock is None:
        others = [f"process {one.pid} on {one.host}" for one in drivers_of(ledger, experiment.name)]
        raise InputError(
            f"{experiment.path}: {', '.join(others) or 'another process'} runs it already, and a "
            "search has one driver; `supclap status` shows it, `supclap stop` ends it"
        )
    with lock:
        yield


def _drive(
    book: Book,
    ledger: Ledger,
    console: Console,
    address: str | None,
    cpus: int | None,
    tracking_uri: str | None,
) -> int:
    experiment = book.trials.experiment
    probe = book.trials.of(0, next(book.search.space.probes())[1])
    cell = probe.cells[0]
    with connected(address, cpus) as cluster:
        executor = RayExecutor(cluster, ledger, experiment.name)
        executor.check([cell, *probe.stages])
        shown = with_winner(replace(experiment, claims=()), ledger)
        tracker = open_tracker(
            shown,
            probe.stages,
            ledger,
            tracking_uri,
            lambda line: console.print(line, style="yellow", markup=False, soft_wrap=True),
        )
        status = "KILLED"
        try:
            failed = _stages(experiment, probe.stages, ledger, executor, tracker, console)
            if failed:
                return failed
            search = StudySearch(book, ledger, lambda line: view.say(line, "red"))
            if search.recovered:
                console.print(f"interrupted trials that go on: {search.recovered}")
            task = replace(task_of(cell, ledger, experiment.name), label="", signature="")
            common = Common(task, book.search.objectives)
            with announce(ledger, experiment.name) as driver, View(console) as view:

                def watch(progress: Progress) -> bool:
                    if view.due():
                        view.show(progress)
                    tracker.catch_up()
                    return driver.lost

                at_once = executor.places(cell)
                stopped = tune_search(search, book, ledger, common, at_once, watch)
            if search.mistake:
                status = "FAILED"
                text = f"failed: {search.mistake}"
                console.print(text, style="bold red", markup=False, soft_wrap=True)
                return 1
            if stopped == "interrupted":
                done = len(book.over())
                console.print(
                    f"stopped with {done} of {counted(done + book.left, 'trial')} over; the same "
                    "command goes on",
                    soft_wrap=True,
                )
                return INTERRUPTED
            status = "FINISHED"
            return _conclude(book, ledger, search, stopped, console)
        finally:
            tracker.close(status, tables_of(shown, ledger), patience=LAST_LOOK)


def _stages(
    experiment: Experiment,
    stages: Sequence[Cell],
    ledger: Ledger,
    executor: RayExecutor,
    tracker: Tracker,
    console: Console,
) -> int:
    """Trains what the trials start from, where it is not there yet."""
    missing = [cell for cell in stages if ledger.state(cell.signature) is not State.DONE]
    if not missing:
        return 0
    plan = make_plan(experiment, ledger, cells=missing)
    return drive(plan, ledger, executor, tracker, console)


def _refuse_mixture(book: Book, ledger: Ledger, mixed: bool) -> None:
    """Trials are compared with each other: those to come must be run as those that are over."""
    if mixed or not book.left:
        return
    cells = [cell for one in book.over() for cell in book.trials.of(one.number, one.params).cells]
    results = ledger.results(cell.signature for cell in cells)
    stale = stale_cells(cells, results, ledger)
    if stale:
        raise InputError(
            f"{book.trials.experiment.path}: trials of the study '{book.name}' were run by another "
            f"version of the code ({stale[0].code}; {stale[0].why}); go on all the same with "
            "--mixed, or give the search a study of its own (search: {study: NAME})"
        )


def _head(book: Book, ledger: Ledger, console: Console) -> None:
    over = book.over()
    goal = ", ".join(str(objective) for objective in book.search.objectives)
    console.print(
        f"{book.trials.experiment.name}, profile {book.trials.experiment.profile}: search for "
        f"{goal}: {counted(len(over), 'trial')} over, {book.left} left; study '{book.name}' in "
        f"{without_password(book.url)}; results in {ledger.storage.uri}",
        soft_wrap=True,
        markup=False,
    )


def _conclude(
    book: Book,
    ledger: Ledger,
    search: StudySearch | None,
    stopped: str | None,
    console: Console,
) -> int:
    """Writes down and says how the search ended; the exit code."""
    findings = keep_findings(book, ledger)
    over = book.over()
    names = [trial.state.name for trial in over]
    wall, workers = book.spent()
    text = f"search: {counted(len(over), 'trial')} ({names.count('PRUNED')} stopped early"
    text += f", {names.count('FAIL')} failed" if "FAIL" in names else ""
    text += f", {search.known} known from the ledger" if search and search.known else ""
    text += f"), {duration(3600 * wall)}, {workers:.2f} worker-hours"
    console.print(text, markup=False, soft_wrap=True)
    stopped = stopped or (book.exhausted() if book.left else None)
    if book.left:
        console.print(
            f"the budget is used up: {stopped}; {counted(book.left, 'trial')} left: raise "
            "search.budget and run it again",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    if not findings.best:
        console.print("no trial has finished: there is no winner", style="bold red", markup=False)
        return 1
    best = findings.best[0]
    values = ", ".join(
        f"{name} {value:.4g}" for name, value in zip(findings.objectives, best.values, strict=True)
    )
    console.print(f"best: trial {best.number}: {values}", markup=False, soft_wrap=True)
    shown = ", ".join(f"{key}={_number(value)}" for key, value in best.params.items())
    console.print(f"      {shown}", markup=False, soft_wrap=True)
    drawn = explain(book, ledger)
    place = ledger.experiment_folder(book.trials.experiment.name).uri
    console.print(
        f"written: {place}/trials.csv, {place}/{drawn[0]} (and {len(drawn) - 1} more figures)",
        markup=False,
        soft_wrap=True,
    )
    return 0


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

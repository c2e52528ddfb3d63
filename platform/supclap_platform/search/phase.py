"""The first half of `supclap run` on a file with a search: the search. Then comes the grid of the
winner and the rows it is compared with, as in any other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from supclap.errors import INTERRUPTED, InputError
from supclap.wording import counted, duration
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.drivers import announce, drivers_of
from supclap_platform.ledger.leases import acquire
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import SEARCH
from supclap_platform.ledger.plan import make_plan
from supclap_platform.ledger.records import State
from supclap_platform.ledger.staleness import stale_cells
from supclap_platform.mirror.tracking import LAST_LOOK, Tracker, tracked
from supclap_platform.results.account import account_now
from supclap_platform.results.search_figures import TRIALS
from supclap_platform.results.table_files import tables_of
from supclap_platform.running.cluster import RayLost, connected
from supclap_platform.running.drive import LOST, drive, say_unwritten
from supclap_platform.running.executor import RayExecutor
from supclap_platform.running.machine import check_fits, machine
from supclap_platform.running.progress import Progress
from supclap_platform.running.task import task_of
from supclap_platform.running.view import View
from supclap_platform.search.explain import explain
from supclap_platform.search.job import Common
from supclap_platform.search.judging import findings_of
from supclap_platform.search.searcher import StudySearch
from supclap_platform.search.study import Book
from supclap_platform.search.study_journal import StudyTaken
from supclap_platform.search.study_place import StudyPlace
from supclap_platform.search.trials import Trials
from supclap_platform.search.tuning import INTERRUPTION, tune_search
from supclap_platform.search.warm import finished
from supclap_platform.search.winner import read_findings, with_winner, write_findings

LOST_RAY = "Ray has died"  # why trials were stopped


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

    Raises InputError for a study that this file cannot go on with, before anything starts, and
    OSError where study or ledger cannot be written.
    """
    trials = Trials(experiment)
    if ledger.spared(lambda: read_findings(experiment, ledger)) is None:  # it has not ended yet
        _check_machine(trials, address, cpus)
    place = StudyPlace.of(ledger, experiment.name, study_storage)
    with _only_driver(experiment, ledger), place.kept():
        book = Book(trials, ledger, study_storage)
        _refuse_mixture(book, ledger, mixed)
        with book.together():
            book.prepare(finished(book.trials, ledger) if book.search.warm_start else ())
        _head(book, ledger, console)
        if not book.left or book.exhausted():
            return _conclude(book, ledger, None, None, console)
        return _drive(book, ledger, console, address, cpus, tracking_uri)


@contextmanager
def _only_driver(experiment: Experiment, ledger: Ledger) -> Iterator[None]:
    """Holds the search while it is driven. Raises InputError where another process does."""
    lock = acquire(ledger.experiment_folder(experiment.name).below(SEARCH))
    if lock is None:
        drivers = drivers_of(ledger, experiment.name)
        others = [f"process {one.pid} on {one.host_name}" for one in drivers]
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
    _check_machine(book.trials, address, cpus)
    probe = book.trials.probe()
    with connected(address, cpus) as cluster:
        executor = RayExecutor(cluster, ledger, experiment.name)
        executor.begin([*probe.cells, *probe.stages])
        shown = with_winner(replace(experiment, claims=()), ledger)

        def say(line: str) -> None:
            console.print(line, style="yellow", markup=False, soft_wrap=True)

        with tracked(shown, probe.stages, ledger, tracking_uri, say, account_now) as tracker:
            code = _stages(experiment, probe.stages, ledger, executor, tracker, console)
            status = "KILLED"
            if not code:
                code, status = _trials(book, ledger, executor, tracker, console)
            tracker.close(status, tables_of(shown, ledger), patience=LAST_LOOK)
            return code


def _check_machine(trials: Trials, address: str | None, cpus: int | None) -> None:
    """Raises InputError for trials that an own Ray, which is not started yet, can never run."""
    if address is None:
        probe = trials.probe()
        cells = [*probe.cells, *probe.stages]
        check_fits(cells, machine(cells, cpus))


def _trials(
    book: Book, ledger: Ledger, executor: RayExecutor, tracker: Tracker, console: Console
) -> tuple[int, str]:
    """Runs the trials under the live view, and says how it ended: the exit code, MLflow's status.

    Ctrl-C, an own Ray that has died and a full disk charge no trial: the same command goes on.
    """
    experiment = book.trials.experiment
    cell = book.trials.probe().cells[0]
    task = task_of(cell, ledger, experiment.name)
    task = replace(task, label="", signature="", user_code=experiment.code.hash)
    common = Common(task, book.search.objectives)
    with announce(ledger, experiment.name) as driver, View(console) as view:
        fleet = executor.fleet
        check = executor.require_ray
        search = StudySearch(book, ledger, lambda line: view.say(line, "red"), check, fleet)
        if search.recovered:
            view.say(f"interrupted trials that go on: {search.recovered}")

        def watch(progress: Progress) -> bool:
            for text in executor.news():
                view.say(text, "yellow")
            if view.due():
                view.show(progress)
            tracker.catch_up()
            return driver.lost

        try:
            at_once = executor.places(cell)
            stopped = tune_search(search, book, ledger, common, at_once, watch, fleet)
        except RayLost as lost:
            view.say(f"{lost}; running trials keep their last checkpoint", "bold red")
            stopped = LOST_RAY
    if search.mistake:
        text = f"failed: {search.mistake}"
        console.print(text, style="bold red", markup=False, soft_wrap=True)
        return 1, "FAILED"
    if search.unkept is not None:
        _say_unkept(book, ledger, search.unkept, console)
        return 1, "KILLED"
    if stopped in (INTERRUPTION, LOST_RAY):
        done = len(book.over())
        console.print(
            f"stopped with {done} of {counted(done + book.left, 'trial')} over; the same "
            "command goes on",
            soft_wrap=True,
        )
        return (LOST if stopped == LOST_RAY else INTERRUPTED), "KILLED"
    code = _conclude(book, ledger, search, stopped, console)
    return code, "FAILED" if code else "FINISHED"


def _say_unkept(book: Book, ledger: Ledger, error: OSError, console: Console) -> None:
    place = error.filename or ledger.experiment_folder(book.trials.experiment.name).uri
    room = "" if isinstance(error, StudyTaken) else "make room, and "
    rest = f"what the search has found so far is kept: {room}the same command goes on"
    say_unwritten(str(place), error, rest, console)


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
        f"{book.place.shown}; results in {ledger.storage.uri}",
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
    """Says how the search ended, and writes it down; the exit code."""
    over = book.over()
    names = [trial.state.name for trial in over]
    wall, workers = book.spent()
    text = f"search: {counted(len(over), 'trial')} ({names.count('PRUNED')} stopped early"
    text += f", {names.count('FAIL')} failed" if "FAIL" in names else ""
    text += f", {search.known} known from the ledger" if search and search.known else ""
    text += f"), {duration(3600 * wall)}, {workers:.2f} worker-hours"
    prices = book.trials.experiment.prices
    if prices is not None and book.cost(workers):
        text += f", {prices.text(book.cost(workers))}"
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
    findings = findings_of(book)
    if findings.best:
        best = findings.best[0]
        pairs = zip(findings.objectives, best.values, strict=True)
        values = ", ".join(f"{name} {value:.4g}" for name, value in pairs)
        console.print(f"best: trial {best.number}: {values}", markup=False, soft_wrap=True)
        shown = ", ".join(f"{key}={_number(value)}" for key, value in best.params.items())
        console.print(f"      {shown}", markup=False, soft_wrap=True)
    else:
        console.print("no trial has finished: there is no winner", style="bold red", markup=False)
    try:  # the last words need no room: they are printed before they are written
        write_findings(book.trials.experiment, findings, ledger)
        drawn = explain(book, ledger) if findings.best else []
    except OSError as error:
        _say_unkept(book, ledger, error, console)
        return 1
    if not findings.best:
        return 1
    folder = ledger.experiment_folder(book.trials.experiment.name)
    console.print(
        f"written: {folder.uri_of(TRIALS)}, {folder.uri_of(drawn[0])} "
        f"(and {len(drawn) - 1} more figures)",
        markup=False,
        soft_wrap=True,
    )
    return 0


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

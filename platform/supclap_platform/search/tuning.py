"""The search itself: Ray Tune runs the study's trials until they, or the budget, are used up."""

from __future__ import annotations

import logging
import secrets
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from supclap.environment import environment
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import RAY_TUNE
from supclap_platform.running.fleet import Fleet
from supclap_platform.running.heartbeats import Heartbeats
from supclap_platform.running.machine import demand
from supclap_platform.running.progress import Progress, Reader, Running, running
from supclap_platform.running.ray_internals import free_orphaned_groups
from supclap_platform.running.task import nested
from supclap_platform.search.job import Common, nodes_of, run_trial
from supclap_platform.search.judging import findings_of
from supclap_platform.search.searcher import StudyScheduler, StudySearch
from supclap_platform.search.study import Book
from supclap_platform.search.winner import write_findings

INTERRUPTION = "interrupted"  # why a search was stopped that was asked to
NOTE_SECONDS = 5.0  # between notes of what the search has cost
LOOK_SECONDS = 1.0  # between looks at the running trials
_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a relative path in a configuration means what it says
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow and the ledger have it all
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # of Tune's own state, which nobody reads
}

Watch = Callable[[Progress], bool]  # is shown how far it is; True: stop


def tune_search(
    search: StudySearch,
    book: Book,
    ledger: Ledger,
    common: Common,
    at_once: int,
    watch: Watch,
    fleet: Fleet | None = None,
) -> str | None:
    """Runs what is left of a study; why it was stopped before its end, or None.

    Args:
        at_once: trials side by side.
        watch: called about once a second.
        fleet: the nodes of the cluster; None of an own Ray.

    Raises:
        RayLost: an own Ray has died. The study goes on with the next run, and no trial is charged.
    """
    from ray import tune

    folder = ledger.experiment_folder(book.trials.experiment.name)
    name = secrets.token_hex(4)
    probe = book.trials.probe().cells[0]
    keeper = _Keeper(search, book, ledger, at_once, probe, watch, fleet)
    with _quiet(), _interrupted(keeper):
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(run_trial, common=common),
                partial(_reserved, _bundles(probe)),
            ),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=StudyScheduler(search),
                num_samples=-1,
                max_concurrent_trials=at_once,
                reuse_actors=not nested(probe.resources),
                trial_dirname_creator=_dirname,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=folder.below(RAY_TUNE).base,
                storage_filesystem=folder.filesystem,
                callbacks=[keeper.callback()],
                stop=keeper.stopper(),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=probe.resources.max_failures),
            ),
        )
        try:
            tuner.fit()
        finally:
            with search.keeping():
                keeper.note()
                folder.delete(RAY_TUNE)  # a search has one driver: nobody else works there
    return search.stopping


class _Keeper:
    """Keeps the view, the budget and the wish to stop, between the steps of Tune's loop."""

    def __init__(
        self,
        search: StudySearch,
        book: Book,
        ledger: Ledger,
        at_once: int,
        probe: Cell,
        watch: Watch,
        fleet: Fleet | None,
    ) -> None:
        self._search = search
        self._book = book
        self._ledger = ledger
        self._reader = Reader(ledger)
        self._at_once = at_once
        self._workers = probe.resources.workers
        self._nested = nested(probe.resources)
        self._watch = watch
        self._fleet = fleet
        self._heartbeats = Heartbeats(ledger, book.trials.experiment.name)
        self._began = self._noted = self._looked = time.monotonic()
        self._worked = 0.0  # seconds of workers since the last note
        self._finished_before = len(book.over())

    def stop(self, reason: str) -> None:
        if self._search.stopping is None:
            self._search.stopping = reason

    def step(self, begun: Collection[str]) -> None:
        """``begun``: Tune's names of trials that have a process."""
        self._search.check()
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._worked += (now - self._looked) * self._workers * len(self._search.live)
        self._looked = now
        if self._fleet is not None:
            for node in self._fleet.look():
                self._search.lose(node, self._fleet.nodes.silent(node))
            self._search.lose_silent(self._heartbeats, begun)
        with self._search.keeping():
            used = self._book.exhausted((now - self._noted, self._worked))
            if used:
                self.stop(used)
            if now - self._noted > NOTE_SECONDS:
                self.note()
                if self._nested:
                    free_orphaned_groups()
            if self._watch(self.progress()):
                self.stop(INTERRUPTION)

    def note(self) -> None:
        """Writes down what the search has cost."""
        now = time.monotonic()
        self._book.spend(now - self._noted, self._worked)
        experiment = self._book.trials.experiment
        write_findings(experiment, findings_of(self._book), self._ledger, ended=False)
        self._noted, self._worked = now, 0.0

    def progress(self) -> Progress:
        over = self._book.over()
        names = [trial.state.name.lower() for trial in over]
        words = {"complete": "done", "pruned": "pruned", "fail": "failed"}
        counts = {word: names.count(state) for state, word in words.items() if state in names}
        counts["running"] = len(self._search.live)
        left = self._book.left
        counts["waiting"] = max(0, left - len(self._search.live))
        seconds = time.monotonic() - self._began
        lately = len(over) - self._finished_before
        return Progress(
            title=self._book.name,
            counts={word: count for word, count in counts.items() if count},
            running=tuple(self._running()),
            troubles=(),
            seconds=seconds,
            seconds_left=seconds / lately * left if lately >= self._at_once else None,
            money=self._money(),
        )

    def _money(self) -> str:
        """What the search has cost so far, over all its runs."""
        prices = self._book.trials.experiment.prices
        cost = self._book.cost(self._book.spent()[1] + self._worked / 3600)
        if prices is None or not cost:
            return ""
        budget = self._book.search.budget.money
        return f"{prices.text(cost)} so far" + (f" of {prices.text(budget)}" if budget else "")

    def _running(self) -> Iterator[Running]:
        metric = self._book.search.objectives[0].metric
        for live in list(self._search.live.values()):
            for cell in live.trial.cells:
                events = self._reader.events(cell.signature)
                done = bool(events) and events[-1].kind == "finished"
                if not done or cell is live.trial.cells[-1]:
                    doing = self._reader.doing(cell.signature)
                    yield running(cell.label, events, metric, doing)
                    break

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, when Tune stores its callbacks."""
        return {}

    def callback(self) -> Any:
        from ray.tune import Callback

        keeper, search = self, self._search

        class Loop(Callback):
            def on_step_begin(self, iteration: int, trials: Any, **more: Any) -> None:
                search.check()  # a dead Ray is not to be asked for anything

            def on_step_end(self, iteration: int, trials: Any, **more: Any) -> None:
                keeper.step({t.trial_id for t in trials if t.temporary_state.ray_actor is not None})
                for trial in trials:
                    if trial.trial_id in search.gone:
                        search.gone.discard(trial.trial_id)
                        _give_up(trial)

        return Loop()

    def stopper(self) -> Any:
        from ray.tune import Stopper

        search = self._search

        class Stop(Stopper):
            def __call__(self, trial_id: str, result: Any) -> bool:
                return False

            def stop_all(self) -> bool:
                return search.stopping is not None

        return Stop()


def _bundles(cell: Cell) -> list[dict[str, float]]:
    """What a trial reserves of the cluster.

    A trial that starts workers only waits for them. The workers reserve the cores, perhaps all that
    there are, so the trial must not hold any; Tune refuses a trial that reserves nothing, so it
    reserves one byte of memory.
    """
    return [{"memory": 1.0}] if nested(cell.resources) else [demand(cell.resources)]


def _reserved(bundles: list[dict[str, float]], config: dict[str, Any]) -> Any:
    """A trial's `_bundles`, on the nodes that it may be given."""
    from ray import tune

    nodes = nodes_of(config)
    more = {"bundle_label_selector": [nodes] * len(bundles)} if nodes else {}
    return tune.PlacementGroupFactory(bundles, **more)


def _give_up(trial: Any) -> None:
    """Ends a trial of Tune's whose machine is lost: Ray itself would wait for it for minutes."""
    import ray

    trial.max_failures = 0  # it goes on, under another name
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


def _dirname(trial: Any) -> str:
    return str(trial.trial_id)


@contextmanager
def _quiet() -> Iterator[None]:
    """Tune's settings, and its tables and warnings kept from the terminal."""
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train", "ray.air", "ray")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with environment(**_SETTINGS):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _interrupted(keeper: _Keeper) -> Iterator[None]:
    """Ctrl-C asks the search to stop, once; a second one ends it where it stands."""

    def ask(number: int, frame: Any) -> None:
        if keeper._search.stopping is not None:
            raise KeyboardInterrupt
        keeper.stop(INTERRUPTION)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

"""The study as Ray Tune sees it: an OptunaSearch that hands out its trials, and a scheduler that
stops them by the study's own pruner.

Ray's OptunaSearch is the base. What it does not do is here: it takes a trial stopped early for a
complete one, forgets which trials it had handed out, and does not know that a setting's cells may
be finished already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import optuna
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import profile_key
from supclap_platform.ledger.records import Known, State
from supclap_platform.running.ending import Ending
from supclap_platform.running.executor import UNSAID
from supclap_platform.running.fleet import Fleet
from supclap_platform.running.group import ask_workers_to_end
from supclap_platform.running.heartbeats import Claim, Heartbeats, Sign
from supclap_platform.running.nodes import Node
from supclap_platform.running.place import Place
from supclap_platform.running.ray_internals import nodes_of_groups
from supclap_platform.running.task import nested
from supclap_platform.search.job import BEGUN, config_of, curve
from supclap_platform.search.study import CELLS, Book
from supclap_platform.search.trials import Trial, all_done

Say = Callable[[str], None]


@dataclass
class Live:
    """A trial that Tune has been given. ``place``: where it has said that it is; before that,
    ``doubted``: when a node was lost, which may have been its own."""

    own: optuna.trial.Trial
    trial: Trial
    since: float = field(default_factory=time.monotonic)
    place: Place = field(default_factory=Place)
    doubted: float | None = None


class StudySearch(OptunaSearch):
    """Hands out a study's trials. Only the driver's thread uses it.

    Attributes:
        stopping: no more trials are handed out, and those that end are left for the next run.
        live: Tune's trials that are not over, by Tune's name of them.
        known: trials whose value the ledger had, so that nothing was run.
        unkept: why study or ledger could not be written any more, which ends the search.
        gone: Tune's names of trials whose machines are lost; they go on under other names.

    Args:
        check: raises RayLost where an own Ray is dead. What trials report then is not their own.
        fleet: the nodes of the cluster; None of an own Ray.
    """

    def __init__(
        self,
        book: Book,
        ledger: Ledger,
        say: Say,
        check: Callable[[], None],
        fleet: Fleet | None = None,
    ) -> None:
        objectives = book.search.objectives
        super().__init__(
            space=book.search.space,
            metric=["value"] * len(objectives) if len(objectives) > 1 else "value",
            mode=[_mode(o.direction) for o in objectives]
            if len(objectives) > 1
            else _mode(objectives[0].direction),
            study_name=book.name,
            storage=book.storage,
        )
        self._book = book
        self._ledger = ledger
        self._say = say
        self.check = check
        self._fleet = fleet
        self.gone: set[str] = set()
        self._orphans = book.orphans()
        self.stopping: str | None = None  # why
        self.mistake: str | None = None  # of the input: every further trial would meet it
        self.unkept: OSError | None = None
        self.live: dict[str, Live] = {}
        self.known = 0
        self._ending: set[str] = set()  # Tune's names of stopped trials whose workers are to end
        self.recovered = len(self._orphans)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Ends the search where what it does in here cannot be kept, as on a full disk. What it has
        kept before stays, and trials that were under way go on with the next run."""
        try:
            with self._book.place.kept(), self._book.together():
                yield
        except OSError as error:
            self.unkept = self.unkept or error
            self.stopping = self.stopping or "what it finds cannot be kept"

    def suggest(self, trial_id: str) -> Any:
        """The next trial with something to run; values that the ledger knows go to the study."""
        self.check()
        with self.keeping():
            return self._next(trial_id)
        return Searcher.FINISHED

    def _next(self, trial_id: str) -> Any:
        while self.stopping is None:
            own = self._orphans.pop(0) if self._orphans else self._book.ask()
            if own is None:  # one that is under way may come back yet, from a machine that is lost
                return None if self._fleet and self.live else Searcher.FINISHED
            trial = self._book.trials.of(own.number, self._book.params(own))
            self._note(own, trial)
            if all_done(trial, self._ledger):
                for step, value in curve(trial, self._ledger, self._book.search.objectives):
                    self._book.note(own, step, value)
                self._end(own, trial)
                self.known += 1
                continue
            for signature in trial.signatures:
                self._ledger.clear_failure(signature)
            self.live[trial_id] = Live(own, trial)
            nodes = None if self._fleet is None else self._fleet.selector(*trial.cells)
            return config_of(trial, nodes)
        return Searcher.FINISHED

    def hear(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Takes a report in; whether Tune is to stop the trial.

        One that has workers is asked to end them, and then ends by itself.
        """
        self.check()
        with self.keeping():
            return self._hear(trial_id, result)
        return True

    def _hear(self, trial_id: str, result: dict[str, Any]) -> bool:
        if trial_id in self._ending:
            return False
        live = self.live.get(trial_id)
        if live is None or self.stopping is not None:
            return True
        if result["kind"] == BEGUN:
            self._evict(live)  # Tune has begun it anew: what was before is dead
            live.place = Place(**{name: result[name] for name in asdict(live.place)})
            return False
        if result["kind"] == "epoch":
            if result["value"] is None:
                return False
            if not self._book.report(live.own, result["step"], result["value"]):
                return False
            self._book.prune(live.own)
            for signature in live.trial.signatures:
                if self._ledger.state(signature) is not State.DONE:
                    self._ledger.note_early_stop(signature)
            if nested(live.trial.cells[0].resources):
                self._ending.add(trial_id)
                for signature in live.trial.signatures:
                    if self._ledger.state(signature) is State.RUNNING:
                        ask_workers_to_end(self._ledger, signature)
        elif result["kind"] == "finished":
            self._end(live.own, live.trial)
            if self._fleet:
                for cell in live.trial.cells:
                    self._fleet.nodes.ran(cell.signature, cell.data)
        elif self._is_the_machines(live, result):
            self._orphans.insert(0, live.own)
        else:
            self._fail(live, result)
        del self.live[trial_id]
        return result["kind"] == "epoch" and trial_id not in self._ending

    def lose(self, node: Node, silent: bool) -> list[Live]:
        """Takes back the trials that were lost with a node: they are handed out again.

        Args:
            silent: Ray still takes it for living, and so replaces none of the workers there.
        """
        for live in self.live.values():
            if not live.place.node:
                live.doubted = live.doubted or time.monotonic()
        return self._take_back(
            name
            for name, live in list(self.live.items())
            if live.place.node == node.id or (silent and node.id in self._workers_of(live))
        )

    def lose_silent(self, heartbeats: Heartbeats, begun: Collection[str]) -> list[Live]:
        """Takes back the trials whose processes have fallen silent on nodes that live, and those
        that were lost before they said where they are.

        Args:
            begun: Tune's names of trials that have a process.
        """
        assert self._fleet is not None
        now = time.monotonic()
        claims = {
            name: Claim(live.place, live.trial.signatures)
            for name, live in self.live.items()
            if live.place.node
        }
        # One without a lease of its own may wait for a cell of another, or to try one again.
        signs = heartbeats.look(claims).items()
        silent = [name for name, sign in signs if sign in (Sign.STALE, Sign.NEVER)]
        for name in silent:
            self._fleet.end(claims[name].place)
            self._fleet.doubt(claims[name].place.node)
        unsaid = [
            name
            for name, live in self.live.items()
            if name in begun and name not in claims and live.doubted
            if now - live.doubted > UNSAID
        ]
        return self._take_back([*silent, *unsaid])

    def _take_back(self, names: Iterable[str]) -> list[Live]:
        lost = []
        for name in names:
            lost.append(self.live.pop(name))
            self.gone.add(name)
            self._evict(lost[-1])
        self._orphans[:0] = [live.own for live in lost]
        return lost

    def _evict(self, live: Live) -> None:
        """Takes a trial's cells from its process."""
        if live.place.process:
            for signature in live.trial.signatures:
                self._ledger.evict(signature, live.place.host, live.place.pid)

    def _workers_of(self, live: Live) -> set[str]:
        """The nodes of the workers of a trial under Ray Train."""
        if not live.place.process or not nested(live.trial.cells[0].resources):
            return set()
        return nodes_of_groups(live.place.process)

    def _is_the_machines(self, live: Live, result: dict[str, Any]) -> bool:
        """Whether what has ended a trial is its machine's, and another machine may run it."""
        cell = next((c for c in live.trial.cells if c.signature == result.get("signature")), None)
        if self._fleet is None or cell is None:
            return False
        known = {field.name for field in fields(Ending)}
        ending = Ending(**{name: value for name, value in result.items() if name in known})
        judged = self._fleet.judged(cell, ending.node, ending)
        result["error"] = judged.error
        return judged.kind == "moved"

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler has heard it before (`hear`)."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """What ended without a last word: its process died more often than it may."""
        self.check()
        self._ending.discard(trial_id)
        live = self.live.pop(trial_id, None)
        if live is not None and self.stopping is None:
            with self.keeping():
                self._fail(live, {"error": "its process ended", "configuration": False, "log": ()})

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: all that counts is in the study, and a search goes on from there."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, when Tune stores itself."""
        return {}

    def _note(self, own: optuna.trial.Trial, trial: Trial) -> None:
        """Makes the trial's cells known: to the ledger, and in the study."""
        own.set_user_attr(CELLS, list(trial.signatures))
        experiment = self._book.trials.experiment
        known = [Known(c.variant, c.seed, c.signature, c.shape) for c in trial.cells]
        self._ledger.remember(experiment.name, profile_key(experiment), known)

    def _end(self, own: optuna.trial.Trial, trial: Trial) -> None:
        results = self._ledger.results(trial.signatures)
        values = self._book.trials.values(trial, results)
        if values is None:
            names = ", ".join(o.metric for o in self._book.search.objectives)
            self._book.fail(own, f"its cells report no finite {names}")
        else:
            self._book.complete(own, values)

    def _fail(self, live: Live, result: dict[str, Any]) -> None:
        error = str(result["error"])
        if not result["configuration"]:  # a mistake uses no trial up: mended, it is tried again
            self._book.fail(live.own, error)
        for signature in live.trial.signatures:
            if self._ledger.result(signature) is None:
                self._ledger.record_failure(
                    signature, error, tuple(result["log"]), bool(result["configuration"])
                )
        if result["configuration"]:  # it ends the search, which then says it
            self.mistake = f"trial {live.own.number}: {error}"
            self.stopping = "a mistake in the input"
        else:
            self._say(f"failed: trial {live.own.number}: {error}")


class StudyScheduler(FIFOScheduler):
    """Trials in their order; each is stopped when the study's pruner says so."""

    def __init__(self, search: StudySearch) -> None:
        super().__init__()
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result.get("done") or "kind" not in result:
            return str(TrialScheduler.CONTINUE)
        stop = self._search.hear(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


def _mode(direction: str) -> str:
    return "max" if direction == "maximize" else "min"

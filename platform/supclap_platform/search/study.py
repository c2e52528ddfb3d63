"""The durable study of a search: an Optuna study, and what makes a rerun go on with it.

A trial's number, its seed and all that the sampler sees of the others are functions of the study.
A trial that was running when the driver died is handed out again under its own number: its cells
go on from their checkpoints, and the study ends as it would have ended.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import TrialState

from supclap.errors import InputError
from supclap.events import first_name
from supclap.overrides import flat
from supclap_platform.experiment.search_space import Params
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import profile_key
from supclap_platform.search.pruning import build_pruner
from supclap_platform.search.sampling import build_sampler
from supclap_platform.search.study_place import StudyPlace
from supclap_platform.search.trials import Trials

DECLARED, STARTED, WALL, WORKERS = "declared", "started", "seconds", "worker_seconds"
WARM, ERROR, CELLS, STOP = "warm start", "error", "cells", "stop"  # attributes of trials
OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class Book:
    """A study as its search keeps it. One driver writes in it at a time."""

    def __init__(self, trials: Trials, ledger: Ledger, url: str | None = None) -> None:
        """Opens or creates it.

        Raises:
            InputError: the storage cannot be used, or the study is one of another space.
        """
        self.trials = trials
        self.search = trials.search
        self.place = StudyPlace.of(ledger, trials.experiment.name, url)
        self.journal, self.storage = self.place.open()
        key = profile_key(trials.experiment)
        self.name = self.search.name if key == "laptop" else f"{self.search.name}, {key}"
        self._check_declared()
        pruner = build_pruner(self.search.pruner, self.steps)
        if self.name in optuna.get_all_study_names(self.storage):  # nothing is written to open it
            self.study = optuna.load_study(
                storage=self.storage, study_name=self.name, pruner=pruner
            )
        else:
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                load_if_exists=True,
                directions=[objective.direction for objective in self.search.objectives],
                pruner=pruner,
            )
        if DECLARED not in self.study.user_attrs:
            self.study.set_user_attr(DECLARED, self._declared())

    @property
    def steps(self) -> int:
        """Epochs that a whole trial reports, its seeds one after another."""
        probe = self.trials.probe()
        return probe.cells[0].config.epochs * len(self.search.seeds)

    def prepare(self, warm: Iterable[tuple[Params, list[float], str]] = ()) -> None:
        """Fills in what is known before the first trial, once, and the settings to try first,
        those too that the file has named since.

        Killed in the midst, it is finished by the next call.

        Args:
            warm: settings with their values and where they come from (`warm.finished`).
        """
        space = self.search.space
        seen = {t.user_attrs.get(WARM) for t in self._all()}
        for params, values, source in () if self.study.user_attrs.get(STARTED) else warm:
            if source not in seen:
                self.study.add_trial(
                    optuna.trial.create_trial(
                        params=space.free(params),
                        distributions=space.distributions(params),
                        values=values,
                        user_attrs={WARM: source},
                    )
                )
        for params in self.first():
            self.study.enqueue_trial(space.free(params), skip_if_exists=True)
        if not self.study.user_attrs.get(STARTED):
            self.study.set_user_attr(STARTED, True)

    def first(self) -> list[Params]:
        """The settings to try first: those of the file, and for a grid every other one."""
        points = list(self.search.start)
        if self.search.sampler.name == "grid":
            points += [p for p in self.search.space.points() if p not in points]
        return points

    def ask(self) -> optuna.trial.Trial | None:
        """The next trial, or None where all that were declared have been handed out."""
        trials = self._all()
        numbers = [t.number for t in trials if self.counts(t) and t.state is not TrialState.WAITING]
        if len(numbers) >= self.search.trials:
            return None
        waiting = [t.number for t in trials if t.state is TrialState.WAITING]
        if self.search.sampler.name == "grid" and not waiting:
            return None
        number = min(waiting) if waiting else len(trials)
        self.study.sampler = build_sampler(self.search.sampler, number)
        return self.study.ask()

    def orphans(self) -> list[optuna.trial.Trial]:
        """The trials that a driver left running, to be handed out again."""
        left = [t for t in self._all() if t.state is TrialState.RUNNING]
        found = []
        for trial in left:
            self.study.sampler = build_sampler(self.search.sampler, trial.number)
            found.append(optuna.trial.Trial(self.study, trial._trial_id))
        return found

    def params(self, trial: optuna.trial.Trial) -> Params:
        """The setting of a trial: sampled where it has none yet, as it stands where it has one.

        A driver may have died between two of its values. What those that are stored took of the
        sampler's random numbers is drawn anew, so that the others become what they would have been.
        """
        sampler = self.study.sampler = build_sampler(self.search.sampler, trial.number)
        stored = self.storage.get_trial(trial._trial_id)
        given = stored.system_attrs.get("fixed_params", {})  # of a setting to try first
        for name in self.search.space.parameters:
            kind = stored.distributions.get(name)
            drawn = kind is not None and name not in given and not kind.single()
            if drawn and name not in trial.relative_params:
                sampler.sample_independent(self.study, stored, name, kind)
        return self.search.space(trial)

    def report(self, trial: optuna.trial.Trial, step: int, value: float) -> bool:
        """Notes an intermediate value; whether the trial is to be stopped.

        A step is judged once, by what the study holds at that time: a trial that goes on after
        its driver's death reports its steps again, when others may have come to the same rung.
        """
        if not self.search.single:
            return False
        stored = self.storage.get_trial(trial._trial_id)
        stop = stored.user_attrs.get(STOP)
        if step not in stored.intermediate_values and stop != step:
            known = stored.intermediate_values
            judged = copy.copy(stored)
            judged.intermediate_values = {s: v for s, v in known.items() if s < step} | {
                step: value
            }
            if self.study.pruner.prune(self.study, judged):
                # Before the value: with the value alone the step would count as passed.
                trial.set_user_attr(STOP, step)
                stop = step
        self.note(trial, step, value)
        return bool(stop == step)

    def note(self, trial: optuna.trial.Trial, step: int, value: float) -> None:
        """Notes an intermediate value, where it is not noted yet."""
        known = self.storage.get_trial(trial._trial_id).intermediate_values
        if self.search.single and step not in known:
            trial.report(value, step)

    def complete(self, trial: optuna.trial.Trial, values: list[float]) -> None:
        self.study.tell(trial, values)

    def prune(self, trial: optuna.trial.Trial) -> None:
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: optuna.trial.Trial, error: str) -> None:
        trial.set_user_attr(ERROR, error[:500])
        self.study.tell(trial, state=TrialState.FAIL)

    def counts(self, trial: Any) -> bool:
        """Whether a trial is one of those declared: not what was known before."""
        return WARM not in trial.user_attrs

    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """The trials with a value, those known before among them."""
        return [t for t in self._all() if t.state is TrialState.COMPLETE]

    def over(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that are over, what was known before left out."""
        return [t for t in self._all() if self.counts(t) and t.state in OVER]

    @property
    def left(self) -> int:
        """Trials that are not over yet. A grid ends with its last setting."""
        trials = self._all()
        wanted = self.search.trials
        if self.search.sampler.name == "grid":
            wanted = min(wanted, sum(self.counts(t) for t in trials))
        return max(0, wanted - len(self.over()))

    def spend(self, seconds: float, worker_seconds: float) -> None:
        """Adds to what the study has cost so far."""
        attributes = self.study.user_attrs
        self.study.set_user_attr(WALL, attributes.get(WALL, 0.0) + seconds)
        self.study.set_user_attr(WORKERS, attributes.get(WORKERS, 0.0) + worker_seconds)

    def spent(self) -> tuple[float, float]:
        """Hours of wall time and of workers that the study has cost."""
        attributes = self.study.user_attrs
        return attributes.get(WALL, 0.0) / 3600, attributes.get(WORKERS, 0.0) / 3600

    @cached_property
    def _hour(self) -> float:
        """What a worker of the search costs in an hour; 0 where that is not said."""
        prices = self.trials.experiment.prices
        _, resources = self.search.build("search", {})
        return (prices.hour(resources, 1) or 0.0) if prices is not None else 0.0

    def cost(self, worker_hours: float) -> float:
        """What so many hours of its workers cost."""
        return worker_hours * self._hour

    def exhausted(self, more: tuple[float, float] = (0.0, 0.0)) -> str | None:
        """The budget that is used up, in words, or None.

        Args:
            more: seconds of wall time and of workers that are not noted yet.
        """
        wall, workers = self.spent()
        wall, workers = wall + more[0] / 3600, workers + more[1] / 3600
        budget = self.search.budget
        if budget.hours is not None and wall >= budget.hours:
            return f"wall time ({budget.hours:g} h)"
        if budget.worker_hours is not None and workers >= budget.worker_hours:
            return f"worker-hours ({budget.worker_hours:g})"
        prices = self.trials.experiment.prices
        if budget.money is not None and prices is not None and self.cost(workers) >= budget.money:
            return f"money ({prices.text(budget.money)})"
        return None

    def together(self) -> AbstractContextManager[None]:
        """What the study takes in here is stored at its end, in one step where that saves time."""
        return nullcontext() if self.journal is None else self.journal.together()

    def _all(self) -> list[optuna.trial.FrozenTrial]:
        found: list[optuna.trial.FrozenTrial] = self.study.get_trials(deepcopy=False)
        return found

    def _declared(self) -> dict[str, Any]:
        """What the values of a study depend on, as plain values with flat keys."""
        base, resources = self.search.build("search", {})
        stage, method = self.trials.experiment.stage, self.trials.experiment.method
        declared: dict[str, Any] = {
            "objective": {first_name(o.metric): o.direction for o in self.search.objectives},
            "seeds": list(self.search.seeds),
            "workers": resources.workers,
            "init": None if stage is None else method.identity(stage.config),
        }
        if self.trials.experiment.vary:
            declared["vary"] = list(self.trials.experiment.vary)
        fixed = flat(method.identity(base))
        declared |= {
            f"base.{key}": value
            for key, value in fixed.items()
            if key not in {"seed", *method.no_part_of_a_result}
        }
        for name, parameter in self.search.space.described().items():
            declared[f"space.{name}"] = parameter
            declared.pop(f"base.{name}", None)
        found: dict[str, Any] = json.loads(json.dumps(declared))
        return found

    def _check_declared(self) -> None:
        """Raises InputError where the stored study is not the file's."""
        known = optuna.get_all_study_names(self.storage)
        if self.name not in known:
            return
        stored = optuna.load_study(study_name=self.name, storage=self.storage)
        before, now = stored.user_attrs.get(DECLARED), self._declared()
        if before is None or before == now:
            return
        raise InputError(
            f"{self.trials.experiment.path}: the study '{self.name}' is of another search: "
            f"{_difference(before, now)}; give this one a name of its own (search: "
            f"{{study: {_new_name(self.search.name, known)}}}), or put the file back"
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first thing in which two searches differ, and how many more there are."""
    keys = [key for key in [*before, *now] if before.get(key, ...) != now.get(key, ...)]
    keys = sorted(dict.fromkeys(keys), key=lambda key: not key.startswith("space."))
    key = keys[0]
    if key not in now:
        change = f"the file no longer has {key}"
    elif key not in before:
        change = f"the file now has {key}"
    else:
        change = f"{key} was {json.dumps(before[key])}, and is {json.dumps(now[key])}"
    more = len(keys) - 1
    return change + (f" (and {more} more)" if more else "")


def _new_name(name: str, known: Iterable[str]) -> str:
    taken = set(known)
    return next(f"{name}-{n}" for n in range(2, 10_000) if f"{name}-{n}" not in taken)

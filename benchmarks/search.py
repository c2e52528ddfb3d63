"""What a sampler and a pruner are worth, on a surrogate made of a search's recorded trials.

    python -m benchmarks.search [FILE] [--storage PLACE] [--profile NAME]

FILE: an experiment file whose search has run in the storage (default: experiments/search_svr.yaml).
Aims: TPE's best beats random search's at equal budget, in the median of paired repetitions; ASHA
saves at least 40 % of the epochs at no loss of the best value.

The surrogate: a Gaussian process through what the recorded trials reported at each epoch, over the
parameters scaled to 0..1 (one axis for each choice; a parameter that does not apply at -0.5). A
trial that was stopped early is continued by the mean gain of those that went on: how many were is
printed, as the surrogate knows less of bad settings the more of them there are. It is smooth, so a
sampler that models has it easier than on real runs, whose seeds add noise: with the noise of the
process' residuals added to each value, the comparison is made a second time.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.search_section import SamplerSection
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.search.points import Picture, logarithmic, picture
from supclap_platform.search.pruning import Asha
from supclap_platform.search.sampling import build_sampler
from supclap_platform.search.study import Book
from supclap_platform.search.trials import Trials

from benchmarks.machine import describe

REPETITIONS = 25
LENGTH, NOISE = 0.7, 0.15  # of the process: length scale, and standard deviation of its noise
LEAST = 12  # recorded trials that a surrogate needs


class Surrogate:
    """What a setting would report at each epoch, higher is better.

    ``curves``: (trials, epochs), those of the recorded trials, continued where they were stopped.
    """

    def __init__(self, shown: Picture) -> None:
        points = [point for point in shown.points if point.curve]
        if len(points) < LEAST:
            raise SystemExit(f"only {len(points)} recorded trials: {LEAST} are the least")
        self.space = shown.space
        self.sign = 1.0 if shown.objectives[0].direction == "maximize" else -1.0
        self.epochs = max(max(point.curve) for point in points)
        recorded = np.full((len(points), self.epochs), np.nan)
        for row, point in enumerate(points):
            for step, value in point.curve.items():
                recorded[row, step - 1] = self.sign * value
        self.stopped = int(np.isnan(recorded[:, -1]).sum())
        self.curves = _continued(recorded)
        self._at = np.array([self._place(point.params) for point in points])
        self._mean = self.curves.mean(axis=0)
        self._scale = self.curves.std(axis=0) + 1e-9
        own = _kernel(self._at, self._at) + NOISE**2 * np.eye(len(points))
        self._weights = np.linalg.solve(own, (self.curves - self._mean) / self._scale)
        fitted = _kernel(self._at, self._at) @ self._weights * self._scale + self._mean
        self.residual = float((self.curves - fitted)[:, -1].std())

    def curve(self, params: Mapping[str, Any]) -> np.ndarray:
        """(epochs,)."""
        near = _kernel(self._place(params)[None, :], self._at)
        found: np.ndarray = (near @ self._weights)[0] * self._scale + self._mean
        return found

    def _place(self, params: Mapping[str, Any]) -> np.ndarray:
        place: list[float] = []
        for name, parameter in self.space.parameters.items():
            if parameter.kind == "fixed":
                continue
            if parameter.kind == "choice":
                assert parameter.choice is not None
                place += [float(params.get(name, ...) == value) for value in parameter.choice]
                continue
            ends = parameter.uniform or parameter.log_uniform or parameter.integer
            assert ends is not None
            if name not in params:
                place.append(-0.5)
            elif logarithmic(parameter):
                place.append(float(np.log(params[name] / ends[0]) / np.log(ends[1] / ends[0])))
            else:
                place.append((params[name] - ends[0]) / (ends[1] - ends[0]))
        return np.array(place)


def _kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    distance = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    found: np.ndarray = np.exp(-distance / (2 * LENGTH**2))
    return found


def _continued(recorded: np.ndarray) -> np.ndarray:
    """Curves that stop early go on by the mean gain of those that do not, epoch by epoch."""
    curves = recorded.copy()
    for epoch in range(1, curves.shape[1]):
        here, before = recorded[:, epoch], recorded[:, epoch - 1]
        gain = np.nanmean(here - before)
        missing = np.isnan(here)
        curves[missing, epoch] = curves[missing, epoch - 1] + gain
    return curves


def best_found(surrogate: Surrogate, sampler: str, trials: int, seed: int, noise: float) -> float:
    """The surrogate's true value of the setting that looks best after so many trials."""
    section = SamplerSection(name=sampler, seed=seed)  # type: ignore[arg-type]
    study = optuna.create_study(direction="maximize")
    numbers = np.random.default_rng(seed)
    best, seen = -np.inf, -np.inf
    for number in range(trials):
        study.sampler = build_sampler(section, number)
        trial = study.ask()
        true = float(surrogate.curve(surrogate.space(trial))[-1])
        value = true + noise * float(numbers.normal())
        study.tell(trial, value)
        if value > seen:
            best, seen = true, value
    return best


def samplers(surrogate: Surrogate, trials: int) -> None:
    print(f"\nbest of {trials} trials, {REPETITIONS} paired repetitions, median (quartiles)")
    for noise in (0.0, surrogate.residual):
        found = {
            name: [best_found(surrogate, name, trials, r, noise) for r in range(REPETITIONS)]
            for name in ("random", "tpe")
        }
        print(f"noise {noise:.2f} on each value")
        for name, values in found.items():
            low, middle, high = np.percentile(values, [25, 50, 75])
            print(f"  {name:<8}{middle:8.2f} ({low:.2f} to {high:.2f})")
        gains = [t - r for t, r in zip(found["tpe"], found["random"], strict=True)]
        wins = sum(gain > 0 for gain in gains)
        middle = statistics.median(gains)
        print(f"  tpe - random {middle:+.2f}, tpe better in {wins} of {REPETITIONS}: "
              f"{'met' if middle > 0 else 'missed'}")  # fmt: skip


def pruning(surrogate: Surrogate, grace: int, factor: int, startup: int) -> None:
    """Replays the recorded curves, in other orders too, with the pruner deciding."""
    order = np.random.default_rng(0)
    saved, lost = [], []
    for repetition in range(REPETITIONS):
        rows = np.arange(len(surrogate.curves))
        if repetition:
            order.shuffle(rows)
        pruner = Asha(grace, factor, startup, surrogate.epochs)
        study = optuna.create_study(direction="maximize")
        spent, best = 0, -np.inf
        for row in rows:
            trial = study.ask()
            for epoch, value in enumerate(surrogate.curves[row], start=1):
                spent += 1
                trial.report(float(value), epoch)
                if pruner.prune(study, study._storage.get_trial(trial._trial_id)):
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, float(value))
                best = max(best, float(value))
        saved.append(100 * (1 - spent / surrogate.curves.size))
        lost.append(float(surrogate.curves[:, -1].max() - best))
    kept = sum(loss <= 1e-9 for loss in lost)
    print(f"\nASHA (grace {grace}, factor {factor}, startup {startup}) over the recorded curves, "
          f"in the order they came and {REPETITIONS - 1} others")  # fmt: skip
    print(f"  as it came: {saved[0]:.0f} % of the epochs saved, {lost[0]:.2f} of the best lost")
    print(f"  median:     {statistics.median(saved):.0f} % saved, the best kept in {kept} of "
          f"{REPETITIONS}, lost in the median {statistics.median(lost):.2f}, at most "
          f"{max(lost):.2f}")  # fmt: skip
    met = statistics.median(saved) >= 40 and statistics.median(lost) <= 1e-9
    print(f"  40 % saved at no loss, in the median: {'met' if met else 'missed'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=Path("experiments/search_svr.yaml"))
    parser.add_argument("--storage", default="supclap-results")
    parser.add_argument("--profile", default="laptop")
    given = parser.parse_args()
    experiment = load_experiment(given.file, given.profile)
    if experiment.search is None or not experiment.search.single:
        raise SystemExit(f"{given.file}: has no search with one objective")
    book = Book(Trials(experiment), open_ledger(given.storage))
    surrogate = Surrogate(picture(book))
    print(describe())
    print(
        f"{book.name}: {len(surrogate.curves)} recorded trials of {surrogate.epochs} epochs, of "
        f"which {surrogate.stopped} were stopped early and are continued; residual of the "
        f"surrogate {surrogate.residual:.2f}"
    )
    samplers(surrogate, experiment.search.trials)
    section = experiment.search.pruner
    pruning(surrogate, section.grace, section.factor, section.startup)


if __name__ == "__main__":
    main()

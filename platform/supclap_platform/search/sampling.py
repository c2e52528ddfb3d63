"""The sampler of a study, built anew for each trial: its random numbers are the trial's own."""

from __future__ import annotations

import copy
from typing import Any

import optuna

from supclap_platform.experiment.search_section import SamplerSection

_PRIME = 100_003  # seeds of a sampler: far apart for studies with seeds side by side


class _GPSampler(optuna.samplers.GPSampler):
    """Optuna's, for a trial that is handed out a second time.

    It keeps away from the points of all running trials, and takes the trial's own, stored before
    its driver died, for another's.
    """

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        others = copy.copy(study)
        others._get_trials = lambda *arguments, **options: [
            one for one in study._get_trials(*arguments, **options) if one.number != trial.number
        ]
        found: dict[str, Any] = super().sample_relative(others, trial, search_space)
        return found


def build_sampler(section: SamplerSection, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for one trial. Its random numbers depend on the trial's number alone, so that a
    search that was killed goes on as it would have gone on."""
    seed = (section.seed * _PRIME + number) % 2**32
    samplers = optuna.samplers
    if section.name in ("random", "grid"):
        return samplers.RandomSampler(seed=seed)
    if section.name == "cmaes":
        return samplers.CmaEsSampler(
            seed=seed, n_startup_trials=max(1, section.startup), warn_independent_sampling=False
        )
    if section.name == "gp":
        return _GPSampler(seed=seed, n_startup_trials=section.startup)
    return samplers.TPESampler(
        seed=seed,
        n_startup_trials=section.startup,
        multivariate=section.multivariate,
        group=section.multivariate,
    )

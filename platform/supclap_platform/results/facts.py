"""Facts behind an experiment's results: its runs, what they cost, what they ran with."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

from supclap_platform.experiment.cells import INIT, Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Result, State
from supclap_platform.ledger.staleness import code_of_package
from supclap_platform.mirror.content import params_of
from supclap_platform.mirror.tracked import Tracked

PACKAGES = ("torch", "ray", "mlflow")


@dataclass(frozen=True)
class RunFact:
    """One run: where it stands, what it came from, why it failed. None: not known (yet)."""

    variant: str  # of the row that it is under; the stage of `init` has none
    group: str | None
    seed: int
    signature: str
    state: State
    result: Result | None
    error: str | None
    tracked: Tracked | None

    @property
    def stage(self) -> bool:
        """Whether it only trains what the others start from."""
        return self.variant == INIT


@dataclass(frozen=True)
class Facts:
    """What stands below the results of an experiment."""

    runs: tuple[RunFact, ...]
    shared: dict[str, str]  # settings that all variants have in common: dotted key -> value
    changes: dict[str, dict[str, str]]  # variant -> what it overrides
    file: str | None  # the experiment file as it is now; None where it is gone

    @cached_property
    def firsts(self) -> frozenset[int]:
        """Places in ``runs``; of a run that two groups share, the first."""
        places: dict[str, int] = {}
        for place, run in enumerate(self.runs):
            places.setdefault(run.signature, place)
        return frozenset(places.values())

    @cached_property
    def distinct(self) -> tuple[RunFact, ...]:
        """The runs, each once."""
        return tuple(self.runs[place] for place in sorted(self.firsts))

    @property
    def done(self) -> int:
        return sum(run.result is not None for run in self.distinct)

    @property
    def troubles(self) -> tuple[RunFact, ...]:
        """Runs without a result."""
        return tuple(run for run in self.distinct if run.result is None)

    @property
    def worker_seconds(self) -> float:
        """Training time of the finished runs, summed over their workers."""
        return sum(run.result.seconds * run.result.workers for run in self.distinct if run.result)


def gather_facts(
    experiment: Experiment,
    ledger: Ledger,
    cells: Sequence[Cell],
    tracked: Mapping[str, Tracked] | None = None,
) -> Facts:
    """The facts as the ledger holds them now.

    Args:
        cells: of the experiment.
        tracked: signature -> its run in MLflow, as far as known.
    """
    overview, results = ledger.examine(cell.signature for cell in cells)
    groups = {variant.name: (variant.row, variant.group) for variant in experiment.variants}
    runs = []
    for cell in cells:
        state = overview.of(cell.signature)
        failure = ledger.failure(cell.signature) if state is State.FAILED else None
        row, group = groups.get(cell.variant, (cell.variant, None))
        runs.append(
            RunFact(
                row,
                group,
                cell.seed,
                cell.signature,
                state,
                results.get(cell.signature),
                failure.error if failure else None,
                (tracked or {}).get(cell.signature),
            )
        )
    path = experiment.path
    return Facts(
        runs=tuple(runs),
        shared=_shared(experiment),
        changes={variant.name: params_of(variant.changes) for variant in experiment.variants},
        file=path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None,
    )


def versions() -> dict[str, str]:
    """Versions of what is installed here; nothing is imported for it."""
    found = {"supclap (code)": code_of_package(), "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _shared(experiment: Experiment) -> dict[str, str]:
    """What is equal in the configurations of all variants; the seed is an axis of its own."""
    every: Sequence[dict[str, str]] = [
        params_of(variant.config.model_dump(mode="json", exclude={"seed"}))
        for variant in experiment.variants
    ]
    if not every:
        return {}
    first, *others = every
    return {
        key: value
        for key, value in first.items()
        if all(other.get(key) == value for other in others)
    }

"""The door to what trains a cell: a method.

`supclap` is the first one (`supclap_method`); a file of the user's may hold another (`own_method`).
The platform calls nothing of a method but what stands here, and a cell carries its method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from supclap.code import own_code
from supclap.code import version_of as version_of
from supclap.copies import Awaited
from supclap.user_code import UserCode
from supclap.user_code.imports import imports_of
from supclap_platform.experiment.measure import Measure
from supclap_platform.experiment.run import Run

if TYPE_CHECKING:
    from supclap_platform.experiment.identity import Contents

STAGE = "stage"  # the word of `seeds.vary` that is the platform's own: the stage of `init`
WORLDS = 1_000  # what is made from a seed: so far apart for seeds side by side

# An instance of the method's own pydantic class, with at least `epochs` and `seed`.
Configuration = Any


class Need(Protocol):
    """Something in a place outside of the configuration, such as a collection or weights.

    Attributes:
        kind: "data", "weights".
        key: the dotted key of the place.
        place: as it is configured; with ``${NAME}`` where that variable is not set.
        command: what gets it.
        variable: the environment variable that the place waits for.
    """

    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def command(self) -> str: ...
    @property
    def variable(self) -> str | None: ...

    def awaited(self, seconds: float) -> Awaited | None:
        """What a run would fetch of it first, and does not lie here; None where that is nothing.
        Raises InputError: that cannot be known, after so many ``seconds`` or at once."""

    def fault(self) -> str | None:
        """Why it is not there, in a line; None where it is."""


@dataclass(frozen=True)
class Footprint:
    """What a run takes, in MB of a million bytes.

    Attributes:
        memory: of a worker while it trains, on its device; 0: not known.
        model: of the model that it leaves.
        checkpoints: of those that it keeps while it runs.
        kept: in the cache, of what is made once for all runs.
        fixed: of the memory, what it takes without any step; 0: not known.
    """

    memory: float = 0.0
    model: float = 0.0
    checkpoints: float = 0.0
    kept: float = 0.0
    fixed: float = 0.0


@dataclass(frozen=True)
class Timing:
    """What timed steps say of a run: its seconds, and those for what is made once.

    of: what that is made for; runs of equal ``of`` share it.
    footprint: what it takes of memory and disk; None where that is not known.
    assumed: what stands in for weights and data that are not here, in words.
    short: that a batch does not fit into memory here, and what would help; empty where it does.
    """

    whole: float
    steps: int
    once: float = 0.0
    of: str = ""
    footprint: Footprint | None = None
    assumed: tuple[str, ...] = ()
    short: str = ""


@dataclass(frozen=True)
class Preview:
    """What is known of a run before any step of it.

    Attributes:
        steps: of an epoch; None: not known.
        batch: pairs of a step; 0: not known.
        parameters: of its model, and ``learned`` those that training changes; 0: not known.
        footprint: what it takes but for its steps: its memory is ``fixed``.
        assumed: what stands in for weights and data that are not here, in words.
        unknown: what is not known, and why, in words.
    """

    steps: int | None = None
    batch: int = 0
    parameters: int = 0
    learned: int = 0
    footprint: Footprint = Footprint()
    assumed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class Method(ABC):
    """What trains a cell, and all that the platform must know of it before, during and after."""

    name: str  # as the file names it
    config: type[BaseModel]  # of its configurations
    parallel: bool  # whether several workers can train one run
    start_key: str | None  # the dotted key of a model to start from; None: it has none
    no_part_of_a_result: frozenset[str]  # keys that cannot change what a run ends with
    sources: UserCode = UserCode()  # files of the user's that it is made of
    figures: tuple[str, ...]  # that an experiment may ask for
    convergence: tuple[str, ...] = ()  # metrics that the figure "convergence" draws, but supclap's
    # What each seed can have of its own, by its word in `seeds.vary`: what is then another for
    # each, as in "these clips".
    vary: Mapping[str, str] = MappingProxyType({})

    # -- metrics --------------------------------------------------------------------------------

    @property
    @abstractmethod
    def first_words(self) -> frozenset[str]:
        """What stands before the first dot of its metrics: no group may be called so."""

    @abstractmethod
    def measure(self, name: str) -> Measure:
        """The metric that a column, claim or objective names.

        Raises InputError for a name that no run reports, with the nearest one that is.
        """

    @abstractmethod
    def why_not_reported(self, metric: str, config: Configuration) -> str | None:
        """Why a run of this configuration cannot report a metric; None where it can."""

    @abstractmethod
    def watched(self, config: Configuration) -> str | None:
        """The metric that the best epoch is chosen by; None where that is the last."""

    @abstractmethod
    def shown(self, config: Configuration) -> str:
        """The metric that is shown while a run is at work."""

    @abstractmethod
    def selection(self, config: Configuration) -> str:
        """How the best epoch is chosen, as a sentence below a table."""

    @abstractmethod
    def judged_on(self, objective: str) -> str:
        """The metric that a setting is judged on which a search has chosen by ``objective``: on val
        it was chosen, which flatters."""

    def better(self, config: Configuration, new: float, old: float) -> bool:
        """Whether a value of the watched metric beats another; an equal one does not."""
        metric = self.watched(config)
        return new < old if metric is not None and self.measure(metric).low else new > old

    # -- before anything starts -----------------------------------------------------------------

    @abstractmethod
    def check(self, config: Configuration, workers: int) -> None:
        """Raises SettingError where a configuration cannot be trained by so many workers."""

    @abstractmethod
    def check_data(self, config: Configuration, seen: set[Any]) -> None:
        """Looks at the files that a configuration names. Raises SettingError.

        Args:
            seen: what has been looked at before and is in order; new things are added.
        """

    def in_stores(self, config: Configuration) -> Mapping[str, str]:
        """What a run copies from stores to the machine that it runs on: addresses, by the keys
        that name them. Raises InputError."""
        return {}

    def needs(self, config: Configuration) -> Iterable[Need]:
        """What lies outside of the experiment file and a configuration cannot do without."""
        return ()

    @abstractmethod
    def time(self, config: Configuration, workers: int, threads: int, gpu: bool) -> Timing:
        """Times some steps of a run. Raises InputError where it cannot."""

    def preview(self, config: Configuration) -> Preview:
        """What is known of a run before any step of it."""
        return Preview(unknown=(f"what a run takes ({self.name} says it of finished cells alone)",))

    # -- identity -------------------------------------------------------------------------------

    @abstractmethod
    def signature(self, config: Configuration, workers: int, contents: Contents) -> str:
        """What names a run: a hash of all that defines it. Raises SettingError for a folder."""

    @abstractmethod
    def identity(self, config: Configuration) -> dict[str, Any]:
        """A configuration as plain values, without what means "as before"."""

    @abstractmethod
    def shape(self, config: Configuration) -> dict[str, Any]:
        """What of `identity` decides how long a run takes."""

    def takes(self, config: Configuration) -> dict[str, Any]:
        """What of `identity` decides how much memory a run takes, as far as that is known: whatever
        else differs may differ in the measured need, which then counts for all of them."""
        return {k: v for k, v in without_fractions(self.shape(config)).items() if k != "epochs"}

    @abstractmethod
    def same_data(self, config: Configuration) -> dict[str, Any]:
        """What decides which data a run sees: equal for runs that see the same."""

    @abstractmethod
    def code(self, config: Configuration) -> Mapping[str, str]:
        """Each module that a run depends on, with its hash."""

    def version(self, config: Configuration) -> str:
        """The version of the code that a run depends on."""
        return version_of(self.code(config))

    @abstractmethod
    def all_code(self) -> Mapping[str, str]:
        """The same of all that any run of it may depend on."""

    @abstractmethod
    def work(self, config: Configuration) -> float:
        """What a run's time grows with, roughly."""

    @abstractmethod
    def parse_stored(self, values: Any, source: str) -> Configuration:
        """A configuration from what a run has stored. Raises InputError."""

    @abstractmethod
    def stored(self, config: Configuration) -> dict[str, Any]:
        """A configuration as a run stores it, and as a task carries it."""

    # -- the stage of init ----------------------------------------------------------------------

    def starting_from(self, config: Configuration, signature: str) -> Configuration:
        """A configuration that starts from the model of the run of that signature."""
        raise NotImplementedError(f"{self.name} has no model to start from")

    def other_model(self, one: Configuration, other: Configuration) -> str | None:
        """The dotted key in which two configurations have models of different shape, if any."""
        return None

    # -- what each seed has of its own ----------------------------------------------------------

    def why_not_varied(self, word: str, config: Configuration) -> str | None:
        """Why a configuration has nothing of a word of `vary` that could be another for each seed;
        None where it has."""
        return None

    def varied(self, config: Configuration, word: str, seed: int) -> Configuration:
        """A configuration with what a seed has of its own by a word of `vary`. Seed 0 has what is
        configured; a configuration without anything of the kind stays as it is."""
        raise NotImplementedError(f"{self.name} offers nothing to vary")

    def made_of(self, config: Configuration, word: str) -> str:
        """What a run has by a word of `vary`: equal for runs that share it."""
        raise NotImplementedError(f"{self.name} offers nothing to vary")

    def made(self, config: Configuration) -> Mapping[Path, float]:
        """What of a run's data is made and kept in the cache of this machine: where, and about how
        many MB of it. Runs of equal data share it. Raises InputError."""
        return {}

    def shared_still(self, config: Configuration, word: str) -> Iterable[str]:
        """What of a varied word is the same for all seeds all the same, in words."""
        return ()

    # -- training -------------------------------------------------------------------------------

    @abstractmethod
    def fit(self, config: Configuration, run: Run) -> None:
        """Trains one run to its end. Every worker calls it.

        Raises:
            InputError: the configuration or its data cannot be used.
            RunError: the run cannot go on for a reason that another attempt would meet again.
        """


def without_fractions(value: Any) -> Any:
    """Plain values without numbers that have a fraction, such as rates, weights and temperatures.
    Names, switches and counts, which decide sizes, stay. A number that is not given says nothing
    either: null stands for a default."""
    if isinstance(value, Mapping):
        kept = {k: inner for k, inner in value.items() if not isinstance(inner, float | None)}
        return {key: without_fractions(inner) for key, inner in kept.items()}
    if isinstance(value, list | tuple):
        return [without_fractions(inner) for inner in value if not isinstance(inner, float)]
    return value


def own_seed(configured: int, seed: int) -> int:
    """What a seed of the experiment makes of a configured seed: that itself for seed 0."""
    return (configured + WORLDS * seed) % 2**63


def code_behind(code: UserCode) -> dict[str, str]:
    """The modules of `supclap` that sources of the user's import, directly or not, each with its
    hash."""
    names: set[str] = set()
    for unit in code.units:
        for source in unit.sources.values():
            if source.content is not None:
                names |= imports_of(source.content, source.module, source.package).names
    return own_code().reached(names)

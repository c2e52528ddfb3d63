"""A training loop of the user's, ``method: my_loop.py:Mine`` in an experiment file.

``Mine`` needs nothing of this package's:

    class Mine:
        class Config(BaseModel): ...       # pydantic, with `epochs`; its keys stand below `base`
        reports = {"val.top1": "high", "train.loss": "low"}
        def fit(self, config, run): ...    # `run` is an `own_run.OwnRun`
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supclap.errors import InputError, SettingError, nearest
from supclap.events import EARLIER_NAMES, Started
from supclap.explaining import explain
from supclap.later_keys import identity_of
from supclap.run_files import RESULT
from supclap.section import Section, Seed
from supclap.user_code import UserCode, place_in_user_code, version_of_object
from supclap.version import made_with, ran_on
from supclap.wording import gist, shown
from supclap_platform.experiment.identity import Contents, contents_of, digest
from supclap_platform.experiment.measure import WHOLE, Measure
from supclap_platform.experiment.method import (
    STAGE,
    Method,
    Timing,
    code_behind,
    own_seed,
    version_of,
)
from supclap_platform.experiment.run import Crash, LoopError, Run, RunError

TAKEN = ("resources", "select", "seeds")  # keys that are no setting of a method's own
_WORD = re.compile(r"[a-z]{1,30}")
_METRIC = re.compile(r"[A-Za-z][\w@-]*(\.[\w@-]+)*")
_WORTH_ANOTHER = (OSError, MemoryError, RuntimeError)  # of the machine, maybe, as CUDA's are
_NEVER = (NotImplementedError, RecursionError)


class ReportedSection(Section):
    """What a method says of one of its metrics."""

    better: Literal["high", "low", "neither"]
    percent: bool = False
    decimals: int | None = Field(default=None, ge=0, le=10)


class OwnSelect(Section):
    """Which epoch is the result: the best by a metric; without one the last."""

    metric: str | None = None


class OwnMethod(Method):
    """A class of the user's behind the door.

    Args:
        name: as the file has it, ``my_loop.py:Mine``.
        code: the loaded sources.
        made: the class.

    Raises:
        LoopError: the class lacks something, or has something that cannot be used.
    """

    start_key = None
    no_part_of_a_result: frozenset[str] = frozenset()
    figures = ("convergence",)

    def __init__(self, name: str, code: UserCode, made: Any) -> None:
        self.name = name
        self.sources, self._made = code, made
        if not isinstance(made, type):
            raise InputError(f"{name}: expected a class, got {shown(made)}")
        self.parallel = bool(getattr(made, "parallel", False))
        self.ends_early = bool(getattr(made, "ends_early", False))
        self.reported = self._reported()
        val = tuple(name for name in self.reported if name.startswith("val."))
        self.convergence = (val or tuple(self.reported))[:2]
        self.config = self._closed()
        self._varied = self._what_varies()
        self.vary = {word: word for word in self._varied}
        fit = getattr(made, "fit", None)
        if not callable(fit) or len(inspect.signature(fit).parameters) != 3:
            raise self._lacks("expected a method 'fit(self, config, run)'")

    def __reduce__(self) -> tuple[Callable[..., OwnMethod], tuple[str, UserCode]]:
        return _opened, (self.name, self.sources)

    @cached_property
    def files(self) -> frozenset[str]:
        """Its sources, as tracebacks name them."""
        return frozenset(str(path) for path in self.sources.paths)

    def place(self, member: str) -> str:
        """File and line of a member of its class, or of the class."""
        for one in (getattr(self._made, member, None), self._made):
            try:
                assert one is not None
                return f"{inspect.getsourcefile(one)}:{inspect.getsourcelines(one)[1]}"
            except (AssertionError, OSError, TypeError):
                continue
        return self.name

    # -- metrics --------------------------------------------------------------------------------

    @property
    def first_words(self) -> frozenset[str]:
        return frozenset(name.split(".")[0] for name in (*self.reported, *WHOLE))

    def measure(self, name: str) -> Measure:
        found = self.reported.get(name) or WHOLE.get(name)
        if found is None:
            valid = [*self.reported, *WHOLE]
            raise InputError(
                f"the method {self.name} does not report '{name}'{nearest(name, valid)} "
                f"(valid: {', '.join(valid)})"
            )
        return found

    def why_not_reported(self, metric: str, config: Any) -> str | None:
        self.measure(metric)
        return None

    def watched(self, config: Any) -> str | None:
        metric: str | None = config.select.metric
        return metric

    def shown(self, config: Any) -> str:
        return self.watched(config) or next(iter(self.reported))

    def selection(self, config: Any) -> str:
        metric = self.watched(config)
        if metric is None:
            return "Measured after the last epoch."
        if metric.startswith("test."):
            return f"Epoch chosen by {metric}, on the TEST split: a leak that flatters every row."
        return f"Epoch chosen by {metric}."

    def judged_on(self, objective: str) -> str:
        test = f"test.{objective.removeprefix('val.')}"
        return test if objective.startswith("val.") and test in self.reported else objective

    # -- before anything starts -----------------------------------------------------------------

    def check(self, config: Any, workers: int) -> None:
        if workers > 1 and not self.parallel:
            raise SettingError(
                "resources.workers",
                f"resources.workers: the method {self.name} trains in one process; one that can "
                "share a run among several says parallel = True",
            )
        if type(config.epochs) is not int or config.epochs < 1:
            raise SettingError("epochs", f"epochs: expected 1 or more, got {shown(config.epochs)}")
        metric = config.select.metric
        if metric is not None and metric not in self.reported:
            valid = ", ".join(self.reported)
            hint = nearest(metric, self.reported)
            raise SettingError(
                "select.metric",
                f"select.metric: the method {self.name} does not report '{metric}'{hint} "
                f"(valid: {valid})",
            )
        own = getattr(self._made, "check", None)
        if own is not None:
            try:
                self._new().check(config)
            except ValueError as error:  # an InputError is one
                raise SettingError("", str(error)) from None
            except Exception as error:
                raise self._fault(error) from None

    def check_data(self, config: Any, seen: set[Any]) -> None:
        contents_of(config, Contents())

    def time(self, config: Any, workers: int, threads: int, gpu: bool) -> Timing:
        raise InputError(f"{self.name} is timed by its finished cells alone")

    # -- identity -------------------------------------------------------------------------------

    def signature(self, config: Any, workers: int, contents: Contents) -> str:
        values, _ = contents_of(config, contents)
        return digest({"method": self.name, "run": values, "workers": workers})

    def identity(self, config: Any) -> dict[str, Any]:
        return {"method": self.name, **identity_of(config)}

    def shape(self, config: Any) -> dict[str, Any]:
        values = self.identity(config)
        del values["seed"]
        for key in self._varied.values():
            values.pop(key, None)
        return values

    def same_data(self, config: Any) -> dict[str, Any]:
        _, places = contents_of(config, None)
        return places

    def code(self, config: Any) -> Mapping[str, str]:
        return self._modules

    def all_code(self) -> Mapping[str, str]:
        return self._modules

    @cached_property
    def _modules(self) -> dict[str, str]:
        """The class with what it needs, and what it imports of this package."""
        place, version = version_of_object(self._made)
        return {f"{place}: {self._made.__name__}": version} | code_behind(self.sources)

    def work(self, config: Any) -> float:
        return float(config.epochs)

    def parse_stored(self, values: Any, source: str) -> Any:
        if not isinstance(values, Mapping) or values.get("method") != self.name:
            raise InputError(f"{source}: is no configuration of the method {self.name}")
        own = {key: value for key, value in values.items() if key != "method"}
        try:
            return self.config.model_validate(own)
        except ValidationError as error:
            raise InputError(f"{source}: {explain(error, self.config)}") from None

    def stored(self, config: Any) -> dict[str, Any]:
        return {"method": self.name, **config.model_dump(mode="json")}

    # -- what each seed has of its own ----------------------------------------------------------

    def varied(self, config: Any, word: str, seed: int) -> Any:
        key = self._varied[word]
        return config.model_copy(update={key: own_seed(getattr(config, key), seed)})

    def made_of(self, config: Any, word: str) -> str:
        return str(getattr(config, self._varied[word]))

    # -- training -------------------------------------------------------------------------------

    def fit(self, config: Any, run: Run) -> None:
        from supclap.exchange import WorkerMissing
        from supclap.workers import Workers
        from supclap_platform.experiment.own_run import OwnRun

        workers = Workers.current(run.timeout)
        if workers.from_first(lambda: run.folder.exists(RESULT)):
            return  # another worker's restart: it is whole
        _, data = contents_of(config, Contents())
        started = Started(
            config=self.stored(config),
            code=version_of(self._modules),
            modules=dict(self._modules),
            data=digest(data),
            workers=workers.size,
            epochs=config.epochs,
            steps_per_epoch=1,
            parameters=0,
            made_with=made_with(workers.device),
            ran_on=ran_on(workers.device),
            user_code=self.sources.hash,
        )
        own = OwnRun(config, run, self, started, workers)
        own.begin()
        try:
            measured = self._new().fit(config, own)
        except (LoopError, RunError, WorkerMissing):
            raise
        except (Exception, SystemExit) as error:
            if own.ended_by(error):
                raise
            raise self._fault(error) from error
        finally:
            own.close()
        own.end(measured)

    def _new(self) -> Any:
        try:
            return self._made()
        except Exception as error:
            raise self._fault(error) from error

    def _fault(self, error: BaseException) -> Exception:
        """What an exception of the user's code becomes: one line with file and line of it."""
        place = place_in_user_code(error) or self.place("fit")
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        line = f"{place}: {kind}{gist(error, 1_000)}"
        from supclap.memory import asked_for

        again = isinstance(error, _WORTH_ANOTHER) and not isinstance(error, _NEVER)
        again = again and asked_for(error) is None  # unchanged it would meet the same
        return Crash(line) if again else LoopError(line)

    def _lacks(self, message: str) -> LoopError:
        return LoopError(f"{self.place('__class__')}: {self._made.__name__}: {message}")

    def _reported(self) -> dict[str, Measure]:
        given = getattr(self._made, "reports", None)
        if not isinstance(given, Mapping) or not given:
            raise self._lacks(
                'expected reports = {"val.loss": "low", ...}: each metric, and which '
                "way it is better, high, low or neither"
            )
        found = {}
        for name, said in given.items():
            if not isinstance(name, str) or not _METRIC.fullmatch(name) or len(name) > 100:
                raise self._lacks(
                    f"reports: {shown(name)}: expected a name of letters, digits, '_', '@', '-' "
                    "and dots between its words"
                )
            if name in WHOLE or name in EARLIER_NAMES:
                raise self._lacks(f"reports: '{name}' is a name of the platform's own")
            try:
                one = ReportedSection.model_validate(
                    {"better": said} if isinstance(said, str) else said
                )
            except ValidationError as error:
                raise self._lacks(f"reports: {name}: {explain(error, ReportedSection)}") from None
            test = name.startswith("test.")
            other = f"val.{name.removeprefix('test.')}"
            found[name] = Measure(
                name,
                low=one.better == "low",
                ranked=one.better != "neither",
                decimals=one.decimals if one.decimals is not None else 2 if one.percent else 4,
                clear=one.better != "neither",
                held_out=test,
                instead=other if test and other in given else "",
            )
        return found

    def _what_varies(self) -> dict[str, str]:
        """Word of `seeds.vary` -> the key of its Config that is then another for each seed."""
        given = getattr(self._made, "vary", {})
        if not isinstance(given, Mapping):
            raise self._lacks('vary: expected a mapping, {"world": "world_seed"}')
        own = self._made.Config.model_fields
        for word, key in given.items():
            if not isinstance(word, str) or not _WORD.fullmatch(word):
                raise self._lacks(f"vary: {shown(word)}: expected a word of lower-case letters")
            if word == STAGE:
                raise self._lacks(f"vary: '{word}' is the platform's word")
            if not isinstance(key, str) or key not in own or key in ("seed", "epochs"):
                raise self._lacks(f"vary: {word}: {shown(key)} is no key of its Config to vary")
            if own[key].annotation is not int:
                raise self._lacks(f"vary: {word}: the key '{key}' is no int, as a seed is")
        return dict(given)

    def _closed(self) -> type[BaseModel]:
        """The class of its configurations: with seed and select, and no key but its own."""
        own = getattr(self._made, "Config", None)
        if not isinstance(own, type) or not issubclass(own, BaseModel):
            raise self._lacks("expected a class 'Config', a pydantic.BaseModel")
        if "epochs" not in own.model_fields:
            raise self._lacks("its Config has no 'epochs'")
        taken = next((key for key in TAKEN if key in own.model_fields), None)
        if taken is not None:
            raise self._lacks(f"its Config has a key '{taken}', which is the platform's")
        select = OwnSelect(metric=getattr(self._made, "select", None))
        body: dict[str, Any] = {
            "__module__": own.__module__,
            "__qualname__": own.__qualname__,
            "__doc__": own.__doc__,
            "__annotations__": {"select": OwnSelect},
            "model_config": ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False),
            "select": select,
        }
        if "seed" not in own.model_fields:
            body["__annotations__"]["seed"] = Seed
            body["seed"] = 0
        return type(own.__name__, (own,), body)


def method_in(code: UserCode, named: str) -> OwnMethod:
    """The method that a file names, ``my_loop.py:Mine`` or ``mylab.loops:Mine``, of loaded code.

    Raises:
        InputError: no such class, or one that cannot be used.
    """
    source, _, attribute = named.rpartition(":")
    own = code.only((source,))
    return OwnMethod(named, own, own.attribute(source, attribute))


def _opened(named: str, code: UserCode) -> OwnMethod:
    """The method in another process, from its sources."""
    code.load()
    return method_in(code, named)

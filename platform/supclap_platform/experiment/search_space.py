"""The space of a search: parameters, their conditions, and the settings that lie in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from supclap.errors import InputError, nearest
from supclap_platform.experiment.search_section import ParameterSection, Scalar

STEPS = 5  # values of a range that a grid tries, where the file does not say
MOST_POINTS = 100_000

Params = dict[str, Any]  # dotted key -> value, of the parameters that apply


class SpaceError(InputError):
    """A mistake in one parameter; ``key`` is where it stands below ``space``."""

    def __init__(self, key: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.key = key


class Space:
    """Parameters in an order in which each comes after those that its conditions name.

    Calling it with an Optuna trial suggests a value for each parameter that applies: it is the
    define-by-run space of Ray's OptunaSearch.
    """

    def __init__(self, parameters: Mapping[str, ParameterSection]) -> None:
        """Raises SpaceError: a condition on a parameter that is absent, or can never be true."""
        for name, parameter in parameters.items():
            _check_conditions(name, parameter, parameters)
        self.parameters = _ordered(parameters)

    def __call__(self, trial: Any) -> Params:
        """Suggests a setting: the values of the parameters that apply."""
        params: Params = {}
        for name, parameter in self.parameters.items():
            if self.applies(name, params):
                if parameter.kind == "fixed":
                    params[name] = parameter.fixed
                else:
                    params[name] = _suggested(trial, name, parameter)
        return params

    def applies(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether a parameter's conditions hold among the values before it."""
        return all(
            parent in params and any(_equal(params[parent], value) for value in _listed(wanted))
            for parent, wanted in self.parameters[name].when.items()
        )

    def free(self, params: Mapping[str, Any]) -> Params:
        """Those of a setting that are sampled, not fixed: what Optuna knows of it."""
        return {n: v for n, v in params.items() if self.parameters[n].kind != "fixed"}

    def distributions(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's distributions of a setting's sampled parameters."""
        return {name: distribution(self.parameters[name]) for name in self.free(params)}

    def setting(self, values: Mapping[str, Any]) -> Params:
        """The parameters that apply among ``values``, which may have more and less.

        Raises InputError where one that applies is missing or not in its range.
        """
        params: Params = {}
        for name, parameter in self.parameters.items():
            if not self.applies(name, params):
                continue
            if name not in values:
                raise InputError(f"'{name}' is not set")
            reason = outside(parameter, values[name])
            if reason:
                raise InputError(f"'{name}' is {values[name]!r}, {reason}")
            params[name] = _typed(parameter, values[name])
        return params

    def points(self) -> Iterator[Params]:
        """Every setting of a grid: each choice, and `steps` values of each range."""
        yield from self._extended({}, list(self.parameters))

    def _extended(self, params: Params, names: list[str]) -> Iterator[Params]:
        if not names:
            yield params
            return
        name, rest = names[0], names[1:]
        if not self.applies(name, params):
            yield from self._extended(params, rest)
            return
        for value in grid_values(self.parameters[name]):
            yield from self._extended({**params, name: value}, rest)

    def probes(self) -> Iterator[tuple[str, Params]]:
        """Settings that together show every edge: for each parameter, each choice or both ends."""
        for name in self.parameters:
            for value in edges(self.parameters[name]):
                params = self._with(name, value)
                if params is not None:
                    yield name, params

    def _with(self, name: str, value: Scalar) -> Params | None:
        """A setting in which a parameter applies and has a value; the others their first ones."""
        wanted: dict[str, list[Any]] = {name: [value]}
        for other in reversed(self.parameters):  # from the last: parents learn what is asked
            if other in wanted:
                for parent, values in self.parameters[other].when.items():
                    kept = [v for v in wanted.get(parent, _listed(values)) if v in _listed(values)]
                    wanted[parent] = kept
        params: Params = {}
        for other, parameter in self.parameters.items():
            if self.applies(other, params):
                options = wanted.get(other) or list(edges(parameter))
                params[other] = options[0]
        return params if name in params else None

    def described(self) -> dict[str, Any]:
        """The space as plain values: what a study must agree with."""
        return {
            name: parameter.model_dump(mode="json", exclude_unset=True, exclude={"steps"})
            for name, parameter in sorted(self.parameters.items())
        }


def distribution(parameter: ParameterSection) -> Any:
    """Optuna's distribution of a parameter that is not fixed."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "choice":
        assert parameter.choice is not None
        return CategoricalDistribution(parameter.choice)
    if parameter.kind == "integer":
        assert parameter.integer is not None
        return IntDistribution(*parameter.integer, log=parameter.log)
    ends = parameter.uniform or parameter.log_uniform
    assert ends is not None
    return FloatDistribution(*ends, log=parameter.kind == "log_uniform")


def _suggested(trial: Any, name: str, parameter: ParameterSection) -> Any:
    if parameter.kind == "choice":
        return trial.suggest_categorical(name, parameter.choice)
    if parameter.kind == "integer":
        assert parameter.integer is not None
        return trial.suggest_int(name, *parameter.integer, log=parameter.log)
    ends = parameter.uniform or parameter.log_uniform
    assert ends is not None
    return trial.suggest_float(name, *ends, log=parameter.kind == "log_uniform")


def outside(parameter: ParameterSection, value: Any) -> str | None:
    """Why a value is none of a parameter's, or None where it is one."""
    if parameter.kind in ("choice", "fixed"):
        options = parameter.choice if parameter.kind == "choice" else (parameter.fixed,)
        assert options is not None
        if any(_equal(value, option) for option in options):
            return None
        return f"not among {', '.join(map(repr, options))}"
    ends = parameter.uniform or parameter.log_uniform or parameter.integer
    assert ends is not None
    whole = parameter.kind != "integer" or isinstance(value, int)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and whole and ends[0] <= value <= ends[1]:
        return None
    within = f"[{ends[0]:g}, {ends[1]:g}]"
    if not (number and whole):
        return f"no {'whole number' if parameter.kind == 'integer' else 'number'} in {within}"
    return f"outside {within}"


def edges(parameter: ParameterSection) -> tuple[Any, ...]:
    """Every choice, or both ends of a range."""
    if parameter.kind == "choice":
        assert parameter.choice is not None
        return parameter.choice
    if parameter.kind == "fixed":
        return (parameter.fixed,)
    ends = parameter.uniform or parameter.log_uniform or parameter.integer
    assert ends is not None
    return ends


def grid_values(parameter: ParameterSection) -> list[Any]:
    """The values that a grid tries."""
    if parameter.kind in ("choice", "fixed"):
        return list(edges(parameter))
    low, high = edges(parameter)
    count = parameter.steps or STEPS
    shares = [i / (count - 1) for i in range(count)] if count > 1 else [0.5]
    if parameter.kind == "log_uniform" or parameter.log:
        found = [math.exp(math.log(low) + s * (math.log(high) - math.log(low))) for s in shares]
    else:
        found = [low + share * (high - low) for share in shares]
    found = [min(max(value, low), high) for value in found]
    if parameter.kind == "integer":
        return list(dict.fromkeys(round(value) for value in found))
    return found


def _check_conditions(
    name: str, parameter: ParameterSection, parameters: Mapping[str, ParameterSection]
) -> None:
    for parent, wanted in parameter.when.items():
        key = (name, "when", parent)
        if parent not in parameters:
            raise SpaceError(
                key,
                f"'{name}' depends on '{parent}', which is no parameter of the space"
                f"{nearest(parent, parameters)} (parameters: {', '.join(parameters)})",
            )
        if not _listed(wanted):
            raise SpaceError(key, f"'{name}' depends on no value of '{parent}'")
        for value in _listed(wanted):
            reason = outside(parameters[parent], value)
            if reason:
                raise SpaceError(
                    key, f"'{name}' depends on '{parent}' being {value!r}, {reason}: never so"
                )


def _ordered(parameters: Mapping[str, ParameterSection]) -> dict[str, ParameterSection]:
    ordered: dict[str, ParameterSection] = {}
    left = dict(parameters)
    while left:
        ready = [name for name, p in left.items() if all(parent in ordered for parent in p.when)]
        if not ready:
            name = next(iter(left))
            raise SpaceError((name, "when"), f"the conditions of '{name}' lead back to it")
        for name in ready:
            ordered[name] = left.pop(name)
    return ordered


def count_points(space: Space) -> int:
    """How many settings a grid has, up to `MOST_POINTS`."""
    return sum(1 for _ in zip(space.points(), range(MOST_POINTS), strict=False))


def _listed(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple) else [wanted]


def _equal(one: Any, other: Any) -> bool:
    """As YAML writes them: ``1`` is ``1.0``, but no ``true``."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _typed(parameter: ParameterSection, value: Any) -> Any:
    return float(value) if parameter.kind in ("uniform", "log_uniform") else value

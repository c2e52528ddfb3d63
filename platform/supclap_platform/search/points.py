"""The trials of a study as the figures show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from supclap.csv_text import csv_text
from supclap_platform.experiment.search import Objective
from supclap_platform.experiment.search_section import ParameterSection
from supclap_platform.experiment.search_space import Space
from supclap_platform.search.judging import ranked
from supclap_platform.search.study import WARM, Book
from supclap_platform.search.winner import Ranked


@dataclass(frozen=True)
class Point:
    """A trial with a value. Of one that was stopped early it is the last that it reported."""

    number: int
    params: dict[str, Any]
    values: tuple[float, ...]
    curve: dict[int, float]  # step -> value
    stopped: bool
    warm: bool  # known before the search began


@dataclass(frozen=True)
class Picture:
    """What there is to draw."""

    name: str
    space: Space
    objectives: tuple[Objective, ...]
    points: tuple[Point, ...]
    best: tuple[Ranked, ...]
    importances: tuple[dict[str, tuple[float, int]], ...]  # by objective: parameter -> see there

    @property
    def finished(self) -> list[Point]:
        return [point for point in self.points if not point.stopped]


def picture(book: Book) -> Picture:
    """The study as it is now."""
    points = []
    for trial in book.study.get_trials(deepcopy=False):
        state = trial.state.name
        curve = dict(sorted(trial.intermediate_values.items()))
        if state == "COMPLETE":
            values = tuple(trial.values)
        elif state == "PRUNED" and curve:
            values = (curve[max(curve)],)
        else:
            continue
        points.append(
            Point(
                number=trial.number,
                params=dict(trial.params),
                values=values,
                curve=curve,
                stopped=state == "PRUNED",
                warm=WARM in trial.user_attrs,
            )
        )
    return Picture(
        name=book.name,
        space=book.search.space,
        objectives=book.search.objectives,
        points=tuple(points),
        best=tuple(ranked(book)),
        importances=tuple(importances(book, at) for at in range(len(book.search.objectives))),
    )


def importances(book: Book, objective: int) -> dict[str, tuple[float, int]]:
    """How much each parameter separates the good trials from the others, by PED-ANOVA.

    Watanabe et al., 2023: the divergence between where the best tenth lies and where all lie. Only
    finished trials count, and of a parameter with a condition those in which it applies.

    Returns:
        parameter -> share (they add up to 1) and the number of trials that it rests on.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    trials = [t for t in book.study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    found: dict[str, tuple[float, int]] = {}
    for name, parameter in book.search.space.parameters.items():
        own = [t for t in trials if name in t.params]
        if parameter.kind == "fixed" or len(own) < 4 or len({t.params[name] for t in own}) < 2:
            continue
        study = optuna.create_study(direction=book.search.objectives[objective].direction)
        for trial in own:
            study.add_trial(
                optuna.trial.create_trial(
                    params={name: trial.params[name]},
                    distributions={name: trial.distributions[name]},
                    value=trial.values[objective],
                )
            )
        evaluated = PedAnovaImportanceEvaluator(target_quantile=0.25).evaluate(study)
        found[name] = (float(evaluated.get(name, 0.0)), len(own))
    whole = sum(share for share, _ in found.values())
    if not whole > 0:
        return {name: (0.0, count) for name, (_, count) in found.items()}
    return {name: (share / whole, count) for name, (share, count) in found.items()}


def trials_csv(shown: Picture) -> bytes:
    """Every trial with a value: a line each, for other programs."""
    names = list(shown.space.parameters)
    rows: list[list[object]] = [
        ["trial", "state", "epochs", *(o.metric for o in shown.objectives), *names]
    ]
    for point in shown.points:
        state = "known before" if point.warm else "stopped" if point.stopped else "finished"
        values = [repr(value) for value in point.values]
        values += [""] * (len(shown.objectives) - len(values))
        params = [point.params.get(name, "") for name in names]
        rows.append([point.number, state, max(point.curve, default=""), *values, *params])
    return csv_text(rows).encode()


def numeric(shown: Picture) -> list[str]:
    """The parameters that are ranges, the most important for the first objective first."""
    weights = shown.importances[0]
    names = [
        name
        for name, parameter in shown.space.parameters.items()
        if parameter.kind not in ("choice", "fixed")
    ]
    return sorted(names, key=lambda name: -weights.get(name, (0.0, 0))[0])


def logarithmic(parameter: ParameterSection) -> bool:
    return parameter.kind == "log_uniform" or parameter.log


def short(names: Sequence[str]) -> dict[str, str]:
    """Endings of dotted names, as short as they still differ."""
    from supclap_platform.experiment.rows import short_names

    return dict(zip(names, short_names(list(names)), strict=True))

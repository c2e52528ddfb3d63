"""Two trained models on one test set: there are no seeds, so clips are what is drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np

from supclap.errors import InputError, nearest
from supclap_platform.experiment.columns import Column
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.results.bootstrap import clip_values, crossed_interval, queries_of
from supclap_platform.results.cases import NO_SPREAD, Case, agrees, unequal_queries
from supclap_platform.results.comparison import (
    Change,
    Comparison,
    Line,
    bounds_of,
    judged,
    line_of,
    question,
)
from supclap_platform.results.inference import has_spread, mean_test, negligible

ROW = "the model"
COLUMNS = tuple(
    f"{way}.{name}" for way in ("t2a", "a2t") for name in ("R@1", "R@5", "R@10", "mAP10")
)
ZERO_SHOT = ("zero_shot.accuracy",)


@dataclass(frozen=True)
class Scored:
    """What a model scores on a test set.

    metrics: by full name (``test.t2a.R@1``). ranks: arrays as `supclap.measurement.Measured` has
    them, and "zero_shot_right", "zero_shot_clips" (clips,). data, model: hashes of their content.
    """

    title: str
    metrics: Mapping[str, float]
    ranks: Mapping[str, Any]
    data: str
    model: str | None = None


def compare_models(
    a: Scored,
    b: Scored,
    within: Mapping[str, float] | None = None,
    asked: Sequence[str] = (),
) -> Comparison:
    """B against A, query by query.

    Args:
        within: column -> the largest difference that does not matter; "" for all others.
        asked: the columns; by default R@1, R@5, R@10 and mAP10 of both ways, or accuracy.

    Raises:
        InputError: they were measured on different data, or report no such column.
    """
    if a.data != b.data:
        raise InputError(
            f"A ({a.title}) was measured on other data than B ({b.title}): {a.data} and {b.data}; "
            "--data FOLDER measures both on one test set"
        )
    columns = _columns(a, b, asked)
    bounds = bounds_of(within or {}, columns)
    lines = [_asked(column, a, b, bounds.get(column.name)) for column in columns]
    note = (
        "two models, no seeds: verdicts are on these two models for clips like these, and say "
        "nothing of another training of either"
    )
    return Comparison(a.title, b.title, judged(lines), (note,), of_models=True)


def _columns(a: Scored, b: Scored, asked: Sequence[str]) -> list[Column]:
    found = []
    both = {name for name in a.metrics if name in b.metrics}
    usual = COLUMNS if any(name.startswith("test.") for name in both) else ZERO_SHOT
    for name in asked or usual:
        measure = SUPCLAP.measure(name)
        if measure.name in both:
            found.append(Column(name, name, measure))
        elif asked:
            known = [n.removeprefix("test.") for n in sorted(both)]
            raise InputError(f"--column {name}: not measured of both{nearest(name, known)}")
    if not found:
        raise InputError(f"nothing to compare: {a.title} and {b.title} have no metric in common")
    return found


def _asked(column: Column, a: Scored, b: Scored, within: float | None) -> tuple[Line, Case]:
    metric = column.measure.name
    ours, theirs = b.metrics[metric], a.metrics[metric]
    case = Case(question(column, within), "B − A", [], 1)
    if isfinite(ours) and isfinite(theirs):
        case.pairs.append((ours, theirs))
    two = [queries_of(metric, one.ranks) for one in (b, a)]
    new, old = two
    if a.model is not None and a.model == b.model:
        line = line_of(ROW, column, case, within)
        return replace(line, change=Change.EQUAL, same=True, remarks=("the same model",)), case
    if not case.pairs:
        case.reasons.append("one of them is not a number")
    elif new is None or old is None or not len(new.clips):
        case.reasons.append("no mean over queries, and two models have no other spread")
    elif not (agrees(new, ours) and agrees(old, theirs)):
        case.reasons.append("the answers to the queries do not give the reported value")
    elif unequal := unequal_queries([new, old]):
        case.reasons.append(unequal)
    else:
        case.queries = len(new.clips)
        differences = new.values - old.values
        if not np.any(differences):
            line = line_of(ROW, column, case, within)
            remark = "the same answer to every query"
            return replace(line, change=Change.EQUAL, same=True, remarks=(remark,)), case
        values = clip_values(differences, new.clips).tolist()
        if len(values) > 1 and has_spread(values):
            case.test = mean_test(values)
            case.small = None if within is None else negligible(values, within)
            case.interval = (case.test.low, case.test.high)
            case.wide = crossed_interval(differences[None], new.clips)
        else:
            case.reasons.append(NO_SPREAD)
    return line_of(ROW, column, case, within), case

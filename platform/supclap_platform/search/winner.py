"""The best setting of a search: chosen on the val split and the search's own seeds, then trained
on fresh seeds as a row of the experiment, and judged on the test split beside the other rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from supclap.errors import InputError
from supclap.events import first_name
from supclap.stored import Count, Damaged, as_kind, read_values, sealed
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.identity import digest
from supclap_platform.experiment.search import Objective, Search
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import profile_key
from supclap_platform.search.trials import variant_of

SO_FAR = "-so-far"


@dataclass(frozen=True)
class Ranked:
    """A finished trial as it was judged."""

    number: Count
    params: dict[str, Any]
    values: list[Annotated[float, Field(allow_inf_nan=False)]]


@dataclass(frozen=True)
class Findings:
    """What a search has found, as the ledger keeps it."""

    search: str  # digest of the search it is of
    objectives: list[str]
    best: list[Ranked]  # the winner first; with several objectives the Pareto front
    trials: Count  # over when it was written
    left: Count


def rank(trials: Sequence[Ranked], objectives: Sequence[Objective]) -> list[Ranked]:
    """The trials from the best to the worst, a setting that was tried twice once.

    With several objectives: those that no other is better than in all of them, from the most even
    compromise (nearest to the best of each, on scales from 0 to 1 over the front) outwards.
    """
    once = {json.dumps(t.params, sort_keys=True): t for t in reversed(list(trials))}
    found = sorted(once.values(), key=lambda trial: trial.number)
    costs = {t.number: _costs(t.values, objectives) for t in found}
    if len(objectives) == 1:
        return sorted(found, key=lambda trial: (costs[trial.number][0], trial.number))
    front = [
        t
        for t in found
        if not any(_dominates(costs[o.number], costs[t.number]) for o in found if o is not t)
    ]
    if not front:
        return []
    columns = list(zip(*(costs[t.number] for t in front), strict=True))
    lows, spans = [min(c) for c in columns], [max(c) - min(c) or 1.0 for c in columns]

    def distance(trial: Ranked) -> float:
        cost = costs[trial.number]
        return sum(((c - low) / span) ** 2 for c, low, span in zip(cost, lows, spans, strict=True))

    return sorted(front, key=lambda trial: (distance(trial), trial.number))


def whole_setting(search: Search, sampled: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's setting with the fixed parameters, which Optuna does not know."""
    fixed = {n: p.fixed for n, p in search.space.parameters.items() if p.kind == "fixed"}
    return search.space.setting({**fixed, **sampled})


def write_findings(
    experiment: Experiment, findings: Findings, ledger: Ledger, ended: bool = True
) -> None:
    """Writes down what a search has found, for the table, the plan and other commands.

    Only a search that has ended has a winner; before that, only how far it is can be shown.
    """
    content = sealed(asdict(findings), indent=1)
    folder = ledger.experiment_folder(experiment.name)
    folder.write(_file(experiment, SO_FAR), content)
    if ended:
        folder.write(_file(experiment), content)


def read_findings(experiment: Experiment, ledger: Ledger, so_far: bool = False) -> Findings | None:
    """What the file's search has found, or None: it has not ended yet, or was another one.

    Raises Damaged.
    """
    name = _file(experiment, SO_FAR if so_far else "")
    folder = ledger.experiment_folder(experiment.name)
    where = folder.uri_of(name)
    try:
        findings = as_kind(read_values(folder, name), Findings, where)
    except FileNotFoundError:
        return None
    if findings.search != search_digest(experiment):
        return None
    assert experiment.search is not None
    for one in findings.best:
        if len(one.values) != len(experiment.search.objectives):
            raise Damaged(where, f"trial {one.number} has {len(one.values)} values")
        try:
            variant_of(experiment, experiment.search.winner, one.params)
        except InputError as error:
            raise Damaged(where, f"trial {one.number}: {error}") from None
    return findings


def with_winner(experiment: Experiment, ledger: Ledger) -> Experiment:
    """The experiment with its search's winner as a row, where there is one.

    Without one, what the file asks of the winner is left out until there is.
    """
    search = experiment.search
    if search is None:
        return experiment
    findings = ledger.spared(lambda: read_findings(experiment, ledger))
    if findings is None or not findings.best:
        absent = set(search.rows)
        return replace(
            experiment,
            claims=tuple(c for c in experiment.claims if absent.isdisjoint(c.variants)),
            baselines={
                row: base
                for row, base in experiment.baselines.items()
                if absent.isdisjoint((row, base))
            },
        )
    params = findings.best[0].params
    rows = [variant_of(experiment, search.winner, params)]
    rows += [variant_of(experiment, name, params, name) for name in search.controls]
    return replace(experiment, variants=(*experiment.variants, *rows))


def search_line(experiment: Experiment, ledger: Ledger) -> str:
    """How far a file's search is, as its driver wrote it down last, in one line."""
    search = experiment.search
    assert search is not None
    goal = ", ".join(str(objective) for objective in search.objectives)
    head = f"{experiment.name}: search for {goal}: {search.trials} trials"
    findings = ledger.spared(lambda: read_findings(experiment, ledger, so_far=True))
    if findings is None:
        return f"{head}, none over yet"
    text = f"{head}, {findings.trials} over, {findings.left} left"
    if findings.best:
        values = ", ".join(f"{value:.4g}" for value in findings.best[0].values)
        text += f"; best so far: trial {findings.best[0].number} with {values}"
    return text


def _file(experiment: Experiment, kind: str = "") -> str:
    assert experiment.search is not None
    key = {"profile": profile_key(experiment), "study": experiment.search.name}
    return f"search-{digest(key)}{kind}.json"


def search_digest(experiment: Experiment) -> str:
    """Of what the winner's meaning depends on. More trials make a better winner, not another."""
    search = experiment.search
    assert search is not None
    config, _ = search.build("search", {})
    return digest(
        {
            "study": search.name,
            "space": search.space.described(),
            # By the names that they had: a search that has ended keeps its winner.
            "objectives": [
                asdict(one) | {"metric": first_name(one.metric)} for one in search.objectives
            ],
            "base": experiment.method.identity(config),
            "seeds": list(search.seeds),
        }
        | ({"vary": list(experiment.vary)} if experiment.vary else {})
    )


def _costs(values: Sequence[float], objectives: Sequence[Objective]) -> list[float]:
    """Values as costs: the smaller the better, whichever way the objective goes."""
    return [
        -value if objective.direction == "maximize" else value
        for value, objective in zip(values, objectives, strict=True)
    ]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

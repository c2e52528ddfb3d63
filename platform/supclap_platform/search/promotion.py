"""The best settings of a search, written as the variants of an experiment file of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from supclap.overrides import override
from supclap.scalars import Dumper
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.search import Objective
from supclap_platform.ledger.plan import TRIAL
from supclap_platform.search.winner import Ranked


def promoted(experiment: Experiment, best: Sequence[Ranked], source: str) -> str:
    """An experiment file: the search's own rows to compare with, then a row for each setting.

    Args:
        best: the settings, best first.
        source: the command line that the file comes from, for its head.
    """
    search = experiment.search
    assert search is not None
    declared = search.settings.document.values
    parts: dict[str, Any] = {
        "experiment": f"{experiment.name[:50]}-top",
        "about": f"The best settings of {experiment.name} on seeds that it has not seen.",
        **{key: declared[key] for key in ("code", "method") if declared.get(key)},
        "base": _plain(search.settings.base),
    }
    lines = [
        f"# The {len(best)} best settings of the search in {experiment.path.name}.",
        "#",
        f"#   {source}",
        "#",
        "# What stands beside a setting was measured on the val split and the search's own seeds,",
        "# for which it was chosen: it flatters. The table of this file does not.",
        _dump(parts),
        "variants:\n",
    ]
    text = "\n".join(lines[:-2]) + "\n" + "".join(lines[-2:])
    for variant in experiment.variants:
        if variant.name not in search.rows:
            text += _row(variant.name, variant.changes)
    for one in best:
        scores = ", ".join(
            f"{objective.metric} {value:.4g}"
            for objective, value in zip(search.objectives, one.values, strict=True)
        )
        text += f"  # {scores}\n"
        text += _row(f"{TRIAL}{one.number}", {**search.base, **one.params})
    rest = _rest(experiment, best)
    return text + _dump(rest)


def _rest(experiment: Experiment, best: Sequence[Ranked]) -> dict[str, Any]:
    search = experiment.search
    assert search is not None
    settings = search.settings
    own = [v.name for v in experiment.variants if v.name not in search.rows]
    rest: dict[str, Any] = {"seeds": _seeds(experiment)}
    bases = [base for base in experiment.baselines.values() if base in own]
    baseline = bases[0] if bases else next(iter(own), None)
    if baseline is not None:
        rest["baseline"] = baseline
    init = settings.document.values.get("init")
    if init is not None:
        profile = settings.document.values.get("profiles", {}).get(experiment.profile) or {}
        if init.get("base") is not None:
            init = {**init, "base": override(init["base"], profile.get("init", {}))}
        rest["init"] = init
    resources: dict[str, Any] = {}
    for layer in settings.resource_layers:
        resources |= layer.model_dump(exclude_unset=True)
    if resources:
        rest["resources"] = resources
    columns = [column.name for column in experiment.columns]
    judged = [
        (experiment.method.judged_on(objective.metric), objective)
        for objective in search.objectives
    ]
    known = {column.measure.name for column in experiment.columns}
    columns += [
        metric for metric, _ in judged if experiment.method.measure(metric).name not in known
    ]
    rest["table"] = {"columns": columns}
    if baseline is not None:
        rest["claims"] = [
            f"{TRIAL}{one.number} {sign_of(objective)} {baseline} on {metric}"
            for one in best
            for metric, objective in judged
        ]
    if experiment.figures:
        rest["figures"] = list(experiment.figures)
    return _plain(rest)


def _seeds(experiment: Experiment) -> Any:
    looks = experiment.looks
    if looks is None:
        return list(experiment.seeds)
    vary = {"vary": list(looks.vary)} if looks.vary else {}
    return {"until": "decided", "looks": list(looks.seeds), "spending": looks.spending} | vary


def sign_of(objective: Objective) -> str:
    """The sign of a claim that the objective's better value is the setting's."""
    return ">" if objective.direction == "maximize" else "<"


def _row(name: str, changes: Mapping[str, Any]) -> str:
    block = _dump({name: _plain(changes)})
    return "".join(f"  {line}\n" for line in block.splitlines())


def _dump(values: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        dict(values), Dumper=Dumper, allow_unicode=True, sort_keys=False, width=100
    )
    return text


def _plain(value: Any) -> Any:
    """Without tuples, which YAML would mark."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value

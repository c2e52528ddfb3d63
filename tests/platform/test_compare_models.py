"""Comparing two models, and how often `supclap compare` finds a change where there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats
from supclap_platform.cli import main
from supclap_platform.experiment.claims import Greater, Within
from supclap_platform.experiment.columns import Column
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.ledger.records import Result as Finished
from supclap_platform.ledger.records import State
from supclap_platform.results.bootstrap import clip_values
from supclap_platform.results.comparison import Change, compare
from supclap_platform.results.model_comparison import Scored, compare_models
from supclap_platform.results.sides import Side, SideRow
from supclap_platform.results.table import Run
from tiny_run import make_collection, tiny_config

from supclap.evaluation.retrieval import retrieval
from supclap.storage import Folder
from supclap.training import fit

COLUMNS = {name: Column(name, name, SUPCLAP.measure(name)) for name in ("t2a.R@1", "a2t.meanR")}


class Seeds:
    """Finished runs of one row, whose numbers are given: (seeds, columns)."""

    def __init__(self, numbers: np.ndarray, place: str) -> None:
        self.own_data = False
        self._results = {
            seed: Finished(
                signature=f"{place}{seed}",
                metrics={
                    c.measure.name: float(v) for c, v in zip(COLUMNS.values(), own, strict=True)
                },
                seconds=1.0,
                best_epoch=1,
                step=1,
                epochs=1,
                workers=1,
                code="c",
                data="d",
            )
            for seed, own in enumerate(numbers)
        }

    def runs(self, variant: str) -> list[Run]:
        return [Run(s, r.signature, State.DONE) for s, r in self._results.items()]

    def results(self, variant: str) -> dict[int, Finished]:
        return self._results

    def places(self, variant: str) -> dict[int, str]:
        return {seed: result.signature for seed, result in self._results.items()}

    def values(self, variant: str, metric: str) -> dict[int, float | None]:
        return {seed: result.value(metric) for seed, result in self._results.items()}

    def asked(self, claim: Greater | Within, variant: str) -> dict[int, float | None]:
        return self.values(variant, claim.metric)

    def ranks(self, variant: str) -> dict[int, Mapping[str, Any]]:
        return {seed: {} for seed in self._results}


def side(name: str, numbers: np.ndarray) -> Side:
    """(rows, seeds, columns) as a side."""
    rows = {
        f"row {place}": SideRow(f"row {place}", COLUMNS, Seeds(own, f"{name}{place}-"))
        for place, own in enumerate(numbers)
    }
    return Side(name, name, rows)


@pytest.mark.heavy
@pytest.mark.parametrize(("within", "most"), [(None, 0.05), (0.5, 0.05)])
def test_a_against_a_is_a_regression_in_at_most_one_of_twenty(
    within: float | None, most: float
) -> None:
    """Four rows, two columns, five seeds, and nothing but noise; any column worse is false."""
    chance, trials = np.random.default_rng(0), 1000
    bounds = {} if within is None else {"": within}
    false = changed = 0
    for _ in range(trials):
        a, b = (side(name, chance.normal(40, 1, (4, 5, 2))) for name in "AB")
        found = compare(a, b, bounds)
        false += found.regression
        changed += any(line.change not in (Change.UNDECIDED, Change.EQUAL) for line in found.lines)
    error = (most * (1 - most) / trials) ** 0.5
    assert false / trials <= most + 2 * error
    assert changed / trials <= most + 2 * error  # better or worse
    assert changed / trials > 0.02  # it is no judge that never finds anything


@pytest.mark.heavy
def test_at_its_bound_a_difference_is_called_equal_in_one_of_twenty() -> None:
    chance, trials = np.random.default_rng(1), 1500
    equal = 0
    for _ in range(trials):
        a = side("A", chance.normal(40, 0.1, (1, 6, 2)))
        moved = chance.normal(40, 0.1, (1, 6, 2)) + np.array([-0.5, 20.0])
        found = compare(a, side("B", moved), {"t2a.R@1": 0.5})
        equal += found.lines[0].change is Change.EQUAL
    assert equal / trials <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5


def test_values_of_clips_are_the_mean_over_queries_and_its_spread() -> None:
    """Of equally many captions a clip: the t test of the clips' means. Of unequally many: the
    spread of a bootstrap over clips, written out."""
    chance = np.random.default_rng(2)
    even = chance.normal(0.2, 1, (30, 5))
    values = clip_values(even.ravel(), np.repeat(np.arange(30), 5))
    ours, truth = stats.ttest_1samp(values, 0), stats.ttest_1samp(even.mean(1), 0)
    assert ours.pvalue == pytest.approx(truth.pvalue)
    counts = chance.integers(1, 9, 200)
    clips = np.repeat(np.arange(200), counts)
    level = chance.normal(0, 1, 200)
    differences = level[clips] + 0.3 * counts[clips] + chance.normal(0, 1, len(clips))
    values = clip_values(differences, clips)
    assert values.mean() == pytest.approx(differences.mean())
    drawn = []
    for _ in range(3000):
        some = chance.integers(0, 200, 200)
        sums = np.bincount(clips, weights=differences)[some]
        drawn.append(sums.sum() / counts[some].sum())
    assert values.std(ddof=1) / 200**0.5 == pytest.approx(np.std(drawn), rel=0.06)


def scored(name: str, scores: np.ndarray, clips: np.ndarray, data: str = "d") -> Scored:
    """A model that scores (clips, captions)."""
    audio, texts = np.eye(len(scores)), scores.T / np.linalg.norm(scores.T, axis=1, keepdims=True)
    found = retrieval(audio, texts, clips)
    metrics = {f"test.{name}": value for name, value in found.metrics.items()}
    ranks = {
        "t2a_ranks": found.t2a_ranks,
        "t2a_clips": clips,
        "a2t_ranks": found.a2t_ranks,
        "a2t_precision": found.a2t_precision,
        "a2t_clips": np.arange(len(scores)),
    }
    return Scored(name, metrics, ranks, data)


def test_two_models_are_judged_over_clips() -> None:
    chance = np.random.default_rng(3)
    clips = np.repeat(np.arange(40), 3)
    truth = np.eye(40)[:, clips]
    good, bad = (truth * s + chance.random((40, 120)) for s in (0.9, 0.3))
    a, b = scored("a", good, clips), scored("b", bad, clips)
    found = compare_models(a, b)
    lines = {line.column.name: line for line in found.lines}
    assert found.regression
    assert {line.change for line in found.lines} == {Change.WORSE}
    hits = [100.0 * (one.ranks["t2a_ranks"] < 1).reshape(40, 3).mean(1) for one in (b, a)]
    assert lines["t2a.R@1"].p == pytest.approx(stats.ttest_rel(*hits).pvalue, rel=1e-6)
    assert lines["t2a.R@1"].queries == 120
    assert lines["a2t.mAP10"].queries == 40
    ranked = compare_models(a, b, asked=["t2a.meanR", "t2a.medR"])
    assert [line.change for line in ranked.lines] == [Change.WORSE, Change.UNDECIDED]
    assert "no mean over queries" in ranked.lines[1].reasons[0]
    same = compare_models(a, Scored("c", a.metrics, a.ranks, "d"))
    assert {line.change for line in same.lines} == {Change.EQUAL}
    for other, message in (
        (scored("b", bad, clips, "e"), "B (b): d and e; --data FOLDER measures both"),
        (scored("b", bad[:, ::3], clips[::3]), ""),
    ):
        if message:
            with pytest.raises(ValueError, match="was measured on other data than"):
                compare_models(a, other)
        else:
            lines = {line.column.name: line for line in compare_models(a, other).lines}
            assert lines["t2a.R@1"].reasons == (
                "the runs answer unequal sets of queries (40 and 120)",
            )


def typed(*words: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, words)], prog_name="supclap")


@pytest.mark.heavy
def test_two_model_folders_on_one_test_set(tmp_path: Path) -> None:
    """Trained for real: measured anew they are what their runs have kept, query by query."""
    collection = make_collection(tmp_path / "tones")
    for seed in (0, 1):
        config = tiny_config(collection, seed=seed, data__languages=["eng", "deu"])
        list(fit(config, Folder.at(tmp_path / f"run{seed}")))
    models = [tmp_path / f"run{seed}" / "model" for seed in (0, 1)]
    held = typed(*models, "--format", "json")
    assert held.exit_code in (0, 1), held.output
    anew = typed(*(model.parent for model in models), "--data", collection, "--format", "json")
    kept, measured = json.loads(held.stdout), json.loads(anew.stdout)
    assert len(kept["lines"]) == 8
    for ours, theirs in zip(kept["lines"], measured["lines"], strict=True):
        names = ("column", "a", "b", "effect", "queries", "interval", "p", "verdict")
        for name in names:
            assert ours[name] == pytest.approx(theirs[name]), name
    itself = typed(models[0], models[0], "--data", collection)
    assert itself.exit_code == 0
    assert "8 lines are equal by the same model" in itself.stdout
    labels = typed(*models, "--data", collection, "--split", "events")
    assert "zero_shot.accuracy" in labels.stdout
    other = typed(models[0], tmp_path / "e.yaml")
    assert other.exit_code == 2
    assert "A is a trained model and B" in other.output
    (models[1].parent / "result.json").unlink()
    lost = typed(*models)
    assert lost.exit_code == 2
    assert "no finished run lies beside the model" in lost.output

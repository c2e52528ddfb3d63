"""A promoted file asks about what its search was for."""

from __future__ import annotations

from pathlib import Path

import pytest
from supclap_platform.experiment.claims import Greater
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.search.promotion import promoted
from supclap_platform.search.winner import Ranked

FILE = """
experiment: sought
base: {{epochs: 1}}
variants: {{InfoNCE: {{}}}}
seeds: 2
baseline: InfoNCE
search:
  space: {{optimizer.lr: {{log_uniform: [1e-4, 1e-2]}}}}
  trials: 2
  pruner: none
  objective: {objective}
table: {{columns: [t2a.R@1]}}
"""


@pytest.mark.parametrize(
    ("objective", "claims", "columns"),
    [
        ("val.t2a.R@1", [("trial 4", "InfoNCE", "test.t2a.R@1")], ["t2a.R@1"]),
        ("val.a2t.mAP10", [("trial 4", "InfoNCE", "test.a2t.mAP10")], ["t2a.R@1", "a2t.mAP10"]),
        ("val.a2t.medR", [("InfoNCE", "trial 4", "test.a2t.medR")], ["t2a.R@1", "a2t.medR"]),
        (
            "{val.a2t.R@1: maximize, seconds: minimize}",
            [("trial 4", "InfoNCE", "test.a2t.R@1"), ("InfoNCE", "trial 4", "seconds")],
            ["t2a.R@1", "a2t.R@1", "seconds"],
        ),
    ],
)
def test_the_claims_are_on_the_objectives_in_their_directions(
    tmp_path: Path, objective: str, claims: list[tuple[str, str, str]], columns: list[str]
) -> None:
    path = tmp_path / "sought.yaml"
    path.write_text(FILE.format(objective=objective), encoding="utf-8")
    experiment = load_experiment(path)
    best = [Ranked(4, {"optimizer.lr": 0.003}, [1.0] * objective.count(":") or [1.0])]
    target = tmp_path / "top.yaml"
    target.write_text(promoted(experiment, best, "supclap promote"), encoding="utf-8")
    found = load_experiment(target)
    asked = [c for c in found.claims if isinstance(c, Greater)]
    assert [(c.greater, c.lesser, c.metric) for c in asked] == claims
    assert [column.name for column in found.columns] == columns


def test_what_was_chosen_on_val_is_judged_on_test() -> None:
    assert SUPCLAP.judged_on("val.fra.t2a.R@1") == "fra.t2a.R@1"
    assert SUPCLAP.judged_on("drift.text") == "drift.text"
    assert SUPCLAP.judged_on("also.esc.zero_shot.accuracy") == "also.esc.zero_shot.accuracy"

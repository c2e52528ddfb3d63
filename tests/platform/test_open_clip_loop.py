"""experiments/ideas/open_clip.yaml: open_clip's own model and loss, and SVR in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_loop import attempt
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.kept_code import keep_code
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan, remember

from supclap import user_code
from supclap.vision_library import mend_torchvision

FILE = Path(__file__).parents[2] / "experiments" / "ideas" / "open_clip.yaml"
SMALL = {"data.clips": 40, "epochs": 1, "batch_size": 16, "layers": 1, "width": 24, "dim": 8}


@pytest.mark.heavy
def test_both_of_its_rows_train(tmp_path: Path) -> None:
    mend_torchvision()
    pytest.importorskip("open_clip", reason="open_clip_torch comes with supclap[test]")
    with user_code.forgotten():
        experiment = load_experiment(FILE, changes=SMALL)
        ledger = open_ledger(tmp_path)
        remember(make_plan(experiment, ledger), ledger)
        keep_code(experiment, ledger)
        first = {cell.variant: cell for cell in cells_of(experiment) if cell.seed == 0}
        losses = {}
        for name, cell in first.items():
            ending = attempt(cell, ledger, experiment="open-clip")
            assert ending.kind == "done", ending.error
            result = ledger.result(cell.signature)
            losses[name] = result.metrics["train.loss"]
            assert 0 <= result.metrics["test.t2a.R@1"] <= 100
    # The same pairs and the same start: what differs is the term that SVR adds.
    assert losses["bi-DynamicSVR"] > losses["InfoNCE"] > 0

"""A grid of three rows and two seeds as runs have left it, without training: A and B finished, one
of A's by other code; C once interrupted and once failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.testing import fail, finish, interrupt

FILE = """
experiment: shown
base: {epochs: 2}
variants:
  A: {}
  B: {loss.name: siglip}
  C: {loss.svr: {radius: static, alpha: 0.3}}
seeds: 2
baseline: A
claims: [B > A on t2a.R@1]
figures: [drift]
table: {columns: [t2a.R@1, a2t.medR], published: table3_ablation}
"""
CAPTIONS, CLIPS = 10, 5


def write_finished(folder: Path) -> Path:
    """The folder, with ``e.yaml`` and ``storage``."""
    (folder / "e.yaml").write_text(FILE, encoding="utf-8")
    ledger = open_ledger(folder / "storage", writing=True)
    cells = cells_of(load_experiment(folder / "e.yaml"))
    plan = make_plan(load_experiment(folder / "e.yaml"), ledger)
    remember(plan, ledger)
    chance = np.random.default_rng(0)
    for number, cell in enumerate(cells[:4]):
        _finish(ledger, cell, chance, code="old" if number == 1 else None)
    interrupt(ledger, cells[4], epochs=1)
    fail(ledger, cells[5], "the loss is not finite", attempts=3)
    return folder


def _finish(
    ledger: Ledger, cell: Cell, chance: np.random.Generator, code: str | None = None
) -> None:
    t2a = chance.integers(0, CLIPS, CAPTIONS)
    a2t = chance.integers(0, CAPTIONS - 1, CLIPS)
    metrics = {
        "test.t2a.R@1": 100 * float(np.mean(t2a == 0)),
        "test.t2a.mAP10": 100 * float(np.mean(1 / (1 + t2a))),
        "test.a2t.medR": float(np.median(a2t + 1)),
    }
    epochs = [{"drift_cosine.text": float(x)} for x in chance.random(cell.config.epochs)]
    ranks: dict[str, np.ndarray] = {
        "t2a_ranks": t2a,
        "t2a_clips": np.arange(CAPTIONS) // 2,
        "t2a_similarity": chance.random(CAPTIONS, np.float32),
        "a2t_ranks": a2t,
        "a2t_precision": 1 / (1.0 + a2t),
        "a2t_clips": np.arange(CLIPS),
    }
    finish(ledger, cell, metrics, epochs, ranks, code=code)

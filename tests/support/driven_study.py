"""A search's study without any training: a driver that gives each setting a value of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.search.study import Book
from supclap_platform.search.trials import Trials
from tiny_search import SEARCH


def opened(folder: Path, text: str = SEARCH, url: str | None = None) -> tuple[Book, Ledger]:
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    ledger = open_ledger(folder / "storage", writing=True)
    return Book(Trials(load_experiment(path)), ledger, url), ledger


def value(params: dict[str, Any]) -> float:
    bonus = 5.0 if params["loss.svr.radius"] == "dynamic" else 0.0
    return 40 - 10 * math.log10(params["loss.svr.alpha"]) ** 2 + bonus


def drive(book: Book, stop: Callable[[str, int], bool] = lambda moment, number: False) -> bool:
    """Goes on with a study as a driver does; False where ``stop`` says that it dies there."""
    left = book.orphans()
    while True:
        trial = left.pop(0) if left else book.ask()
        if trial is None:
            return True
        if stop("asked", trial.number):
            return False
        params = book.params(trial)
        if stop("suggested", trial.number):
            return False
        for step in range(1, 4):
            pruned = book.report(trial, step, value(params) * step / 3)
            if stop(f"reported {step}", trial.number):
                return False
            if pruned:
                book.prune(trial)
                break
        else:
            book.complete(trial, [value(params)])


def content(book: Book) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state.name, t.values, t.params, t.intermediate_values)
        for t in book.study.get_trials()
    ]

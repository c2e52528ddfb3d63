"""A ledger with an experiment, and an MLflow store beside it."""

from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow_content import histories_of
from reported_runs import histories
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.store import default_store

from supclap.storage import Folder

SMALL = """\
experiment: small
about: Which is better?
base: {epochs: 2}
variants: {InfoNCE: {}, SVR: {loss.svr: {}}}
seeds: 2
baseline: InfoNCE
table: {columns: [t2a.R@1]}
"""


class Place:
    """A ledger with an experiment, and an MLflow store beside it."""

    def __init__(self, folder: Path, text: str = SMALL) -> None:
        self.folder = folder
        self.ledger = Ledger(Folder.at(folder / "storage"))
        self.store = default_store(folder / "storage")
        self.experiment, self.cells = self.load(text)

    def load(self, text: str) -> tuple[Experiment, list[Cell]]:
        path = self.folder / "small.yaml"
        path.write_text(text, encoding="utf-8")
        experiment = load_experiment(path)
        remember(make_plan(experiment, self.ledger), self.ledger)
        return experiment, cells_of(experiment)

    def begin(self) -> Any:
        return Histories(self.ledger).begin(self.experiment, self.cells)

    def all_runs(self) -> list[Run]:
        client = self.store.connect()
        experiment = client.get_experiment_by_name(self.experiment.name)
        return list(client.search_runs([experiment.experiment_id]))

    def runs(self) -> dict[str, Run]:
        """Those of the experiment and of its cells, by name."""
        every = self.all_runs()
        kinds = ("row", "earlier")
        return {run.info.run_name: run for run in every if run.data.tags.get("kind") not in kinds}

    def rows(self) -> dict[str, Run]:
        """Those of the table's rows."""
        every = self.all_runs()
        return {run.info.run_name: run for run in every if run.data.tags.get("kind") == "row"}

    def shows_the_ledger(self) -> bool:
        """Every cell that has begun is one run, and every metric's history is the ledger's."""
        client = self.store.connect()
        runs = self.runs()
        begun = [c for c in self.cells if self.ledger.events(c.signature)]
        assert set(runs) == {name_of(c) for c in begun} | {"small, laptop"}
        assert set(self.rows()) == {c.variant for c in begun}
        for cell in begun:
            wanted = histories(self.ledger, cell.signature, ("t2a.R@1",))
            assert repr(sorted(histories_of(client, runs[name_of(cell)]).items())) == repr(
                sorted(wanted.items())
            )
        return True


def name_of(cell: Cell) -> str:
    return f"seed {cell.seed}, {cell.variant}"

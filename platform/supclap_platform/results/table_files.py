"""The table of an experiment as files, in each of its formats."""

from __future__ import annotations

import json

from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.formats import rendered
from supclap_platform.results.table import Table
from supclap_platform.results.tables import build_table, shown


def tables_of(experiment: Experiment, ledger: Ledger) -> dict[str, bytes]:
    """The table in each format, from what the ledger holds now; of a file that includes others
    each part's, below its name."""
    files: dict[str, bytes] = {}
    for part in experiment.parts or (experiment,):
        above = f"{part.name}/" if experiment.parts else ""
        table = build_table(part, ledger, mixed=True)
        own = {**rendered(table), **table_json(table)}
        files |= {f"{above}{name}": content for name, content in own.items()}
    return files


def table_json(table: Table) -> dict[str, bytes]:
    """A table as a file of JSON, in the form that MLflow shows as a table."""
    rows = [
        [
            row.variant,
            *(shown(e, column) for e, column in zip(row.entries, table.columns, strict=True)),
        ]
        for row in table.rows
    ]
    shape = {"columns": ["variant", *map(str, table.columns)], "data": rows}
    return {"table.json": json.dumps(shape, ensure_ascii=False).encode()}

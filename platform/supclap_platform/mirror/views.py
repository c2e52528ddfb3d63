"""The page of MLflow's interface that shows an experiment as its table: rows, columns, sorted.

MLflow keeps a view that somebody shares as a tag of the experiment, and its page takes the tag's
name in the address. What the tag holds is MLflow's own affair and documented nowhere: it is a JSON
object, compressed, as MLflow 3.17's page writes it. A version that reads it otherwise shows the
page without the choice of columns; `tests/platform/test_mlflow_browser.py` notices.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any
from urllib.parse import quote

from supclap_platform.ledger.history import History
from supclap_platform.ledger.known_table import KnownColumn
from supclap_platform.mirror.content import BELOW, DIFFERENCE, SEEDS, STD, TABLE, declared_name

_VIEW = "mlflow.sharedViewState."
_LONGEST = 20_000  # of an experiment's tag, in MLflow
_WIDTHS = {
    "attributes.`Run Name`": 330,
    "attributes.start_time": 110,
}  # pixels; by itself MLflow shows 20 signs of a name


def view_tag(history: History) -> dict[str, str]:
    """The experiment's tag that holds the view of a history's table; none where it has no table."""
    columns = list(dict.fromkeys(c for table in history.tables for c in table.columns))
    if not columns:
        return {}
    text = json.dumps(_state(history, columns), ensure_ascii=False)
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    value = f"deflate;{packed}"
    return {view_name(history): value} if len(value) <= _LONGEST else {}


def view_name(history: History) -> str:
    """The name of the experiment's tag that holds the view."""
    return f"{_VIEW}{view_key(history)}"


def view_key(history: History) -> str:
    """The name of the view in the address."""
    return f"supclap-{history.key}"


def page_of(experiment: str, history: History | None) -> str:
    """What stands behind a server's address for the page of an experiment, under *Model training*.

    Args:
        experiment: its id in MLflow.
        history: whose table is shown; None: all runs, as MLflow shows them by itself.
    """
    page = f"/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning"
    return page if history is None else f"{page}&viewStateShareKey={view_key(history)}"


def _state(history: History, columns: list[KnownColumn]) -> dict[str, Any]:
    """What MLflow's page keeps of how it looks."""
    first = next((column for column in columns if column.ranked), columns[0])
    several = any(len(row.cells) > 1 for table in history.tables for row in table.rows)
    compared = any(row.baseline for table in history.tables for row in table.rows)
    sections = [TABLE, *([DIFFERENCE] if compared else []), *([STD] if several else [])]
    names = [declared_name(section, column) for section in sections for column in columns]
    names.append(declared_name(SEEDS, first))
    shown = [f"metrics.`{name}`" for name in names]
    own = f"tags.profile = '{history.profile}'"
    if "'" in history.profile:  # changed on the command line: MLflow's filters quote no quotes
        own = f"tags.`{BELOW}` = '{history.key}'"
    return {
        "searchFilter": f"tags.kind = 'row' and {own}",
        "orderByKey": f"metrics.`{declared_name(TABLE, first)}`",
        "orderByAsc": first.low,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": shown,
        "columnOrder": [*_WIDTHS, *shown],
        "columnWidths": {**_WIDTHS, **dict.fromkeys(shown, 130)},
    }

"""Where MLflow shows the runs: read from the store itself, without importing MLflow (seconds).

The database of an SQLite store is read as it is; a server is asked through its REST interface. A
store that is not there, or does not answer, knows no runs: MLflow is a view, and no result waits
for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from supclap_platform.mirror.store import Store, sqlite_path

PATIENCE = 3.0  # seconds for each answer of a server
PAGE = 1_000  # runs in one answer

_RUNS = """
SELECT t.value, r.run_uuid, r.experiment_id FROM tags t
JOIN runs r ON r.run_uuid = t.run_uuid JOIN experiments e ON e.experiment_id = r.experiment_id
WHERE t.key = 'signature' AND r.lifecycle_stage = 'active' ORDER BY e.name = ?, r.start_time
"""


@dataclass(frozen=True)
class Tracked:
    """A run in MLflow. ``link``: its page, where a server's address is known."""

    run: str
    experiment: str
    link: str | None = None


def tracked_runs(store: Store | None, experiment: str) -> dict[str, Tracked]:
    """signature -> its latest run in MLflow; empty where nothing can be known.

    A run in ``experiment`` goes before one elsewhere: a cell may be shown in several experiments.
    Of a server, that experiment alone is asked.
    """
    if store is None:
        return {}
    path = sqlite_path(store.uri)
    try:
        if path is not None:
            return dict(_in_database(str(path.absolute()), experiment)) if path.is_file() else {}
        if store.uri.startswith(("http://", "https://")):
            return dict(_on_server(store.uri.rstrip("/"), experiment))
    except (sqlite3.Error, URLError, HTTPException, OSError, ValueError, KeyError):
        pass
    return {}


def _in_database(path: str, experiment: str) -> Iterator[tuple[str, Tracked]]:
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as database:
        for signature, run, number in database.execute(_RUNS, (experiment,)):
            yield signature, Tracked(run, str(number))


def _on_server(uri: str, experiment: str) -> Iterator[tuple[str, Tracked]]:
    found = _answer(
        f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(experiment)}"
    )
    number = found["experiment"]["experiment_id"]
    asked: dict[str, Any] = {
        "experiment_ids": [number],
        "max_results": PAGE,
        "order_by": ["attributes.start_time ASC"],
    }
    while True:
        page = _answer(f"{uri}/api/2.0/mlflow/runs/search", asked)
        for run in page.get("runs", []):
            name = run["info"]["run_id"]
            link = f"{uri}/#/experiments/{quote(number)}/runs/{quote(name)}"
            for tag in run["data"].get("tags", []):
                if tag["key"] == "signature":
                    yield tag["value"], Tracked(name, number, link)
        if not page.get("next_page_token"):
            return
        asked["page_token"] = page["next_page_token"]


def _answer(url: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
    body = None if asked is None else json.dumps(asked).encode()
    request = Request(url, body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as answer:
        values: dict[str, Any] = json.load(answer)
    return values

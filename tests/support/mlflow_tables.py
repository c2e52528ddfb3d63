"""Every table of an MLflow database, row by row, without the ids and times that are each one's."""

import json
import re
from collections import Counter
from typing import Any

import sqlalchemy

_KEPT = {"alembic_version"}
_MADE_UP = re.compile(r"(m-)?[0-9a-f]{32}")
# When a row was written is of the moment; when a run began and ended is of the ledger.
_MOMENTS = {
    "deleted_time",
    "creation_time",
    "last_update_time",
    "creation_timestamp_ms",
    "last_updated_timestamp_ms",
}


def tables_of(uri: str) -> dict[str, Counter[str]]:
    """table -> how often it has each row. Ids are called by what stands beside them: a run by its
    name and its tags, so that every reference is compared too."""
    engine = sqlalchemy.create_engine(uri)
    try:
        meta = sqlalchemy.MetaData()
        meta.reflect(engine)
        with engine.connect() as connection:
            rows = {
                name: [dict(row._mapping) for row in connection.execute(sqlalchemy.select(table))]
                for name, table in meta.tables.items()
                if name not in _KEPT
            }
    finally:
        engine.dispose()
    called = _names(rows)
    return {
        name: Counter(
            json.dumps({k: _plain(k, v, called) for k, v in row.items()}, sort_keys=True)
            for row in of
        )
        for name, of in rows.items()
    }


def _names(rows: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    called: dict[str, str] = {}
    for run in rows["runs"]:
        tags = {t["key"]: t["value"] for t in rows["tags"] if t["run_uuid"] == run["run_uuid"]}
        words = [run["name"], run["lifecycle_stage"], tags.get("kind", ""), tags.get("profile", "")]
        called[run["run_uuid"]] = f"run {' '.join(map(str, words))} {tags.get('signature', '')}"
    for one in rows["datasets"]:
        called[one["dataset_uuid"]] = f"data {one['name']} {one['digest']}"
    for one in rows["logged_models"]:
        called[one["model_id"]] = f"model {one['name']} of {called[one['source_run_id']]}"
    for one in rows["inputs"]:
        ends = [called[one["source_id"]], called[one["destination_id"]]]
        called[one["input_uuid"]] = f"edge from {ends[0]} to {ends[1]}"
    return called


def _plain(key: str, value: Any, called: dict[str, str]) -> Any:
    if key in _MOMENTS and value is not None:
        return "a moment"
    if isinstance(value, str):
        return _MADE_UP.sub(lambda found: called.get(found[0], found[0]), value)
    return value if isinstance(value, int | float | bool | None) else str(value)

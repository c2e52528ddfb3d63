"""The pages of MLflow's interface, experiment by experiment, for one who looks for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from urllib.parse import quote

from supclap_platform.ledger.history import History
from supclap_platform.mirror.store import Store, sqlite_path
from supclap_platform.mirror.views import page_of, view_name

_EXPERIMENTS = "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active'"
_TAGS = "SELECT experiment_id, key FROM experiment_tags"


def pages(store: Store, histories: Iterable[History]) -> dict[str, str]:
    """experiment -> its page, behind the server's address: the one that ran last comes first.

    Experiments that the store does not show are left out.
    """
    numbers, views = _known(store)
    latest: dict[str, History] = {}
    for history in sorted(histories, key=lambda one: one.ended or one.starts, reverse=True):
        latest.setdefault(history.experiment, history)
    found = {}
    for name, history in latest.items():
        if name in numbers:
            seen = (numbers[name], view_name(history)) in views
            found[name] = page_of(numbers[name], history if seen else None)
    return found


def _known(store: Store) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """name -> id of each experiment, and (id, tag) of every tag."""
    path = sqlite_path(store.uri)
    if path is None:
        every = store.connect().search_experiments()
        tags = {(one.experiment_id, key) for one in every for key in one.tags}
        return {one.name: one.experiment_id for one in every}, tags
    place = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:  # read as it is: importing MLflow takes seconds
        with closing(sqlite3.connect(place, uri=True)) as database:
            numbers = {name: str(number) for name, number in database.execute(_EXPERIMENTS)}
            return numbers, {(str(number), key) for number, key in database.execute(_TAGS)}
    except sqlite3.Error:  # what is wrong with it is the server's to say
        return {}, set()

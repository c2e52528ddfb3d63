"""MLflow's runs of rows: the table's numbers, whatever happened to the store or to the driver."""

import statistics
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.utils.validation import _validate_metric_name
from mlflow_content import content_of
from mlflow_place import Place, name_of
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories, History
from supclap_platform.ledger.journal import (
    EXPERIMENT,
    JOURNAL,
    Journal,
    read_journal,
    write_journal,
)
from supclap_platform.ledger.known_table import known_tables
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import profile_key
from supclap_platform.ledger.records import Known
from supclap_platform.mirror.content import allowed, final_name, metric_name
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.rows import Group, Layout, telling_names
from supclap_platform.mirror.store import default_store
from supclap_platform.mirror.tracking import open_tracker
from supclap_platform.results.account import LONGEST, account_now
from supclap_platform.results.tables import build_table
from supclap_platform.testing import finish, interrupt

TEXT = """\
experiment: small
about: Which is better?
base: {epochs: 2}
variants: {InfoNCE: {}, SVR: {loss.svr: {radius: static}}}
seeds: 3
baseline: InfoNCE
table: {columns: [t2a.R@1, a2t.medR]}
claims: [SVR > InfoNCE on t2a.R@1, SVR > InfoNCE on t2a.mAP10]
"""
VALUES = {"InfoNCE": (30.0, 31.0, 35.0), "SVR": (33.0, 32.0, 39.5)}
heavy = pytest.mark.heavy


def fill(place: Place, cells: list[Cell]) -> None:
    for cell in cells:
        value = VALUES[cell.variant][cell.seed]
        metrics = {"test.t2a.R@1": value, "test.a2t.medR": 3.0, "test.t2a.mAP10": value + 1}
        finish(place.ledger, cell, metrics | {"val.t2a.R@1": 50.0})


@pytest.fixture
def table(place: Place) -> Place:
    place.experiment, place.cells = place.load(TEXT)
    return place


@heavy
def test_rows_have_the_numbers_of_the_table_and_sorted_they_are_it(table: Place) -> None:
    fill(table, table.cells[:5])  # one of SVR's is missing
    Mirror(table.ledger, table.store, table.begin()).catch_up()
    rows = table.rows()
    for name, run in rows.items():
        own = VALUES[name][: 3 if name == "InfoNCE" else 2]
        assert run.data.metrics["Table/t2a.R_at_1"] == pytest.approx(statistics.mean(own))
        assert run.data.metrics["Table std/t2a.R_at_1"] == pytest.approx(statistics.stdev(own))
        assert run.data.metrics["Table n/t2a.R_at_1"] == len(own)
    assert rows["SVR"].data.metrics["Table difference/t2a.R_at_1"] == 2.0  # (3 + 1) / 2
    assert "Table difference/t2a.R_at_1" not in rows["InfoNCE"].data.metrics
    assert rows["SVR"].data.metrics["Table/t2a.mAP10"] == 33.5  # no column, and a claim is on it
    for row in build_table(table.experiment, table.ledger).rows:
        for column, entry in zip(table.experiment.columns, row.entries, strict=True):
            shown = rows[row.variant].data.metrics
            name = column.name.replace("@", "_at_")
            assert entry.summary is not None
            assert shown[f"Table/{name}"] == pytest.approx(entry.summary.mean, rel=1e-9)
            assert shown[f"Table std/{name}"] == pytest.approx(entry.summary.std, rel=1e-9)
            if entry.difference is not None:
                assert shown[f"Table difference/{name}"] == pytest.approx(
                    entry.difference.ours, rel=1e-9
                )
    client = table.store.connect()
    page = client.search_runs(
        [client.get_experiment_by_name("small").experiment_id],
        "tags.kind = 'row' and tags.profile = 'laptop'",
        order_by=["metrics.`Table/t2a.R_at_1` DESC"],
    )
    assert [run.info.run_name for run in page] == ["SVR", "InfoNCE"]
    assert rows["SVR"].data.tags["baseline"] == "InfoNCE"
    assert rows["SVR"].data.params["loss.svr.radius"] == "static"
    assert rows["InfoNCE"].data.params == {"loss.svr": "null"}
    assert (rows["InfoNCE"].info.status, rows["SVR"].info.status) == ("FINISHED", "KILLED")
    counts = table.runs()["small, laptop"].data.metrics
    assert (counts["cells/done"], counts["cells/to_run"], counts["cells/failed"]) == (5, 1, 0)
    fill(table, table.cells[5:])
    Mirror(table.ledger, table.store, table.begin()).catch_up()
    assert table.rows()["SVR"].data.metrics["Table n/t2a.R_at_1"] == 3
    assert table.rows()["SVR"].info.status == "FINISHED"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("n/N=24.t2a.R@1", "n/N_3d_24.t2a.R_at_1"),
        ("SNR (dB)", "SNR _28_dB_29_"),
        ("a//b", "a_2f__2f_b"),
        ("/a/", "_2f_a_2f_"),
        ("..", "_2e__2e_"),
        ("../a", "_2e__2e__2f_a"),
        ("Größe %.R@1", "Größe _25_.R_at_1"),
    ],
)
def test_a_name_that_mlflow_does_not_take_is_written_with_what_it_takes(
    name: str, shown: str
) -> None:
    assert allowed(name) == shown
    for whole in (shown, metric_name(name), final_name(name)):
        _validate_metric_name(whole)


@heavy
def test_the_description_is_renewed_and_counts_follow(table: Place, tmp_path: Path) -> None:
    tracker = open_tracker(
        table.experiment, table.cells, table.ledger, table.store.uri, account=account_now
    )
    fill(table, table.cells[:5])
    tracker.catch_up()
    wait = time.monotonic() + 60
    while time.monotonic() < wait:
        whole = table.runs().get("small, laptop") if experiment_is_there(table) else None
        note = whole.data.tags.get("mlflow.note.content", "") if whole is not None else ""
        if "5 of 6 runs are done" in note:
            break
        time.sleep(0.1)
    assert whole is not None
    assert (whole.info.status, whole.info.end_time) == ("RUNNING", None)
    fill(table, table.cells[5:])
    assert tracker.close("FINISHED")
    whole = table.runs()["small, laptop"]
    note = whole.data.tags["mlflow.note.content"]
    assert note.startswith("Which is better?\n\n| verdict | effect |")
    assert "| **undecided** | +2.83 |" in note  # (3 + 1 + 4.5) / 3
    assert "| InfoNCE | 32.00 ± 2.65 |  | **3.0 ± 0.0** |  |" in note
    assert "seeds that would decide it:" in note
    assert "`supclap report small.yaml`" in note
    assert whole.data.metrics == {
        "claims/supported": 0, "claims/contradicted": 0, "claims/undecided": 2,
        "cells/done": 6, "cells/failed": 0, "cells/interrupted": 0, "cells/running": 0,
        "cells/to_run": 0,
    }  # fmt: skip
    new = default_store(tmp_path / "new")
    (history,) = Histories(table.ledger).of("small")
    Mirror(table.ledger, new, history).catch_up()
    assert content_of(new.uri, tmp_path / "a") == content_of(table.store.uri, tmp_path / "b")


def experiment_is_there(place: Place) -> bool:
    return place.store.connect().get_experiment_by_name("small") is not None


@heavy
def test_a_store_of_an_earlier_version_comes_into_the_new_form(
    table: Place, tmp_path: Path
) -> None:
    fill(table, table.cells)
    history = Histories(table.ledger).end(table.begin(), "FINISHED")
    Mirror(table.ledger, table.store, history).catch_up()
    wanted = content_of(table.store.uri, tmp_path / "wanted")
    before = as_earlier(table)
    Mirror(table.ledger, table.store, history).catch_up()
    assert content_of(table.store.uri, tmp_path / "found") == wanted
    runs = table.runs()
    assert {name_of(c): runs[name_of(c)].info.run_id for c in table.cells} == before
    # What that version's ledger knows of the table is nothing: rows are there, without numbers.
    as_earlier(table)
    old = replace(history, tables=(), started=None)
    table.ledger.experiment_folder("small").delete(f"parents/{old.key}/{JOURNAL}")
    Mirror(table.ledger, table.store, old).catch_up()
    assert {name: run.data.metrics for name, run in table.rows().items()} == {
        "InfoNCE": {}, "SVR": {}
    }  # fmt: skip


def as_earlier(place: Place) -> dict[str, str]:
    """Makes the store what version 0.1 left: cells directly below the parent. Their run ids."""
    client, runs = place.store.connect(), place.runs()
    parent = runs["small, laptop"]
    for run in place.rows().values():
        client.delete_run(run.info.run_id)
    client.delete_tag(parent.info.run_id, "kind")
    client.delete_tag(parent.info.run_id, "mirrored")
    found = {}
    for cell in place.cells:
        run = runs[name_of(cell)]
        found[name_of(cell)] = run.info.run_id
        client.set_tag(run.info.run_id, "mlflow.parentRunId", parent.info.run_id)
        client.update_run(run.info.run_id, name=cell.label)
        for tag in ("kind", "row", "supclap.below", "declared"):
            client.delete_tag(run.info.run_id, tag)
    return found


@heavy
def test_each_run_of_the_experiment_has_its_own_duration(table: Place) -> None:
    histories = Histories(table.ledger)
    fill(table, table.cells[:3])
    first = histories.end(table.begin(), "KILLED")
    Mirror(table.ledger, table.store, first).catch_up()
    ids = {name: run.info.run_id for name, run in table.runs().items()}
    rows = {name: run.info.run_id for name, run in table.rows().items()}
    time.sleep(0.01)
    second = table.begin()  # three are left: it begins anew
    assert second.starts > first.starts
    assert second.began == first.began
    Mirror(table.ledger, table.store, second, driving=True).catch_up()
    whole = table.runs()["small, laptop"]
    assert (whole.info.status, whole.info.end_time) == ("RUNNING", None)
    assert whole.info.start_time == second.starts
    assert whole.info.run_id != ids["small, laptop"]
    assert {n: r.info.run_id for n, r in table.rows().items()} == rows
    kept = {n: r.info.run_id for n, r in table.runs().items() if r.data.tags["kind"] == "cell"}
    assert kept == {n: i for n, i in ids.items() if n != "small, laptop"}
    assert table.rows()["InfoNCE"].data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert table.rows()["InfoNCE"].info.status == "FINISHED"
    with histories.attend(second):  # another driver joins
        assert table.begin().starts == second.starts
    fill(table, table.cells)
    ended = histories.end(second, "FINISHED")
    again = table.begin()  # only to see the table: what was trained keeps its times
    assert (again.starts, histories.end(again, "FINISHED").ended) == (second.starts, ended.ended)


@heavy
def test_a_row_that_is_edited_or_renamed_shows_what_the_file_says_now(
    table: Place,
) -> None:
    fill(table, table.cells)
    Mirror(table.ledger, table.store, table.begin()).catch_up()
    text = TEXT.replace("InfoNCE", "base line").replace("seeds: 3", "seeds: 2")
    table.experiment, table.cells = table.load(text)
    Mirror(table.ledger, table.store, table.begin()).catch_up()
    rows = table.rows()
    assert set(rows) == {"base line", "SVR"}
    assert rows["SVR"].data.metrics["Table/t2a.R_at_1"] == 32.5
    assert rows["SVR"].data.metrics["Table n/t2a.R_at_1"] == 2
    children = Counter(
        run.data.tags["mlflow.parentRunId"]
        for run in table.all_runs()
        if run.data.tags["kind"] == "cell"
    )
    (earlier,) = (run for run in table.all_runs() if run.data.tags["kind"] == "earlier")
    assert (earlier.info.run_name, earlier.data.metrics) == ("InfoNCE", {})
    assert children == {  # what was trained for a third seed is still there
        rows["base line"].info.run_id: 2, rows["SVR"].info.run_id: 3, earlier.info.run_id: 1
    }  # fmt: skip


@heavy
def test_a_cell_costs_four_calls(table: Place) -> None:
    """With metrics of its epochs, parameters, tags and status; a row costs a few more, once."""
    history = table.begin()
    calls: Counter[str] = Counter()
    mirror = Mirror(table.ledger, table.store, history, driving=True)
    mirror._client = Counting(table.store.connect(), calls)
    fill(table, table.cells[:1])
    mirror.catch_up()
    calls.clear()
    fill(table, table.cells[1:2])
    mirror.catch_up()
    cell = Counter(create_run=1, log_inputs=1, log_batch=1, set_terminated=1)
    # Besides: the row's numbers and the experiment's counts, once a look, for all its cells.
    also = Counter(log_batch=2, search_runs=1)
    assert calls == cell + also


class Counting:
    def __init__(self, client: Any, calls: Counter[str]) -> None:
        self._client, self._calls = client, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += 1
            return method(*args, **kwargs)

        return call


def layout_of(folder: Path, text: str, *more: Known) -> Layout:
    (folder / "e.yaml").write_text(text, encoding="utf-8")
    experiment = load_experiment(folder / "e.yaml")
    cells = cells_of(experiment)
    known = [Known(c.variant, c.seed, c.signature, "", c.group) for c in cells]
    tags = {"search": "study"} if experiment.search else {}
    history = History(
        experiment.name, profile_key(experiment), "", "e.yaml", 0,
        cells=tuple(known), tags=tags, tables=known_tables(experiment, cells),
    )  # fmt: skip
    return Layout(history, [*known, *more])


def test_groups_stages_trials_and_parts_stand_where_they_are_looked_for(tmp_path: Path) -> None:
    grouped = layout_of(
        tmp_path,
        "experiment: g\ninit: {base: {epochs: 1}}\nvariants: {A: {}, B: {epochs: 9}}\n"
        "groups: {N=24: {}, N=48: {batch_size: 48}}\nseeds: 2\ntable: {columns: [t2a.R@1]}\n",
    )
    assert list(grouped.groups) == [Group("stage", "init"), Group("row", "A"), Group("row", "B")]
    cell = Known("A @ N=48", 1, "s", "", "N=48")
    assert grouped.group(cell) == Group("row", "A")
    assert [column.name for column in grouped.columns(cell)] == ["N=24.t2a.R@1", "N=48.t2a.R@1"]
    assert grouped.params(Known("B @ N=48", 0, "s", "", "N=48")) == {"epochs": "9"}
    search = "experiment: s\nsearch: {space: {loss.temperature: [0.05, 0.1]}, trials: 2}\n"
    search += "variants: {A: {}}\ntable: {columns: [t2a.R@1]}\n"
    trial = Known("trial 7", 0, "t", "")
    searched = layout_of(tmp_path, search, trial)
    assert searched.group(trial) == Group("search", "search")
    assert searched.cell_name(trial) == "trial 7, seed 0"
    promoted = "experiment: p\nvariants: {trial 7: {}}\ntable: {columns: [t2a.R@1]}\n"
    assert layout_of(tmp_path, promoted).group(trial) == Group("row", "trial 7")
    (tmp_path / "one.yaml").write_text(promoted.replace("experiment: p", "experiment: one"))
    parts = layout_of(tmp_path, "experiment: all\ninclude: [one.yaml]\n")
    assert list(parts.groups) == [Group("row", "one: trial 7")]


def test_names_that_begin_alike_differ_in_what_is_shown_first() -> None:
    names = ["SVR with a constraint, alpha 0.1", "SVR with a constraint, alpha 0.25", "InfoNCE"]
    shown = telling_names(names)
    assert [text[:20] for text in shown.values()] == [
        "0.1 | SVR with a con", "0.25 | SVR with a co", "InfoNCE"
    ]  # fmt: skip
    assert all(text.endswith(name) for name, text in shown.items())
    assert telling_names(["a" * 30 + "1", "a" * 30 + "2"])  # one word: nothing to cut it at


def test_the_journal_notes_only_what_is_new_and_in_order(ledger: Ledger) -> None:
    nan = float("nan")
    journal = Journal().noted({"A": {"x": 1.0, "y": nan}}, 1000)
    assert journal.noted({"A": {"x": 1.0, "y": nan}}, 2000) == journal
    later = journal.noted({"A": {"x": 2.0, "y": nan}, EXPERIMENT: {"x": 2.0}}, 900)
    assert [(line.time, line.of, line.values) for line in later.lines[1:]] == [
        (1001, "A", {"x": 2.0}), (1002, "", {"x": 2.0})
    ]  # fmt: skip
    assert later.now("A")["x"] == 2.0
    write_journal(ledger.storage, later.noted({"A": {"y": 3.0}}, 2000))
    assert repr(read_journal(ledger.storage).lines[-1].values) == "{'x': nan, 'y': 3.0}"


def test_a_description_is_no_longer_than_mlflow_takes(tmp_path: Path, ledger: Ledger) -> None:
    long = "a row with a long name " * 4
    rows = ", ".join(f"'{long}{epochs}': {{epochs: {epochs}}}" for epochs in range(101, 200))
    (tmp_path / "e.yaml").write_text(
        f"experiment: e\nvariants: {{InfoNCE: {{}}, {rows}}}\ntable: {{columns: [t2a.R@1]}}\n"
    )
    experiment = load_experiment(tmp_path / "e.yaml")
    interrupt(ledger, cells_of(experiment)[0])
    note = account_now(experiment, ledger).note
    assert 7000 < len(note) <= LONGEST
    assert "more lines: see the artifacts)" in note
    assert "0 of 100 runs are done; `supclap run e.yaml` goes on" in note

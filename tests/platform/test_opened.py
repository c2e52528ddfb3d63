"""`supclap_platform.open`: frames against the files that runs have left, read here by hand."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest
import supclap_platform as sp
from finished_grid import CAPTIONS, CLIPS, FILE, write_finished
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.results.opened import Results
from supclap_platform.results.verdict_formats import COLUMNS, FURTHER
from supclap_platform.testing import events_of, finish, leave
from tiny_grid import write_experiment

import supclap
from supclap.errors import InputError
from supclap.storage import Folder
from supclap.training import fit

pytestmark = pytest.mark.heavy  # pandas, SciPy and matplotlib together take a second


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished(tmp_path_factory.mktemp("opened"))


@pytest.fixture
def results(place: Path) -> Results:
    return sp.open(place / "e.yaml", place / "storage")


def files(place: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Signature and path of that file of each run that has one."""
    for path in sorted((place / "storage" / "cells").glob(f"*/{name}")):
        yield path.parent.name, path


def test_runs_are_the_result_files_and_none_is_left_out(place: Path, results: Results) -> None:
    runs = results.runs()
    assert len(runs) == 6
    by_signature = runs.set_index("signature")
    met = 0
    for signature, path in files(place, "result.json"):
        raw, row = json.loads(path.read_text()), by_signature.loc[signature]
        met += 1
        for name, value in raw["metrics"].items():
            assert row[name] == value
        assert (row["code"], row["data"], row["seconds"]) == (raw["code"], "data-a", raw["seconds"])
        assert row["ended"].timestamp() == raw["time"]
        assert row["best_epoch"] == raw["best_epoch"]
        config = json.loads((path.parent / "config.json").read_text())
        assert (row["seed"], row["epochs"]) == (config["seed"], config["epochs"])
    assert met == 4
    assert runs.groupby("row").size().to_dict() == {"A": 2, "B": 2, "C": 2}
    states = {(row, seed): state for row, seed, state in runs[["row", "seed", "state"]].to_numpy()}
    done = {(row, seed): "done" for row in "AB" for seed in (0, 1)}
    assert states == done | {("C", 0): "resumable", ("C", 1): "failed"}
    old = runs[runs["stale"]]
    assert old[["row", "seed", "code"]].to_numpy().tolist() == [["A", 1, "old"]]
    assert "did not note its modules" in old["stale_because"].item()
    failed = runs[runs["state"] == "failed"].iloc[0]
    assert (failed["error"], failed["attempts"]) == ("the loss is not finite", 3)
    assert runs["set.loss.svr.alpha"].dropna().tolist() == [0.3, 0.3]
    assert runs["set.loss.name"].dropna().tolist() == ["siglip", "siglip"]


def test_epochs_are_the_lines_of_the_events_files(place: Path, results: Results) -> None:
    epochs = results.epochs()
    raw = {
        (signature, event["epoch"]): event
        for signature, path in files(place, "events.jsonl")
        for event in map(json.loads, path.read_text().splitlines())
        if event["kind"] == "epoch"
    }
    assert len(epochs) == len(raw) == 4 * 2 + 1
    for row in epochs.to_dict("records"):
        event = raw[row["signature"], row["epoch"]]
        assert (row["step"], row["seconds"]) == (event["step"], event["seconds"])
        assert row["system.cpu_percent"] == event["system"]["cpu_percent"]
        logged = event["metrics"].get("drift_cosine.text", float("nan"))
        assert row["drift_cosine.text"] == pytest.approx(logged, nan_ok=True)
    assert epochs[epochs["state"] != "done"]["row"].unique().tolist() == ["C"]


def test_queries_are_the_kept_ranks_counted_from_one(place: Path, results: Results) -> None:
    queries, runs = results.queries(), results.runs().set_index("signature")
    assert len(queries) == 4 * (CAPTIONS + CLIPS)
    for signature, path in files(place, "ranks.npz"):
        raw = np.load(io.BytesIO(path.read_bytes()))
        own = queries[queries["signature"] == signature]
        for way, number in (("t2a", CAPTIONS), ("a2t", CLIPS)):
            rows = own[own["way"] == way]
            assert rows["query"].tolist() == list(range(number))
            assert rows["rank"].tolist() == (raw[f"{way}_ranks"] + 1).tolist()
            assert rows["clip"].tolist() == raw[f"{way}_clips"].tolist()
        texts = own[own["way"] == "t2a"]
        np.testing.assert_array_equal(texts["similarity"].to_numpy(), raw["t2a_similarity"])
        # What a run reports follows from its queries.
        recall = 100 * (texts["rank"] == 1).mean()
        assert recall == pytest.approx(runs.loc[signature, "test.t2a.R@1"], rel=1e-12)
        assert texts["AP10"].mean() == pytest.approx(runs.loc[signature, "test.t2a.mAP10"])
        sounds = own[own["way"] == "a2t"]
        assert sounds["rank"].median() == runs.loc[signature, "test.a2t.medR"]
        np.testing.assert_allclose(sounds["AP10"], 100 * raw["a2t_precision"])


def test_the_table_is_the_mean_of_the_runs(results: Results) -> None:
    table, runs = results.table(), results.runs()
    assert len(table) == 3 * 2
    done = runs[runs["state"] == "done"]
    for row, metric in (("A", "test.t2a.R@1"), ("B", "test.a2t.medR")):
        entry = table[(table["row"] == row) & (table["metric"] == metric)].iloc[0]
        values = done[done["row"] == row][metric]
        assert entry["mean"] == pytest.approx(values.mean(), rel=1e-14)
        assert entry["std"] == pytest.approx(values.std(), rel=1e-12, abs=1e-12)
        assert (entry["n"], entry["wanted"], entry["unfinished"], entry["failed"]) == (2, 2, 0, 0)
    counts = table.drop_duplicates("row").set_index("row")[["n", "failed", "unfinished", "stale"]]
    assert counts.loc["A"].tolist() == [2, 0, 0, 1]
    assert counts.loc["C"].tolist() == [0, 1, 1, 0]
    wide = done.pivot(index="seed", columns="row", values="test.t2a.R@1")
    entry = table[(table["row"] == "B") & (table["metric"] == "test.t2a.R@1")].iloc[0]
    assert entry["difference"] == pytest.approx((wide["B"] - wide["A"]).mean(), rel=1e-12)


def test_verdicts_are_numbers_and_what_is_declared_late_says_so(place: Path) -> None:
    # The claim that came after there were results of both its rows.
    path = place / "late.yaml"
    path.write_text(FILE.replace("on t2a.R@1]", "on t2a.R@1, B > A on a2t.medR]"))
    results = sp.open(path, place / "storage")
    found = results.verdicts().set_index("claim")
    runs = results.runs().set_index(["row", "seed"])["test.t2a.R@1"]
    first, second = "B > A on t2a.R@1", "B > A on a2t.medR"
    assert found.loc[first, "effect"] == pytest.approx((runs["B"] - runs["A"]).mean())
    assert found.loc[first, "declared_late"] == ""
    assert found.loc[second, "declared_late"] == "declared after results"
    assert found["stale_runs"].tolist() == [1, 1]
    of_csv = {*COLUMNS, *FURTHER} - {"claim"}
    assert of_csv <= {*found.columns}
    assert {*found.columns} - of_csv == {"experiment", "declared_late", "stale_runs"}


def test_a_figure_is_one_to_go_on_with_and_a_wrong_name_is_one_line(results: Results) -> None:
    with pytest.warns(UserWarning, match="no finished run of C"):
        figure = results.figure("drift")
    axes = figure.axes[0]
    assert {tuple(line.get_xdata()) for line in axes.get_lines()} == {(1, 2)}
    axes.set_title("mine")
    figure.savefig(io.BytesIO(), format="png")
    for call, message in (
        (lambda: results.figure("drft"), "no figure 'drft'; did you mean 'drift'?"),
        (lambda: results.model("AA"), "has no row 'AA'; did you mean 'A'?"),
        (lambda: results.model("A", 7), "'A' has no seed 7 (seeds: 0, 1)"),
        (lambda: results.model("C", 1), "'C', seed 1: no model: the run is failed"),
        (lambda: results.model("A", 0), "is kept without its model"),
        (lambda: results.columns("run"), "no frame 'run'; did you mean 'runs'?"),
        (lambda: results.part("other"), "has no experiment 'other'"),
    ):
        with pytest.raises(InputError) as raised:
            call()
        assert message in str(raised.value)


def test_nothing_is_written_and_a_damaged_file_is_named(place: Path) -> None:
    def contents() -> dict[Path, bytes]:
        below = [path for path in place.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in below}

    signature, ranks = next(files(place, "ranks.npz"))
    whole = ranks.read_bytes()
    ranks.write_bytes(whole[:-9])
    try:
        before = contents()
        results = sp.open(place / "e.yaml", place / "storage")
        with pytest.warns(UserWarning, match=rf"{signature}/ranks.npz: damaged"):
            queries = results.queries()
        assert signature not in set(queries["signature"])
        assert len(queries) == 3 * (CAPTIONS + CLIPS)
        for name in ("runs", "epochs", "trials", "verdicts", "table"):
            getattr(results, name)()
        assert contents() == before
        assert not (place / "nowhere").exists()
        sp.open(place / "e.yaml", place / "nowhere").runs()
        assert not (place / "nowhere").exists()
    finally:
        ranks.write_bytes(whole)


def test_an_earlier_version_of_the_code_can_be_opened(place: Path, tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "s", writing=True)
    cells = cells_of(load_experiment(place / "e.yaml"))[:3]  # A, A, B
    for cell in cells:
        finish(ledger, cell, {"test.t2a.R@1": 10.0 + cell.seed}, code="first")
    for version, value in (("second", 20.0), (None, 30.0)):
        ledger.set_aside(cells[0].signature)
        finish(ledger, cells[0], {"test.t2a.R@1": value}, code=version)

    def values(code: str | None) -> dict[tuple[str, int], float]:
        runs = sp.open(place / "e.yaml", tmp_path / "s", code=code).runs()
        runs = runs[runs["state"] == "done"]
        return {(r["row"], r["seed"]): r["test.t2a.R@1"] for r in runs.to_dict("records")}

    assert values(None) == {("A", 0): 30.0, ("A", 1): 11.0, ("B", 0): 10.0}
    assert values("first") == {("A", 0): 10.0, ("A", 1): 11.0, ("B", 0): 10.0}
    assert values("second") == {("A", 0): 20.0}
    with pytest.raises(InputError, match=r"code 'frst': no result .* did you mean 'first'"):
        values("frst")


def test_what_was_reported_before_the_last_rerun_can_be_opened(place: Path, tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "s", writing=True)
    again, once = cells_of(load_experiment(place / "e.yaml"))[:2]  # A, both seeds
    finish(ledger, once, {"test.t2a.R@1": 11.0})
    # Three versions one after another, named so that their order is not that of the alphabet.
    for hour, (version, value) in enumerate((("z", 10.0), ("a", 20.0), ("m", 30.0))):
        ledger.set_aside(again.signature)
        events = events_of(
            again, [{}, {}], {"test.t2a.R@1": value}, code=version, begin=1.79e9 + 3600 * hour
        )
        leave(ledger, again, events)
    runs = sp.open(place / "e.yaml", tmp_path / "s", code="earlier").runs()
    assert runs["test.t2a.R@1"].dropna().tolist() == [20.0, 11.0]
    assert runs["code"].tolist()[0] == "a"
    with pytest.raises(InputError, match="is kept without its model"):
        sp.open(place / "e.yaml", tmp_path / "s", code="earlier").model("A", 0)


def test_a_model_is_the_one_of_its_run_wherever_the_storage_is(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=1, seeds=1)
    storage = Folder.at(tmp_path / "storage")
    cell = next(c for c in cells_of(load_experiment(path)) if c.variant == "bi-DynamicSVR")
    for _ in fit(cell.config, Ledger(storage).folder(cell.signature)):
        pass
    texts = ["a low tone", "two tones"]
    wanted = supclap.load(tmp_path / "storage/cells" / cell.signature / "model").encode_text(texts)
    elsewhere = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    for folder in (storage, Folder(elsewhere, "storage", "tree://storage")):
        results = Results(load_experiment(path), Ledger(folder))
        np.testing.assert_array_equal(results.model("bi-DynamicSVR", 0).encode_text(texts), wanted)
        runs = results.runs()
        assert runs["state"].tolist() == ["to run", "done"]
        # What a true run reports of its queries is what it reports of the whole.
        texts_asked = results.queries().query("way == 't2a'")
        done = runs[runs["state"] == "done"].iloc[0]
        assert 100 * (texts_asked["rank"] <= 5).mean() == pytest.approx(done["test.t2a.R@5"])
        assert texts_asked["AP10"].mean() == pytest.approx(done["test.t2a.mAP10"])
        sounds = results.queries().query("way == 'a2t'")
        assert sounds["AP10"].mean() == pytest.approx(done["test.a2t.mAP10"])
        assert sounds["rank"].median() == done["test.a2t.medR"]
        with pytest.raises(InputError, match="no model: the run is to run"):
            results.model("InfoNCE")


def test_the_import_is_light() -> None:
    code = (
        "import sys; before = set(sys.modules); import supclap_platform; "
        "new = set(sys.modules) - before; "
        "print(sorted(m for m in new if m.split('.')[0] in ('pandas', 'torch', 'ray', 'pyarrow')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

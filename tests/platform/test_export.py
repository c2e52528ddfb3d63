"""`supclap export`: the files hold what runs have left, their schema is theirs, and they appear
whole."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import supclap_platform as sp
from click.testing import CliRunner, Result
from finished_grid import CAPTIONS, CLIPS, write_finished
from s3_server import s3_server
from supclap_platform.cli import main
from supclap_platform.results import exporting
from supclap_platform.results.frame_columns import FRAMES, columns_page

from supclap.storage import Folder

pytestmark = pytest.mark.heavy  # pandas and SciPy take a second


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished(tmp_path_factory.mktemp("export"))


def export(place: Path, target: str | Path, *more: str) -> Result:
    words = ["export", place / "e.yaml", "--storage", place / "storage", "--to", target, *more]
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def written(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("out") / "below" / "data"
    done = export(place, target, "--format", "parquet", "--format", "csv")
    assert done.exit_code == 0, done.output
    assert "6 rows" in done.output
    assert "60 rows" in done.output  # 4 runs of 10 captions and 5 clips
    return target


def test_csv_holds_the_values_of_the_result_and_ranks_files(place: Path, written: Path) -> None:
    runs = {r["signature"]: r for r in csv.DictReader((written / "runs.csv").open())}
    queries = list(csv.DictReader((written / "queries.csv").open()))
    assert len(queries) == 4 * (CAPTIONS + CLIPS)
    results = list((place / "storage" / "cells").glob("*/result.json"))
    assert (len(results), len(runs)) == (4, 6)
    for path in results:
        raw, row = json.loads(path.read_text()), runs[path.parent.name]
        assert row["state"] == "done"
        for name, value in raw["metrics"].items():
            assert float(row[name]) == value
        ranks = np.load(io.BytesIO((path.parent / "ranks.npz").read_bytes()))
        own = [q for q in queries if q["signature"] == path.parent.name]
        for way in ("t2a", "a2t"):
            of_way = [int(q["rank"]) for q in own if q["way"] == way]
            assert of_way == (ranks[f"{way}_ranks"] + 1).tolist()
    stale = [(r["row"], r["seed"]) for r in runs.values() if r["stale"] == "true"]
    assert stale == [("A", "1")]
    assert [r["error"] for r in runs.values() if r["error"]] == ["the loss is not finite"]


def test_from_an_object_store_it_is_the_same_and_nothing_is_written_there(
    place: Path, written: Path, tmp_path: Path
) -> None:
    local = place / "storage"
    with s3_server() as server:
        remote = Folder.at(server.place())
        for path in sorted(local.rglob("*")):
            if path.is_file():
                remote.write(path.relative_to(local).as_posix(), path.read_bytes())
        server.take()
        done = CliRunner().invoke(
            main,
            ["export", str(place / "e.yaml"), "--storage", server.place(), "--to", str(tmp_path)],
        )
        assert done.exit_code == 0, done.output
        there, here = sp.open(place / "e.yaml", server.place()), sp.open(place / "e.yaml", local)
        for frame in ("runs", "epochs", "queries", "verdicts", "table"):
            assert getattr(there, frame)().equals(getattr(here, frame)()), frame
        assert not server.take().keys() & {"PUT", "POST", "DELETE"}
    for name in ("runs", "epochs", "queries", "verdicts"):
        one, other = (pq.read_table(folder / f"{name}.parquet") for folder in (tmp_path, written))
        assert one.equals(other), name


def test_parquet_is_the_frames_and_the_schema_is_of_both(place: Path, written: Path) -> None:
    schema = json.loads((written / "schema.json").read_text())
    assert (schema["experiment"], schema["profile"]) == ("shown", "laptop")
    results = sp.open(place / "e.yaml", place / "storage")
    assert {*schema["frames"]} == {*FRAMES}
    for name, explained in schema["frames"].items():
        frame = getattr(results, name)()
        columns = [column["name"] for column in explained["columns"]]
        assert columns == frame.columns.to_list()
        assert all(column["meaning"] for column in explained["columns"])
        assert explained["rows"] == len(frame)
        assert explained["files"] == [f"{name}.parquet", f"{name}.csv"]
        back = pd.read_parquet(written / f"{name}.parquet")
        pd.testing.assert_frame_equal(back, frame, check_dtype=False, check_categorical=False)
        with (written / f"{name}.csv").open() as file:
            assert next(csv.reader(file)) == columns
    assert {c["name"]: c["unit"] for c in schema["frames"]["runs"]["columns"]}[
        "test.t2a.R@1"
    ] == "%"
    assert sorted(path.name for path in written.iterdir()) == sorted(
        ["schema.json", *(f"{name}.{end}" for name in FRAMES for end in ("csv", "parquet"))]
    )


def test_many_runs_make_few_row_groups(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 2 * (CAPTIONS + CLIPS))
    assert export(place, tmp_path / "data").exit_code == 0
    file = pq.ParquetFile(tmp_path / "data" / "queries.parquet")
    assert (file.metadata.num_rows, file.num_row_groups) == (60, 2)


def test_a_folder_of_somebody_else_is_refused_and_an_export_replaced(
    place: Path, tmp_path: Path
) -> None:
    target = tmp_path / "data"
    assert export(place, target, "--format", "csv").exit_code == 0
    assert export(place, target).exit_code == 0
    assert (target / "runs.parquet").is_file()
    assert not (target / "runs.csv").exists()
    (target / "thesis.tex").write_text("mine")
    done = export(place, target)
    assert done.exit_code == 2
    assert done.output == (
        f"supclap: --to {target}: holds what no export has written (thesis.tex); name another "
        "folder, or empty it\n"
    )
    assert (target / "thesis.tex").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    for wrong in (file, tmp_path / "link", "s3://bucket/data"):
        done = export(place, wrong)
        assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "file", "link"]


def test_what_fails_midway_leaves_all_as_it_was(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "data"
    assert export(place, target).exit_code == 0
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def full(*arguments: object) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_schema", full)
    done = export(place, target)
    assert done.exit_code == 2
    assert "cannot be written: No space left on device" in done.output
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_page_has_the_columns_as_they_are() -> None:
    page = Path(__file__).parents[2] / "docs" / "results-as-data.md"
    _, _, columns = page.read_text(encoding="utf-8").partition("stands for any number")
    assert columns.partition("### ")[2].strip() == columns_page().partition("### ")[2].strip()
    assert all(column.meaning for of_frame in FRAMES.values() for column in of_frame)

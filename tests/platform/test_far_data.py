"""Experiments whose data and models lie in a store: identity, plan, runs and what is drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from s3_server import S3Server, s3_server
from supclap_platform.cli import main
from supclap_platform.experiment.identity import Contents, signature
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.running.caches import cached
from tiny_features import features_config, make_features
from tiny_grid import FILE
from tiny_run import make_collection, tiny_config
from tiny_transformers import make_text

from supclap.config import RunConfig, parse_config
from supclap.data.cache import cache_folder
from supclap.model.clap import build_model
from supclap.storage import Folder

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))


def supclap(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    return found.exit_code, found.output


def changed(config: RunConfig, **keys: object) -> RunConfig:
    values = config.model_dump(mode="json")
    for key, value in keys.items():
        inner = values
        *path, last = key.split("__")
        for step in path:
            inner = inner[step]
        inner[last] = value
    return parse_config(values)


def read(server: S3Server) -> set[str]:
    """The names of the files whose content was asked for since it was asked last."""
    found = {key.rpartition("/")[2] for kind, key in server.asked if kind == "GET"}
    server.take()
    return found


def test_a_signature_is_that_of_the_same_content_in_a_folder(
    server: S3Server, tmp_path: Path
) -> None:
    """Of a collection and of features the index says it; of models each file."""
    data, features = make_collection(tmp_path / "data"), make_features(tmp_path / "features").folder
    config = tiny_config(data)
    start = tmp_path / "start"
    build_model(config.model, ["a tone"], 0.5, seed=0).save(start)
    text = make_text(tmp_path / "text", "bert")
    far = {
        path: server.upload(path, f"bucket/identity/{path.name} é")
        for path in (data, features, start, text)
    }
    server.take()
    assert signature(changed(config, data__folder=far[data])) == signature(config)
    assert read(server) == {"collection.json"}
    of_features = features_config(features)
    assert signature(changed(of_features, data__folder=far[features])) == signature(of_features)
    assert read(server) == {"features.json"}
    also = changed(config, also={"more": {"data": {"name": "collection", "folder": str(data)}}})
    moved = {"more": {"data": {"name": "collection", "folder": far[data]}}}
    assert signature(changed(also, also=moved)) == signature(also)
    started = changed(config, model__start=str(start))
    assert signature(changed(started, model__start=far[start])) == signature(started)
    encoded = changed(config, model__text={"name": "huggingface", "folder": str(text)})
    one = changed(config, model__text={"name": "huggingface", "folder": far[text]})
    assert signature(one) == signature(encoded)
    server.take()
    content = Contents()
    for seed in range(3):  # what a plan has looked at it does not look at again
        signature(changed(one, seed=seed), 1, content)
    assert read(server) == set()  # ... and weights are fetched once
    tokenizer = Folder.at(far[text])
    tokenizer.write("tokenizer.json", tokenizer.read("tokenizer.json") + b" ")
    assert signature(one) != signature(encoded)


def test_a_plan_says_what_will_be_fetched_and_a_run_fetches_it(
    server: S3Server, tmp_path: Path
) -> None:
    data = make_collection(tmp_path / "tones")
    far = server.upload(data, "bucket/run/my tones")
    storage = server.place("bucket/run/results")
    file = tmp_path / "tiny.yaml"
    text = FILE.format(collection=json.dumps(far), epochs=1, seeds=1, max_failures=0)
    file.write_text(text.replace("  InfoNCE: {}\n", ""))
    asked = (file, "--storage", storage)
    server.take()
    code, said = supclap("plan", *asked)
    assert code == 0, said
    size = sum(path.stat().st_size for path in data.iterdir())
    shown = far.partition("?")[0]
    assert f"to fetch: {shown}" in said
    assert f"(6 files, {size / 1e6:.2f} MB)" in said
    assert f"once for each machine that trains, into its {cache_folder()}" in said
    assert "GB are free here" in said
    assert "1 to run" in said
    assert not any(name.endswith(".arrow") for name in read(server))
    code, said = supclap("work", *asked)
    assert code == 0, said
    assert {name for name in read(server) if name.endswith(".arrow")} == {
        path.name for path in data.glob("*.arrow")
    }
    code, said = supclap("plan", *asked, "--no-timing")
    assert "1 done" in said
    assert "to fetch" not in said
    code, said = supclap("report", *asked)
    assert (code, said.splitlines()[0].partition("?")[0]) == (
        0,
        "s3://bucket/run/results/experiments/tiny/report.html",
    )
    names = {path.path.parent.name for path in cached()}
    assert "copies" in names  # for `supclap clean`
    # Another content is another run, and the copy of before is not served for it.
    server.upload(make_collection(tmp_path / "others", seed=1), "bucket/run/my tones")
    code, said = supclap("plan", *asked, "--no-timing")
    assert "1 to run" in said
    assert "to fetch" in said
    # The model that is kept in the storage is opened, compared and started from where it lies.
    (cell,) = Folder.at(storage).names("cells")
    model = open_ledger(storage).model(cell)
    assert model is not None
    place = Folder.at(storage).below(f"cells/{cell}").place
    code, said = supclap("compare", place, model.place)
    assert code == 0, said
    assert "t2a.R@1" in said


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("s3:/bucket/x", r"tiny\.yaml:4: .*an address has two slashes: s3://bucket/x"),
        ("FAR/nothing", r"tiny\.yaml:4: .*has no collection\.json: not a prepared collection"),
        ("s3://me:secretword@bucket/x", r"a URI with a password"),
    ],
)
def test_a_mistake_names_its_line(
    server: S3Server, tmp_path: Path, where: str, message: str
) -> None:
    place = server.place("bucket/nothing") if where.startswith("FAR") else where
    file = tmp_path / "tiny.yaml"
    text = FILE.format(collection=json.dumps(place), epochs=1, seeds=1, max_failures=0)
    file.write_text(text)
    found = CliRunner().invoke(main, ["plan", str(file), "--storage", str(tmp_path / "s")])
    line = found.output
    assert "secretword" not in line
    assert re.search(message, line), line

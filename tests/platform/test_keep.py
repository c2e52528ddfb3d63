"""Which models stay, in the storage and in MLflow, and that what needs one finds it."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner
from mlflow_content import content_of
from mlflow_place import Place, name_of
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.kept_models import Freed, free_models
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.logged_model import address
from supclap_platform.mirror.mirror import Mirror, links_models
from supclap_platform.mirror.store import Store, default_store
from supclap_platform.testing import finish

from supclap.config import ModelConfig
from supclap.errors import InputError
from supclap.model.clap import CLAP, build_model
from supclap.storage import Folder

heavy = pytest.mark.heavy  # takes a moment

TEXT = """\
experiment: small
base: {epochs: 2}
init: {base: {epochs: 1}}
variants: {InfoNCE: {}, SVR: {loss.svr: {}}}
seeds: 3
baseline: InfoNCE
keep: {models: POLICY}
"""
# By row: what the seeds are judged by, on validation. The second seed of one row is the best, the
# first of the other.
VALUES = {"InfoNCE": (1.0, 3.0, 2.0), "SVR": (6.0, 4.0, 5.0)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLAP, Path]:
    config = ModelConfig.model_validate(
        {"audio": {"width": 8, "layers": 1}, "text": {"width": 32, "layers": 1}, "dim": 8}
    )
    folder = tmp_path_factory.mktemp("model") / "model"
    built = build_model(config, ["a dog barks"], seconds=1.0, seed=0).eval()
    built.save(folder)
    return built, folder


def done(place: Place, model: Path, values: Mapping[str, tuple[float, ...]] = VALUES) -> None:
    """Finishes the cells of these seeds, each with a model."""
    for cell in place.cells:
        if cell.variant == "init" or cell.seed < len(values[cell.variant]):
            value = 0.0 if cell.variant == "init" else values[cell.variant][cell.seed]
            finish(place.ledger, cell, {"val.t2a.R@1": value, "test.t2a.R@1": 50 - value})
            target = Path(place.ledger.folder(cell.signature).base) / "model"
            if not target.exists():
                shutil.copytree(model, target)


def kept(place: Place) -> set[str]:
    return {cell.label for cell in place.cells if place.ledger.model(cell.signature) is not None}


EVERY = {"init, seed 0", *(f"{row}, seed {seed}" for row in VALUES for seed in range(3))}


@pytest.mark.parametrize(
    ("policy", "stay"),
    [
        ("all", EVERY),
        ("best", {"init, seed 0", "InfoNCE, seed 1", "SVR, seed 0"}),
        ("baseline", {"init, seed 0", "InfoNCE, seed 1"}),
        ("none", {"init, seed 0"}),
    ],
)
def test_the_models_that_the_file_keeps_stay_and_no_others(
    tmp_path: Path, model: tuple[CLAP, Path], policy: str, stay: set[str]
) -> None:
    place = Place(tmp_path, TEXT.replace("POLICY", policy))
    done(place, model[1])
    size = sum(path.stat().st_size for path in model[1].rglob("*") if path.is_file())
    signatures = [cell.signature for cell in place.cells]
    freed = free_models(place.experiment, place.ledger)
    assert kept(place) == stay
    assert freed == Freed(len(EVERY) - len(stay), (len(EVERY) - len(stay)) * size)
    assert free_models(place.experiment, place.ledger) == Freed()
    assert len(place.ledger.results(signatures)) == len(signatures)  # all are as done as before
    assert not make_plan(place.experiment, place.ledger).to_run
    # It is no part of a run's identity.
    assert [c.signature for c in place.load(TEXT.replace("POLICY", "all"))[1]] == signatures


@heavy
def test_a_run_says_what_it_removes(tmp_path: Path, model: tuple[CLAP, Path]) -> None:
    place = Place(tmp_path, TEXT.replace("POLICY", "best"))
    done(place, model[1])
    call = ["run", str(place.experiment.path), "--storage", place.ledger.storage.base]
    said = CliRunner().invoke(main, call)  # nothing is left to train
    assert said.exit_code == 0, said.output
    assert "keep.models: 4 models removed, 0.00 GB" in said.output.splitlines()
    assert kept(place) == {"init, seed 0", "InfoNCE, seed 1", "SVR, seed 0"}


def test_a_model_stays_that_another_experiment_has_asked_for(
    tmp_path: Path, model: tuple[CLAP, Path]
) -> None:
    other = TEXT.replace("POLICY", "all").replace("small", "other").replace("seeds: 3", "seeds: 1")
    (tmp_path / "other.yaml").write_text(other, encoding="utf-8")
    place = Place(tmp_path, TEXT.replace("POLICY", "none"))
    experiment = load_experiment(tmp_path / "other.yaml")
    Histories(place.ledger).begin(experiment, cells_of(experiment))
    done(place, model[1])
    freed = free_models(place.experiment, place.ledger)
    assert kept(place) == {"init, seed 0", "InfoNCE, seed 0", "SVR, seed 0"}
    assert (freed.models, freed.shared) == (4, 2)
    assert freed.line.startswith("keep.models: 4 models removed, 0.00 GB; 2 stay, as other")


def test_a_profile_keeps_what_it_says_and_a_part_what_its_file_says(
    tmp_path: Path, model: tuple[CLAP, Path]
) -> None:
    text = TEXT.replace("POLICY", "none") + "profiles: {wide: {keep: {mlflow: copy}}}\n"
    place = Place(tmp_path, text)
    assert load_experiment(tmp_path / "small.yaml", "wide").keep.models == "all"
    (tmp_path / "whole.yaml").write_text("experiment: whole\ninclude: [small.yaml]\n")
    whole = load_experiment(tmp_path / "whole.yaml")
    cells = cells_of(whole)
    remember(make_plan(whole, place.ledger), place.ledger)
    assert Histories(place.ledger).begin(whole, cells).frees_models
    done(place, model[1])
    assert free_models(whole, place.ledger).models == 6
    assert kept(place) == {"init, seed 0"}


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("{models: some}", "keep.models: input should be 'all', 'best', 'baseline' or 'none'"),
        ("{mlflow: move}", "keep.mlflow: input should be 'link' or 'copy'"),
        ("{model: best}", "unknown key 'keep.model'; did you mean 'models'?"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, keep: str, message: str) -> None:
    (tmp_path / "e.yaml").write_text(f"experiment: e\nvariants: {{A: {{}}}}\nkeep: {keep}\n")
    with pytest.raises(InputError) as wrong:
        load_experiment(tmp_path / "e.yaml")
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)


@heavy
def test_mlflow_shows_the_models_that_stay_from_whatever_state(
    tmp_path: Path, model: tuple[CLAP, Path], empty_store: Path
) -> None:
    (tmp_path / "storage").mkdir()
    shutil.copy(empty_store, tmp_path / "storage/mlflow.db")
    place = Place(tmp_path, TEXT.replace("POLICY", "best"))
    history = place.begin()
    driver = Mirror(place.ledger, place.store, history, driving=True)
    few = {"InfoNCE": VALUES["InfoNCE"][:1], "SVR": VALUES["SVR"][:1]}
    done(place, model[1], few)
    assert driver.catch_up()
    assert models(place) == set()  # which stay is not known yet
    driver.driving = False
    assert driver.catch_up()
    first = {"init, seed 0", "InfoNCE, seed 0", "SVR, seed 0"}
    assert models(place) == first
    done(place, model[1])  # more seeds, and one of them is better
    free_models(place.experiment, place.ledger)
    assert Mirror(place.ledger, place.store, history).catch_up()
    assert models(place) == {"init, seed 0", "InfoNCE, seed 1", "SVR, seed 0"} == kept(place)
    anew = default_store(tmp_path / "anew")
    Mirror(place.ledger, anew, history).catch_up()
    found = [content_of(one.uri, tmp_path / f"c{at}") for at, one in enumerate((place.store, anew))]
    assert found[0] == found[1]


def models(place: Place) -> set[str]:
    """The cells that MLflow shows a model of, and that it says so everywhere."""
    client, runs = place.store.connect(), place.runs()
    number = place.all_runs()[0].info.experiment_id
    logged = {one.source_run_id: one.name for one in client.search_logged_models([number])}
    tagged = {run.info.run_id for run in runs.values() if "model" in run.data.tags}
    assert logged.keys() == tagged
    return set(logged.values())


@heavy
def test_mlflow_has_the_place_of_a_model_or_its_files(
    place: Place, model: tuple[CLAP, Path], tmp_path: Path
) -> None:
    import mlflow
    import pandas as pd

    built, folder = model
    cell = place.cells[0]
    finish(place.ledger, cell, {"val.t2a.R@1": 1.0, "test.t2a.R@1": 1.0})
    at = Path(place.ledger.folder(cell.signature).base) / "model"
    shutil.copytree(folder, at)
    wanted = built.encode_text(["a dog barks"])[0]

    def said(logged: str, **config: str) -> np.ndarray:
        loaded = mlflow.pyfunc.load_model(logged, model_config=config or None)
        return loaded.predict(pd.DataFrame({"text": ["a dog barks"]}))["embedding"][0]

    for keep, weights in (("", []), ("keep: {mlflow: copy}", ["weights.safetensors"])):
        place.experiment, place.cells = place.load(f"{PLAIN}{keep}\n")
        store = default_store(tmp_path / f"of {keep[:4]}")
        Mirror(place.ledger, store, place.begin()).catch_up()
        place.store = store
        run = place.runs()[name_of(cell)]
        client = store.connect()
        logged = client.get_logged_model(run.data.tags["model"])
        files = Path(logged.artifact_location.removeprefix("file://").replace("%20", " "))
        assert [path.name for path in files.rglob("*.safetensors")] == weights
        assert logged.tags == ({} if weights else {"weights": str(at)})
        assert logged.status == "READY"
        np.testing.assert_allclose(said(str(files)), wanted, atol=1e-6)
        if not weights:
            linked = files
    at.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="the model's files are not there"):
        said(str(linked))
    np.testing.assert_allclose(said(str(linked), folder=f"{tmp_path}/moved"), wanted, atol=1e-6)
    np.testing.assert_allclose(said(str(files)), wanted, atol=1e-6)


PLAIN = """\
experiment: small
base: {epochs: 2}
variants: {InfoNCE: {}, SVR: {loss.svr: {}}}
baseline: InfoNCE
table: {columns: [t2a.R@1]}
"""


@heavy
def test_a_model_that_is_registered_outlives_the_storage(
    place: Place, model: tuple[CLAP, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    for cell in place.cells:
        finish(place.ledger, cell, {"val.t2a.R@1": 1.0, "test.t2a.R@1": 1.0})
        at = Path(place.ledger.folder(cell.signature).base) / "model"
        shutil.copytree(model[1], at)
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    call = ["promote", str(place.experiment.path), "--storage", place.ledger.storage.base]
    for _ in range(2):
        said = CliRunner().invoke(main, [*call, "--register", "clap"])
        assert said.exit_code == 0, said.output
    for cell in place.cells:
        place.ledger.drop_model(cell.signature)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.store.uri)
    loaded = mlflow.pyfunc.load_model("models:/clap@winner")
    found = loaded.predict(pd.DataFrame({"text": ["a dog barks"]}))["embedding"][0]
    np.testing.assert_allclose(found, model[0].encode_text(["a dog barks"])[0], atol=1e-6)


def test_a_server_is_given_files_where_the_storage_is_on_this_machine_alone(
    ledger: Ledger, tmp_path: Path
) -> None:
    history = Place(tmp_path).begin()
    here = ledger.storage
    bucket = Folder(pafs.SubTreeFileSystem(here.base, here.filesystem), "b/a", "s3://b/a")
    served, own = Store("http://127.0.0.1:5000"), Store("postgresql+psycopg2://host/db")
    assert links_models(history, own, here)
    assert not links_models(history, served, here)
    assert links_models(history, served, bucket)
    assert links_models(replace(history, mlflow="link"), served, here)
    assert not links_models(replace(history, mlflow="copy"), own, here)


def test_the_place_of_a_model_holds_no_credentials(ledger: Ledger) -> None:
    files = pafs.SubTreeFileSystem(ledger.storage.base, ledger.storage.filesystem)
    uri = "s3://key:secret@bucket/a?region=eu&secret_key=x&endpoint_override=host:9000"
    folder = Folder(files, "bucket/a", uri).below("cells/1/model")
    assert address(folder) == "s3://bucket/a/cells/1/model?region=eu&endpoint_override=host%3A9000"
    assert address(ledger.storage.below("a b")) == f"{ledger.storage.base}/a b"

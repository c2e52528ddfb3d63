"""Models, evaluation and search on real recordings ($SUPCLAP_TEST_DATA)."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from supclap.config import ModelConfig
from supclap.data.clips import Collection
from supclap.data.prepare import prepare
from supclap.embedding import embed_folder, search_index
from supclap.evaluation.collection import encode_clips, evaluate_retrieval, evaluate_zero_shot
from supclap.model.clap import CLAP, build_model
from supclap.use_commands import evaluate_command

ROOT = Path(os.environ.get("SUPCLAP_TEST_DATA", "."))
pytestmark = pytest.mark.skipif(
    "SUPCLAP_TEST_DATA" not in os.environ, reason="needs real sounds: set SUPCLAP_TEST_DATA"
)


@pytest.fixture(scope="module")
def model() -> CLAP:
    values = {"audio": {"width": 8}, "text": {"width": 32, "layers": 1}}
    captions = ["a dog barks", "rain falls", "犬が吠える"]
    return build_model(ModelConfig.model_validate(values), captions, 5.0, seed=0)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """The captioned clips as a plain folder with captions.json, in the order of its list."""
    folder = tmp_path_factory.mktemp("captioned")
    shutil.copytree(ROOT / "captioned-mini", folder / "captioned-mini")
    listing = folder / "captioned-mini" / "captions.json"
    rows = json.loads(listing.read_text(encoding="utf-8"))
    listing.write_text(json.dumps([{k: r[k] for k in ("file", "captions")} for r in rows]))
    prepare("captions", folder / "captioned-mini", folder / "out", into="test")
    return Collection(folder / "out")


@pytest.mark.heavy
def test_retrieval_on_captioned_clips_counts_all_and_is_near_chance_untrained(
    model: CLAP, captioned: Collection
) -> None:
    report = evaluate_retrieval(model, captioned.split("test"))
    assert (report.clips, report.captions, report.uncaptioned) == (42, 210, 0)
    assert report.chance["t2a.R@1"] == pytest.approx(100 / 42)
    # An untrained model: the mean rank within four standard errors of the middle.
    error = (42**2 / 12 / 42) ** 0.5
    assert abs(report.result.metrics["t2a.meanR"] - 21.5) < 4 * error


def test_a_file_and_its_prepared_clip_have_the_same_embedding(
    model: CLAP, captioned: Collection
) -> None:
    clips = captioned.split("test")
    prepared = encode_clips(model, clips, range(3))
    files = [ROOT / "captioned-mini" / clips.sources[row] for row in range(3)]
    assert model.encode_audio(files) == pytest.approx(prepared, abs=1e-6)


@pytest.mark.heavy
def test_zero_shot_on_a_labelled_collection(model: CLAP, tmp_path: Path) -> None:
    prepare("esc50", ROOT / "esc10", tmp_path / "esc10", splits=["fold5"])
    model.save(tmp_path / "m")
    report = evaluate_zero_shot(model, Collection(tmp_path / "esc10").split("fold5"))
    assert report.clips == 80
    assert len(report.result.labels) == 10
    assert report.chance["zero_shot.accuracy"] == 10
    assert report.result.confusion.sum(1).tolist() == [8] * 10
    command = [tmp_path / "m", "--data", tmp_path / "esc10", "--split", "fold5"]
    printed = CliRunner().invoke(
        evaluate_command, [str(word) for word in command], catch_exceptions=False
    )
    assert printed.exit_code == 0
    assert f"{report.result.metrics['zero_shot.accuracy']:.2f}" in printed.output


@pytest.mark.heavy
def test_a_folder_of_real_recordings_is_indexed_whole(model: CLAP, tmp_path: Path) -> None:
    report = embed_folder(model, ROOT / "captioned-mini", tmp_path / "x.parquet")
    assert report.files == 42
    assert not report.skipped
    assert report.windows > 42  # 9 to 30 seconds each
    hits = search_index(model, tmp_path / "x.parquet", "rain falls", k=42)
    assert len({hit.path for hit in hits}) == 42
    assert (np.diff([hit.score for hit in hits]) <= 0).all()

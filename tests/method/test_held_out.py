"""Further test sets, the similarity of positive pairs, and the memory of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import make_collection, tiny_config

import supclap
from supclap.data.clips import Clip, Collection, write_split
from supclap.errors import InputError
from supclap.evaluation.collection import encode_clips, evaluate_retrieval, evaluate_zero_shot
from supclap.events import Finished, Started
from supclap.storage import Folder
from supclap.training import fit
from supclap.usage import Usage, higher


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another collection, with a split of its own name and nothing to train on."""
    folder = tmp_path_factory.mktemp("other")
    made = Collection(make_collection(folder / "made", seed=5))
    # The thirteenth bears the first one's caption again: they tie in every evaluation.
    clips = [made.split("train")[row] for row in range(20)]
    write_split(folder / "kept", "other", "evaluation", clips)
    only_one = [Clip(f"c{i}", clips[i].audio, labels=("dog",)) for i in range(3)]
    write_split(folder / "kept", "other", "one-class", only_one)
    return folder / "kept"


@pytest.fixture(scope="module")
def run(data: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    list(fit(tiny_config(data, also=sets(other), data__languages=["eng", "deu"]), Folder.at(place)))
    return place


def sets(other: Path) -> dict[str, object]:
    elsewhere = {"name": "collection", "folder": str(other)}
    return {
        "Other": {"data": elsewhere, "split": "evaluation"},
        "shift": {"split": "shifted"},
        "single": {"split": "events"},
    }


def metrics_of(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "result.json").read_text())["metrics"]
    return found


@pytest.mark.heavy
def test_further_sets_score_what_the_saved_model_scores_on_them(
    run: Path, data: Path, other: Path
) -> None:
    model, metrics = supclap.load(run / "model"), metrics_of(run)
    places = {
        "also.Other": Collection(other).split("evaluation"),
        "also.shift": Collection(data).split("shifted"),
    }
    for name, clips in places.items():
        report = evaluate_retrieval(model, clips, ["eng", "deu"])
        assert len(report.result.metrics) > 20
        for metric, value in report.result.metrics.items():
            assert metrics[f"{name}.{metric}"] == pytest.approx(value), metric
        for metric, value in report.chance.items():
            assert metrics[f"chance.{name}.{metric}"] == pytest.approx(value), metric
        classified = evaluate_zero_shot(model, clips)
        for metric, value in classified.result.metrics.items():
            assert metrics[f"{name}.{metric}"] == pytest.approx(value), metric
            assert metrics[f"chance.{name}.{metric}"] == pytest.approx(25)


def test_a_set_without_captions_is_only_classified(run: Path) -> None:
    metrics = metrics_of(run)
    mine = {name for name in metrics if name.startswith("also.single.")}
    assert mine == {"also.single.zero_shot.accuracy", "also.single.zero_shot.class_accuracy"}
    assert metrics["also.single.zero_shot.accuracy"] == metrics["zero_shot.accuracy"]


@pytest.mark.heavy
def test_further_sets_change_nothing_else(data: Path, run: Path, tmp_path: Path) -> None:
    list(fit(tiny_config(data, data__languages=["eng", "deu"]), Folder.at(tmp_path)))
    plain = metrics_of(tmp_path)
    assert plain == {name: v for name, v in metrics_of(run).items() if "also." not in name}
    for name in ("ranks.npz", "model/weights.safetensors"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"split": "tset"}, r"^also\.X: .*: no split 'tset'; it has train"),
        ({"data": {"name": "collection", "folder": "/nowhere"}}, r"^also\.X: /nowhere: not a pre"),
        ({"split": "one-class"}, r"nothing to measure on split 'one-class' of .*kept: no clip has"),
    ],
)
def test_a_wrong_set_is_told_before_training(
    data: Path, other: Path, tmp_path: Path, also: dict[str, object], message: str
) -> None:
    if also["split" if "split" in also else "data"] == "one-class":
        also = {**also, "data": {"name": "collection", "folder": str(other)}}
    with pytest.raises(InputError, match=message) as error:
        next(fit(tiny_config(data, also={"X": also}), Folder.at(tmp_path)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"a b": {}}, "the name 'a b' is not 1 to 40 letters"),
        ({"X": {"splt": "test"}}, "unknown key 'also.X.splt'; did you mean 'split'?"),
        ({"split": {"splt": "test"}}, "unknown key 'also.split.splt'; did you mean 'split'?"),
        ({"X": {"data": {"name": "soundscenes", "limit": 3}}}, "'limit' has no meaning for a fur"),
    ],
)
def test_a_wrong_setting_is_told_by_its_key(also: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        tiny_config(Path("x"), also=also)
    assert message in str(error.value)


@pytest.mark.heavy
def test_a_further_set_that_changed_meanwhile_is_refused(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "moving"
    config = tiny_config(data, also={"X": {"data": {"name": "collection", "folder": str(place)}}})
    make_collection(place, seed=1)
    stream = fit(config, Folder.at(tmp_path / "run"))
    started = next(stream), next(stream)
    stream.close()
    assert isinstance(started[0], Started)
    assert started[0].also == {"X": Collection(place).content_hash()}
    make_collection(place, seed=2)
    with pytest.raises(InputError, match=r"begun on other data for also\.X \(content hash"):
        next(fit(config, Folder.at(tmp_path / "run")))


def test_the_kept_similarity_is_that_of_every_caption_and_its_clip(run: Path, data: Path) -> None:
    model, clips = supclap.load(run / "model"), Collection(data).split("test")
    sounds = encode_clips(model, clips, range(len(clips)))
    expected = []
    for language in ("eng", "deu"):
        for row, captions in enumerate(clips.captions):
            for caption in captions:
                if caption.language == language:
                    text = model.encode_text([caption.text], [language])[0]
                    expected.append(float(text @ sounds[row]))
    with np.load(run / "ranks.npz") as kept:
        found = kept["t2a_similarity"]
        assert found.dtype == np.float32
        assert found.shape == kept["t2a_ranks"].shape == (24,)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.heavy
def test_the_peak_is_that_of_the_run_and_not_of_one_before() -> None:
    def touch(megabytes: int) -> None:
        np.ones(megabytes * 10**6, dtype=np.uint8)

    usage = Usage()
    if usage.peak() is None or torch.cuda.is_initialized():
        pytest.skip("this system does not tell how much memory of its own a process held")
    touch(400)
    before = usage.peak()
    usage = Usage()
    now = usage.peak()
    touch(200)
    after = usage.peak()
    assert before is not None
    assert now is not None
    assert after is not None
    assert 390 < before - now < 450
    assert 190 < after - now < 250


def test_peaks_of_several_attempts_are_one() -> None:
    assert higher(None, 3.0) == higher(3.0, 2.0) == higher(3.0, None) == 3.0
    assert higher(None, None) is None


@pytest.mark.heavy
def test_the_peak_is_kept_with_the_result_over_a_stop(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter([900.0, 100.0, 120.0, 110.0])
    monkeypatch.setattr(Usage, "peak", lambda _: next(peaks))
    config = tiny_config(data)
    stream = fit(config, Folder.at(tmp_path))
    next(stream), next(stream)  # the first epoch's end, with a checkpoint
    stream.close()
    *_, finished = fit(config, Folder.at(tmp_path))
    assert isinstance(finished, Finished)
    assert finished.peak_MB == 900.0
    assert json.loads((tmp_path / "result.json").read_text())["peak_MB"] == 900.0

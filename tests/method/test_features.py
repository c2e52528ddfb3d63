"""Training and measuring on precomputed features, against loops and counts written out."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_features import (
    AUDIO,
    TEXT,
    arrays_in,
    features_config,
    make_arrays,
    make_features,
)
from tiny_run import everything, make_collection
from torch import nn

import supclap
from supclap import registry
from supclap.augmenting import augmenter_of
from supclap.batches import batches_of
from supclap.config import RunConfig, parse_config
from supclap.data.clips import Collection
from supclap.data.features import FeatureCollection
from supclap.data.features.table import read_table
from supclap.data.features.writing import write_features
from supclap.errors import InputError
from supclap.evaluation.collection import evaluate_retrieval, evaluate_zero_shot
from supclap.events import EpochEnded, Finished, Started
from supclap.feasibility import check_data, check_run
from supclap.held_out import inputs_of
from supclap.model.clap import CLAP, build_model
from supclap.parts import Augmentation, register
from supclap.progress import STEPS, Doing, listening
from supclap.storage import Folder
from supclap.training import fit

TEMPERATURE, RATE = 0.07, 3e-3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``arrays/`` and what was prepared of them, ``prepared/``."""
    folder = tmp_path_factory.mktemp("features")
    make_features(folder)
    return folder


def lines_of(place: Path, split: str) -> list[dict[str, str]]:
    with open(place / "arrays" / "clips.csv") as file:
        return [line for line in csv.DictReader(file) if line["split"] == split]


def array_of(place: Path, name: str) -> torch.Tensor:
    return torch.from_numpy(np.load(place / "arrays" / f"{name}.npy")).float()


class Head(nn.Module):
    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.layers(vectors), dim=1)


def heads_of(model: CLAP) -> tuple[Head, Head]:
    """Two heads of our own, with a model's weights."""
    found = []
    for side, width in ((model.audio, AUDIO), (model.text, TEXT)):
        head = Head(width, model.config.dim)
        head.load_state_dict(
            dict(zip(head.state_dict(), side.head.state_dict().values(), strict=True))
        )
        found.append(head)
    return found[0], found[1]


def plain(place: Path) -> RunConfig:
    """InfoNCE and Adam at a constant rate, without anything that a reader would have to look up."""
    return features_config(
        place / "prepared",
        loss__temperature=TEMPERATURE,
        optimizer={"lr": RATE, "schedule": "constant", "warmup": 0, "clip_norm": None},
        select={"split": "last"},
        epochs=3,
    )


def counted(place: Path, split: str, audio: Head, text: Head) -> dict[str, float]:
    """Retrieval by sorting nothing: for each query, what scores as high as its own or higher."""
    lines = lines_of(place, split)
    sounds, sentences = array_of(place, "audio"), array_of(place, "text")
    with torch.no_grad():
        heard = audio(sounds[[int(line["row"]) for line in lines]]).double()
        asked = [(n, int(line[c])) for n, line in enumerate(lines) for c in ("text1", "text2")]
        read = text(sentences[[row for _, row in asked]]).double()
    scores = (read @ heard.T).numpy()
    owner = [clip for clip, _ in asked]
    t2a = [sum(row >= row[own] - 1e-9) - 1 for row, own in zip(scores, owner, strict=True)]
    a2t = []
    for clip in range(len(lines)):
        mine = [q for q, own in enumerate(owner) if own == clip]
        others = [q for q in range(len(owner)) if q not in mine]
        best = max(scores[q, clip] for q in mine)
        a2t.append(sum(scores[q, clip] >= best - 1e-9 for q in others))
    return {
        "t2a.R@1": 100 * float(np.mean([rank < 1 for rank in t2a])),
        "t2a.R@5": 100 * float(np.mean([rank < 5 for rank in t2a])),
        "t2a.meanR": float(np.mean(t2a)) + 1,
        "a2t.R@1": 100 * float(np.mean([rank < 1 for rank in a2t])),
        "a2t.meanR": float(np.mean(a2t)) + 1,
    }


@pytest.mark.heavy
def test_a_run_is_the_loop_that_one_would_write(place: Path, tmp_path: Path) -> None:
    config = plain(place)
    model = build_model(config.model, [], 10.0, config.seed, (AUDIO, TEXT))
    audio, text = heads_of(model)
    optimizer = torch.optim.Adam([*audio.parameters(), *text.parameters()], lr=RATE)
    lines = lines_of(place, "train")
    sounds, sentences = array_of(place, "audio"), array_of(place, "text")
    size, losses = config.batch_size, []
    for epoch in range(config.epochs):
        order = np.random.default_rng([config.seed, epoch, 0]).permutation(len(lines))
        draws = np.random.default_rng([config.seed, epoch, 1]).random((len(lines), 2))
        epoch_losses = []
        for start in range(0, len(lines) - size + 1, size):
            chosen = order[start : start + size]
            columns = [("text1", "text2")[int(draws[at, 1] * 2)] for at in chosen]
            rows = [int(lines[at]["row"]) for at in chosen]
            said = [int(lines[at][column]) for at, column in zip(chosen, columns, strict=True)]
            logits = audio(sounds[rows]) @ text(sentences[said]).T / TEMPERATURE
            target = torch.arange(size)
            loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch_losses.append(loss.item())
        losses.append(float(np.mean(epoch_losses)))

    events = list(fit(config, Folder.at(tmp_path)))
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert [e.metrics["train.loss"] for e in ended] == pytest.approx(losses, rel=1e-4)
    for split in ("val", "test"):
        expected = counted(place, split, audio, text)
        found = {name: events[-1].metrics[f"{split}.{name}"] for name in expected}
        assert found == pytest.approx(expected), split
    assert isinstance(events[0], Started)
    assert events[0].clips == 24
    assert events[0].parameters == sum(p.numel() for h in (audio, text) for p in h.parameters())


@pytest.mark.heavy
def test_a_saved_model_scores_what_its_run_scored(place: Path, tmp_path: Path) -> None:
    config = features_config(place / "prepared", data__languages=["eng", "fra"])
    events = list(fit(config, Folder.at(tmp_path)))
    model = supclap.load(tmp_path / "model")
    test = FeatureCollection(place / "prepared").split("test")
    report = evaluate_retrieval(model, test, ["eng", "fra"])
    assert isinstance(events[-1], Finished)
    for name, value in report.result.metrics.items():
        assert value == pytest.approx(events[-1].metrics[f"test.{name}"]), name
    captions = sum(bool(line[c]) for line in lines_of(place, "test") for c in ("text1", "text2"))
    assert report.captions == captions + sum(bool(n["text_fra"]) for n in lines_of(place, "test"))


@pytest.mark.heavy
def test_a_run_that_was_stopped_ends_with_the_same_bits(place: Path, tmp_path: Path) -> None:
    config = features_config(
        place / "prepared",
        data__noise=0.2,
        data__languages=["eng", "fra"],
        loss={"multilingual": "kcl", "svr": {"radius": "dynamic"}},
        checkpoint_steps=1,
        batch_size=7,
    )
    whole = Folder.at(tmp_path / "whole")
    list(fit(config, whole))

    class Stop(Exception):
        pass

    done = 0

    def stop(doing: Doing | None) -> None:
        nonlocal done
        if doing is not None and doing.unit == STEPS and doing.done:
            done += 1
            if done == 4:
                raise Stop

    parted = Folder.at(tmp_path / "parted")
    with pytest.raises(Stop), listening(stop):
        list(fit(config, parted))
    list(fit(config, parted))
    assert everything(parted) == everything(whole)


@pytest.mark.heavy
def test_further_test_sets_are_features_too(place: Path, tmp_path: Path) -> None:
    other = make_features(tmp_path / "other", seed=4)
    also = {
        "same": {"split": "val"},
        "other": {"data": {"name": "features", "folder": str(other.folder)}, "split": "test"},
    }
    list(fit(features_config(place / "prepared", also=also), Folder.at(tmp_path / "run")))
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    model = supclap.load(tmp_path / "run" / "model")
    for name, clips in (
        ("same", FeatureCollection(place / "prepared").split("val")),
        ("other", other.split("test")),
    ):
        found = evaluate_retrieval(model, clips, ["eng"]).result.metrics
        assert metrics[f"also.{name}.t2a.R@1"] == pytest.approx(found["t2a.R@1"])
        assert metrics[f"also.{name}.a2t.meanR"] == pytest.approx(found["a2t.meanR"])


@pytest.mark.heavy
def test_clips_are_classified_by_the_sentences_of_their_labels(tmp_path: Path) -> None:
    make_arrays(tmp_path / "arrays")
    classes = str(tmp_path / "arrays" / "kinds.csv")
    folder = make_features(tmp_path, labels=["kind"], classes=classes).folder
    config = features_config(folder, also={"kinds": {"split": "test"}})
    events = list(fit(config, Folder.at(tmp_path / "run")))
    model = supclap.load(tmp_path / "run" / "model")
    audio, text = heads_of(model)
    lines = [n for n in lines_of(tmp_path, "test") if n["kind"] in ("cat", "dog")]
    with torch.no_grad():
        heard = audio(array_of(tmp_path, "audio")[[int(line["row"]) for line in lines]])
        read = text(array_of(tmp_path, "text"))
        dog = F.normalize((read[5] + read[39]) / 2, dim=0)
        taken = ["dog" if sound @ dog > sound @ read[6] else "cat" for sound in heard]
    right = [kind == line["kind"] for kind, line in zip(taken, lines, strict=True)]
    found = evaluate_zero_shot(model, FeatureCollection(folder).split("test"))
    assert found.result.metrics["zero_shot.accuracy"] == pytest.approx(100 * np.mean(right))
    assert found.left_out == len(lines_of(tmp_path, "test")) - len(lines)
    assert isinstance(events[-1], Finished)
    assert events[-1].metrics["also.kinds.zero_shot.accuracy"] == pytest.approx(
        found.result.metrics["zero_shot.accuracy"]
    )


@pytest.mark.heavy
def test_arrays_and_the_folder_made_of_them_are_the_same_run(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    names = {"audio": "audio.npy", "text": "text.npy", "captions": "clips.csv"}
    arrays = {key: str(place / "arrays" / name) for key, name in names.items()}
    config = features_config(place / "prepared")
    made = parse_config({**config.model_dump(), "data": {"name": "features", "arrays": arrays}})
    list(fit(config, Folder.at(tmp_path / "folder")))
    list(fit(made, Folder.at(tmp_path / "arrays")))
    weights = [(tmp_path / n / "model" / "weights.safetensors") for n in ("folder", "arrays")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.heavy
def test_what_features_have_not_is_refused(place: Path, tmp_path: Path) -> None:
    sounds = make_collection(tmp_path / "sounds", 8)
    list(fit(features_config(place / "prepared", epochs=1), Folder.at(tmp_path / "run")))
    model = supclap.load(tmp_path / "run" / "model")
    with pytest.raises(InputError, match="hears no sound"):
        model.encode_audio([np.zeros(8000, np.float32)])
    with pytest.raises(InputError, match="reads no words"):
        model.encode_text(["a dog"])
    with pytest.raises(InputError, match="trained on features, and these are sounds"):
        evaluate_retrieval(model, Collection(sounds).split("test"))
    test = FeatureCollection(place / "prepared").split("test")
    with pytest.raises(InputError, match="no sound to hear"):
        test.audio(0)
    with pytest.raises(InputError, match=r"zero-shot.*--classes"):
        evaluate_zero_shot(model, test)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__audio": "cnn"}, "model.audio.*'cnn'.*data are features"),
        ({"model__audio__freeze": False}, "model.audio.freeze.*no weights"),
        ({"data__seconds": 2.0}, "'seconds' has no meaning"),
        ({"data__folder": None}, "features need 'folder'"),
        ({"data": "soundscenes", "model": {"text": "features"}}, "goes with data"),
        ({"also": {"sounds": {"data": "soundscenes"}}}, "features and sounds"),
        ({"model__audio": {"folder": "x"}}, "'folder' goes with"),
    ],
)
def test_settings_that_do_not_go_with_features(
    place: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        features_config(place / "prepared", **changes)


@pytest.mark.parametrize("multilingual", [None, "kcl"])
def test_what_workers_are_fed_is_the_global_batch(place: Path, multilingual: str | None) -> None:
    """Each worker's part, row by row, is what the table says, by noisy captions too."""
    languages = ["eng"] if multilingual is None else ["eng", "fra"]
    config = features_config(
        place / "prepared",
        data__noise=0.3,
        data__languages=languages,
        loss__multilingual=multilingual,
        batch_size=7,
    )
    train = FeatureCollection(place / "prepared").split("train")
    model = build_model(config.model, [], 10.0, 0, (AUDIO, TEXT))
    inputs = inputs_of("train", train, model, languages)
    lines = lines_of(place, "train")
    sounds, sentences = array_of(place, "audio"), array_of(place, "text")
    batches = list(batches_of(config, train).epoch(1))
    parts = [list(inputs.feed(batches, rank, 3)) for rank in range(3)]
    assert len(batches) == 3
    for step, batch in enumerate(batches):
        fed = [part[step][1] for part in parts]
        heard = torch.cat([audio for audio, _ in fed])
        read = torch.cat([text for _, text in fed if isinstance(text, torch.Tensor)])
        rows = [int(lines[row]["row"]) for row in batch.rows]
        assert torch.equal(heard, sounds[rows])
        said = []
        for giver, numbers in zip(batch.givers, batch.captions, strict=True):
            columns = [c for c in ("text1", "text2", "text_fra") if lines[giver][c]]
            said += [int(lines[giver][columns[n]]) for n in np.ravel(numbers)]
        assert torch.equal(read, sentences[said])
        assert (batch.givers != batch.rows).any()


class Louder(Augmentation):
    """Adds to one number of a vector, so that whoever sees it knows."""

    by: float = 100.0

    def features(self, features: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        features[0] += self.by
        return features


class Reversed(Augmentation):
    def waveform(self, waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return waveform[::-1]


@pytest.fixture
def augmentations() -> Iterator[None]:
    with registry.forgotten():
        register("louder")(Louder)
        register("reversed")(Reversed)
        yield


def test_an_augmentation_changes_vectors_and_nothing_else(place: Path, augmentations: None) -> None:
    config = features_config(place / "prepared", data__augment={"louder": {"by": 3.0}})
    check_run(config)
    train = FeatureCollection(place / "prepared").split("train")
    batches = batches_of(config, train)
    model = build_model(config.model, [], 10.0, 0, (AUDIO, TEXT))
    augmenter = augmenter_of(config, train, batches)
    plain = inputs_of("train", train, model, ["eng"])
    louder = inputs_of("train", train, model, ["eng"], augmenter=augmenter)
    epoch = list(batches.epoch(0))
    for (_, given), (_, changed) in zip(
        plain.feed(epoch, 0, 1), louder.feed(epoch, 0, 1), strict=True
    ):
        assert torch.equal(changed[1], given[1])
        assert torch.equal(changed[0][:, 1:], given[0][:, 1:])
        assert torch.allclose(changed[0][:, 0], given[0][:, 0] + 3)
    with pytest.raises(InputError, match=r"data.augment.reversed: has the method waveform"):
        check_run(features_config(place / "prepared", data__augment={"reversed": {}}))


def test_hard_negatives_need_words(place: Path) -> None:
    """Of the second caption of a clip the words are not known."""
    with pytest.raises(InputError, match=r"data.hard_negatives: .* are not known.*--words"):
        check_data(features_config(place / "prepared", data__hard_negatives=2))


@pytest.mark.heavy
def test_a_stage_on_features_hands_its_heads_on(place: Path, tmp_path: Path) -> None:
    list(fit(features_config(place / "prepared", epochs=1), Folder.at(tmp_path / "stage")))
    start = str(tmp_path / "stage" / "model")
    config = features_config(place / "prepared", model__start=start)
    check_data(config)
    list(fit(config, Folder.at(tmp_path / "run")))
    stage = supclap.load(start)
    model = build_model(config.model, [], 10.0, 5, (AUDIO, TEXT))
    for name, value in stage.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    np.save(tmp_path / "audio.npy", np.zeros((49, 5), np.float32))
    wide = arrays_in(place / "arrays", audio=str(tmp_path / "audio.npy"))
    other = write_features(read_table(wide), tmp_path / "wide").folder
    with pytest.raises(InputError, match=r"vectors of 5 numbers .* the model takes 12 and 10"):
        list(fit(features_config(other, model__start=start), Folder.at(tmp_path / "other")))
    with pytest.raises(InputError, match=r"vectors of 5 numbers .* the model takes 12 and 10"):
        evaluate_retrieval(stage, FeatureCollection(other).split("test"))


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_arrays(tmp_path: Path) -> None:
    """Two arrays of 16 MB are prepared and trained on within 14 MB of memory for numbers."""
    for name in ("audio", "text"):
        path = tmp_path / f"{name}.npy"
        np.lib.format.open_memmap(path, "w+", np.float16, (2_000, 4_096)).flush()  # a hole
    lines = [[n, "train" if n % 8 else "test", n] for n in range(2_000)]
    with open(tmp_path / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows([["row", "split", "text"], *lines])
    table = read_table(arrays_in(tmp_path))
    tracemalloc.start()
    try:
        write_features(table, tmp_path / "out")
        train = FeatureCollection(tmp_path / "out").split("train")
        config = features_config(tmp_path / "out", batch_size=8)
        model = build_model(config.model, [], 10.0, 0, (4_096, 4_096))
        inputs = inputs_of("train", train, model, ["eng"])
        for _ in inputs.feed(batches_of(config, train).epoch(0), 0, 1):
            pass
        assert len(np.unique(inputs.first_clips)) == 1  # holes are zeros: all are the same
        assert tracemalloc.get_traced_memory()[1] < 14e6
    finally:
        tracemalloc.stop()

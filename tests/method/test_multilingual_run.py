"""Whole runs with KCL and CACL: the steps of a bare loop, and every way of computing them."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_run import run
from tiny_run import everything, make_collection, tiny_config

import supclap
from supclap.batches import Batches
from supclap.data.clips import Caption, Collection, write_split
from supclap.drift import diagnose
from supclap.events import EpochEnded, Event, Finished, Started
from supclap.launcher import launch
from supclap.losses import build_loss
from supclap.model.clap import TextTower, build_model
from supclap.storage import Folder
from supclap.training import TrainingError, fit

pytestmark = pytest.mark.usefixtures("same_code")

LANGUAGES = ("deu", "eng")
KINDS = ("kcl", "cacl")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("tones") / "data", captions=2)


def config_of(data: Path, kind: str, **changes: Any) -> Any:
    return tiny_config(
        data, **{"data__languages": list(LANGUAGES), "loss__multilingual": kind, **changes}
    )


def epochs_of(events: Iterable[Event]) -> list[dict[str, float]]:
    return [event.metrics for event in events if isinstance(event, EpochEnded)]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_takes_the_steps_of_a_bare_loop(data: Path, tmp_path: Path, kind: str) -> None:
    """Every text encoded by itself, every term of the definition in its own call; plain Adam."""
    config = config_of(
        data,
        kind,
        model__dropout=0.0,
        optimizer={"lr": 1e-3, "schedule": "constant", "warmup": 0.0, "clip_norm": None},
        select__split="last",
    )
    (got, _) = epochs_of(fit(config, Folder.at(tmp_path)))
    train = Collection(data).split("train")
    words = [c.text for captions in train.captions for c in captions]
    model = build_model(config.model, words, 0.5, config.seed)
    torch.manual_seed(config.seed)
    loss = build_loss(config.loss, config.batch_size)
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=1e-3)
    batches = Batches(train.captions, LANGUAGES, 8, seed=0, multilingual=kind)
    figures: list[dict[str, float]] = []
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            sounds = np.stack([train.audio(row)[:8000] for row in batch.rows]).astype(np.float32)
            audio = model.audio(torch.from_numpy(sounds / 32768))
            texts = []
            for k, language in enumerate(LANGUAGES if kind == "kcl" else ("eng", "deu")):
                captions = [
                    train.captions[row][c]
                    for row, c in zip(batch.rows, batch.captions[:, k], strict=True)
                ]
                assert {caption.language for caption in captions} == {language}
                one = model.text.tokenize([caption.text for caption in captions], language)
                texts.append(model.text(one))
            terms = [loss(audio, text) for text in texts]
            seen = []
            for text, term in zip(texts, terms, strict=True):
                gradients = torch.autograd.grad(term.total, [audio, text], retain_graph=True)
                named = dict(zip(("audio", "text"), gradients, strict=True))
                seen.append(diagnose(loss, audio, text, radii=term.radii, gradients=named))
            if kind == "cacl":
                terms.append(loss(*texts))
            total = sum(term.total for term in terms) / len(terms)
            figures.append({name: float(np.mean([one[name] for one in seen])) for name in seen[0]})
            figures[-1]["train.loss"] = total.item()
            figures[-1]["train.svr"] = np.mean([term.parts["svr"].item() for term in terms])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    for name in figures[0]:
        want = np.mean([one[name] for one in figures[:3]])
        assert got[name] == pytest.approx(want, rel=1e-3, abs=1e-4), name
    saved = supclap.load(tmp_path / "model").state_dict()
    for name, value in saved.items():
        # Six steps move a weight by up to 0.006; the bias of attention's keys has no gradient but
        # rounding, which Adam blows up.
        slack = 5e-4 if value.ndim > 1 else 2e-3
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=slack)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_encoded_once_a_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    lengths: list[int] = []
    forward = TextTower.forward

    def counting(self: TextTower, text: Any) -> torch.Tensor:
        if self.training:
            lengths.append(len(text))
        return forward(self, text)

    monkeypatch.setattr(TextTower, "forward", counting)
    list(fit(config_of(data, kind, epochs=1), Folder.at(tmp_path)))
    assert lengths == [16, 16, 16]  # 8 clips of two captions


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_is_measured_in_each_language(data: Path, tmp_path: Path, kind: str) -> None:
    for name, svr in (("plain", None), ("svr", {"radius": "static"})):
        config = config_of(data, kind, loss__svr=svr, epochs=6, optimizer__lr=3e-3)
        *events, finished = fit(config, Folder.at(tmp_path / name))
        epochs = epochs_of(events)
        assert epochs[-1]["train.loss"] < epochs[0]["train.loss"]
        assert isinstance(finished, Finished)
        both = [finished.metrics[f"test.{language}.t2a.R@1"] for language in LANGUAGES]
        assert finished.metrics["test.t2a.R@1"] == pytest.approx(np.mean(both))
        assert "test.MRV" in finished.metrics


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", ["static", "dynamic"])
def test_chunks_change_memory_and_not_the_result(
    data: Path, tmp_path: Path, kind: str, radius: str
) -> None:
    base = {"model__dropout": 0.0, "loss__svr": {"radius": radius}, "select__split": "last"}
    whole = epochs_of(fit(config_of(data, kind, **base), Folder.at(tmp_path / "whole")))
    parts = epochs_of(fit(config_of(data, kind, **base, chunk=3), Folder.at(tmp_path / "parts")))
    for one, other in zip(whole, parts, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", ["infonce", "siglip"])
def test_frozen_encoders_give_the_same_loss_from_kept_outputs(
    data: Path, tmp_path: Path, kind: str, base: str
) -> None:
    """Of the first step: what is kept must be what would have been computed."""
    first = {}
    for frozen in (False, True):
        config = config_of(
            data,
            kind,
            loss__name=base,
            model__dropout=0.0,
            model__audio__freeze=frozen,
            model__text__freeze=frozen,
            batch_size=24,
            epochs=1,
        )
        (first[frozen],) = epochs_of(fit(config, Folder.at(tmp_path / str(frozen))))
    for name in ("train.loss", "drift_cosine.text", "drift_cosine.audio", "radius.text.mean"):
        assert first[True][name] == pytest.approx(first[False][name], rel=1e-4), name


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_bf16_trains_to_about_the_same(data: Path, tmp_path: Path, kind: str) -> None:
    exact = epochs_of(fit(config_of(data, kind), Folder.at(tmp_path / "float32")))[0]
    rough = epochs_of(fit(config_of(data, kind, precision="bf16"), Folder.at(tmp_path / "bf16")))[0]
    assert rough["train.loss"] != exact["train.loss"]
    assert rough["train.loss"] == pytest.approx(exact["train.loss"], rel=0.02)


def test_clips_that_lack_a_language_are_left_out_and_told(tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "data")
    clips = list(Collection(folder).split("train"))
    for row in (2, 9):
        english = tuple(Caption(c.text, "eng") for c in clips[row].captions)
        object.__setattr__(clips[row], "captions", english)
    write_split(folder, "tones", "train", clips)
    for kind, left_out in (*((kind, 2) for kind in KINDS), (None, 0)):
        started = next(fit(config_of(folder, kind), Folder.at(tmp_path / str(kind))))
        assert isinstance(started, Started)
        assert (started.left_out, started.clips) == (left_out, 24 - left_out)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_rate_too_high_is_told_as_in_one_language(
    data: Path, tmp_path: Path, frozen: bool
) -> None:
    config = config_of(
        data, "kcl", optimizer={"lr": 1e30, "warmup": 0.0}, model__text__freeze=frozen
    )
    with pytest.raises(TrainingError, match=r"step 2: .* lower optimizer\.lr"):
        list(fit(config, Folder.at(tmp_path)))


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_after_any_event_it_ends_bit_identical(
    data: Path, tmp_path: Path, kind: str
) -> None:
    config = config_of(data, kind)
    list(fit(config, Folder.at(tmp_path / "undisturbed")))
    for wanted in (1, 2, 3):
        stream = fit(config, Folder.at(tmp_path / "run"))
        for _ in range(wanted):
            next(stream)
        stream.close()
    list(fit(config, Folder.at(tmp_path / "run")))
    found, expected = (everything(Folder.at(tmp_path / name)) for name in ("run", "undisturbed"))
    assert found == expected


@pytest.mark.heavy
def test_a_killed_run_ends_bit_identical(data: Path, tmp_path: Path) -> None:
    """In the middle of the second epoch, where clip, language and crop are drawn anew."""
    config = config_of(data, "cacl", checkpoint_steps=1)
    assert run(config, str(tmp_path / "undisturbed")) == 0
    for write in (6, 7):
        assert run(config, str(tmp_path / "run"), write) == -signal.SIGKILL
    assert run(config, str(tmp_path / "run")) == 0
    found, expected = (everything(Folder.at(tmp_path / name)) for name in ("run", "undisturbed"))
    assert found == expected


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_reach_the_metrics_of_one(data: Path, tmp_path: Path, kind: str) -> None:
    config = config_of(data, kind, batch_size=7, model__dropout=0.0, epochs=1)
    one, other = (
        [event.metrics for event in events if isinstance(event, EpochEnded | Finished)]
        for events in (
            fit(config, Folder.at(tmp_path / "one")),
            launch(config, str(tmp_path / "two"), 2),
        )
    )
    for mine, theirs in zip(one, other, strict=True):
        for name in mine.keys() - {"peak_MB"}:
            assert mine[name] == pytest.approx(theirs[name], rel=2e-3, abs=1e-4), name

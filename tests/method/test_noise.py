"""Caption noise: how many clips bear another's captions, which, and that nothing else changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import make_collection, tiny_config

from supclap.batches import Batches
from supclap.data.clips import Caption, Collection
from supclap.errors import InputError
from supclap.events import Started
from supclap.inputs import Inputs
from supclap.noise import caption_givers
from supclap.storage import Folder
from supclap.training import fit


def clips_of(count: int, *languages: str) -> list[tuple[Caption, ...]]:
    """Clip i has 1 + i % 3 captions in each language; a caption's text names its clip."""
    return [
        tuple(
            Caption(f"{clip} {n}", language) for language in languages for n in range(1 + clip % 3)
        )
        for clip in range(count)
    ]


def pairs_of(batches: Batches, captions: list[tuple[Caption, ...]], epoch: int) -> list[tuple]:
    """(clip, clip that the caption was written for, language), in the epoch's order."""
    return [
        (int(row), int(caption.text.split()[0]), caption.language)
        for batch in batches.epoch(epoch)
        for row, giver, number in zip(batch.rows, batch.givers, batch.captions, strict=True)
        for caption in [captions[giver][number]]
    ]


@pytest.mark.heavy
@given(st.integers(2, 300), st.floats(0, 0.99), st.integers(0, 5))
def test_exactly_the_share_is_noisy_and_captions_only_change_hands(
    clips: int, share: float, seed: int
) -> None:
    wanted = round(share * clips)
    if share and wanted < 2:
        with pytest.raises(InputError, match="exchanged among two or more"):
            caption_givers(clips, share, seed)
        return
    givers = caption_givers(clips, share, seed)
    assert sum(giver != clip for clip, giver in enumerate(givers)) == wanted
    assert sorted(givers) == list(range(clips))


def test_no_clip_is_preferred_and_seeds_differ() -> None:
    hit = Counter()
    for seed in range(400):
        givers = caption_givers(20, 0.3, seed)
        hit.update(np.flatnonzero(givers != np.arange(20)).tolist())
    # 400 draws with chance 0.3 each: 120 on average, five standard deviations are 46.
    assert len(hit) == 20
    assert all(abs(count - 120) < 46 for count in hit.values())
    assert not np.array_equal(caption_givers(20, 0.3, 0), caption_givers(20, 0.3, 1))


def test_the_noise_is_the_same_in_every_epoch_and_for_every_variant_of_a_seed() -> None:
    captions = clips_of(40, "eng", "deu")

    def wrong(batch_size: int, pairs: str, hard_negatives: int, epoch: int) -> dict[int, int]:
        made = Batches(
            captions,
            ["eng", "deu"],
            batch_size,
            seed=3,
            pairs=pairs,
            noise=0.25,
            hard_negatives=hard_negatives,
        )
        assert made.noisy == 10
        found = pairs_of(made, captions, epoch)
        return {clip: giver for clip, giver, _ in found if clip != giver}

    expected = wrong(4, "one", 0, 0)
    assert len(expected) == 10
    for other in ((8, "one", 0, 1), (4, "all", 0, 2), (5, "one", 3, 0), (2, "all", 1, 0)):
        assert wrong(*other) == expected


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noisy_clips_are_spread_over_the_batches_of_every_epoch(seed: int) -> None:
    captions = clips_of(300, "eng")
    made = Batches(captions, ["eng"], 20, seed=seed, noise=0.3)
    for epoch in range(6):
        noisy = [int((batch.rows != batch.givers).sum()) for batch in made.epoch(epoch)]
        # 6 of 20 on average; more than 16 in one of all these batches: 1 in 18,000.
        assert sum(noisy) == 90
        assert max(noisy) <= 16, epoch


def test_a_noisy_clip_bears_all_captions_of_its_giver_in_its_languages() -> None:
    captions = clips_of(30, "eng", "deu")
    made = Batches(captions, ["deu"], 2, seed=1, pairs="all", noise=0.5)
    heard: dict[int, list[int]] = {}
    for clip, giver, language in pairs_of(made, captions, 0):
        assert language == "deu"
        heard.setdefault(clip, []).append(giver)
    givers = {clip: set(found) for clip, found in heard.items()}
    assert all(len(found) == 1 for found in givers.values())
    assert all(len(found) == 1 + found[0] % 3 for found in heard.values())


def test_only_the_clips_that_are_trained_on_take_part() -> None:
    captions = clips_of(30, "eng")
    captions[2] = (Caption("2 0", "deu"),)
    made = Batches(captions, ["eng"], 3, seed=1, limit=9, noise=0.99)
    found = pairs_of(made, captions, 0)
    assert {clip for clip, _, _ in found} == {giver for _, giver, _ in found}
    assert {clip for clip, _, _ in found} == {0, 1, 3, 4, 5, 6, 7, 8, 9}
    assert made.noisy == 9


def test_without_noise_every_clip_keeps_its_own_captions() -> None:
    captions = clips_of(12, "eng")
    made = Batches(captions, ["eng"], 4, seed=1)
    assert made.noisy == 0
    assert all(clip == giver for clip, giver, _ in pairs_of(made, captions, 0))


def test_what_the_model_is_fed_is_the_givers_caption_and_the_clips_own_sound(
    tmp_path: Path,
) -> None:
    from supclap.model.clap import build_model

    train = Collection(make_collection(tmp_path)).split("train")
    config = tiny_config(tmp_path)
    words = [c.text for captions in train.captions for c in captions]
    model = build_model(config.model, words, 0.5, 0).eval()
    inputs = Inputs("train", train, model, ["eng"])
    made = Batches(train.captions, ["eng"], 8, seed=0, noise=0.5)
    for batch, (audio, text) in inputs.feed(made.epoch(0), rank=0, size=1):
        said = [
            train.captions[giver][number].text
            for giver, number in zip(batch.givers, batch.captions, strict=True)
        ]
        assert (model.text(text) - model.text(model.text.tokenize(said))).abs().max() < 1e-5
        assert (audio - inputs.audio(batch.rows)).abs().max() == 0


@pytest.mark.heavy
def test_a_run_says_how_many_clips_are_noisy_and_tests_on_clean_ones(tmp_path: Path) -> None:
    data = make_collection(tmp_path / "data")
    config = tiny_config(data, epochs=1, data__noise=0.25, optimizer__lr=1e-12)
    clean = tiny_config(data, epochs=1, optimizer__lr=1e-12)
    events = list(fit(config, Folder.at(tmp_path / "noisy")))
    others = list(fit(clean, Folder.at(tmp_path / "clean")))
    assert isinstance(events[0], Started)
    assert isinstance(others[0], Started)
    assert (events[0].noisy, others[0].noisy) == (6, 0)
    # Nothing is learned at this rate: the measured splits must score the same.
    for name, value in others[-1].metrics.items():
        if name.startswith("test."):
            assert events[-1].metrics[name] == pytest.approx(value), name
    assert events[1].metrics["train.loss"] != others[1].metrics["train.loss"]


def test_too_little_noise_for_an_exchange_is_told_before_training(tmp_path: Path) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), data__noise=0.05)
    with pytest.raises(InputError, match=r"data\.noise: 0\.05 of 24 clips is 1"):
        next(fit(config, Folder.at(tmp_path / "run")))

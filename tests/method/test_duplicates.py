"""Equal captions and equal clips tie, whatever company they were encoded in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_config

from supclap.data.clips import Caption, Clip, Clips, Collection, write_split
from supclap.duplicates import first_alike_clips, first_alike_texts
from supclap.evaluation import retrieval
from supclap.evaluation.collection import evaluate_retrieval
from supclap.inputs import Inputs
from supclap.measurement import measure_retrieval
from supclap.model.clap import CLAP, build_model
from supclap.model.tokens import Tokens
from supclap.workers import Workers

MEASUREMENT = sys.modules["supclap.measurement"]
CLIPS, SAMPLES = 24, 8000
# Of different lengths, so that what a caption is padded to depends on its company.
TEXTS = ["rain", "a dog barks", "a bell rings twice behind the house and then a car drives past"]
OF_CLIP = [0, 1, 1, 0, 2, 0, 0, 2, 1, 0, 1, 1, 2, 0, 0, 1, 0, 0, 0, 2, 1, 1, 2, 0]


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2000, SAMPLES).astype(np.int16)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Each text for several clips; clips 20 to 23 sound like 3 to 6, one as far as it is heard."""
    sounds = [noise(row if row < 20 else row - 17) for row in range(CLIPS)]
    sounds[21] = np.append(sounds[21], noise(99))
    folder = tmp_path_factory.mktemp("data")
    made = (Clip(str(i), s, (Caption(TEXTS[OF_CLIP[i]]),)) for i, s in enumerate(sounds))
    write_split(folder, "x", "test", made)
    return Collection(folder).split("test")


@pytest.fixture(scope="module")
def model() -> CLAP:
    return build_model(tiny_config(Path("x")).model, TEXTS, SAMPLES / 16_000, seed=0)


def test_what_is_alike_is_found_to_the_last_sample_and_token(tmp_path: Path) -> None:
    one, silence = noise(0), np.zeros(SAMPLES, np.int16)
    last, middle = one.copy(), one.copy()
    last[-1] += 1
    middle[SAMPLES // 2] += 1
    sounds = [
        one,
        silence,
        last,
        middle,
        one.copy(),
        np.append(one, noise(1)[:5]),
        silence[:-1],
        last.copy(),
    ]
    write_split(tmp_path, "x", "test", (Clip(str(i), s) for i, s in enumerate(sounds)))
    made = Collection(tmp_path).split("test")
    assert first_alike_clips(made, SAMPLES).tolist() == [0, 1, 2, 3, 0, 0, 6, 2]
    assert first_alike_clips(made, SAMPLES + 9).tolist() == [0, 1, 2, 3, 0, 5, 6, 2]
    assert first_alike_clips(made, SAMPLES - 1).tolist() == [0, 1, 0, 3, 0, 0, 1, 0]
    rows = [[1, 2], [1, 2, 0], [1], [1, 2, 0], [2, 1], [1, 2]]  # 0 is padding, and a token
    assert first_alike_texts(Tokens.pad(rows)).tolist() == [0, 1, 2, 1, 4, 0]


def truth(model: CLAP, clips: Clips) -> tuple[list[int], list[int]]:
    """The ranks of embeddings that are computed one by one, equal ones once."""
    sounds: dict[bytes, np.ndarray] = {}
    words: dict[str, np.ndarray] = {}
    for clip in clips:
        heard = clip.audio[:SAMPLES]
        sounds.setdefault(heard.tobytes(), model.encode_audio(heard)[0])
        words.setdefault(clip.captions[0].text, model.encode_text(clip.captions[0].text)[0])
    audio = np.stack([sounds[clip.audio[:SAMPLES].tobytes()] for clip in clips])
    texts = np.stack([words[clip.captions[0].text] for clip in clips])
    found = retrieval(audio, texts, range(CLIPS))
    return found.t2a_ranks.tolist(), found.a2t_ranks.tolist()


def evaluations(
    model: CLAP, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[int], list[int]]]:
    """The ranks of evaluations in batches of other sizes, of a run's and of the command's way."""
    inputs = Inputs("test", clips, model.eval(), ["eng"])
    for rows in (1, 3, 5, 7, 23, 128):
        monkeypatch.setattr(MEASUREMENT, "ROWS", rows)
        found = measure_retrieval("test", model, inputs, Workers()).ranks
        yield found["t2a_ranks"].tolist(), found["a2t_ranks"].tolist()
    result = evaluate_retrieval(model, clips).result.by_language["eng"]
    yield result.t2a_ranks.tolist(), result.a2t_ranks.tolist()


@pytest.mark.heavy
def test_company_does_not_rank_equal_captions_and_clips(
    model: CLAP, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = truth(model, clips)
    assert all(found == expected for found in evaluations(model, clips, monkeypatch))
    # By the rule on ties: the equal captions of other clips stand before a clip's own.
    assert all(r >= OF_CLIP.count(OF_CLIP[i]) - 1 for i, r in enumerate(expected[1]))

"""Audio models of transformers against transformers itself, opened from the same folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_transformers import SOUNDS, make_sound
from transformers import AutoFeatureExtractor, AutoModel

import supclap
from supclap.audio_library import torchaudio
from supclap.config import AudioConfig, ModelConfig, parse_config
from supclap.errors import InputError
from supclap.model.clap import build_model
from supclap.model.hf.audio import HuggingFaceAudio
from supclap.model.registry import Source

RATES = {"clap": 48_000, "clap fused": 48_000}
LONGEST = {"ast": 10_480, "clap": 48_000, "clap fused": 48_000, "whisper": 16_000}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sounds")
    return {name: make_sound(place / name.replace(" ", "-"), name) for name in SOUNDS}


def encoder_of(folder: Path, seconds: float, dropout: float = 0.0, **keys: Any) -> HuggingFaceAudio:
    config = AudioConfig.model_validate({"name": "huggingface", "folder": str(folder), **keys})
    return HuggingFaceAudio(config, Source(seconds, dropout)).eval()


def clips(seconds: float, count: int = 2) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(3)
    loud = torch.linspace(0.02, 0.3, count)[:, None]
    return torch.randn(count, round(seconds * 16_000), generator=numbers) * loud


def theirs(folder: Path, name: str, piece: np.ndarray) -> np.ndarray:
    """(width,) of one piece, by transformers' own extractor and model, and the family's rule."""
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    given = (
        extractor(
            piece, sampling_rate=extractor.sampling_rate, return_tensors="pt", truncation=False
        )
        if name == "wav2vec2-bert"
        else extractor(piece, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    )
    with torch.no_grad():
        if name == "ast":
            states = model(**given).last_hidden_state[0]
            return ((states[0] + states[1]) / 2).numpy()
        if name.startswith("clap"):
            found = model.audio_model(given["input_features"], is_longer=torch.tensor([[False]]))
            return found.last_hidden_state[0].flatten(1).mean(1).numpy()
        if name == "whisper":
            states = model.encoder(given["input_features"]).last_hidden_state[0]
            assert len(states) == 50
            return states[: int(np.ceil(len(piece) / 320))].mean(0).numpy()
        states = model(**given).last_hidden_state[0]
        if name == "wav2vec2-bert":
            states = states[given["attention_mask"][0].bool()]
        return states.mean(0).numpy()


@pytest.mark.heavy
@pytest.mark.parametrize("name", SOUNDS)
def test_outputs_are_those_of_transformers_clip_by_clip(
    folders: dict[str, Path], name: str
) -> None:
    """Two and a half times what the model takes, or less than it takes."""
    rate, longest = RATES.get(name, 16_000), LONGEST.get(name)
    for seconds in (0.4, 1.7):
        waveforms = clips(seconds)
        heard = waveforms
        if rate != 16_000:
            heard = torchaudio.functional.resample(waveforms, 16_000, rate)
        starts = [0]
        if longest is not None and heard.shape[1] > longest:
            starts = [0, longest] if heard.shape[1] > 2 * longest else [0]
            starts.append(heard.shape[1] - longest)
        end = longest or heard.shape[1]
        expected = [
            np.mean([theirs(folders[name], name, row[s : s + end].numpy()) for s in starts], axis=0)
            for row in heard
        ]
        encoder = encoder_of(folders[name], seconds)
        with torch.no_grad():
            found = encoder(encoder.features(waveforms))
            assert found.shape == (2, encoder.width)
            assert found.numpy() == pytest.approx(np.stack(expected), abs=5e-5)
            assert np.abs(found[0] - found[1]).max() > 1e-3
            first = encoder_of(folders[name], seconds, longer="cut")
            begun = theirs(folders[name], name, heard[0, :end].numpy())
            cut = first(first.features(waveforms[:1]))
        assert cut[0].numpy() == pytest.approx(begun, abs=5e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["ast", "clap fused", "whisper", "wav2vec2", "wav2vec2-conformer"])
def test_a_clip_is_for_itself_in_training_and_a_saved_model_opens_alone(
    folders: dict[str, Path], name: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(folders[name], tmp_path / "copy")
    keys = {"name": "huggingface", "folder": str(copy)}
    config = ModelConfig.model_validate({"audio": keys, "dim": 8})
    model: Any = build_model(config, ["a dog"] * 3, 1.7, seed=0).train()
    numbers = str(np.random.get_state())
    waveforms = clips(1.7, 3)
    encoder: Any = model.audio.encoder
    whole = encoder(encoder.features(waveforms))
    alone = torch.cat([encoder(encoder.features(one[None])) for one in waveforms])
    assert whole.detach().numpy() == pytest.approx(alone.detach().numpy(), abs=5e-6)
    assert str(np.random.get_state()) == numbers
    whole.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())
    before = model.encode_audio(waveforms)
    model.save(tmp_path / "m")
    shutil.rmtree(copy)
    assert supclap.load(tmp_path / "m").encode_audio(waveforms) == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "bert"}, r"type 'bert', expected 'audio-spectrogram-"),
        ("config.json", {"hidden_size": 16}, r"of another shape"),
        (
            "preprocessor_config.json",
            {"feature_extractor_type": "WhisperFeatureExtractor"},
            r"'WhisperFeatureExtractor', expected ASTFeatureExtractor",
        ),
        ("preprocessor_config.json", None, r"preprocessor_config.json: cannot be read"),
    ],
)
def test_a_damaged_folder_is_one_line(
    folders: dict[str, Path], tmp_path: Path, file: str, change: Any, message: str
) -> None:
    copy = shutil.copytree(folders["ast"], tmp_path / "ast")
    if change is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(json.dumps(json.loads((copy / file).read_text()) | change))
    with pytest.raises(InputError, match=message) as caught:
        encoder_of(copy, 0.4)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value)


def test_an_extractor_beside_a_tokenizers_description_is_found(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["whisper"], tmp_path / "whisper")
    values = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").unlink()
    (copy / "processor_config.json").write_text(json.dumps({"feature_extractor": values}))
    waveforms = clips(0.4)
    one, two = encoder_of(folders["whisper"], 0.4), encoder_of(copy, 0.4)
    assert one.features(waveforms).equal(two.features(waveforms))


def test_the_rule_for_longer_clips_is_a_key() -> None:
    audio = {"name": "huggingface", "folder": "x"}
    assert AudioConfig.model_validate(audio).own_keys == {"longer": "windows"}
    with pytest.raises(InputError, match=r"model\.audio\.longer"):
        parse_config({"model": {"audio": audio | {"longer": "dropped"}}})

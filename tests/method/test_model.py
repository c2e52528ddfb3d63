"""The dual encoder: shapes, determinism, freezing, saving and opening."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import supclap
from supclap.audio_library import torchaudio
from supclap.bounds import BANDS
from supclap.config import ModelConfig, parse_config
from supclap.errors import InputError
from supclap.model.clap import CLAP, build_model
from supclap.model.features import FLOOR, SCALE, SHIFT, SILENCE, LogMel

CAPTIONS = ["a dog barks", "rain falls softly", "un chien aboie", "犬が吠える", "a bell rings"] * 2
SMALL: dict[str, Any] = {
    "audio": {"name": "cnn", "width": 8, "layers": 3},
    "text": {"width": 32, "layers": 1, "vocabulary": 300},
    "dim": 24,
}
TRANSFORMER = {**SMALL, "audio": {"name": "transformer", "width": 32, "layers": 2}}
BOTH = pytest.mark.parametrize("values", [SMALL, TRANSFORMER], ids=["cnn", "transformer"])


def model_of(values: Mapping[str, Any] = SMALL, seed: int = 0, seconds: float = 1.0) -> CLAP:
    config = parse_config({"model": values}).model
    return build_model(config, CAPTIONS, seconds, seed)


def sounds(count: int = 4, samples: int = 16_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (count, samples)).astype(np.float32)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model_of().save(tmp_path / "model")
    return tmp_path / "model"


# --- features


def test_log_mel_equals_a_literal_short_time_fourier_transform() -> None:
    wave = sounds(1, 4000)[0]
    found = LogMel(hop=320)(torch.from_numpy(wave)[None])[0].numpy()
    padded = np.pad(wave.astype(np.float64), 256, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = [padded[s : s + 512] * window for s in range(0, 4001, 320)]
    power = np.abs(np.fft.rfft(frames)) ** 2  # (frames, 257)

    def to_mel(hertz: float) -> float:
        return 2595 * np.log10(1 + hertz / 700)

    edges = 700 * (10 ** (np.linspace(0, to_mel(8000), BANDS + 2) / 2595) - 1)
    hertz = np.linspace(0, 8000, 257)
    bands = [
        np.maximum(0, np.minimum((hertz - lo) / (mid - lo), (hi - hertz) / (hi - mid)))
        for lo, mid, hi in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    expected = (np.log(power @ np.array(bands).T + FLOOR) + SHIFT) / SCALE
    assert found.shape == (64, 13)
    assert found == pytest.approx(expected.T, abs=2e-4)


def test_log_mel_stays_in_float32_under_autocast_and_ignores_its_neighbours() -> None:
    log_mel, waves = LogMel(), torch.from_numpy(sounds())
    plain = log_mel(waves)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = log_mel(waves)
    assert mixed.dtype == torch.float32
    assert mixed.equal(plain)
    loud = torch.cat([waves[:1], 100 * waves[1:]])
    assert log_mel(loud)[0].numpy() == pytest.approx(plain[0].numpy(), abs=1e-5)


def test_log_mel_has_no_empty_band_and_nothing_to_save() -> None:
    log_mel = LogMel()
    assert (log_mel.mel.mel_scale.fb.sum(0) > 0).all()
    assert not log_mel.state_dict()
    assert torchaudio.__name__ == "torchaudio"


def test_silence_is_finite() -> None:
    assert LogMel()(torch.zeros(1, 16_000)).numpy() == pytest.approx(SILENCE)


# --- the model


@BOTH
def test_embeddings_are_unit_vectors_that_carry_gradients_to_every_weight(
    values: dict[str, Any],
) -> None:
    model = model_of(values)
    tokens = model.text.tokenize(CAPTIONS[:4])
    audio, text = model(torch.from_numpy(sounds()), tokens)
    assert audio.shape == text.shape == (4, 24)
    assert audio.norm(dim=1).detach().numpy() == pytest.approx(np.ones(4), abs=1e-6)
    assert text.norm(dim=1).detach().numpy() == pytest.approx(np.ones(4), abs=1e-6)
    (audio @ text.T).diagonal().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@BOTH
def test_no_encoder_has_state_that_depends_on_the_batch(values: dict[str, Any]) -> None:
    model = model_of(values)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    assert not list(model.buffers()) or not any(
        "running" in name for name, _ in model.named_buffers()
    )
    waves = sounds()
    together = model.encode_audio(waves)
    alone = np.concatenate([model.encode_audio(wave) for wave in waves])
    assert together == pytest.approx(alone, abs=1e-5)
    # Also where the encoder itself has to pad.
    short = torch.from_numpy(waves[:, :3000])
    model.eval()
    together = model.audio(short).detach().numpy()
    alone = np.concatenate([model.audio(one[None]).detach().numpy() for one in short])
    assert together == pytest.approx(alone, abs=1e-5)


@BOTH
def test_features_once_and_waveforms_every_time_are_the_same(values: dict[str, Any]) -> None:
    model = model_of(values).eval()
    waves = torch.from_numpy(sounds())
    features = model.audio.features(waves)
    assert not features.requires_grad
    assert model.audio(features, "features").equal(model.audio(waves))


@BOTH
def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone(
    values: dict[str, Any],
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = model_of(values, 1), model_of(values, 1), model_of(values, 2)
    assert torch.get_rng_state().equal(before)
    assert one.content_hash() == same.content_hash() != other.content_hash()


@pytest.mark.heavy
@BOTH
def test_training_fits_a_handful_of_pairs(values: dict[str, Any]) -> None:
    model = model_of({**values, "dropout": 0.0})
    time = np.arange(16_000) / 16_000
    waves = np.stack([np.sin(2 * np.pi * pitch * time) for pitch in (200, 500, 1200, 3000)])
    features = model.audio.features(torch.from_numpy(waves.astype(np.float32)))
    tokens = model.text.tokenize(["low hum", "horn", "whistle", "squeak"])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        audio, text = model(features, tokens, level="features")
        loss = nn.functional.cross_entropy(audio @ text.T / 0.1, torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = (
        model.encode_audio(waves.astype(np.float32))
        @ model.encode_text(["low hum", "horn", "whistle", "squeak"]).T
    )
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]


@BOTH
def test_the_order_of_two_sounds_matters(values: dict[str, Any]) -> None:
    model = model_of(values)
    time = np.arange(8_000) / 16_000
    low, high = (np.sin(2 * np.pi * pitch * time) for pitch in (300, 2500))
    one, other = model.encode_audio([np.concatenate([low, high]), np.concatenate([high, low])])
    assert np.abs(one - other).max() > 1e-3


def test_padding_of_neighbours_does_not_change_a_text() -> None:
    model = model_of()
    alone = model.encode_text("rain")
    beside = model.encode_text(["rain", "a dog barks and then a bell rings far away"])[:1]
    assert alone == pytest.approx(beside, abs=1e-6)


def test_a_shorter_clip_and_a_longer_one() -> None:
    short, long = sounds(1, 300)[0], sounds(1, 50_000)[0]
    for values in (SMALL, TRANSFORMER):
        model = model_of(values)
        found = model.encode_audio([short, long])
        assert found[0] == pytest.approx(
            model.encode_audio(np.pad(short, (0, 15_700)))[0], abs=1e-6
        )
        assert found[1] == pytest.approx(model.encode_audio(long[:16_000])[0], abs=1e-6)
    with pytest.raises(InputError, match="crop the clips"):
        model_of(TRANSFORMER).audio(torch.zeros(1, 32_000))
    assert model_of().audio(torch.zeros(1, 800)).shape == (1, 24)


def test_bfloat16_autocast_still_gives_float32_unit_vectors() -> None:
    model = model_of().eval()
    waves = torch.from_numpy(sounds())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.audio(waves)
    assert mixed.dtype == torch.float32
    assert mixed.norm(dim=1).detach().numpy() == pytest.approx(np.ones(4), abs=1e-6)
    assert (mixed * model.audio(waves)).sum(1).min() > 0.99


# --- what goes in and out


def test_paths_arrays_integers_and_tensors_are_the_same_sound(tmp_path: Path) -> None:
    model = model_of()
    wave = (sounds(1)[0] * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", wave, 16_000)
    soundfile.write(tmp_path / "stereo.flac", np.stack([wave, wave], 1), 16_000)
    expected = model.encode_audio(wave)
    assert expected.shape == (1, 24)
    assert expected.dtype == np.float32
    for given in (
        tmp_path / "a.wav",
        str(tmp_path / "a.wav"),
        [tmp_path / "stereo.flac"],
        wave.astype(np.float64) / 32768,
        torch.from_numpy(wave),
        wave[None],
    ):
        assert model.encode_audio(given) == pytest.approx(expected, abs=1e-6)


def test_another_rate_is_resampled(tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * time), 44_100)
    model = model_of()
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert (model.encode_audio(tmp_path / "a.wav") @ model.encode_audio(tone).T).item() > 0.99


def test_encoding_leaves_the_model_in_training_and_has_no_dropout() -> None:
    model = model_of({**SMALL, "dropout": 0.5}).train()
    waves = sounds()
    assert (model.encode_audio(waves) == model.encode_audio(waves)).all()
    assert (model.encode_text(CAPTIONS) == model.encode_text(CAPTIONS)).all()
    assert all(module.training for module in model.modules())


def test_batches_do_not_change_the_result() -> None:
    model, waves = model_of(), sounds(5)
    assert model.encode_audio(waves, batch_size=2) == pytest.approx(
        model.encode_audio(waves), abs=1e-6
    )
    assert model.encode_text(CAPTIONS, batch_size=3) == pytest.approx(
        model.encode_text(CAPTIONS), abs=1e-6
    )
    assert model.encode_audio([]).shape == model.encode_text([]).shape == (0, 24)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([np.zeros(100), np.array([0.1, np.nan])], "audio 1: .* NaN"),
        ([np.zeros(0)], "audio 0: has no samples"),
        ([np.zeros((2, 100))], r"audio 0: expected \(samples,\)"),
        ([np.zeros(100, np.int32)], "audio 0: expected .* int32"),
        (["nowhere.wav"], "nowhere.wav: no such file"),
    ],
)
def test_unusable_sounds_are_named(given: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_of().encode_audio(given)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound")
    soundfile.write(tmp_path / "silent.wav", np.zeros(1000), 16_000)
    for name in ("text.wav", "silent.wav"):
        with pytest.raises(InputError, match=name) as caught:
            model_of().encode_audio([tmp_path / name])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "language", "message"),
    [
        (["a dog", " "], "eng", "text 1: expected words"),
        (["a dog"], "en", r"unknown language 'en'; did you mean 'eng'\?"),
        (["a", "b"], ["eng"], "2 texts with 1 languages"),
        ([3], "eng", "text 0: expected words"),
    ],
)
def test_unusable_texts_are_named(texts: list[Any], language: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_of().encode_text(texts, language)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"audio": "cnm"}, r"model\.audio\.name: no audio encoder 'cnm'; did you mean 'cnn'\?"),
        ({"text": "transfomer"}, r"model\.text\.name: .* did you mean 'transformer'\?"),
        ({"audio": {"width": 12}}, "no multiple of 8"),
        ({"audio": {"layers": 5}}, "at most 4"),
        ({"audio": {"name": "transformer", "width": 40}}, "no multiple of 32"),
        ({"text": {"width": 40}}, "no multiple of 32"),
    ],
)
def test_impossible_encoders_are_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model_of(values)
    assert "\n" not in str(caught.value)


# --- freezing


def test_a_frozen_encoder_neither_learns_nor_drops() -> None:
    values = {**SMALL, "dropout": 0.5, "audio": {**SMALL["audio"], "freeze": True}}
    model = model_of(values).train()
    waves = torch.from_numpy(sounds())
    assert model.audio.outputs(waves).equal(model.audio.outputs(waves))
    audio, text = model(waves, model.text.tokenize(CAPTIONS[:4]))
    (audio * text).sum().backward()
    inner = [p for n, p in model.named_parameters() if n.startswith("audio.encoder.")]
    assert inner
    assert all(p.grad is None for p in inner)
    assert all(p.grad is not None for p in model.audio.head.parameters())
    assert all(p.grad is not None for p in model.text.parameters())
    outputs = model.audio.outputs(waves)
    again, _ = model(outputs, model.text.tokenize(CAPTIONS[:4]), level="outputs")
    assert again.equal(audio)


# --- a model folder


@BOTH
def test_saved_and_opened_a_model_is_the_same(values: dict[str, Any], tmp_path: Path) -> None:
    model = model_of(values).eval()
    model.save(tmp_path / "model")
    opened = supclap.load(tmp_path / "model")
    assert not opened.training
    assert opened.config == model.config
    assert opened.content_hash() == model.content_hash()
    assert (opened.encode_audio(sounds()) == model.encode_audio(sounds())).all()
    assert (opened.encode_text(CAPTIONS) == model.encode_text(CAPTIONS)).all()
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert names == ["model/model.json", "model/text/tokenizer.json", "model/weights.safetensors"]


def test_saving_again_replaces_whole_and_leaves_nothing_beside(saved: Path, tmp_path: Path) -> None:
    (saved / "stray.txt").write_text("of an earlier version")
    other = model_of(seed=7)
    other.save(saved)
    assert supclap.load(saved).content_hash() == other.content_hash()
    assert os.listdir(tmp_path) == ["model"]
    assert not (saved / "stray.txt").exists()


def test_a_folder_that_is_no_model_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not a model folder"):
        model_of().save(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_failed_write_keeps_the_earlier_model(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = supclap.load(saved).content_hash()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        model_of(seed=7).save(saved)
    monkeypatch.undo()
    assert supclap.load(saved).content_hash() == before
    assert os.listdir(saved.parent) == ["model"]


@pytest.mark.parametrize("name", ["weights.safetensors", "text/tokenizer.json", "model.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "altered"])
def test_a_damaged_folder_is_refused_in_one_line(saved: Path, name: str, damage: str) -> None:
    content = (saved / name).read_bytes()
    if damage == "missing":
        (saved / name).unlink()
    elif damage == "altered":
        (saved / name).write_bytes(content[:-20] + b"x" * 20)
    else:
        (saved / name).write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
        supclap.load(saved)
    assert "\n" not in str(caught.value)


def index_of(saved: Path) -> dict[str, Any]:
    """The index as an earlier version wrote it, without the seal that an edit would break."""
    index = json.loads((saved / "model.json").read_text())
    del index["seal"]
    return index


def edited(saved: Path, **changes: Any) -> None:
    index = index_of(saved)
    (saved / "model.json").write_text(json.dumps({**index, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, and this version of supclap reads format 1"),
        ({"format": None}, "format None"),
        ({"config": {"audoi": "cnn"}}, r"unknown key 'audoi'; did you mean 'audio'\?"),
        ({"config": 3}, "config"),
        ({"seconds": "long"}, r"damaged \(seconds: .*number\)"),
        ({"seconds": "2.0"}, r"damaged \(seconds: .*number\)"),
        ({"seconds": 1e9}, r"damaged \(seconds: .*3600"),
        ({"seconds": float("nan")}, r"damaged \(seconds"),
        ({"files": {}}, "names no weights.safetensors"),
        ({"files": {"weights.safetensors": "0", "../../secret": "0"}}, "altered|inside the folder"),
        ({"files": {"/etc/hostname": "0", "weights.safetensors": "0"}}, "inside the folder"),
        ({"files": 7}, r"damaged \(files"),
        ({"files": {"weights.safetensors": 0}}, r"damaged \(files"),
    ],
)
def test_an_index_of_another_kind_is_refused_in_one_line(
    saved: Path, changes: dict[str, Any], message: str
) -> None:
    edited(saved, **changes)
    with pytest.raises(InputError, match=message) as caught:
        supclap.load(saved)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    weights = load_file(saved / "weights.safetensors")
    weights["audio.head.0.weight"] = torch.zeros(3, 3)
    save_file(weights, saved / "weights.safetensors")
    index = index_of(saved)
    content = (saved / "weights.safetensors").read_bytes()
    index["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
    (saved / "model.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"does not fit the model that model\.json describes"):
        supclap.load(saved)


def test_opening_never_executes_what_a_folder_holds(saved: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    trap = pickle.dumps(Trap())
    (saved / "weights.safetensors").write_bytes(trap)
    index = index_of(saved)
    index["files"]["weights.safetensors"] = hashlib.sha256(trap).hexdigest()
    (saved / "model.json").write_text(json.dumps(index))
    (saved / "modeling.py").write_text(f"import os; os.mkdir({str(tmp_path / 'sprung')!r})")
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        supclap.load(saved)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model folder"):
        supclap.load(tmp_path / "none")


def test_a_start_gives_its_weights_to_a_new_run(saved: Path) -> None:
    values = {**SMALL, "start": str(saved), "dropout": 0.3}
    values["audio"] = {**SMALL["audio"], "freeze": True}
    model = build_model(ModelConfig.model_validate(values), ["other captions"], 1.0, seed=9)
    assert model.audio.frozen
    assert model.training
    original = supclap.load(saved)
    assert (model.encode_audio(sounds()) == original.encode_audio(sounds())).all()
    assert (model.encode_text(CAPTIONS) == original.encode_text(CAPTIONS)).all()
    shutil.rmtree(saved)
    model.save(saved)  # and the folder it started from is not part of it
    assert supclap.load(saved).config.start is None


def test_a_start_of_another_shape_says_what_differs(saved: Path) -> None:
    with pytest.raises(InputError, match=r"model\.start: .* has dim 24, the configuration asks"):
        model_of({**SMALL, "dim": 32, "start": str(saved)})


@pytest.mark.heavy
def test_importing_the_package_costs_nothing() -> None:
    code = (
        "import sys, supclap; assert 'torch' not in sys.modules; supclap.load; "
        "assert 'torch' in sys.modules; assert not hasattr(supclap, 'lod')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_transformer_has_its_own_default_width() -> None:
    assert parse_config({"model": {"audio": "transformer"}}).model.audio.width == 128
    chosen = {"model": {"audio": {"name": "transformer", "width": 64}}}
    assert parse_config(chosen).model.audio.width == 64


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_model import model_of
os.fsync = lambda descriptor: os.kill(os.getpid(), 9)
model_of(seed=7).save(Path(sys.argv[2]))
"""


@pytest.mark.heavy
def test_a_killed_save_keeps_the_earlier_model(saved: Path) -> None:
    before = supclap.load(saved).content_hash()
    tests = str(Path(__file__).parent)
    killed = subprocess.run([sys.executable, "-c", KILLED, tests, str(saved)])
    assert killed.returncode == -9
    assert supclap.load(saved).content_hash() == before
    model_of(seed=7).save(saved)
    assert supclap.load(saved).content_hash() == model_of(seed=7).content_hash()

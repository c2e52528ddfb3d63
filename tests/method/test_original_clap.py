"""LAION's and Microsoft's checkpoints: their names are written out here from the published code."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_transformers import save_random
from torch import Tensor
from transformers import ClapAudioConfig, ClapAudioModel
from transformers.audio_utils import mel_filter_bank

from supclap.config import AudioConfig
from supclap.model.hf import original
from supclap.model.hf.audio import HuggingFaceAudio
from supclap.model.registry import Source

SIZES: dict[str, Any] = {
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "depths": [2, 2],
    "num_hidden_layers": 2,
    "num_attention_heads": [2, 4],
    "window_size": 8,
}
PUBLISHED = {
    "LAION": ("module.audio_branch.", "state_dict", 48_000, 14_000),
    "LAION, fused": ("module.audio_branch.", "state_dict", 48_000, 14_000),
    "Microsoft": ("audio_encoder.base.htsat.", "model", 44_100, 8_000),
}
THEIRS = (
    (r"^audio_encoder\.", ""),
    (r"^batch_norm\.", "bn0."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """An audio tower of transformers, by whether it is fused."""
    found = {}
    for fused in (False, True):
        found[fused] = tmp_path_factory.mktemp("tower")
        more = {"enable_fusion": True, "fusion_type": "aff_2d"} if fused else {}
        save_random(ClapAudioModel(ClapAudioConfig(**SIZES, **more)), found[fused])
    return found


def checkpoint(tower: Path, publisher: str, file: Path) -> dict[str, Any]:
    """The same weights as the publisher's code saves them."""
    prefix, key, rate, highest = PUBLISHED[publisher]
    own: dict[str, Tensor] = {}
    for name, value in load_file(tower / "model.safetensors").items():
        for ours, theirs in THEIRS:
            name = re.sub(ours, theirs, name)
        own[name] = value
    for name in [name for name in own if ".query." in name]:
        parts = [own.pop(name.replace("query", which)) for which in ("query", "key", "value")]
        own[name.replace("query", "qkv")] = torch.cat(parts)
    mel = mel_filter_bank(513, 64, 50, highest, rate, norm="slaney", mel_scale="slaney")
    own |= {
        "logmel_extractor.melW": torch.from_numpy(mel).float(),
        "spectrogram_extractor.stft.conv_real.weight": torch.ones(513, 1, 4),
        "layers.0.blocks.1.attn_mask": torch.zeros(4, 64, 64),
        "tscam_conv.weight": torch.ones(3, 16, 2, 3),
        "head.weight": torch.ones(3, 3),
    }
    state = {prefix + name: value for name, value in own.items()}
    state |= {"module.text_branch.embeddings.word_embeddings.weight": torch.ones(3, 2)}
    whole = {key: state, "epoch": 15, "name": "htsat", "score": np.float64(90.14)}
    torch.save(whole, file)
    return state


@pytest.mark.heavy
@pytest.mark.parametrize("publisher", PUBLISHED)
def test_the_audio_tower_is_that_of_transformers(
    towers: dict[bool, Path],
    publisher: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fused = "fused" in publisher
    checkpoint(towers[fused], publisher, tmp_path / "published.pt")
    out = tmp_path / "out"
    assert original.main([str(tmp_path / "published.pt"), str(out)]) == 0
    said = capsys.readouterr().out
    theirs = load_file(towers[fused] / "model.safetensors")
    assert f"matched: {len(theirs)}\n" in said
    assert "left out: 5 of the audio tower" in said
    made = load_file(out / "model.safetensors")
    assert made.keys() == theirs.keys()
    assert all(value.equal(theirs[name]) for name, value in made.items())
    config = AudioConfig.model_validate({"name": "huggingface", "folder": str(out)})
    encoder = HuggingFaceAudio(config, Source(1.0)).eval()
    sounds = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    features = encoder.features(sounds)
    rate = PUBLISHED[publisher][2]
    assert encoder.piece.rate == rate
    frames = 1001 if rate == 48_000 else 7 * 44_100 // 320 + 1
    assert features.shape == (2, 1, 4 if fused else 1, frames, 64)
    tower = ClapAudioModel.from_pretrained(towers[fused]).eval()
    with torch.no_grad():
        longer = torch.zeros(2, 1, dtype=torch.bool)
        expected = tower(features[:, 0], is_longer=longer).pooler_output
        assert encoder(features).numpy() == pytest.approx(expected.flatten(1).numpy(), abs=1e-5)


def test_a_short_clip_is_filled_up_as_each_publisher_does() -> None:
    """LAION repeats a clip as often as it fits and adds silence, Microsoft to the end."""
    laion, microsoft = (front.extractor(False) for front in original.FRONT_ENDS)
    sound = np.random.default_rng(0).normal(size=48_000 * 3).astype(np.float32)
    rows = laion(sound, sampling_rate=48_000, return_tensors="np").input_features[0, 0]
    assert (rows[950:].max(1) == -100).all()  # nine seconds, and one of silence
    assert (rows[:890].max(1) > -100).all()
    sound = np.random.default_rng(0).normal(size=44_100 * 3).astype(np.float32)
    rows = microsoft(sound, sampling_rate=44_100, return_tensors="np").input_features[0, 0]
    assert len(rows) == 965
    assert (rows.max(1) > -100).all()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, p: s.pop(f"{p}norm.bias"), r"missing audio_encoder\.norm\.bias"),
        (lambda s, p: s.update({f"{p}more": torch.ones(1)}), r"unexpected audio_encoder\.more"),
        (lambda s, p: s.pop(f"{p}logmel_extractor.melW"), r"not the mel filters of LAION or"),
        (lambda s, p: s.pop(f"{p}patch_embed.proj.weight"), r"no CLAP checkpoint of LAION's"),
        (
            lambda s, p: s.pop(f"{p}layers.0.blocks.0.mlp.fc1.weight"),
            r"is no HTS-AT \(lacks 'layers\.0\.blocks\.0\.mlp",
        ),
        (lambda s, p: s.update(code=print), r"code in it is never run"),
    ],
)
def test_another_checkpoint_is_one_line_and_nothing_is_written(
    towers: dict[bool, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Any,
    message: str,
) -> None:
    state = checkpoint(towers[False], "LAION", tmp_path / "published.pt")
    change(state, PUBLISHED["LAION"][0])
    torch.save(state, tmp_path / "published.pt")
    assert original.main([str(tmp_path / "published.pt"), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()

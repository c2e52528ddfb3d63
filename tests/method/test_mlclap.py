"""ML-CLAP's checkpoint as a start: its names are written out here from the published code."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_encoders import CED_CONFIG, SENTENCES, ced_weights, make_ced, make_sonar, original_weights
from torch import Tensor, nn

import supclap
from supclap.config import AudioConfig, ModelConfig, TextConfig
from supclap.model import mlclap
from supclap.model.ced import CED
from supclap.model.clap import build_model
from supclap.model.registry import Source
from supclap.model.sonar import SONAR

WIDE = 128  # a checkpoint without a description has heads of 64
CHANGES = {"embed_dim": WIDE, "num_heads": 2, "target_length": 64}
FROM_TRANSFORMERS = {
    "self_attn.out_proj": "self_attn.output_proj",
    "fc1": "ffn.inner_proj",
    "fc2": "ffn.output_proj",
    "final_layer_norm": "ffn_layer_norm",
}


def in_fairseq2(name: str) -> str:
    if name == "embed_tokens.weight":
        return "encoder_frontend.embed.weight"
    if name.startswith("layer_norm."):
        return name
    for ours, theirs in FROM_TRANSFORMERS.items():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return f"encoder.{name}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CED and SONAR as they are published, and a checkpoint of the two below heads."""
    folder = tmp_path_factory.mktemp("mlclap")
    make_ced(folder / "ced", **CHANGES)
    make_sonar(folder / "sonar")
    audio = original_weights(ced_weights(CED_CONFIG | CHANGES))
    state = {f"audio_encoder.model.{name}": value for name, value in audio.items()}
    for name, value in load_file(folder / "sonar" / "model.safetensors").items():
        if name == "embed_tokens.weight":
            value = value.clone()
            # <s>, <pad>, </s>, <unk> here; <pad>, <unk>, <s>, </s> there.
            value[[0, 1, 2, 3]] = value[[1, 3, 0, 2]]
        state[f"text_encoder.model.{in_fairseq2(name)}"] = value
    for side, module in heads().items():
        state |= {f"{side}_proj.{name}": value for name, value in module.state_dict().items()}
    state["temperature"] = torch.tensor(0.05)
    torch.save(state, folder / "pretrain.pt")
    return folder


def heads() -> dict[str, nn.Sequential]:
    torch.manual_seed(7)
    return {
        side: nn.Sequential(nn.Linear(width, 24), nn.ReLU(), nn.Linear(24, 24))
        for side, width in (("audio", WIDE), ("text", 32))
    }


@pytest.mark.heavy
def test_a_run_starts_from_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(place / "pretrain.pt"), str(place / "sonar"), str(place / "out")]
    assert mlclap.main(arguments) == 0
    said = capsys.readouterr().out
    audio_names = 2 + 2 + 2 + 2 + 2 + 2 * 12  # norm, statistics, patches, places, norm, blocks
    text_names = len(load_file(place / "sonar" / "model.safetensors"))
    assert f"matched: {audio_names + text_names + 8}\n" in said
    assert "left out: 8 " in said  # the counter, the tagger's four, two tables, the temperature
    assert "missing, unexpected, of another shape: none\n" in said
    assert "model.dim: 24, loss.temperature: 0.05" in said
    audio = {"name": "ced", "folder": str(place / "ced")}
    text = {"name": "sonar", "folder": str(place / "sonar")}
    started = build_model(
        ModelConfig.model_validate(
            {"audio": audio, "text": text, "dim": 24, "start": str(place / "out")}
        ),
        [],
        2.0,
        seed=3,
    ).eval()
    sounds = torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0)) * 0.1
    languages = ["eng", "fra", "deu", "jpn", "zho", "eng", "deu", "eng"]
    ced = CED(AudioConfig.model_validate(audio), Source(2.0)).eval()
    sonar = SONAR(TextConfig.model_validate(text), Source(2.0)).eval()
    with torch.no_grad():
        outputs: dict[str, Tensor] = {
            "audio": ced(ced.features(sounds)),
            "text": sonar(sonar.tokenize(SENTENCES, languages)),
        }
        expected = {side: heads()[side](outputs[side]) for side in outputs}
    found = {
        "audio": started.encode_audio(sounds),
        "text": started.encode_text(SENTENCES, languages),
    }
    for side, rows in expected.items():
        unit = (rows / rows.norm(dim=1, keepdim=True)).numpy()
        assert found[side] == pytest.approx(unit, abs=2e-6)
    assert supclap.load(place / "out").config.dim == 24


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("text_proj.2.bias"), r"missing text\.head\.2\.bias"),
        (lambda s: s.update(more=torch.ones(2)), r"unexpected more"),
        (
            lambda s: s.update({"audio_proj.0.weight": torch.ones(24, 3)}),
            r"of another shape audio\.head\.0\.weight \(24, 3\) for \(24, 128\)",
        ),
        (lambda s: s.pop("audio_encoder.model.time_pos_embed"), r"is not CED's checkpoint"),
        (lambda s: s.update(code=print), r"code in it is never run"),
    ],
)
def test_another_checkpoint_is_refused_and_nothing_is_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    import re

    state = torch.load(place / "pretrain.pt", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "other.pt")
    arguments = [str(tmp_path / "other.pt"), str(place / "sonar"), str(tmp_path / "out")]
    assert mlclap.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


def test_it_says_what_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert mlclap.main(["pretrain.pt"]) == 2
    assert "CHECKPOINT SONAR OUT" in capsys.readouterr().err

"""How an encoder from elsewhere joins: the toy ones here are those of docs/models.md."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import supclap
from supclap import registry
from supclap.config import AudioConfig, ModelConfig, TextConfig
from supclap.errors import InputError
from supclap.model.clap import build_model
from supclap.model.registry import (
    AudioEncoder,
    Source,
    TextEncoder,
    audio_encoder,
    text_encoder,
)
from supclap.model.tokens import Tokens


class Loudness(nn.Module):
    """Hears how loud each tenth of a clip is, and nothing else."""

    width = 10

    def __init__(self, config: AudioConfig, source: Source) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))

    def features(self, waveforms: torch.Tensor) -> torch.Tensor:
        return torch.stack([part.square().mean(1) for part in waveforms.tensor_split(10, 1)], 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features + 1e-6).log() * self.scale


class Spelling(nn.Module):
    """Reads characters; keeps its alphabet in the model folder."""

    width = 8

    def __init__(self, config: TextConfig, source: Source) -> None:
        super().__init__()
        if source.files:
            self.alphabet = json.loads(source.files["alphabet.json"])
        else:
            self.alphabet = sorted(set("".join(source.captions)))
        self.embedding = nn.Embedding(len(self.alphabet) + 1, self.width)

    def tokenize(self, texts: Sequence[str], languages: Sequence[str]) -> Tokens:
        self.languages = languages
        return Tokens.pad([[self.number(letter) for letter in text] for text in texts])

    def number(self, letter: str) -> int:
        return self.alphabet.index(letter) + 1 if letter in self.alphabet else 0

    def files(self) -> dict[str, bytes]:
        return {"alphabet.json": json.dumps(self.alphabet).encode()}

    def forward(self, tokens: Tokens) -> torch.Tensor:
        mask = tokens.mask.unsqueeze(-1)
        return (self.embedding(tokens.ids) * mask).sum(1) / mask.sum(1)


@pytest.fixture
def joined() -> Iterator[None]:
    with registry.forgotten():
        audio_encoder("loudness")(Loudness)
        text_encoder("spelling")(Spelling)
        yield


def model_of() -> Any:  # its encoders are those above, with what they have of their own
    config = ModelConfig.model_validate({"audio": "loudness", "text": "spelling", "dim": 16})
    return build_model(config, ["a dog barks", "rain"], 1.0, seed=0)


def test_encoders_from_elsewhere_train_are_saved_and_opened(joined: None, tmp_path: Path) -> None:
    model = model_of()
    waves = np.random.default_rng(0).normal(0, 0.1, (3, 16_000)).astype(np.float32)
    audio, text = model(torch.from_numpy(waves), model.text.tokenize(["a", "dog", "rain"]))
    (audio * text).sum().backward()
    assert model.audio.encoder.scale.grad is not None
    model.save(tmp_path / "m")
    opened: Any = supclap.load(tmp_path / "m")
    assert opened.text.encoder.alphabet == sorted(set("a dog barksrain"))
    assert (opened.encode_audio(waves) == model.encode_audio(waves)).all()
    assert (opened.encode_text(["dog"]) == model.encode_text(["dog"])).all()


def test_an_encoder_is_told_each_texts_language(joined: None) -> None:
    model = model_of()
    model.encode_text(["a dog", "un chien"], ["eng", "fra"])
    assert model.text.encoder.languages == ["eng", "fra"]


def test_this_packages_encoders_fulfil_the_protocols() -> None:
    model = build_model(ModelConfig(), ["a dog barks", "rain"], 1.0, seed=0)
    assert isinstance(model.audio.encoder, AudioEncoder)
    assert isinstance(model.text.encoder, TextEncoder)


@pytest.mark.parametrize("kind", ["audio encoder", "text encoder", "base loss", "radius"])
def test_every_built_in_part_is_where_the_registry_says(kind: str) -> None:
    made = [registry.class_of(kind, name) for name in registry.names(kind)]
    assert len(made) >= 2
    assert all(issubclass(one, torch.nn.Module) for one in made)


def test_a_name_is_taken_only_once(joined: None) -> None:
    with pytest.raises(ValueError, match="already the audio encoder 'loudness'"):
        audio_encoder("loudness")(Loudness)


def test_a_model_of_an_unregistered_encoder_says_what_to_do(
    tmp_path: Path,
) -> None:
    with registry.forgotten():
        audio_encoder("loudness")(Loudness)
        text_encoder("spelling")(Spelling)
        model_of().save(tmp_path / "m")
    with pytest.raises(InputError, match=r"needs test_registry\.py: loudness .*code="):
        supclap.load(tmp_path / "m")


@pytest.mark.heavy
def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in guide.split("```python\n")[1:]]
    example = next(block for block in blocks if "@audio_encoder" in block)
    code = textwrap.dedent(example)
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)

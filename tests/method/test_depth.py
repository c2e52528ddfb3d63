"""Some layers of an encoder frozen, and layers that are computed again in the backward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoders import make_ced, make_sonar
from tiny_transformers import make_sound, make_text
from torch import Tensor

from supclap.config import ModelConfig
from supclap.errors import InputError, SettingError
from supclap.model.clap import CLAP, build_model
from supclap.model.depth import layers_of

CAPTIONS = ["a dog barks", "rain falls softly", "a bell rings"]


def model_of(audio: dict[str, Any], text: dict[str, Any], dropout: float = 0.3) -> CLAP:
    audio = {"name": "transformer", "width": 32, "layers": 3} | audio
    text = {"width": 32, "layers": 3, "vocabulary": 300} | text
    values = {"audio": audio, "text": text, "dim": 16, "dropout": dropout}
    return build_model(ModelConfig.model_validate(values), CAPTIONS, 0.5, 0)


def gradients(model: CLAP, seed: int = 0) -> dict[str, Tensor]:
    """Of a sum of products that every output is part of; the random numbers are those of seed."""
    waves = torch.randn(4, 8000, generator=torch.Generator().manual_seed(7)) / 10
    tokens = model.text.tokenize([*CAPTIONS, "wind"])
    torch.manual_seed(seed)
    audio, text = model(waves, tokens)
    torch.manual_seed(seed + 99)  # where the backward pass begins, another state
    (audio @ text.T).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_the_first_layers_and_what_lies_before_them_are_frozen() -> None:
    model = model_of({"freeze": 2}, {"freeze": 1}).train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    assert gradients(model).keys() == learned
    for side, count in (("audio", 2), ("text", 1)):
        of_blocks = {int(n.split(".")[3]) for n in frozen if n.startswith(f"{side}.encoder.blocks")}
        assert of_blocks == set(range(count))
        left = {n for n in learned if n.startswith(f"{side}.encoder.")}
        # What is left: the other blocks, and what comes after all of them.
        assert {n.split(".")[2] for n in left} >= {"blocks"}
        assert not any("embed" in n or "position" in n or "patch" in n for n in left)
    assert {n for n in frozen if ".head." in n} == set()


def test_frozen_layers_have_no_dropout_and_the_others_do() -> None:
    model = model_of({"freeze": 3}, {"freeze": 3}).train()
    for tower in (model.audio, model.text):
        blocks = [m for block in tower.encoder.blocks for m in block.modules()]
        assert not any(module.training for module in blocks)
    model = model_of({"freeze": 1}, {"freeze": 1}).eval().train()
    for tower in (model.audio, model.text):
        assert [block.training for block in tower.encoder.blocks] == [False, True, True]


def test_a_stage_of_the_convolutions_is_a_layer() -> None:
    model = model_of({"name": "cnn", "width": 8, "layers": 3, "freeze": 2}, {})
    frozen = [
        n.removeprefix("encoder.") for n, p in model.audio.named_parameters() if not p.requires_grad
    ]
    assert frozen == [
        *(f"stages.{place}.{name}" for place, name in ((0, "weight"), (1, "weight"))),
        *(f"stages.{place}.{name}" for place, name in ((1, "bias"), (3, "weight"))),
        *(f"stages.4.{name}" for name in ("weight", "bias")),
    ]


@pytest.mark.parametrize("freeze", [4, 100])
def test_more_layers_than_there_are_is_one_line(freeze: int) -> None:
    with pytest.raises(SettingError, match=rf"text\.freeze: {freeze} layers .* has 3") as error:
        model_of({}, {"freeze": freeze})
    assert error.value.key == "model.text.freeze"


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_layers_computed_again_give_the_same_gradients_to_the_bit(dropout: float) -> None:
    plain = gradients(model_of({}, {}, dropout).train())
    again = gradients(model_of({"recompute": True}, {"recompute": True}, dropout).train())
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_it_keeps_less_for_the_backward_pass() -> None:
    def kept(model: CLAP) -> int:
        found: dict[int, int] = {}

        def pack(x: Tensor) -> Tensor:
            found[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        tokens = model.text.tokenize([*CAPTIONS, "wind"] * 8)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            model.text(tokens)
        return sum(found.values())

    plain, again = (model_of({}, {"layers": 6, "recompute": on}).train() for on in (False, True))
    weights = sum(p.numel() * p.element_size() for p in plain.text.parameters())
    assert kept(again) < (kept(plain) - weights) / 3 + weights


def test_evaluation_is_as_without_it() -> None:
    plain, again = (model_of({}, {"recompute": on}).eval() for on in (False, True))
    assert (plain.encode_text(CAPTIONS) == again.encode_text(CAPTIONS)).all()
    assert plain.content_hash() == again.content_hash()


def test_what_has_no_layers_to_compute_again_is_one_line() -> None:
    with pytest.raises(InputError, match=r"audio\.recompute: this encoder has no layers"):
        model_of({"name": "cnn", "width": 8, "layers": 2, "recompute": True}, {})


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["ced", "sonar", "bert", "ast", "whisper", "wav2vec2", "clap"])
def test_pretrained_encoders_have_their_own_blocks_as_layers(kind: str, tmp_path: Path) -> None:
    audio: dict[str, Any] = {}
    text: dict[str, Any] = {}
    if kind == "ced":
        audio = {"name": "ced", "folder": str(make_ced(tmp_path / kind)), "freeze": 1}
    elif kind == "sonar":
        text = {"name": "sonar", "folder": str(make_sonar(tmp_path / kind)), "freeze": 1}
    elif kind == "bert":
        folder = make_text(tmp_path / kind, kind)
        text = {"name": "huggingface", "folder": str(folder), "freeze": 1}
    else:
        folder = make_sound(tmp_path / kind, kind)
        audio = {"name": "huggingface", "folder": str(folder), "freeze": 1}
    model = model_of(audio, text, dropout=0.0)
    side: Any = (model.audio if audio else model.text).encoder
    layers = layers_of(side)
    named = dict(side.named_parameters())
    first = {id(p) for p in layers[0].parameters()}
    behind = {id(p) for layer in layers[1:] for p in layer.parameters()}
    assert first
    assert behind
    for name, parameter in named.items():
        if id(parameter) in first or "embed" in name.split("."):
            assert not parameter.requires_grad, name
        if id(parameter) in behind:
            assert parameter.requires_grad, name

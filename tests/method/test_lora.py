"""Low-rank adapters: W + alpha / rank * B A written out, peft's own model, saved and resumed."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_run import leave_at
from safetensors.torch import load_file
from tiny_encoders import make_ced, make_sonar
from tiny_run import everything, make_collection, tiny_config
from tiny_transformers import SOUNDS, TEXTS, make_sound, make_text
from torch import Tensor, nn

import supclap
from supclap import training
from supclap.config import ModelConfig, parse_config
from supclap.errors import InputError, SettingError
from supclap.events import Started
from supclap.feasibility import check_data, check_run
from supclap.later_keys import identity_of
from supclap.model.clap import CLAP, build_model
from supclap.model.lora import adapt, check_called, merge, merged_weights
from supclap.storage import Folder
from supclap.train_command import Show
from supclap.training import fit

CAPTIONS = ["a dog barks", "rain falls softly", "a bell rings"]
RANK, ALPHA = 3, 7.0


def model_of(seed: int = 0, start: Path | None = None, **text: Any) -> CLAP:
    values = {
        "audio": {"name": "cnn", "width": 8, "layers": 2},
        "text": {"width": 32, "layers": 3, "vocabulary": 300} | text,
        "dim": 16,
        "start": None if start is None else str(start),
    }
    return build_model(ModelConfig.model_validate(values), CAPTIONS, 0.5, seed)


def drawn(module: nn.Module) -> dict[str, Tensor]:
    """Gives B, which begins at zero, values at random; all adapters' matrices by name."""
    numbers = torch.Generator().manual_seed(5)
    found: dict[str, Tensor] = {n: p for n, p in module.named_parameters() if "lora_" in n}
    with torch.no_grad():
        for value in found.values():
            value.copy_(0.1 * torch.randn(value.shape, generator=numbers))
    return found


def literally(module: nn.Module, plain: nn.Module) -> nn.Module:
    """``plain`` with W + alpha / rank * B A in the place of each W that ``module`` adapts."""
    matrices = {n: p.double() for n, p in module.named_parameters() if "lora_" in n}
    weights = dict(plain.named_parameters())
    with torch.no_grad():
        for name in {n.partition(".lora_")[0] for n in matrices}:
            a, b = (matrices[f"{name}.lora_{one}.default.weight"] for one in "AB")
            weight = weights[f"{name}.weight"]
            added = ALPHA / RANK * (b @ a)
            transposed = type(plain.get_submodule(name)).__name__ == "Conv1D"
            weight.copy_(weight.double() + (added.T if transposed else added))
    return plain


@pytest.mark.heavy
def test_it_is_the_encoder_with_b_times_a_added_to_its_weights() -> None:
    model = model_of(lora={"rank": RANK, "alpha": ALPHA})
    plain = model_of()
    assert np.array_equal(model.encode_text(CAPTIONS), plain.encode_text(CAPTIONS))  # B is zero
    matrices = drawn(model)
    # Four linear layers in each of three blocks.
    assert len(matrices) == 2 * 4 * 3
    learned = {n for n, p in model.text.named_parameters() if p.requires_grad}
    learned = {n for n in learned if not n.startswith("head.")}
    assert learned == {n.removeprefix("text.") for n in matrices}
    expected = literally(model, plain)
    assert isinstance(expected, CLAP)
    found = model.encode_text(CAPTIONS)
    np.testing.assert_allclose(found, expected.encode_text(CAPTIONS), atol=2e-6)
    weights = merged_weights(model)
    assert weights.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-6, atol=1e-6)
    assert model.content_hash() != model_of().content_hash()
    before = model.content_hash()
    model.merge_adapters()
    assert model.content_hash() == before
    assert all(torch.equal(v, weights[n]) for n, v in model.state_dict().items())


# One of each kind of layer; the others on demand.
SOME = ("ced", "sonar", "bert", "gpt2", "t5", "ast", "whisper", "wavlm", "clap")
KINDS = [
    pytest.param(kind, marks=() if kind in SOME else pytest.mark.long)
    for kind in ("ced", "sonar", *TEXTS, *SOUNDS)
]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_every_adapter_of_every_encoder_learns_and_is_what_is_written_out(
    kind: str, tmp_path: Path
) -> None:
    sounds = kind == "ced" or kind in SOUNDS
    if kind in ("ced", "sonar"):
        folder = make_ced(tmp_path) if sounds else make_sonar(tmp_path)
    else:
        folder = make_sound(tmp_path, kind) if sounds else make_text(tmp_path, kind)
    own = {"name": kind if kind in ("ced", "sonar") else "huggingface", "folder": str(folder)}
    lora = {"lora": {"rank": RANK, "alpha": ALPHA}}

    def made(section: dict[str, Any]) -> Any:
        values = {"audio": section, "text": {"width": 32, "vocabulary": 300}}
        values = values if sounds else {"audio": {"name": "cnn", "width": 8}, "text": section}
        model = build_model(ModelConfig.model_validate(values | {"dim": 8}), CAPTIONS, 0.5, 0)
        return model.audio if sounds else model.text

    adapted, plain = made(own | lora).eval(), made(own).eval()
    assert drawn(adapted)
    waves = torch.randn(2, 8000, generator=torch.Generator().manual_seed(7)) / 10
    given = waves if sounds else plain.tokenize(CAPTIONS)
    outputs = adapted(given)
    expected = literally(adapted, plain)(given)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
    (outputs**2).sum(0)[0].backward()
    check_called(adapted.encoder, "model.audio.lora")


@pytest.mark.heavy
def test_it_is_what_peft_makes_of_the_same_model(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    folder = make_text(tmp_path, "bert")
    lora = {"rank": RANK, "alpha": ALPHA, "targets": ["query", "value"]}
    model = model_of(name="huggingface", folder=str(folder), lora=lora).eval()
    matrices = drawn(model)
    assert len(matrices) == 2 * 2 * 2
    settings = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["query", "value"])
    theirs = get_peft_model(AutoModel.from_pretrained(folder), settings).eval()
    state = theirs.state_dict()
    for name, value in matrices.items():
        state["base_model.model." + name.removeprefix("text.encoder.states.encoder.")].copy_(value)
    tokens = model.text.tokenize(CAPTIONS)
    with torch.no_grad():
        states = theirs(tokens.ids, attention_mask=tokens.mask.long()).last_hidden_state
        mask = tokens.mask.unsqueeze(-1).float()
        expected = (states * mask).sum(1) / mask.sum(1)
        torch.testing.assert_close(model.text.encoder(tokens), expected, rtol=1e-5, atol=1e-6)


def test_frozen_layers_have_no_adapters_and_targets_are_names() -> None:
    def adapted(**text: Any) -> set[str]:
        names = (n for n, _ in model_of(**text).named_parameters() if "lora_A" in n)
        return {n.split("encoder.")[1].partition(".lora_A")[0] for n in names}

    four = ("query_key_value", "output", "perceptron.0", "perceptron.3")
    assert adapted(lora={}, freeze=2) == {f"blocks.2.{name}" for name in four}
    assert adapted(lora={"targets": "output"}) == {f"blocks.{at}.output" for at in range(3)}
    assert adapted(lora={"targets": ["1.output", "perceptron.3"]}) == {
        "blocks.1.output",
        *(f"blocks.{at}.perceptron.3" for at in range(3)),
    }
    with pytest.raises(SettingError, match=r"lora\.targets: no linear .* 'put' \(there are 0, 3, "):
        adapted(lora={"targets": "put"})


def test_its_first_values_are_those_of_the_seed_and_of_the_side() -> None:
    def first(seed: int) -> list[Tensor]:
        named = model_of(seed, lora={}).named_parameters()
        return [p.clone() for n, p in named if "lora_A" in n]

    state = torch.get_rng_state()
    assert all(map(torch.equal, first(1), first(1)))
    assert not any(map(torch.equal, first(1), first(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_that_starts_from_a_model_adapts_that_model(tmp_path: Path) -> None:
    start = model_of(3)
    start.save(tmp_path / "start")
    model = model_of(0, tmp_path / "start", lora={"rank": RANK, "alpha": ALPHA})
    assert np.array_equal(model.encode_text(CAPTIONS), start.encode_text(CAPTIONS))
    drawn(model)
    model.save(tmp_path / "end")
    assert model.adapted  # it goes on learning as before
    again = supclap.load(tmp_path / "end")
    assert not again.adapted
    assert again.config.text.lora is None
    np.testing.assert_allclose(again.encode_text(CAPTIONS), model.encode_text(CAPTIONS), atol=2e-6)
    assert again.content_hash() == model.content_hash()
    expected = literally(model, copy.deepcopy(start))
    assert isinstance(expected, CLAP)
    np.testing.assert_allclose(
        again.encode_text(CAPTIONS), expected.encode_text(CAPTIONS), atol=2e-6
    )


class Reads(nn.Module):
    """An encoder that reads a layer's weights and does not call it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.blocks
        return nn.functional.linear(first(x), second.weight)


def test_a_layer_that_is_read_and_not_called_is_named() -> None:
    encoder = Reads()
    config = parse_config({"model": {"text": {"lora": {"rank": 2}}}}).model.text.lora
    adapt(encoder, config, "model.text.lora", 0)
    encoder(torch.ones(2, 4)).sum().backward()
    with pytest.raises(SettingError, match=r"text\.lora: .* not call 1 of its layers \(1\)"):
        check_called(encoder, "model.text.lora")
    merge(encoder)
    assert encoder.state_dict().keys() == Reads().state_dict().keys()


def test_what_cannot_be_adapted_is_one_line_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**model: Any) -> str:
        def check() -> None:
            config = parse_config({"model": model})
            check_run(config)
            check_data(config)

        with pytest.raises(InputError) as error:
            check()
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "one is frozen" in refused(text={"freeze": True, "lora": {}})
    assert "text.lora: this encoder has no linear" in refused(text={"freeze": 2, "lora": {}})
    assert "model.text.lora.rank" in refused(text={"lora": {"rank": 0}})
    assert "model.text.lora.dropout" in refused(text={"lora": {"dropout": 1.0}})
    assert "model.text.lora.targets" in refused(text={"lora": {"targets": []}})
    bert = {"name": "huggingface", "folder": str(make_text(tmp_path, "bert"))}
    assert "called 'q' (there are dense, key" in refused(text=bert | {"lora": {"targets": ["q"]}})
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "peft" else find(name)
    )
    assert refused(text={"lora": {}}).endswith("not installed: pip install 'supclap[lora]'")


def test_it_is_part_of_a_run_and_of_no_earlier_one() -> None:
    assert "lora" not in identity_of(parse_config({}))["model"]["text"]
    said = identity_of(parse_config({"model": {"text": {"lora": {}}}}))["model"]["text"]["lora"]
    assert said == {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": None}


@pytest.mark.heavy
def test_a_run_killed_within_an_epoch_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_collection(tmp_path / "data", clips=16)
    bert = make_text(tmp_path / "bert", "bert")
    text = {"name": "huggingface", "folder": str(bert), "lora": {"rank": 2, "dropout": 0.2}}
    config = tiny_config(data, checkpoint_steps=1, model__text=text, optimizer__lr=0.1)
    measured, measure = [], vars(training)["measure_at_the_end"]

    def measuring(model: CLAP, *given: Any) -> Any:
        measured.append((model.adapted, model.content_hash()))
        return measure(model, *given)

    with monkeypatch.context() as patch:
        patch.setattr(training, "measure_at_the_end", measuring)
        events = list(fit(config, Folder.at(tmp_path / "whole")))
    started = events[0]
    assert isinstance(started, Started)
    Show(Folder.at(tmp_path / "whole"))(started)
    assert 0 < started.learned < started.parameters
    said = f"training {started.learned / 1e6:.2f} M of {started.parameters / 1e6:.1f} M parameters"
    assert said in capsys.readouterr().out

    leave_at(config, Folder.at(tmp_path / "killed"), 4)
    # A checkpoint holds what learned alone, the model all of it, in the names of any model.
    checkpoints = tmp_path / "killed" / "checkpoints"
    latest = checkpoints / json.loads((checkpoints / "latest.json").read_text())["file"]
    state = torch.load(latest, weights_only=True)["model"]
    assert {n for n in state if n.startswith("text.encoder.") and "lora_" not in n} == set()
    list(fit(config, Folder.at(tmp_path / "killed")))
    found = everything(Folder.at(tmp_path / "killed"))
    assert found == everything(Folder.at(tmp_path / "whole"))

    weights = load_file(tmp_path / "whole" / "model" / "weights.safetensors")
    begun = load_file(tmp_path / "bert" / "model.safetensors")
    below = "text.encoder.states.encoder."
    own = {n.removeprefix(below) for n in weights if n.startswith(below)}
    assert own <= begun.keys()
    changed = {n for n in own if not torch.equal(weights[below + n], begun[n])}
    layers = [n for n in begun if n.startswith("encoder.layer.")]
    assert changed == {n for n in layers if n.endswith("weight") and "LayerNorm" not in n}
    # What was measured at the end is what was kept.
    assert measured == [(False, supclap.load(tmp_path / "whole" / "model").content_hash())]

"""Folders of sentence-transformers, against the modules' own definitions written out."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_encoders import SENTENCES
from tiny_transformers import make_text, write
from transformers import AutoModel, AutoTokenizer

import supclap
from supclap.config import ModelConfig, TextConfig
from supclap.errors import InputError
from supclap.model.clap import build_model
from supclap.model.hf.sentence import SentenceTransformer
from supclap.model.registry import Source

TEXTS = ["A dog barks", "un chien aboie sous la pluie", " ".join(SENTENCES)]
LONGEST = 12


def make(folder: Path, pooling: dict[str, Any], dense: int = 0, **more: Any) -> Path:
    make_text(folder, "bert")
    kinds = ["Transformer", "Pooling", *["Dense", "LayerNorm", "Normalize"] * bool(dense)]
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds[1:], 1))]
    write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
        ],
    )
    write(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST, **more})
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **pooling})
    if dense:
        width = 32 * sum(value is True for value in pooling.values())
        name = "torch.nn.modules.activation.Tanh"
        keys = {"in_features": width, "out_features": dense, "bias": True}
        write(folder / "2_Dense" / "config.json", keys | {"activation_function": name})
        write(folder / "3_LayerNorm" / "config.json", {"dimension": dense})
        numbers = torch.Generator().manual_seed(1)
        sizes = {"weight": (dense, width), "bias": (dense,)}
        weights = {f"linear.{n}": torch.randn(s, generator=numbers) for n, s in sizes.items()}
        save_file(weights, folder / "2_Dense" / "model.safetensors")
        norm = {f"norm.{n}": torch.randn(dense, generator=numbers) for n in ("weight", "bias")}
        torch.save(norm, folder / "3_LayerNorm" / "pytorch_model.bin")
    return folder


def encoder_of(folder: Path, **keys: Any) -> SentenceTransformer:
    config = TextConfig.model_validate(
        {"name": "sentence_transformers", "folder": str(folder), **keys}
    )
    return SentenceTransformer(config, Source(1.0)).eval()


def states_of(folder: Path, text: str) -> torch.Tensor:
    """(L, 32) float64 of transformers' own, one text alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    given = tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt")
    with torch.no_grad():
        return model(**given).last_hidden_state[0].double()


def outputs(encoder: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return encoder(encoder.tokenize(texts, ["eng"] * len(texts)))


FLAGS = {
    "cls_token": lambda s: s[0],
    "max_tokens": lambda s: s.max(0).values,
    "mean_tokens": lambda s: s.mean(0),
    "mean_sqrt_len_tokens": lambda s: s.sum(0) / len(s) ** 0.5,
    "weightedmean_tokens": lambda s: (
        sum((i + 1) * one for i, one in enumerate(s)) / (len(s) * (len(s) + 1) / 2)
    ),
    "lasttoken": lambda s: s[-1],
}


@pytest.mark.heavy
@pytest.mark.parametrize("flag", FLAGS)
def test_each_way_to_pool(flag: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "st", {f"pooling_mode_{name}": name == flag for name in FLAGS})
    found = outputs(encoder_of(folder, prefix="query: "), TEXTS)
    states = [states_of(folder, f"query: {text}") for text in TEXTS]
    assert len(states[2]) == LONGEST
    for mine, theirs in zip(found, states, strict=True):
        assert mine.numpy() == pytest.approx(FLAGS[flag](theirs).numpy(), abs=2e-5)


@pytest.mark.heavy
def test_all_modules_in_their_order_from_the_folder_and_from_a_saved_model(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "st",
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        dense=20,
        do_lower_case=True,
    )
    write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"q": "  Query: ", "p": "passage "}, "default_prompt_name": "q"},
    )
    encoder = encoder_of(folder)
    assert encoder.width == 20
    behind: Any = encoder.behind
    linear, norm = behind[0].linear, behind[1].norm
    rows = []
    for text in TEXTS:
        states = states_of(folder, f"query: {text}".lower())
        pooled = torch.cat([states[0], states.mean(0)])  # the first token before the mean
        wide = torch.tanh(linear.weight.double() @ pooled + linear.bias.double())
        wide = (wide - wide.mean()) / (wide.var(unbiased=False) + 1e-5).sqrt()
        wide = wide * norm.weight.double() + norm.bias.double()
        rows.append(wide / wide.norm())
    found = outputs(encoder, TEXTS)
    assert found.numpy() == pytest.approx(torch.stack(rows).detach().numpy(), abs=2e-5)
    keys = {"name": "sentence_transformers", "folder": str(folder)}
    model = build_model(ModelConfig.model_validate({"text": keys, "dim": 8}), [], 0.5, seed=0)
    before = model.encode_text(TEXTS)
    model.save(tmp_path / "m")
    shutil.rmtree(folder)
    assert (supclap.load(tmp_path / "m").encode_text(TEXTS) == before).all()


def changed(name: str, **changes: Any) -> Any:
    def change(folder: Path) -> None:
        write(folder / name, json.loads((folder / name).read_text()) | changes)

    return change


def with_module(kind: str, path: str = "9_X") -> Any:
    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        write(folder / "modules.json", [*modules, {"type": f"st.{kind}", "path": path}])

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_module("CNN"), r"modules.json: has a module 'CNN'; read are Transformer, Pooling"),
        (with_module("Dense", "../x"), r"'../x' does not stay inside the folder"),
        (with_module("Dense"), r"9_X/config.json: cannot be read"),
        (lambda f: write(f / "modules.json", []), r"begins with nothing, expected a Transformer"),
        (lambda f: write(f / "modules.json", {"a": 1}), r"is no list of"),
        (lambda f: (f / "modules.json").unlink(), r"has no modules.json"),
        (changed("2_Dense/config.json", in_features=5), r"expected in_features 32"),
        (changed("2_Dense/config.json", activation_function="os.system"), r"found 'system'"),
        (changed("2_Dense/config.json", bias=False), r"unexpected linear.bias"),
        (changed("1_Pooling/config.json", pooling_mode_mean_tokens=False), r"expected a way"),
        (lambda f: (f / "2_Dense" / "model.safetensors").write_bytes(b"1"), r"cannot be read"),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path: Path, damage: Any, message: str) -> None:
    folder = make(tmp_path / "st", {"pooling_mode_mean_tokens": True}, dense=20)
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        encoder_of(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_prompt_that_is_left_out_of_the_pooling_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "st", {"pooling_mode_mean_tokens": True, "include_prompt": False})
    assert encoder_of(folder).prefix == ""
    with pytest.raises(InputError, match="include_prompt: false"):
        encoder_of(folder, prefix="Represent: ")


@pytest.mark.heavy
@pytest.mark.skipif("SUPCLAP_MINILM" not in os.environ, reason="SUPCLAP_MINILM names no folder")
def test_published_weights_know_what_is_alike() -> None:
    """all-MiniLM-L6-v2 in the folder that SUPCLAP_MINILM names, as it is published."""
    encoder = encoder_of(Path(os.environ["SUPCLAP_MINILM"]))
    texts = ["A dog is barking.", "A canine barks loudly.", "Rain falls on a tin roof."]
    found = outputs(encoder, texts)
    alike = found @ found.T
    assert alike.diagonal().numpy() == pytest.approx([1, 1, 1], abs=1e-5)
    assert alike[0, 1] > 0.6 > 0.3 > alike[0, 2]
    for text, mine in zip(texts, found, strict=True):
        states = states_of(Path(os.environ["SUPCLAP_MINILM"]), text).mean(0)
        assert mine.numpy() == pytest.approx((states / states.norm()).numpy(), abs=1e-5)

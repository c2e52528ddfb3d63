"""Text encoders of transformers against transformers itself, opened from the same folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoders import SENTENCES
from tiny_transformers import (
    PAIRED,
    TEXTLESS,
    TEXTS,
    make_pair,
    make_text,
    make_textless,
    word_tokenizer,
)
from transformers import AutoModel, AutoTokenizer

import supclap
from supclap.config import ModelConfig, TextConfig
from supclap.errors import InputError
from supclap.model.clap import build_model
from supclap.model.hf.text import HuggingFaceText
from supclap.model.registry import Source

LONG = " ".join(SENTENCES)  # more tokens than the models take


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("hf")
    return {kind: make_text(place / kind, kind) for kind in TEXTS}


def encoder_of(folder: Path, dropout: float = 0.0, **keys: Any) -> HuggingFaceText:
    config = TextConfig.model_validate({"name": "huggingface", "folder": str(folder), **keys})
    return HuggingFaceText(config, Source(1.0, dropout)).eval()


def states_of(folder: Path, text: str) -> torch.Tensor:
    """(L, width) of transformers' own, one text alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    given = tokenizer(text, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return model(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"]
        ).last_hidden_state[0]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", TEXTS)
def test_outputs_are_those_of_transformers_text_by_text(
    folders: dict[str, Path], kind: str
) -> None:
    texts = ["a dog barks while rain falls", "un chien", LONG]
    encoder = encoder_of(folders[kind], prefix="query: ")
    tokens = encoder.tokenize(texts, ["eng", "fra", "eng"])
    states = [states_of(folders[kind], f"query: {text}") for text in texts]
    assert tokens.mask.sum(1).tolist() == [len(one) for one in states]
    assert len(states[2]) == 40  # what the tokenizer allows
    expected = {
        "mean": [one.double().mean(0) for one in states],
        "cls": [one[0] for one in states],
        "last": [one[-1] for one in states],
    }
    for pooling, rows in expected.items():
        encoder.pooling = pooling
        with torch.no_grad():
            found = encoder(tokens)
        assert found.shape == (3, encoder.width) == (3, 32)
        for mine, theirs in zip(found, rows, strict=True):
            assert mine.numpy() == pytest.approx(theirs.float().numpy(), abs=2e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["bert", "t5", "qwen2"])
def test_a_saved_model_opens_without_the_folder_it_began_with(
    folders: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    keys = {"name": "huggingface", "folder": str(copy), "pooling": "last", "prefix": "q "}
    config = ModelConfig.model_validate({"text": keys, "dim": 8, "dropout": 0.5})
    model = build_model(config, [], 0.5, seed=0)
    before = model.encode_text(SENTENCES)
    model.save(tmp_path / "m")
    shutil.rmtree(copy)
    assert (supclap.load(tmp_path / "m").encode_text(SENTENCES) == before).all()


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_every_weight_learns_and_the_runs_dropout_counts(
    folders: dict[str, Path], kind: str
) -> None:
    encoder = encoder_of(folders[kind], dropout=0.5).train()
    tokens = encoder.tokenize(SENTENCES, ["eng"] * len(SENTENCES))
    one, two = encoder(tokens), encoder(tokens)
    assert not one.equal(two)
    (one**2).sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []
    still = encoder_of(folders[kind]).train()
    assert still(tokens).equal(still(tokens))


def test_pooling_is_a_key_and_part_of_the_model(folders: dict[str, Path]) -> None:
    keys = {"name": "huggingface", "folder": str(folders["bert"])}
    assert TextConfig.model_validate(keys).own_keys == {"pooling": "mean", "prefix": ""}
    with pytest.raises(ValueError, match="pooling"):
        TextConfig.model_validate(keys | {"pooling": "max"})
    with pytest.raises(ValueError, match="unknown key"):
        TextConfig.model_validate({"name": "transformer", "pooling": "mean"})


def test_weights_as_tensors_are_read_and_code_is_not(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    copy = shutil.copytree(folders["bert"], tmp_path / "bert")
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save({f"bert.{n}": v for n, v in weights.items()}, copy / "pytorch_model.bin")
    whole, again = encoder_of(folders["bert"]), encoder_of(copy)
    tokens = whole.tokenize(SENTENCES, ["eng"] * len(SENTENCES))
    with torch.no_grad():
        assert whole(tokens).equal(again(tokens))
    torch.save({"bert": print}, copy / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"cannot be opened") as caught:
        encoder_of(copy)
    assert "\n" not in str(caught.value)


def drop(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def described(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, r"missing encoder\.layer\.1\.output\.dense\.bias"),
        (described(hidden_size=16), r"of another shape .* \(32,\) for \(16,\)"),
        (described(vocab_size=20), r"of another shape embeddings.word_embeddings"),
        (described(model_type="bort"), r"type 'bort', which transformers .* does not have$"),
        (described(model_type="x", auto_map={"AutoModel": "y"}), r"code of its own, .* never run"),
        (described(num_attention_heads="four"), r"no description of a bert"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "its tokenizer cannot be"),
        (lambda folder: (folder / "config.json").write_text("["), r"config.json: is not JSON"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"cannot be opened"),
    ],
)
def test_a_damaged_folder_is_one_line(
    folders: dict[str, Path], tmp_path: Path, damage: Any, message: str
) -> None:
    copy = shutil.copytree(folders["bert"], tmp_path / "bert")
    damage(copy)
    with pytest.raises(InputError, match=message) as caught:
        encoder_of(copy)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value)
    assert len(str(caught.value)) < 900


def test_what_is_wrong_is_found_before_anything_starts(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from supclap.config import parse_config
    from supclap.errors import SettingError
    from supclap.feasibility import check_data

    copy = shutil.copytree(folders["bert"], tmp_path / "bert")
    text = {"name": "huggingface", "folder": str(copy)}
    check_data(parse_config({"model": {"text": text}}))
    drop(copy)
    with pytest.raises(SettingError, match=r"missing encoder") as caught:
        check_data(parse_config({"model": {"text": text}}))
    assert caught.value.key == "model.text.folder"


@pytest.mark.heavy
@pytest.mark.parametrize("kind", [*PAIRED, "clap_text_model"])
def test_of_a_model_that_pairs_texts_with_something_the_texts_tower_is_taken(
    kind: str, tmp_path: Path
) -> None:
    """Alone too, and cut to what it takes: CLAP counts positions from the padding's number on."""
    import transformers

    whole = make_pair(tmp_path / "whole", kind.removesuffix("_text_model"))
    towers, longest = AutoModel.from_pretrained(whole).eval().text_model, 36
    if "clap" in kind:
        longest = 34
    if kind.endswith("_text_model"):
        towers.save_pretrained(tmp_path / "tower")
        word_tokenizer().save_pretrained(tmp_path / "tower")
        towers = transformers.ClapTextModel.from_pretrained(tmp_path / "tower").eval()
        whole = tmp_path / "tower"
    texts = ["a dog barks while rain falls", LONG]
    config = ModelConfig.model_validate(
        {"text": {"name": "huggingface", "folder": str(whole)}, "dim": 8}
    )
    model = build_model(config, [], 0.5, seed=0).eval()
    encoder = model.text.encoder
    assert isinstance(encoder, HuggingFaceText)
    tokens = encoder.tokenize(texts, ["eng", "eng"])
    assert tokens.mask.sum(1).tolist()[1] == longest
    with torch.no_grad():
        found = encoder(tokens)
        for row, ids, mask in zip(found, tokens.ids, tokens.mask, strict=True):
            alone = ids[mask][None]
            states = towers(alone, attention_mask=torch.ones_like(alone)).last_hidden_state[0]
            assert row.numpy() == pytest.approx(states.mean(0).numpy(), abs=2e-5)
    (encoder(tokens) ** 2).sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []
    before = model.encode_text(texts)
    model.save(tmp_path / "m")
    shutil.rmtree(whole)
    assert (supclap.load(tmp_path / "m").encode_text(texts) == before).all()


@pytest.mark.parametrize("kind", [*TEXTLESS, "zoedepth"])
def test_a_model_that_reads_no_text_is_one_line_before_anything_starts(
    kind: str, tmp_path: Path
) -> None:
    """The last is of no class that could be opened as an encoder."""
    from supclap.config import parse_config
    from supclap.errors import SettingError
    from supclap.feasibility import check_data

    if kind in TEXTLESS:
        make_textless(tmp_path, kind)
    else:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    text = {"name": "huggingface", "folder": str(tmp_path)}
    with pytest.raises(SettingError) as caught:
        check_data(parse_config({"model": {"text": text}}))
    assert caught.value.key == "model.text.folder"
    assert str(caught.value) == (
        f"{tmp_path / 'config.json'}: describes a model of type '{kind}', which reads no text; "
        "give a text encoder"
    )

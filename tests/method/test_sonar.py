"""SONAR against transformers' own encoder and tokenizer, opened from the same folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import SENTENCES, make_sonar

from supclap.config import LANGUAGES, TextConfig
from supclap.errors import InputError
from supclap.model.registry import Source
from supclap.model.sonar import MAX_TOKENS, NLLB, SONAR


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sonar(tmp_path_factory.mktemp("sonar"))


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(folder, tmp_path / "sonar")


def encoder_of(folder: Path, dropout: float = 0.0) -> SONAR:
    return SONAR(TextConfig(name="sonar", folder=str(folder)), Source(1.0, dropout)).eval()


def test_every_language_has_its_own_name_in_nllb() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert tuple(NLLB) == LANGUAGES
    assert set(NLLB.values()) <= set(FAIRSEQ_LANGUAGE_CODES)
    assert all(name.startswith(language) for language, name in NLLB.items())


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_are_those_of_transformers_with_that_source_language(
    folder: Path, language: str
) -> None:
    from transformers import NllbTokenizer

    theirs = NllbTokenizer.from_pretrained(folder, src_lang=NLLB[language])
    expected = theirs(SENTENCES, padding=True, return_tensors="pt")
    tokens = encoder_of(folder).tokenize(SENTENCES, [language] * len(SENTENCES))
    assert tokens.ids.equal(expected["input_ids"])
    assert tokens.mask.equal(expected["attention_mask"].bool())
    assert tokens.ids.unique().numel() > 30


def test_outputs_are_the_mean_over_the_mask_of_transformers_own_states(folder: Path) -> None:
    from transformers import NllbTokenizer
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

    languages = ["eng", "fra", "deu", "jpn", "zho", "eng", "deu", "eng"]
    encoder = encoder_of(folder)
    with torch.no_grad():
        found = encoder(encoder.tokenize(SENTENCES, languages))
    theirs = M2M100Encoder.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = NllbTokenizer.from_pretrained(folder)
    assert found.shape == (8, encoder.width) == (8, 32)
    for row, (text, language) in enumerate(zip(SENTENCES, languages, strict=True)):
        tokenizer.src_lang = NLLB[language]
        alone = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = theirs(**alone).last_hidden_state
        expected = sum(states[0]) / len(states[0])
        assert found[row].numpy() == pytest.approx(expected.numpy(), abs=2e-5)


def test_the_language_matters(folder: Path) -> None:
    encoder = encoder_of(folder)
    with torch.no_grad():
        one, other = encoder(encoder.tokenize(["a dog", "a dog"], ["eng", "nld"]))
    assert (one - other).abs().max() > 1e-3


def test_a_long_text_is_cut_and_keeps_its_end_mark(folder: Path) -> None:
    encoder = encoder_of(folder)
    tokens = encoder.tokenize(["a dog barks " * 400, "rain"], ["eng", "eng"])
    assert tokens.ids.shape == (2, MAX_TOKENS)
    assert tokens.ids[0, -1] == tokens.ids[1][tokens.mask[1]][-1] == 2
    with torch.no_grad():  # longer than max_position_embeddings: sines have no last position
        assert encoder(tokens).isfinite().all()


def test_in_training_nothing_is_random_but_the_runs_own_dropout(folder: Path) -> None:
    encoder = encoder_of(folder).train()
    tokens = encoder.tokenize(SENTENCES, ["eng"] * 8)
    outputs = encoder(tokens)
    assert all(encoder(tokens).equal(outputs) for _ in range(20))
    outputs.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    dropping = encoder_of(folder, dropout=0.5).train()
    assert not dropping(tokens).equal(dropping(tokens))


def test_half_precision_weights_are_read_as_float32(own: Path, folder: Path) -> None:
    weights = {n: v.half() for n, v in load_file(own / "model.safetensors").items()}
    save_file(weights, own / "model.safetensors")
    description = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(description | {"dtype": "float16"}))
    encoder = encoder_of(own)
    assert all(p.dtype == torch.float32 for p in encoder.parameters())
    tokens = encoder.tokenize(SENTENCES, ["eng"] * 8)
    assert encoder(tokens).allclose(encoder_of(folder)(tokens), atol=2e-2)


def test_the_encoder_of_a_whole_model_may_keep_its_prefix(own: Path, folder: Path) -> None:
    weights = load_file(own / "model.safetensors")
    save_file({f"encoder.{n}": v for n, v in weights.items()}, own / "model.safetensors")
    one, same = encoder_of(folder).state_dict(), encoder_of(own).state_dict()
    assert all(one[name].equal(same[name]) for name in one)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "bert"),
        ("model_type", None),
        ("d_model", -4),
        ("encoder_layers", "two"),
        ("activation_function", 7),
    ],
)
def test_a_description_of_another_model_is_refused_in_one_line(
    own: Path, key: str, value: int | str | None
) -> None:
    description = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(description | {key: value}))
    with pytest.raises(InputError, match=r"config\.json: ") as caught:
        encoder_of(own)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_told(own: Path) -> None:
    weights = load_file(own / "model.safetensors")
    weights["decoder.layer_norm.weight"] = weights.pop("layer_norm.weight")
    save_file(weights, own / "model.safetensors")
    message = r"missing layer_norm\.weight; unexpected decoder\.layer_norm\.weight$"
    with pytest.raises(InputError, match=message):
        encoder_of(own)


def test_a_tokenizer_that_is_not_the_models_is_refused(own: Path) -> None:
    vocabulary = json.loads((own / "tokenizer.json").read_text())
    text = json.dumps(vocabulary, ensure_ascii=False)
    (own / "tokenizer.json").write_text(text.replace("jpn_Jpan", "xxx_Jpan"))
    with pytest.raises(InputError, match=r"tokenizer\.json: is not NLLB's .* no jpn_Jpan$"):
        encoder_of(own)
    (own / "tokenizer.json").write_text(text)
    description = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(description | {"pad_token_id": 0}))
    with pytest.raises(InputError, match=r"tokenizer\.json: <pad> has number 1, and 0 in config"):
        encoder_of(own)
    (own / "config.json").write_text(json.dumps(description | {"vocab_size": 50}))
    with pytest.raises(InputError, match=r"tokenizer\.json: has a token \d+, the model .* only 50"):
        encoder_of(own)

"""SONAR against transformers' own encoder and tokenizer, opened from the same folder."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import SENTENCES, make_sonar, sentencepiece_model

from supclap.config import LANGUAGES, TextConfig
from supclap.errors import InputError
from supclap.model import nllb
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


def test_a_tokenizer_that_numbers_the_mask_before_the_languages_is_refused(own: Path) -> None:
    """As transformers 5 makes it; with the published weights each language was its neighbour."""
    from transformers import NllbTokenizer
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    (own / "tokenizer.json").unlink()
    (own / "sentencepiece.bpe.model").write_bytes(sentencepiece_model())
    theirs = NllbTokenizer.from_pretrained(own, extra_special_tokens=FAIRSEQ_LANGUAGE_CODES)
    assert theirs.convert_tokens_to_ids("<mask>") < theirs.convert_tokens_to_ids("ace_Arab")
    theirs.save_pretrained(own)
    with pytest.raises(InputError, match=r"<mask> before the languages.* -m supclap\.model\.nllb"):
        encoder_of(own)


# --- layouts of the weights


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    return folder


def shared(weights: dict[str, torch.Tensor]) -> None:
    weights["shared.weight"] = weights["embed_tokens.weight"].clone()


def shared_alone(weights: dict[str, torch.Tensor]) -> None:
    weights["shared.weight"] = weights.pop("embed_tokens.weight")


def whole_model(weights: dict[str, torch.Tensor]) -> None:
    for name in list(weights):
        weights[f"model.encoder.{name}"] = weights.pop(name)
    weights["model.shared.weight"] = weights.pop("model.encoder.embed_tokens.weight")


def sines(
    rows: int, dtype: torch.dtype = torch.float32
) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(weights: dict[str, torch.Tensor]) -> None:
        from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding

        table = M2M100SinusoidalPositionalEmbedding(rows, 32, padding_idx=1).weights
        weights["embed_positions.weights"] = table.to(dtype).clone()

    return change


@pytest.mark.parametrize(
    "change",
    [shared, shared_alone, whole_model, sines(64), sines(1024), sines(20, torch.bfloat16)],
    ids=["shared", "shared alone", "whole model", "sines", "more sines", "half sines"],
)
def test_layouts_that_say_the_same_twice_or_elsewhere_are_read(
    own: Path, folder: Path, change: Callable[..., Any]
) -> None:
    found = encoder_of(with_weights(own, change)).state_dict()
    expected = encoder_of(folder).state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["shared.weight", "embed_positions.weights"])
def test_what_an_extra_key_says_otherwise_is_refused(own: Path, name: str) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[name] = torch.ones(len(weights["embed_tokens.weight"]), 32)

    with pytest.raises(InputError, match=f"unexpected {name}$"):
        encoder_of(with_weights(own, change))


# --- the tokenizer out of SentencePiece's own file

TEXTS = [
    *SENTENCES,
    "",
    " ",
    "  a   dog ",
    "a\tdog\u00a0barks",
    "\uff41 \ufb01n \u2460 zq",
    "犬 dog",
]


def test_the_tokenizer_is_sentencepieces_with_fairseqs_numbers() -> None:
    model = sentencepiece_model()
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    ours = nllb.nllb_tokenizer(model, ["ace_Arab", "eng_Latn"])
    # As transformers' own slow tokenizer numbered them, and as the published weights have them.
    fairseq = {theirs.unk_id(): 3, theirs.bos_id(): 0, theirs.eos_id(): 2}
    for text in TEXTS:
        expected = [fairseq.get(number, number + 1) for number in theirs.encode(text)]
        assert ours.encode(text, add_special_tokens=False).ids == expected, text
    size = theirs.get_piece_size()
    known = {name: ours.token_to_id(name) for name in ("<pad>", "ace_Arab", "eng_Latn", "<mask>")}
    assert known == {"<pad>": 1, "ace_Arab": size + 1, "eng_Latn": size + 2, "<mask>": size + 3}


@pytest.mark.heavy
def test_the_printed_recipe_makes_the_tokenizer_that_was_missing(own: Path, folder: Path) -> None:
    expected = encoder_of(folder)
    (own / "tokenizer.json").unlink()
    (own / "sentencepiece.bpe.model").write_bytes(sentencepiece_model())
    command = f"python -m supclap.model.nllb {own}"
    with pytest.raises(InputError, match=r"has no tokenizer\.json; make it, once") as caught:
        encoder_of(own)
    assert command in str(caught.value)
    subprocess.run([sys.executable, *command.split()[1:]], check=True)
    found = encoder_of(own)
    mine, theirs = (one.tokenize(TEXTS, ["jpn"] * len(TEXTS)) for one in (found, expected))
    assert mine.ids.equal(theirs.ids)
    assert mine.mask.equal(theirs.mask)


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "unigram", "empty"])
def test_a_damaged_model_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    model = sentencepiece_model()
    content = {"truncated": model[: len(model) // 3 + 1], "text": b"a dog", "empty": b""}
    if damage == "unigram":
        content["unigram"] = model.replace(b"\x18\x02", b"\x18\x01")
    if damage != "missing":
        (tmp_path / "sentencepiece.bpe.model").write_bytes(content[damage])
    assert nllb.main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Error: {tmp_path}/sentencepiece.bpe.model: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "tokenizer.json").exists()

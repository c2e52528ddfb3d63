"""The tokenizer that is trained on a run's captions."""

import json
import os
import random
import subprocess
import sys

import pytest

from supclap.errors import InputError
from supclap.model.tokenizer import LONGEST_MERGE, MAX_TOKENS, CaptionTokenizer
from supclap.model.tokens import Tokens

CAPTIONS = [
    "A dog barks twice while rain falls softly.",
    "A bell rings, then a dog barks loudly.",
    "Un chien aboie pendant que la pluie tombe doucement.",
    "Ein Hund bellt, während es leise regnet; eine Tür schlägt zu.",
    "Un perro ladra y después suena una campana pequeña.",
    "Een hond blaft terwijl het zachtjes regent.",
    "Un gos borda mentre plou; l'aigua cau a poc a poc.",
    "犬が二回吠え、静かに雨が降っている。",
    "犬が吠えた後、鐘が鳴る。",
    "一只狗叫了两声，同时下着小雨。",
    "先是铃声响起，然后狗大声叫。",
] * 3

# Trains in a process of its own and prints the tokenizer.
TRAIN = """
import sys, json
from supclap.model.tokenizer import CaptionTokenizer
captions = json.load(sys.stdin)
sys.stdout.write(CaptionTokenizer.train(captions, 700).to_json().decode())
"""


@pytest.fixture(scope="module")
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer.train(CAPTIONS, 700)


def words(tokenizer: CaptionTokenizer, text: str) -> str:
    tokens = tokenizer([text])
    return tokenizer._tokenizer.decode(tokens.ids[0].tolist(), skip_special_tokens=True).strip()


@pytest.mark.parametrize("text", CAPTIONS[:11])
def test_no_language_loses_anything(tokenizer: CaptionTokenizer, text: str) -> None:
    # Normalisation makes "，" a "," and capitals small; beyond that the text comes back whole.
    assert words(tokenizer, text) == __import__("unicodedata").normalize("NFKC", text).lower()


def test_scripts_it_never_saw_have_no_unknown_token(tokenizer: CaptionTokenizer) -> None:
    assert words(tokenizer, "Собака лает 🐕") == "собака лает 🐕"


def test_training_shortens_text_and_learns_no_clauses(tokenizer: CaptionTokenizer) -> None:
    english, japanese = CAPTIONS[0], CAPTIONS[7]
    assert tokenizer([english]).ids.shape[1] < len(english.encode()) / 2
    assert tokenizer([japanese]).ids.shape[1] < len(japanese.encode()) / 2
    merged = json.loads(tokenizer.to_json())["model"]["vocab"]
    assert max(len(token) for token in merged if not token.startswith("<")) <= LONGEST_MERGE


@pytest.mark.heavy
def test_the_same_in_any_order_and_under_any_hash_seed(tokenizer: CaptionTokenizer) -> None:
    expected = tokenizer.to_json()
    for seed in ("0", "1", "12345"):
        captions = CAPTIONS[:]
        random.Random(seed).shuffle(captions)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed[:1] or "1"}
        made = subprocess.run(
            [sys.executable, "-c", TRAIN],
            input=json.dumps(captions),
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert made.stdout.encode() == expected


def test_saved_and_opened_it_is_the_same(tokenizer: CaptionTokenizer) -> None:
    opened = CaptionTokenizer.from_json(tokenizer.to_json())
    one, other = tokenizer(CAPTIONS), opened(CAPTIONS)
    assert one.ids.equal(other.ids)
    assert one.mask.equal(other.mask)
    assert opened.vocabulary == tokenizer.vocabulary <= 700
    assert opened.to_json() == tokenizer.to_json()


def test_masks_and_rows(tokenizer: CaptionTokenizer) -> None:
    tokens = tokenizer(["a dog barks", "rain", "a dog barks and a bell rings far away"])
    lengths = tokens.mask.sum(1).tolist()
    assert lengths[1] < lengths[0] < lengths[2] == tokens.ids.shape[1]
    assert (tokens.ids[~tokens.mask] == 0).all()
    chosen = tokens[[1, 0]]
    assert len(chosen) == 2
    assert chosen.ids.shape == (2, lengths[0])  # cut to the longest of the chosen
    alone = tokenizer(["rain"])
    assert chosen.ids[0, : lengths[1]].equal(alone.ids[0])


def test_rows_are_padded_on_the_right() -> None:
    tokens = Tokens.pad([[5], [7, 8, 9], [2, 2**40]], padding=1)
    assert tokens.ids.tolist() == [[5, 1, 1], [7, 8, 9], [2, 2**40, 1]]
    assert tokens.mask.tolist() == [[True, False, False], [True] * 3, [True, True, False]]


def test_no_rows() -> None:
    tokens = Tokens.pad([[1, 2], [3]])
    assert tokens[[]].ids.shape == (0, 1)
    assert Tokens.pad([]).ids.shape == (0, 1)


def test_a_very_long_caption_is_cut(tokenizer: CaptionTokenizer) -> None:
    tokens = tokenizer(["a dog barks " * 500])
    assert tokens.ids.shape == (1, MAX_TOKENS)
    assert tokens.mask.all()


@pytest.mark.parametrize(
    ("captions", "vocabulary", "message"),
    [(["a"], 100, "at least 258"), ([], 500, "needs captions")],
)
def test_impossible_training(captions: list[str], vocabulary: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CaptionTokenizer.train(captions, vocabulary)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"model": {"type": "BPE"}}'])
def test_what_is_not_a_tokenizer_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json") as caught:
        CaptionTokenizer.from_json(content)
    assert "\n" not in str(caught.value)

"""Encoders as they are published: where, with which files, and of which sizes.

Sizes stand in for weights that are not on this machine (`supclap.standing_in`), so that what a run
takes can be known before they are fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """An encoder of the Hugging Face hub.

    Attributes:
        files: of its repository that are read; "": all.
        described: what its config.json says of its sizes; empty where that is not known here.
    """

    repo: str
    files: str = ""
    described: Mapping[str, Any] = field(default_factory=dict)


# By the encoder's name in a configuration. The first two are the paper's.
PUBLISHED = {
    "ced": Published(
        "mispeech/ced-base",
        "config.json model.safetensors",
        {
            "model_type": "ced",
            "embed_dim": 768,
            "depth": 12,
            "num_heads": 12,
            "mlp_ratio": 4.0,
            "target_length": 1012,
        },
    ),
    "sonar": Published(
        "cointegrated/SONAR_200_text_encoder",
        "config.json model.safetensors tokenizer.json",
        {
            "model_type": "m2m_100",
            "d_model": 1024,
            "encoder_layers": 24,
            "encoder_attention_heads": 16,
            "encoder_ffn_dim": 8192,
            "vocab_size": 256_206,
            "max_position_embeddings": 514,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
    ),
    "sentence_transformers": Published("sentence-transformers/all-MiniLM-L6-v2"),
}


def described_files(encoder: str, words: Iterable[str]) -> dict[str, bytes]:
    """The small files of a published encoder's folder, by which it is built with random weights;
    none where its sizes are not known here.

    Args:
        words: that the tokenizer, where there is one, is to know.
    """
    published = PUBLISHED.get(encoder)
    if published is None or not published.described:
        return {}
    files = {"config.json": json.dumps(dict(published.described)).encode()}
    if encoder == "sonar":
        files["tokenizer.json"] = nllb_words(words).encode()
    return files


def nllb_words(words: Iterable[str]) -> str:
    """A tokenizer of whole words that has NLLB's marks: a word of AudioCaps is seldom more than one
    of SONAR's own tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    from supclap.model.sonar import NLLB

    marks = ["<s>", "<pad>", "</s>", "<unk>", *dict.fromkeys(words), *NLLB.values()]
    numbered = {word: number for number, word in enumerate(marks)}
    made = Tokenizer(models.WordLevel(numbered, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    content: str = made.to_str()
    return content

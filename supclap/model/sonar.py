"""SONAR, the paper's text encoder: one sentence embedding for 200 languages.

Duquenne et al., "SONAR: Sentence-level multimodal and language-agnostic representations", 2023. The
weights and the tokenizer are read from a folder in the layout of its port to transformers
(``cointegrated/SONAR_200_text_encoder``): NLLB's tokenizer before an `M2M100Encoder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn

from supclap.audio_library import torchaudio  # noqa: F401  transformers' own import would fail
from supclap.config import TextConfig
from supclap.errors import InputError
from supclap.hub import located
from supclap.model.pretrained import (
    CONFIG,
    WEIGHTS,
    check_folder,
    parse_description,
    pour,
    read_file,
    read_weights,
    whole_number,
    without_prefix,
)
from supclap.model.registry import Source
from supclap.model.tokens import Tokens
from supclap.vision_library import mend_torchvision
from supclap.wording import gist

KEY = "model.text.folder"
TOKENIZER = "tokenizer.json"
PREFIXES = ("", "encoder.", "model.encoder.")
MARKER = "layers.0.fc1.weight"  # is in every layout
EMBEDDING = "embed_tokens.weight"
# The same embedding under the name that a whole translation model shares it by.
SHARED = ("shared.weight", "model.shared.weight")
SINES = "embed_positions.weights"  # a table that the module computes; some layouts keep it
MAX_TOKENS = 512  # SONAR's own limit; a longer text is cut, its end mark kept
# The paper's languages as NLLB names them: language and script.
NLLB = {
    "eng": "eng_Latn",
    "fra": "fra_Latn",
    "deu": "deu_Latn",
    "spa": "spa_Latn",
    "nld": "nld_Latn",
    "cat": "cat_Latn",
    "jpn": "jpn_Jpan",
    "zho": "zho_Hans",
}
END, PADDING, MASK = "</s>", "<pad>", "<mask>"


class SONAR(nn.Module):
    """SONAR's encoder with its pretrained weights, and the mean over the attention mask.

    A text is ``language, tokens..., end``; all of them, the two marks included, enter the mean, as
    in SONAR's own pipeline. Dropout is `model.dropout`, not the one that SONAR was trained with,
    and no layer is ever dropped.

    Raises:
        InputError: no such folder, another model, a file that is missing or damaged, weights that
            are missing, too many or of another shape, a tokenizer without the paper's languages, or
            with other numbers than the weights'.
    """

    def __init__(self, config: TextConfig, source: Source) -> None:
        super().__init__()
        folder = Path()
        if not source.files:
            folder = located(str(config.folder), KEY)
            check_folder(folder, "sonar", KEY)
        self._files = {
            name: source.files.get(name) or read_file(folder / name) for name in (CONFIG, TOKENIZER)
        }
        place = "" if source.files else f"{folder}/"
        self.encoder = _encoder(self._files[CONFIG], f"{place}{CONFIG}", source.dropout)
        self.width: int = self.encoder.config.d_model
        self.tokenizer = _tokenizer(self._files[TOKENIZER], f"{place}{TOKENIZER}")
        self.ids = self._ids(place)
        if not source.files:
            weights = without_prefix(read_weights(folder / WEIGHTS), MARKER, PREFIXES)
            pour(_of_the_encoder(weights, self.encoder), self.encoder, folder / WEIGHTS)

    def files(self) -> dict[str, bytes]:
        """What the model folder must hold besides weights."""
        return dict(self._files)

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        """N texts, each with its language (ISO 639-3) -> tokens of shape (N, L)."""
        rows = []
        for encoding, language in zip(
            self.tokenizer.encode_batch(texts, add_special_tokens=False), languages, strict=True
        ):
            words = encoding.ids[: MAX_TOKENS - 2]
            rows.append([self.ids[NLLB[language]], *words, self.ids[END]])
        return Tokens.pad(rows, self.ids[PADDING])

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of shape (N, L) -> (N, width)."""
        states = self.encoder(tokens.ids, attention_mask=tokens.mask.long()).last_hidden_state
        weights = tokens.mask.unsqueeze(-1).to(states.dtype)
        outputs: Tensor = (states * weights).sum(1) / weights.sum(1)
        return outputs

    def _ids(self, place: str) -> dict[str, int]:
        """The ids of the marks and languages, after a look whether tokenizer and model fit."""
        known = self.tokenizer.get_vocab(with_added_tokens=True)
        absent = [mark for mark in (END, PADDING, *NLLB.values()) if mark not in known]
        where = f"{place}{TOKENIZER}"
        if absent:
            raise InputError(f"{where}: is not NLLB's tokenizer: it has no {', '.join(absent)}")
        if known.get(MASK, len(known)) < min(known[name] for name in NLLB.values()):
            raise InputError(
                f"{where}: numbers {MASK} before the languages, as transformers 5 does where it "
                "converts sentencepiece.bpe.model, and the weights do not: each language would be "
                "taken for its neighbour; make it anew: python -m supclap.model.nllb FOLDER"
            )
        padding, rows = self.encoder.config.pad_token_id, self.encoder.config.vocab_size
        if known[PADDING] != padding:
            raise InputError(
                f"{where}: {PADDING} has number {known[PADDING]}, and {padding} in {CONFIG}"
            )
        if max(known.values()) >= rows:
            raise InputError(
                f"{where}: has a token {max(known.values())}, the model of {CONFIG} only {rows}"
            )
        return {mark: known[mark] for mark in (END, PADDING, *NLLB.values())}


def _of_the_encoder(weights: dict[str, Tensor], encoder: Any) -> dict[str, Tensor]:
    """The weights without what says the same twice; what differs stays, and `pour` names it."""
    kept = dict(weights)
    for name in SHARED:
        if name in kept and (EMBEDDING not in kept or kept[name].equal(kept[EMBEDDING])):
            kept[EMBEDDING] = kept.pop(name)
    if SINES in kept:
        ours = encoder.embed_positions.weights
        theirs = kept[SINES]
        rows = min(len(ours), len(theirs))
        # Half a unit of bfloat16 at 1, for a table that was kept in that precision.
        if theirs.shape[1:] == ours.shape[1:] and theirs[:rows].float().allclose(
            ours[:rows].float(), rtol=0, atol=2**-8
        ):
            del kept[SINES]
    return kept


def _encoder(description: bytes, where: str, dropout: float) -> Any:
    """An `M2M100Encoder` of random weights, in this run's dropout."""
    # Seconds and hundreds of modules: only a run that asks for SONAR pays for them.
    mend_torchvision()
    from transformers import M2M100Config
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

    values = parse_description(description, "m2m_100", where)
    for key in ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"):
        whole_number(values, key, where)
    # Precision is the run's own business; the rest would make a forward pass random.
    for key in ("dtype", "torch_dtype"):
        values.pop(key, None)
    values |= {
        "dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
    }
    try:
        return M2M100Encoder(M2M100Config.from_dict(values))
    except Exception as error:  # which ones, changes with the versions of transformers
        raise InputError(f"{where}: is no M2M100Encoder's description: {gist(error)}") from None


def _tokenizer(content: bytes, where: str) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # nothing narrower, and a panic, which is no Exception
        raise InputError(f"{where}: is not a tokenizer (truncated?): {gist(error)}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer

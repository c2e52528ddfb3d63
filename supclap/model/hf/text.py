"""Any text encoder of transformers: its tokenizer, its states, and what is taken of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn

from supclap.config import TextConfig
from supclap.errors import InputError
from supclap.hub import located
from supclap.model.hf.opening import description, kept, library, made, quiet
from supclap.model.pretrained import CONFIG, check_folder
from supclap.model.registry import Source
from supclap.model.tokens import Tokens
from supclap.wording import gist, shown

KEY = "model.text.folder"
TOKENIZER, READING = "tokenizer.json", "reading.json"
LONGEST = 512  # tokens, where neither model nor tokenizer says how many it takes
# Their positions are counted from the padding's number on, so that there are fewer of them.
COUNTED_FROM_PADDING = (
    *("roberta", "camembert", "mpnet", "longformer", "data2vec-text", "ibert"),
    *("clap", "altclip", "bridgetower"),
)


class HuggingFaceText(nn.Module):
    """A text encoder of transformers with its pretrained weights, under ``pooling``.

    Of a model that translates or summarises it is the encoder, of one that pairs texts with sounds
    or images (CLAP, CLIP, SigLIP) the tower of the texts. A text is cut to what the model
    takes, its marks kept; it is tokenized as transformers' own tokenizer does, whatever its
    language.

    Raises:
        InputError: no such folder, a model that transformers does not have or that reads no text,
            weights that are missing, damaged or of another shape, a tokenizer that is not that
            model's.
    """

    def __init__(self, config: TextConfig, source: Source) -> None:
        super().__init__()
        self.pooling, self.prefix = config.own_keys["pooling"], config.own_keys["prefix"]
        folder = None if source.files else located(str(config.folder), KEY)
        if folder is not None:
            check_folder(folder, config.name, KEY)
        self.states = States(source, folder)
        self.width = self.states.width

    def files(self) -> dict[str, bytes]:
        """What the model folder must hold besides weights."""
        return self.states.kept

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        """N texts -> tokens of shape (N, L), each with the prefix before it."""
        return self.states.tokenize([self.prefix + text for text in texts])

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of shape (N, L) -> (N, width)."""
        return POOLING[self.pooling](self.states(tokens), tokens.mask)


class States(nn.Module):
    """The states of a text's tokens: a tokenizer before an encoder, from a folder or from files.

    Attributes:
        width: of a state.
        kept: the small files that it is made from again.
    """

    encoder: Any  # transformers' own

    def __init__(self, source: Source, folder: Path | None, longest: int | None = None) -> None:
        super().__init__()
        content = kept(source, folder, CONFIG)
        where = CONFIG if folder is None else str(folder / CONFIG)
        values = description(content, where)
        config = quiet(values, source.dropout, where)
        choose = partial(_reader_of, where=where, kind=values["model_type"])
        self.encoder = made(config, folder, choose, _opens(config, where))
        words = getattr(self.encoder, "config", None) or getattr(config, "text_config", config)
        self.width = _width(words, where)
        if folder is None:
            tokenizer = kept(source, None, TOKENIZER)
            reading = _reading(kept(source, None, READING))
        else:
            tokenizer, most = _as_opened(library(), folder)
            most = longest or min(most, _positions(words))
            padding = getattr(words, "pad_token_id", None)
            reading = {"longest": most, "padding": padding if isinstance(padding, int) else 0}
        self.padding: int = max(reading["padding"], 0)
        self.tokenizer = _tokenizer(tokenizer, where.replace(CONFIG, TOKENIZER))
        self.tokenizer.enable_truncation(reading["longest"])
        self._refuse_other_tokenizer(where.replace(CONFIG, TOKENIZER))
        self.kept = {
            CONFIG: content,
            TOKENIZER: tokenizer,
            READING: (json.dumps(reading) + "\n").encode(),
        }

    def tokenize(self, texts: list[str]) -> Tokens:
        """N texts -> tokens of shape (N, L). Raises InputError: a text of no token."""
        rows = [one.ids for one in self.tokenizer.encode_batch(texts)]
        for text, row in zip(texts, rows, strict=True):
            if not row:
                raise InputError(f"the tokenizer makes no token of the text {shown(text)}")
        return Tokens.pad(rows, self.padding)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of shape (N, L) -> (N, L, width)."""
        found = self.encoder(tokens.ids, attention_mask=tokens.mask.long())
        states: Tensor = found.last_hidden_state
        return states

    def _refuse_other_tokenizer(self, where: str) -> None:
        table = _table(self.encoder)
        assert table is not None  # `_reader_of` has looked
        rows = len(table)
        most = max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        # A mark that was added and never trained (T5's vocabulary has such) is met by no caption.
        if self.tokenizer.get_vocab_size(with_added_tokens=False) > rows:
            raise InputError(f"{where}: has a token {most}, the model of {CONFIG} only {rows}")


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """(N, L, width) and mask (N, L) -> the mean over a text's tokens, (N, width)."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def first(states: Tensor, mask: Tensor) -> Tensor:
    """(N, L, width) -> the first token's state, (N, width)."""
    return states[:, 0]


def last(states: Tensor, mask: Tensor) -> Tensor:
    """(N, L, width) and mask (N, L) -> the last token's state, (N, width)."""
    at = mask.sum(1) - 1
    return states[at.new_tensor(range(len(at))), at]


POOLING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean, "cls": first, "last": last}


def _opens(config: Any, where: str) -> str:
    """The class of transformers that opens a model."""
    transformers = library()
    if type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING:
        return "AutoModelForTextEncoding"
    if type(config) in transformers.MODEL_MAPPING:
        return "AutoModel"
    own = type(config).__name__.removesuffix("Config") + "Model"
    if not hasattr(transformers, own):  # else a tower alone, say, or two models coupled
        raise _no_text(where, config.model_type)
    return own


def _reader_of(model: Any, where: str, kind: str) -> Any:
    """Of a model what reads texts: of one that has towers that of the texts, of one that has an
    encoder beside a decoder the encoder, else the model itself. Raises InputError: nothing does."""
    for tower in ("text_model", "language_model"):
        if isinstance(getattr(model, tower, None), nn.Module):
            model = getattr(model, tower)
    several = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    several = several or hasattr(model, "decoder")
    if several or type(model).__name__.endswith("EncoderModel"):  # T5's has its words' table twice
        encoder = model.get_encoder()
        model = model if _table(encoder) is None else encoder
    if _table(model) is None:
        raise _no_text(where, kind)
    if isinstance(getattr(model, "head", None), nn.Linear):  # SigLIP's, behind its pooling
        model.head = nn.Identity()
    return model


def _table(model: Any) -> Tensor | None:
    """A row for each token that a model reads; None of one that reads sounds or images."""
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        return None
    try:
        found = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        found = getattr(getattr(model, "embeddings", None), "token_embedding", None)
    weight = getattr(found, "weight", None)
    return weight if isinstance(weight, Tensor) and weight.ndim == 2 else None


def _no_text(where: str, kind: str) -> InputError:
    said = f"describes a model of type {kind!r}, which reads no text; give a text encoder"
    return InputError(f"{where}: {said}")


def _width(config: Any, where: str) -> int:
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    raise InputError(f"{where}: names no hidden_size, so no width of a text's output is known")


def _positions(config: Any) -> int:
    """How many tokens a model takes; many where it says nothing."""
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return LONGEST
    if any(name in config.model_type for name in COUNTED_FROM_PADDING):
        most -= (config.pad_token_id or 0) + 1
    return most


def _as_opened(transformers: Any, folder: Path) -> tuple[bytes, int]:
    """The folder's tokenizer as transformers opens it, and how many tokens it is to give."""
    fault = ""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        content = tokenizer.backend_tokenizer.to_str().encode()
        most = int(min(tokenizer.model_max_length, 2**31))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # of tokenizers also a panic, which is no Exception
        fault = gist(error)
    if fault:
        raise InputError(f"{folder}: its tokenizer cannot be opened: {fault}")
    return content, most


def _tokenizer(content: bytes, where: str) -> Tokenizer:
    fault = ""
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        fault = gist(error)
    if fault:
        raise InputError(f"{where}: is not a tokenizer (truncated?): {fault}")
    tokenizer.no_padding()
    return tokenizer


def _reading(content: bytes) -> dict[str, int]:
    try:
        values = json.loads(content)
        return {name: int(values[name]) for name in ("longest", "padding")}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{READING}: is not what was saved; copy the folder again") from None

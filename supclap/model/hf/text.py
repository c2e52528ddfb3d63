"""Any text encoder of transformers: its tokenizer, its states, and what is taken of them."""

from __future__ import annotations

import json
from collections.abc import Callable
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
COUNTED_FROM_PADDING = ("roberta", "camembert", "mpnet", "longformer", "data2vec-text", "ibert")


class HuggingFaceText(nn.Module):
    """A text encoder of transformers with its pretrained weights, under ``pooling``.

    Of a model that translates or summarises it is the encoder. A text is cut to what the model
    takes, its marks kept; it is tokenized as transformers' own tokenizer does, whatever its
    language.

    Raises:
        InputError: no such folder, a model that transformers does not have, weights that are
            missing, damaged or of another shape, a tokenizer that is not that model's.
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
        transformers = library()
        values = description(content, where)
        config = quiet(values, source.dropout, where)
        if folder is None:
            tokenizer = kept(source, None, TOKENIZER)
            reading = _reading(kept(source, None, READING))
        else:
            tokenizer, most = _as_opened(transformers, folder)
            most = longest or min(most, _positions(config))
            padding = getattr(config, "pad_token_id", None)
            reading = {"longest": most, "padding": padding if isinstance(padding, int) else 0}
        text_alone = type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
        auto = "AutoModelForTextEncoding" if text_alone else "AutoModel"
        self.encoder = made(config, folder, _encoder_of, auto)
        self.padding: int = max(reading["padding"], 0)
        self.tokenizer = _tokenizer(tokenizer, where.replace(CONFIG, TOKENIZER))
        self.tokenizer.enable_truncation(reading["longest"])
        self.width = _width(config)
        self._refuse_other_tokenizer(
            len(self.encoder.get_input_embeddings().weight), where.replace(CONFIG, TOKENIZER)
        )
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

    def _refuse_other_tokenizer(self, rows: int, where: str) -> None:
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


def _encoder_of(model: Any) -> Any:
    """Of a model that has one beside a decoder, the encoder."""
    if getattr(model.config, "is_encoder_decoder", False) or hasattr(model, "decoder"):
        return model.get_encoder()
    if type(model).__name__.endswith("EncoderModel"):  # T5's keeps its table of words twice
        return model.get_encoder()
    return model


def _width(config: Any) -> int:
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    raise InputError(f"{CONFIG}: names no hidden_size, so no width of a text's output is known")


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

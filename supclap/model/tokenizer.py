"""A tokenizer trained on the captions of a run: byte-level BPE, one vocabulary, any language."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from supclap.bounds import check_vocabulary
from supclap.errors import InputError
from supclap.model.tokens import Tokens
from supclap.progress import activity

PADDING, START = "<pad>", "<s>"
MAX_TOKENS = 128  # a longer caption is cut; five times the longest of AudioCaps and Clotho's median
# Japanese and Chinese put no spaces between words, so a whole clause comes as one "word". Longer
# merges than this would learn clauses by heart; 12 bytes are four such characters.
LONGEST_MERGE = 12


class CaptionTokenizer:
    """Texts to token ids. Bytes are the alphabet, so no text in any script is unknown."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS - 1)
        start = tokenizer.token_to_id(START)
        if start is None:
            raise InputError(f"tokenizer.json: has no token '{START}'; not one of this package's")
        self._start: int = start

    @property
    def vocabulary(self) -> int:
        """Number of tokens; at most what was asked for, less where the captions are few."""
        return int(self._tokenizer.get_vocab_size())

    @classmethod
    def train(cls, captions: Iterable[str], vocabulary: int) -> CaptionTokenizer:
        """Learns a vocabulary. The same captions in any order give the same tokenizer.

        Raises:
            InputError: no captions, or a vocabulary too small to hold the bytes.
        """
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        check_vocabulary(vocabulary)
        # Sorted: ties between equally frequent pairs must not depend on the order of the captions.
        lines = sorted(captions)
        if not lines:
            raise InputError("the tokenizer needs captions to learn from; the data set has none")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            special_tokens=[PADDING, START],
            initial_alphabet=alphabet,
            max_token_length=LONGEST_MERGE,
            show_progress=False,
        )
        with activity("training the tokenizer"):
            tokenizer.train_from_iterator(lines, trainer)
        return cls(tokenizer)

    def __call__(self, texts: list[str]) -> Tokens:
        """N texts -> tokens of shape (N, L), L <= 128; each row begins with the start token."""
        encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return Tokens.pad([[self._start, *row.ids] for row in encoded])

    def to_json(self) -> bytes:
        text: str = self._tokenizer.to_str(pretty=True)
        return text.encode()

    @classmethod
    def from_json(cls, content: bytes) -> CaptionTokenizer:
        """Raises InputError where the content is not what `to_json` returned."""
        try:
            return cls(Tokenizer.from_str(content.decode()))
        except InputError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise InputError(f"tokenizer.json: not a tokenizer: {error}") from None

"""NLLB's tokenizer.json, which SONAR needs, out of its sentencepiece.bpe.model.

    python -m supclap.model.nllb FOLDER     # reads FOLDER/sentencepiece.bpe.model

transformers 5 converts such a file as well, but without the languages, or with ``<mask>`` before
them, so that every language has its neighbour's embedding. Here the numbers are those of the
published weights (fairseq's): four marks, the pieces, the languages, ``<mask>``.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from supclap.errors import InputError
from supclap.model.converter import converted

SOURCE, TOKENIZER = "sentencepiece.bpe.model", "tokenizer.json"
MARKS = ("<s>", "<pad>", "</s>", "<unk>")  # numbers 0 to 3
MASK = "<mask>"
NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # types of a piece
BPE = 2  # type of a model


def nllb_tokenizer(sentencepiece: bytes, languages: Sequence[str]) -> Tokenizer:
    """The tokenizer of a SentencePiece BPE model, with NLLB's numbers.

    Args:
        sentencepiece: the file's content.
        languages: NLLB's names, in fairseq's order.

    Raises:
        InputError: no SentencePiece model (truncated?), or one that is not BPE.
    """
    try:
        pieces, kind, charsmap = _parse(sentencepiece)
    except (ValueError, IndexError, struct.error):
        raise InputError(f"{SOURCE}: is no SentencePiece model (truncated?)") from None
    if not pieces or kind != BPE:
        raise InputError(f"{SOURCE}: is no SentencePiece model of type BPE, as NLLB's is")
    vocabulary = {mark: number for number, mark in enumerate(MARKS)}
    for piece in pieces:
        vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer(
        models.BPE(vocabulary, _merges(pieces, vocabulary), unk_token="<unk>", fuse_unk=True)
    )
    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    first = [normalizers.Precompiled(charsmap)] if charsmap else []
    tokenizer.normalizer = normalizers.Sequence([*first, *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in (*MARKS, *languages, MASK)]
    )
    return tokenizer


def _merges(pieces: dict[str, float], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put two pieces together to a third, the best score first."""
    ways = []
    for piece, score in pieces.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                ways.append((-score, vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(ways)]


def _parse(content: bytes) -> tuple[dict[str, float], int | None, bytes]:
    """Pieces with scores in their order, without the marks; type of model; normalisation table."""
    pieces: dict[str, float] = {}
    kind, charsmap = None, b""
    for field, value in _fields(content):
        if field == 1 and isinstance(value, bytes):
            piece = dict(_fields(value))
            text, score = piece[1], struct.unpack("<f", _bytes(piece.get(2, b"\0\0\0\0")))[0]
            if piece.get(3, NORMAL) not in (UNKNOWN, CONTROL):
                pieces[_bytes(text).decode()] = score
        elif field == 2 and isinstance(value, bytes):
            found = dict(_fields(value)).get(3, 1)
            kind = found if isinstance(found, int) else None
        elif field == 3 and isinstance(value, bytes):
            charsmap = _bytes(dict(_fields(value)).get(2, b""))
    return pieces, kind, charsmap


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("expected bytes")
    return value


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protocol buffers message, as it is on the wire."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(content):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 5: 4}.get(key & 7) or (varint() if key & 7 == 2 else -1)
        if not 0 <= length <= len(content) - at:
            raise ValueError("a field beyond the end")
        yield key >> 3, content[at : at + length]
        at += length


def convert(folder: Path) -> Iterator[str]:
    """Writes tokenizer.json beside the folder's sentencepiece.bpe.model, and reports it.

    Raises:
        InputError: the file cannot be read or is no such model, or the folder cannot be written.
    """
    # Of transformers only the list is wanted, in whose order fairseq numbers the languages.
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    source, target = folder / SOURCE, folder / TOKENIZER
    try:
        tokenizer = nllb_tokenizer(source.read_bytes(), FAIRSEQ_LANGUAGE_CODES)
        target.write_text(tokenizer.to_str() + "\n", encoding="utf-8")
    except (OSError, InputError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).split(": ", 1)[1]
        raise InputError(f"{source}: {reason}") from None
    yield f"{target}: {tokenizer.get_vocab_size()} tokens"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a folder's tokenizer.json; exit code 0, or 2."""
    return converted(convert, "supclap.model.nllb FOLDER", arguments)


if __name__ == "__main__":
    sys.exit(main())

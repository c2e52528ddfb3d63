"""One sound file to 16 kHz mono int16, or the reason why it cannot be had.

Resampling is done in the frequency domain, on blocks of whole seconds: a second is a whole number
of samples at any rate, so every rate is treated alike (a polyphase filter from 44,099 Hz would need
16,000 phases), a file of hours needs no more memory than half a minute, and the processes that
decode need not load PyTorch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from supclap.data.clips import SAMPLE_RATE
from supclap.data.sources.files import OTHER

# A change of what `decode` returns must change this: prepared parts of another version are redone.
VERSION = 1

_BLOCK = 30  # seconds resampled at once
_MARGIN = 1  # seconds on either side of a block that are thrown away again
_PASS, _STOP = 0.95, 1.0  # of the lower Nyquist frequency: where the filter begins and ends to fall
_UNKNOWN = 2**31 - 2**16  # a stream's header gives such a length where its writer knew none


class Unreadable(Exception):
    """The file holds no usable sound; the message is the reason."""


class Silent(Unreadable):
    """Every sample is zero: digital silence, which no caption can be about."""


def decode(path: Path, seconds: float | None = None) -> np.ndarray:
    """The sound of a file: (samples,) int16, 16 kHz, the mean of its channels.

    ``seconds``: read no more than so much from the beginning.

    Raises:
        Unreadable: empty, truncated, NaN or infinite samples, or not a format libsndfile reads.
        Silent: nothing but zeros.
    """
    try:
        if path.stat().st_size == 0:
            raise Unreadable("is an empty file of 0 bytes")
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            wanted = file.frames if seconds is None else min(file.frames, round(seconds * rate))
            if not file.frames:
                raise Unreadable("holds no samples")
            _check_whole(file, path)
            parts = [_to_int16(block) for block in _resampled(_mono(file, wanted), rate)]
            if _short(file, wanted):
                raise Unreadable(
                    f"truncated: {file.tell() / rate:.2f} of {file.frames / rate:.2f} s are there"
                )
    except soundfile.LibsndfileError as error:
        raise Unreadable(_reason(path, error)) from None
    except (OSError, RuntimeError) as error:
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', error)}") from None
    sound = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    if not sound.size:
        raise Unreadable("holds no samples")
    if not sound.any():
        raise Silent("digital silence: every sample is zero")
    return sound


def resample(sound: np.ndarray, rate: int) -> np.ndarray:
    """(samples,) float32 at ``rate`` Hz -> (samples x 16000 / rate, rounded up,) at 16 kHz.

    Band-limited: nothing above 95 % of the lower Nyquist frequency is kept whole, nothing above
    100 % at all, so that nothing folds back.
    """
    blocks = (sound[at : at + rate] for at in range(0, len(sound), rate))
    return np.concatenate([np.zeros(0, np.float32), *_resampled(blocks, rate)])


def _mono(file: soundfile.SoundFile, frames: int) -> Iterator[np.ndarray]:
    """The mean of the channels, second by second: (samples,) float32. Raises Unreadable."""
    left = frames
    while left > 0:
        block = file.read(min(left, _BLOCK * file.samplerate), dtype="float32", always_2d=True)
        if not len(block):
            return
        left -= len(block)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        if not np.isfinite(mono).all():
            at = (frames - left - len(block) + int(np.argmin(np.isfinite(mono)))) / file.samplerate
            raise Unreadable(f"NaN or infinite samples, the first at {at:.3f} s")
        yield mono


def _resampled(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """16 kHz blocks from blocks of any length. The samples of a block depend on the sound alone."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    size, margin = _BLOCK * rate, _MARGIN * rate
    held = np.zeros(margin, np.float32)  # starts with the margin before the next block
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= margin + size + margin:
            yield _convert(held[: margin + size + margin], rate, _BLOCK * SAMPLE_RATE)
            held = held[size:]
    while len(held) > margin:
        rest = min(len(held) - margin, size)
        # Up to whole seconds, and a margin of zeros behind: the transform is circular.
        padded = np.zeros(2 * margin + -(-rest // rate) * rate, np.float32)
        padded[: min(len(held), len(padded))] = held[: len(padded)]
        yield _convert(padded, rate, -(-rest * SAMPLE_RATE // rate))
        held = held[size:] if len(held) > margin + size else held[:0]


def _convert(window: np.ndarray, rate: int, samples: int) -> np.ndarray:
    """The first ``samples`` after the margin of a window of whole seconds, at 16 kHz."""
    length = len(window) // rate * SAMPLE_RATE
    spectrum = np.fft.rfft(window)
    bins = min(len(spectrum), length // 2 + 1)
    limit = min(rate, SAMPLE_RATE) / 2 * len(window) / rate  # in bins
    place = (np.arange(bins) / limit - _PASS) / (_STOP - _PASS)
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip(place, 0, 1))
    sound = np.fft.irfft(spectrum[:bins] * fall, n=length) * (length / len(window))
    start = _MARGIN * SAMPLE_RATE
    return sound[start : start + samples].astype(np.float32)


def _to_int16(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)


def _check_whole(file: soundfile.SoundFile, path: Path) -> None:
    """Raises Unreadable where the container says that there was more.

    libsndfile reads what is left of a truncated file without complaint, but notes in its log that
    the header's length differs from the file's. An Ogg stream's last page carries an end mark.
    """
    for told, found in _LENGTHS.findall(file.extra_info):
        if int(found) < int(told) < _UNKNOWN:
            share = int(found) / int(told)
            raise Unreadable(f"truncated: {share:.0%} of the sound the header tells of are there")
    if file.format == "OGG" and not _ends(path):
        raise Unreadable("truncated: the Ogg stream has no end")


_LENGTHS = re.compile(r"(?:data|SSND|Data Size|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)")


def _ends(path: Path) -> bool:
    with open(path, "rb") as raw:
        raw.seek(max(0, os.path.getsize(path) - 2**17))  # a page has 65,307 bytes at most
        tail = raw.read()
    last = tail.rfind(b"OggS")
    if last < 0 or len(tail) < last + 27 or not tail[last + 5] & 4:
        return False
    segments = tail[last + 27 : last + 27 + tail[last + 26]]
    return len(tail) >= last + 27 + tail[last + 26] + sum(segments)


def _short(file: soundfile.SoundFile, wanted: int) -> bool:
    """Whether fewer frames came than the header promised.

    An MP3's length is counted in frames of 1,152 samples, so the last two may be wanting.
    """
    slack = 2304 if file.format in ("MP3", "MPEG") else 0
    return bool(file.tell() + slack < wanted < 2**60)


def _reason(path: Path, error: soundfile.LibsndfileError) -> str:
    if not os.access(path, os.R_OK):
        return "cannot be read: no permission"
    text = str(error.error_string).strip().removeprefix("Error : ").rstrip(".")
    if path.suffix.lower() in OTHER:
        return f"{path.suffix} is no format libsndfile reads ({text}); transcode it to .flac"
    return f"not decodable: {text}"

"""One sound file to 16 kHz mono int16, or the reason why it cannot be had.

This is the one way of reading: of `supclap prepare`, `supclap embed`, `encode_audio` and the
recorded events of soundscenes. A file is read to the end of what it holds, or refused; no number of
its header is used before it is bounded.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import soundfile

from supclap.data.clips import SAMPLE_RATE
from supclap.data.containers import Stream, streams
from supclap.data.containers.view import View
from supclap.data.downmix import Downmix
from supclap.data.faults import Silent, Unreadable
from supclap.data.resampling import resampled
from supclap.data.sources.files import OTHER, no_file

# A change of what `decode` returns must change this: prepared parts of another version are redone.
VERSION = 3

LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000  # Hz: from loggers of whales to recorders of bats
LONGEST = 12 * 3600  # seconds: 1.4 GB in memory
_AT_ONCE = 2**20  # values of all channels that are read at once
_BOUNDLESS = 2**62  # libsndfile's number of frames where it knows none is greater


def decode(path: Path, seconds: float | None = None) -> np.ndarray:
    """The sound of a file: (samples,) int16, 16 kHz, the mean of its channels.

    ``seconds``: read no more than so much from the beginning.

    Raises:
        Unreadable: not a regular file, empty, truncated, damaged, NaN or infinite samples, a rate
            or a length out of bounds, channels that cancel each other, or not a format that
            libsndfile reads.
        Silent: every sample is the same.
    """
    file = _open(path)
    try:
        held = bytearray()
        downmix = Downmix()
        blocks = _blocks(path, file, streams(file, path.name), seconds, downmix)
        for rate, group in groupby(blocks, key=itemgetter(0)):
            for block in resampled((block for _, block in group), rate):
                held += _to_int16(block).data
                if len(held) > 2 * LONGEST * SAMPLE_RATE:
                    raise Unreadable(f"is longer than {LONGEST // 3600} hours; cut it into parts")
    except soundfile.LibsndfileError as error:
        raise Unreadable(_reason(path, error)) from None
    except (OSError, RuntimeError) as error:
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except MemoryError:
        raise Unreadable("cannot be read: it needs more memory than there is") from None
    finally:
        os.close(file)
    sound = np.frombuffer(held, np.int16)
    if not sound.size:
        raise Unreadable("holds no samples")
    downmix.check()
    if not sound.any():
        raise Silent("digital silence: every sample is zero")
    return sound


def _open(path: Path) -> int:
    """A descriptor of the regular file at ``path``. Raises Unreadable where there is none."""
    fault = no_file(path)
    if fault:
        raise Unreadable(fault)
    try:
        # Not blocking: a named pipe may have taken the file's place.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return file
    os.close(file)
    raise Unreadable("is an empty file of 0 bytes")


def _blocks(
    path: Path, file: int, found: list[Stream], seconds: float | None, downmix: Downmix
) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, (samples,) float32) block by block. Raises Unreadable."""
    used = 0.0
    for stream in found:
        if seconds is not None and used >= seconds:
            return
        with _sound_file(path, file, stream) as source:
            rate, channels = source.samplerate, source.channels
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise Unreadable(
                    f"its header says {rate:,} samples a second; expected {LOWEST_RATE:,} to "
                    f"{HIGHEST_RATE:,}"
                )
            _check_count(source, file)
            wanted = source.frames
            if seconds is not None:
                wanted = min(wanted, round((seconds - used) * rate))
            done = 0
            while done < wanted:
                most = max(_AT_ONCE // channels, 1)
                block = source.read(min(wanted - done, most), dtype="float32", always_2d=True)
                if not len(block):
                    break
                if not np.isfinite(block).all():
                    bad = int(np.argmin(np.isfinite(block).all(axis=1)))
                    at = used + (done + bad) / rate
                    raise Unreadable(f"NaN or infinite samples, the first at {at:.3f} s")
                done += len(block)
                yield rate, downmix.mean(block)
            # mpg123 may keep the last two frames of an MP3 back.
            slack = 2304 if source.format in ("MP3", "MPEG") else 0
            if done + slack < wanted and source.frames < _BOUNDLESS:
                there, promised = used + done / rate, used + source.frames / rate
                raise Unreadable(f"truncated: {there:.2f} of {promised:.2f} s are there")
            used += done / rate


class _Sequential(soundfile.SoundFile):
    """A sound that is read from its beginning to its end.

    soundfile seeks after every read where it may; some codecs cannot, though they say so too late.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _sound_file(path: Path, file: int, stream: Stream) -> Iterator[soundfile.SoundFile]:
    if stream.guessed:
        with _piped(View(file, stream.parts)) as pipe, _Sequential(pipe, closefd=False) as source:
            yield source
    elif list(stream.parts) == [range(os.fstat(file).st_size)]:
        os.lseek(file, 0, os.SEEK_SET)
        # Sound Designer II keeps its header in a second file, which is found by name alone.
        fork = path.with_name(f"._{path.name}").is_file() and path.suffix.lower() != ".raw"
        place = os.fsencode(path) if fork else file
        with _Sequential(place, closefd=False) as source:
            yield source
    else:
        with _Sequential(View(file, stream.parts)) as source:
            yield source


@contextmanager
def _piped(view: View) -> Iterator[int]:
    """The reading end of a pipe with the content of ``view``: a file whose size nobody can ask."""
    reading, writing = os.pipe()
    faults: list[OSError] = []

    def write() -> None:
        try:
            with open(writing, "wb", buffering=0) as pipe:
                shutil.copyfileobj(view, pipe, 2**16)
        except BrokenPipeError:
            pass  # the reader has enough
        except OSError as error:
            faults.append(error)

    writer = threading.Thread(target=write, name="decode", daemon=True)
    writer.start()
    try:
        yield reading
    finally:
        os.close(reading)
        writer.join()
    if faults:
        raise faults[0]


def _to_int16(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)


def _check_count(source: soundfile.SoundFile, file: int) -> None:
    """Raises Unreadable where the header counts more frames than there are.

    For formats whose own number libsndfile does not hold against the file's size, but writes into
    its log or leaves in the header.
    """
    there = promised = source.frames
    if source.format == "NIST":
        head = os.pread(file, 1024, 0).decode("latin-1")
        promised = _last(r"sample_count -i (\d+)", head, promised)
    elif source.format == "SDS":  # the number of frames is the header's, what lacks is made up
        there = _last(r"Frames\s*:\s*(\d+)", source.extra_info, there)
    elif source.format in _COUNTS:
        promised = _last(_COUNTS[source.format], source.extra_info, promised)
    elif source.format == "VOC" and "truncated" in source.extra_info:
        raise Unreadable("truncated: its header promises more sound than is there")
    if there < promised:
        share = there / promised
        raise Unreadable(f"truncated: {share:.0%} of the sound that its header promises is there")


def _last(pattern: str, text: str, default: int) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else default


_COUNTS = {
    "AVR": r"Frames\s*:\s*(\d+)",
    "MPC2K": r"Frames\s*:\s*(\d+)",
    "MAT4": r"Cols\s*:\s*(\d+)",
    "MAT5": r"Cols\s*:\s*(\d+)",
    "WVE": r"Data length (\d+) should be",
}


def _reason(path: Path, error: soundfile.LibsndfileError) -> str:
    text = str(error.error_string).strip().removeprefix("Error : ").rstrip(".")
    if path.suffix.lower() in OTHER:
        return f"{path.suffix} is no format libsndfile reads ({text}); transcode it to .flac"
    if "lost sync" in text:
        return f"truncated or damaged: {text}"
    return f"not decodable: {text}"

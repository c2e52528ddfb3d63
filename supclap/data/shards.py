"""Decodes many files at once into small Arrow files, each of which is whole or absent.

A shard holds the sound of a few clips, or the reason why a clip has none. Its name is a hash of
what went in (the files' names, sizes and times, and how they are decoded), so that a shard found
on disk is one that need not be made again, whoever made it.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import pyarrow as pa

from supclap.data.decode import VERSION, decode
from supclap.data.faults import Silent, Unreadable
from supclap.data.sources.listing import SILENT, UNREADABLE
from supclap.environment import environment
from supclap.errors import InputError
from supclap.regular import check_regular

CLIPS_PER_SHARD = 16
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_SCHEMA = pa.schema(
    [
        *(("audio", pa.large_list(pa.int16())), ("kind", pa.string()), ("reason", pa.string())),
        ("check", pa.uint32()),  # of the row's other columns
    ]
)


@dataclass(frozen=True)
class Sound:
    """One decoded file: (samples,) int16, or a ``kind`` of loss and its ``reason``."""

    audio: np.ndarray
    kind: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Shard:
    """The files that are decoded together, and where the result lies."""

    target: Path
    paths: tuple[Path, ...]
    seconds: float | None

    @property
    def done(self) -> bool:
        """Whether it is there as it was written: what is damaged is made again."""
        try:
            check_regular(self.target)
            with pa.memory_map(str(self.target)) as source:
                reader = pa.ipc.open_file(source)
                if reader.num_record_batches != len(self.paths) or reader.schema != _SCHEMA:
                    return False
                return all(_whole(reader.get_batch(n)) for n in range(reader.num_record_batches))
        except (OSError, pa.ArrowException, ValueError):  # absent, or cut off by a power cut
            return False

    def sounds(self) -> Iterator[Sound]:
        """The sounds in the order of ``paths``; the audio is a view into a memory map."""
        with pa.memory_map(str(self.target)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield _sound(reader.get_batch(number))


def plan(
    work: Path, root: Path, split: str, paths: Sequence[Path], seconds: float | None
) -> list[Shard]:
    """The shards of a split's files, to lie in the folder ``work``."""
    shards = []
    for at in range(0, len(paths), CLIPS_PER_SHARD):
        chosen = tuple(paths[at : at + CLIPS_PER_SHARD])
        facts = [file_facts(root, path) for path in chosen]
        # With its place, as an index may name the same files twice.
        made_of = json.dumps([VERSION, seconds, split, at, facts])
        digest = hashlib.sha256(made_of.encode()).hexdigest()
        shards.append(Shard(work / f"{digest[:32]}.arrow", chosen, seconds))
    return shards


def file_facts(root: Path, path: Path) -> tuple[str, int, int]:
    """What shows whether a file is still the one it was: name, bytes, time of change.

    -1 where there is none, as behind a broken link: decoding says so.
    """
    name = os.path.relpath(path, root)
    try:
        status = path.stat()
    except OSError:
        return name, -1, -1
    return name, status.st_size, status.st_mtime_ns


def make(shards: Sequence[Shard], workers: int) -> Iterator[int]:
    """Decodes the shards, in ``workers`` processes; yields the clips of each as it is done.

    One worker works in this process.

    Raises:
        OSError: a shard could not be written, as on a full disk; the others are kept.
    """
    if workers == 1 or len(shards) == 1:
        for shard in shards:
            yield _make(shard)
        return
    crew = []
    try:
        with environment(**_ONE_THREAD):  # each: they are as many as there is work for
            for _ in range(min(workers, len(shards))):
                crew.append(_Worker())
        waiting = iter(shards)
        busy = {worker.pipe: worker for worker in crew}
        for worker in crew:
            worker.give(next(waiting))
        while busy:
            for pipe in wait(busy):
                worker = busy[pipe]  # type: ignore[index]
                yield worker.take()
                following = next(waiting, None)
                if following is None:
                    del busy[worker.pipe]
                else:
                    worker.give(following)
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process that decodes one shard after the other.

    Not an executor of the standard library: that one waits for its processes when interrupted, and
    leaves them waiting when killed. Here the pipe is the only tie, and closes with either end.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self._process = context.Process(target=_work, args=(far_end,), daemon=True)
        self._process.start()
        far_end.close()

    def give(self, shard: Shard) -> None:
        try:
            self.pipe.send(shard)
        except BrokenPipeError:
            raise InputError(_KILLED) from None

    def take(self) -> int:
        try:
            answer: int | Exception = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise InputError(_KILLED) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


_KILLED = (
    "a decoding process was killed, as happens where memory runs out; run the same command again "
    "to go on, with fewer --workers"
)


def _work(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    while True:
        try:
            shard = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_make(shard))
        except BrokenPipeError:
            return
        except Exception as error:
            error.add_note(traceback.format_exc())  # else lost on the way to the other process
            pipe.send(error)


def _make(shard: Shard) -> int:
    scratch = shard.target.with_suffix(f".{os.getpid()}.part")
    try:
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
            for path in shard.paths:
                writer.write_batch(_record_batch(_decode(path, shard.seconds)))
        os.replace(scratch, shard.target)
    finally:
        scratch.unlink(missing_ok=True)
    return len(shard.paths)


def _decode(path: Path, seconds: float | None) -> Sound:
    try:
        return Sound(decode(path, seconds))
    except Silent as silence:
        return Sound(np.zeros(0, np.int16), SILENT, str(silence))
    except Unreadable as fault:
        return Sound(np.zeros(0, np.int16), UNREADABLE, str(fault))


def _record_batch(sound: Sound) -> pa.RecordBatch:
    offsets = pa.array([0, len(sound.audio)], pa.int64())
    audio = pa.LargeListArray.from_arrays(offsets, pa.array(sound.audio, pa.int16()))
    words = [pa.array([text]) for text in (sound.kind, sound.reason)]
    check = pa.array([_check(sound)], pa.uint32())
    return pa.RecordBatch.from_arrays([audio, *words, check], schema=_SCHEMA)


def _sound(batch: pa.RecordBatch) -> Sound:
    kind, reason = (batch.column(name)[0].as_py() for name in ("kind", "reason"))
    return Sound(batch.column("audio").values.to_numpy(), kind, reason)


def _check(sound: Sound) -> int:
    words = f"{sound.kind}\0{sound.reason}".encode("utf-8", "surrogatepass")
    return zlib.crc32(np.ascontiguousarray(sound.audio).data, zlib.crc32(words))


def _whole(batch: pa.RecordBatch) -> bool:
    """Whether a row is what was written."""
    batch.validate(full=True)
    if batch.num_rows != 1 or any(column.null_count for column in batch.columns):
        return False
    sound = _sound(batch)
    lies = batch.column("audio").offsets.to_pylist() == [0, len(sound.audio)]
    return lies and batch.column("check")[0].as_py() == _check(sound)

"""The files of a run's folder: their names and how each is written. Nothing else knows them.

    config.json               the configuration
    events.jsonl              the events so far, one line each
    checkpoints/latest.json   while the run is not finished: which checkpoint is the last good one
    model/                    the best epoch's model
    ranks.npz                 ranks of the test split's queries
    result.json               written last: where it is, the run is finished. An empty one says that
                              another process works on the run, in another folder

`supclap.record` writes them as a run goes; the platform's ledger reads them.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from supclap.errors import InputError, TakenOver
from supclap.events import Finished, Started
from supclap.storage import Folder
from supclap.stored import Damaged, as_kind, read_content, read_values, sealed

if TYPE_CHECKING:
    import numpy as np

CONFIG = "config.json"
EVENTS = "events.jsonl"
RESULT = "result.json"
RANKS = "ranks.npz"
MODEL, MODEL_INDEX = "model", "model.json"  # the folder, and what says what it holds
CHECKPOINTS, LATEST = "checkpoints", "latest.json"
POINTER = f"{CHECKPOINTS}/{LATEST}"
# What the arrays of ranks.npz hold, by the second half of their names: the least and the most.
_ENDS = {"ranks": (0, 2**53), "clips": (0, 2**53), "precision": (0.0, 1.0)}
# Of the start, what the result repeats.
RECORDED = ("epochs", "workers", "code", "data", "made_with", "ran_on", "setup_seconds")
FILES = "files"  # in the result: the SHA-256 of each file that belongs to it
ANEW = f"remove {RESULT} beside it and run again"  # where one of those is damaged


@contextmanager
def writing(folder: Folder) -> Iterator[None]:
    """Turns the system's complaint about a write into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder.uri}: cannot be written: {error.strerror or error}; what was written before "
            "is whole, and the same command goes on from there"
        ) from error


def config_file(config: Mapping[str, Any]) -> bytes:
    """The content of config.json: a configuration as plain values."""
    return (json.dumps(config, indent=1) + "\n").encode()


def events_file(lines: Iterable[str]) -> bytes:
    """The content of events.jsonl; each line as `supclap.events.to_line` makes it."""
    return "".join(f"{line}\n" for line in lines).encode()


def ranks_file(ranks: Mapping[str, np.ndarray]) -> bytes:
    """The content of ranks.npz: arrays by name (`supclap.measurement.Measured.ranks`)."""
    import numpy as np

    packed = io.BytesIO()
    np.savez(packed, **ranks)  # type: ignore[arg-type]
    return packed.getvalue()


def result_file(
    started: Started, finished: Finished, kept: Mapping[str, bytes] | None = None
) -> bytes:
    """The content of result.json.

    Args:
        kept: the files that belong to the result and are read back later: their hashes are noted.
    """
    values: dict[str, Any] = asdict(finished) | {key: getattr(started, key) for key in RECORDED}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in (kept or {}).items()}
    return sealed({**values, FILES: hashes}, indent=1)


def publish(folder: Folder, result: bytes) -> None:
    """Writes a run's result, once and for all.

    Raises TakenOver where another process has ended the run in this folder; OSError.
    """
    if folder.first(RESULT, result) != result:
        raise TakenOver(f"{folder.uri}: another process has taken this run over, or finished it")


def read_kept(folder: Folder, name: str, hashes: Mapping[str, str] | None = None) -> bytes:
    """A file that a finished run keeps beside its result.

    Args:
        hashes: as the result has them; by default they are read from there.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is not the one that belongs to the result. Earlier versions noted no hashes.
    """
    if hashes is None:
        hashes = as_kind(read_values(folder, RESULT), _Hashes, folder.uri_of(RESULT)).files
    content = read_content(folder, name, ANEW)
    if hashes.get(name) not in (None, hashlib.sha256(content).hexdigest()):
        raise Damaged(folder.uri_of(name), f"cut off or altered since {RESULT}", ANEW)
    return content


def parse_ranks(content: bytes, where: str, only: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of ranks.npz, each of numbers that its name allows.

    Args:
        only: just the array of that name, where there is one.

    Raises:
        Damaged: it is not what `ranks_file` gave.
    """
    import numpy as np

    found: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > len(content):
                raise ValueError("its arrays are larger than the file")
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if only not in (None, name):
                    continue
                packed = archive.read(info)  # compares its checksum
                found[name] = _array(packed)
    except Exception as error:  # zipfile and numpy fail in many ways on damaged bytes
        raise Damaged(where, str(error) or type(error).__name__, ANEW) from None
    for name, array in found.items():
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise Damaged(where, f"{name}: {array.dtype} of shape {array.shape}", ANEW)
        low, high = _ENDS.get(name.partition("_")[2], (-np.inf, np.inf))
        if array.size and not (low <= array.min() and array.max() <= high):
            raise Damaged(where, f"{name}: from {array.min()} to {array.max()}", ANEW)
        clips = found.get(f"{name.partition('_')[0]}_clips")
        if clips is not None and len(clips) != len(array):
            raise Damaged(where, f"{name}: {len(array)} numbers for {len(clips)} queries", ANEW)
    return found


def _array(packed: bytes) -> np.ndarray:
    """A .npy file; its header is compared with its size before memory is taken for it."""
    import numpy as np

    file = io.BytesIO(packed)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    shape, _, kind = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    if kind.hasobject or math.prod(shape) * kind.itemsize != len(packed) - file.tell():
        raise ValueError(f"an array of {kind} and shape {shape} in {len(packed)} bytes")
    file.seek(0)
    array: np.ndarray = np.load(file, allow_pickle=False)
    return array


@dataclass(frozen=True)
class _Hashes:
    files: dict[str, str] = field(default_factory=dict)

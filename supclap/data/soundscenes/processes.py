"""An ordered map over several processes that works wherever it is called from.

`multiprocessing` cannot do it: fork is unsafe beside the threads of PyTorch and Ray, spawn runs
the caller's script again unless it is guarded, and a process that is itself a daemon may have no
children. So plain interpreters are started on this module; they take pickled work from standard
input, answer on standard output, and end when their parent does, because their input ends.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16  # items per message
_AHEAD = 2  # messages a process has waiting, so that it never idles


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """``function`` of every item, in the items' order, computed by ``workers`` processes.

    With one worker it runs in this process. ``function`` must be picklable; an exception that it
    raises is raised here.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    processes = [_start() for _ in range(min(workers, len(chunks)))]
    try:
        for process in processes:
            _send(process, function)
        for number, chunk in enumerate(islice(chunks, _AHEAD * len(processes))):
            _send(processes[number % len(processes)], chunk)
        for number in range(len(chunks)):
            process = processes[number % len(processes)]
            results = _receive(process)
            following = number + _AHEAD * len(processes)
            if following < len(chunks):
                _send(process, chunks[following])
            yield from results
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _start() -> subprocess.Popen[bytes]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _send(process: subprocess.Popen[bytes], message: object) -> None:
    assert process.stdin is not None
    try:
        pickle.dump(message, process.stdin, protocol=5)
        process.stdin.flush()
    except BrokenPipeError:
        _ended(process)


def _receive(process: subprocess.Popen[bytes]) -> list[Any]:
    assert process.stdout is not None
    try:
        answer: list[Any] | Exception = pickle.load(process.stdout)
    except EOFError:
        _ended(process)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _ended(process: subprocess.Popen[bytes]) -> None:
    raise RuntimeError(
        f"a process that makes clips ended early (exit code {process.wait()}); "
        "it may have been killed for want of memory"
    )


def serve() -> None:
    """What a process does: first a function comes in, then lists of items to answer."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not get among the answers
    try:
        function = pickle.load(source)
        while True:
            items = pickle.load(source)
            try:
                answer: object = [function(item) for item in items]
            except Exception as error:
                answer = error
            pickle.dump(answer, sink, protocol=5)
            sink.flush()
    except (EOFError, BrokenPipeError):
        os._exit(0)  # the parent is done, or gone: nobody is left to report to

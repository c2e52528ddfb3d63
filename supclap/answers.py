"""Questions that may never be answered, such as those to a store, asked all at once for so long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from supclap.errors import InputError
from supclap.wording import gist

Answer = TypeVar("Answer")


def answers(asks: Sequence[Callable[[], Answer]], seconds: float) -> list[Answer | InputError]:
    """What each of them gives, or why it gives nothing: what it raises, or that the time is over.

    What is not over then goes on in a thread of its own: each of them needs a limit of its own too,
    as a process ends only when they are over. (To end in the midst of one breaks S3's library.)
    """
    found: dict[int, Answer | InputError] = {}

    def ask(number: int) -> None:
        try:
            found[number] = asks[number]()
        except InputError as error:
            found[number] = error
        except Exception as error:  # of the libraries between here and there, whichever it is
            found[number] = InputError(gist(error))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(asks))]
    until = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    silent = InputError(f"no answer within {seconds:g} s; look at the network, then ask again")
    return [found.get(number, silent) for number in range(len(asks))]

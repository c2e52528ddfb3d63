"""What Ray Train's errors are about: the error that one worker, or starting them, ended in."""

from __future__ import annotations

from collections.abc import Iterator

from supclap.wording import gist

# What workers say whose neighbour has ended: it is never the cause.
_ECHOES = ("connection closed by peer", "connection reset", "gloo/transport", "nccl", "broken pipe")


def root_cause(error: BaseException) -> str:
    """The whole message of the error that Ray Train's own wraps; its type, where it has none.

    Of several workers' errors it is the first that is no mere echo of another's end.
    """
    texts = [_text(inner) for inner in _inner(error)]
    own = [text for text in texts if not any(echo in text.lower() for echo in _ECHOES)]
    return (own or texts or [_text(error)])[0]


def _inner(error: BaseException) -> Iterator[BaseException]:
    yield from getattr(error, "worker_failures", {}).values()
    starting = getattr(error, "controller_failure", None)
    if starting is not None:
        yield starting


def _text(error: BaseException) -> str:
    """The message of the innermost error: Ray carries others' as `cause` or `_base_exc`, and shows
    in their place a whole traceback."""
    seen = {id(error)}
    while True:
        attributes = (getattr(error, name, None) for name in ("cause", "_base_exc"))
        found = [a for a in attributes if isinstance(a, BaseException) and id(a) not in seen]
        if not found:
            break
        error = found[0]
        seen.add(id(error))
    name, text = type(error).__name__, gist(error, None)
    return text if text == name else f"{name}: {text}"

"""The one exception that means "what you gave cannot be used"."""

from collections.abc import Iterable
from difflib import get_close_matches

INTERRUPTED = 130  # the exit code of a command that Ctrl-C or SIGTERM ended, as in a shell


class InputError(ValueError):
    """A mistake in the input, told in one line: where, what was expected, what to do.

    The command line prints the line without a traceback and exits with code 2. Whatever is a fault
    of the program itself must not be raised as this class.
    """


def nearest(word: str, valid: Iterable[str]) -> str:
    """A hint at the valid name closest to ``word``: ``"; did you mean 'epochs'?"`` or ``""``."""
    found = get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""

"""SIGTERM and SIGHUP end a command as Ctrl-C does, whenever they come."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from supclap.interruption import asked_to_end, interruptible

BOTH = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As in a shell's foreground: Ctrl-C is KeyboardInterrupt, the others the system's."""
    kinds = (signal.SIGINT, *BOTH)
    before = [signal.getsignal(number) for number in kinds]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in BOTH:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in zip(kinds, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_it_interrupts_also_where_a_shell_has_ctrl_c_ignored(
    number: signal.Signals, ctrl_c: signal.Handlers
) -> None:
    signal.signal(signal.SIGINT, ctrl_c)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


def test_it_is_answered_by_whatever_answers_ctrl_c() -> None:
    heard: list[int] = []
    with interruptible():
        signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
        for number in BOTH:
            signal.raise_signal(number)
    assert heard == [signal.SIGINT, signal.SIGINT]


def test_a_terminal_is_closed_once_though_shell_and_kernel_both_say_so() -> None:
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


class Finalized:
    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize("number", BOTH)
def test_a_wish_to_end_that_a_finalizer_has_swallowed_is_known(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: dropped.append(found.exc_type))
    with interruptible():
        assert not asked_to_end()
        Finalized(number)
        assert dropped == [KeyboardInterrupt]  # nobody was interrupted
        assert asked_to_end()
    assert not asked_to_end()


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_fork_is_ended_as_any_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    with interruptible():
        monkeypatch.setattr(os, "getpid", lambda: -7)
        monkeypatch.setattr(os, "kill", lambda *given: sent.append(given))
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert sent == [(-7, signal.SIGTERM)]

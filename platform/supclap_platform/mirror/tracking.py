"""The driver's tracker: mirrors the ledger to MLflow beside a run, which it never stops or slows.

A thread of its own does all the work, importing MLflow and creating the store included; the driver
only says that there may be something new. Whatever fails is reported once and tried again. MLflow
is a view: what is missing when the driver ends is added by the next run, or by `supclap sync`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import click

from supclap.progress import activity
from supclap.secrets import masked
from supclap.wording import gist
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.history import Histories, now
from supclap_platform.ledger.journal import Account
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.store import Store, choose_store

PAUSE = (1.0, 10.0)  # seconds between two looks, at least and at most
SHARE = 0.05  # of the time goes into looks, as long as that needs no longer pause
REASONS = ("connection refused", "timed out", "no space left", "disk is full", "database is locked")
RETRY = (2.0, 60.0)  # seconds between attempts at a store that is away: at first, at most
PATIENCE = 60.0  # seconds that `close` waits for a store that works
LAST_LOOK = 10.0  # and where a run was stopped


Giver = Callable[[Experiment, Ledger], Account]


def _to_terminal(line: str) -> None:
    click.echo(line, err=True)


def open_tracker(
    experiment: Experiment,
    cells: Sequence[Cell],
    ledger: Ledger,
    uri: str | None = None,
    say: Callable[[str], None] = _to_terminal,
    account: Giver | None = None,
    resting: bool = False,
) -> Tracker:
    """Begins to mirror a run of an experiment; returns at once.

    Call it in the driver, after `plan.remember`. Runs that an earlier driver left RUNNING in this
    experiment are mended on the way.

    Args:
        uri: of the tracking store; by default $MLFLOW_TRACKING_URI, else SQLite in the storage.
        say: is given each line for the user. It is called from another thread.
        account: what the experiment says at a moment, in words; called from that thread too.
        resting: the run has nothing to train: a store that is known to show all is not opened.

    Raises:
        InputError: a URI that MLflow cannot use. A server that does not answer is no mistake: it
            is reported through ``say``, and the run goes on.
    """
    store = choose_store(uri, ledger.storage)
    return Tracker(experiment, cells, ledger, store, say, account, resting)


@contextmanager
def tracked(
    experiment: Experiment,
    cells: Sequence[Cell],
    ledger: Ledger,
    uri: str | None,
    say: Callable[[str], None],
    account: Giver | None = None,
    resting: bool = False,
) -> Iterator[Tracker]:
    """`open_tracker`, for a run that closes it itself. Whatever ends the run before that, such as
    Ctrl-C, leaves it KILLED in MLflow; what ends it while it is being closed leaves it closed."""
    tracker = open_tracker(experiment, cells, ledger, uri, say, account, resting)
    try:
        yield tracker
    except BaseException:
        tracker.close("KILLED", patience=LAST_LOOK)
        raise


class Tracker:
    """Mirrors one run of an experiment. None of its methods raises for MLflow's sake."""

    def __init__(
        self,
        experiment: Experiment,
        cells: Sequence[Cell],
        ledger: Ledger,
        store: Store | None,
        say: Callable[[str], None] = _to_terminal,
        account: Giver | None = None,
        resting: bool = False,
    ) -> None:
        self.store = store
        self._say = say
        self._experiment = experiment
        self._ledger = ledger
        self._histories = Histories(ledger)
        self._history = self._histories.begin(experiment, cells)
        self._presence = self._histories.attend(self._history)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._idle = threading.Event()  # all that was new at the last look is in MLflow
        self._trouble = False
        self._mirror: Mirror | None = None
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()  # the next look is waited for
        self._looks = threading.Condition()
        self._begun = self._over = 0  # looks
        if store is None:
            say(
                "MLflow: the storage is not on this machine and no tracking URI is given "
                "(--tracking-uri); `supclap sync` can show the run later"
            )
            return
        self._mirror = Mirror(ledger, store, self._history, driving=True)
        if account is not None:
            give = account
            self._mirror.account = lambda: give(self._experiment, self._ledger)
        if not (resting and self._mirror.marked()):
            self._start()

    def catch_up(self) -> None:
        """Says that cells may have reported something. Returns at once; call it often."""
        self._start()
        self._wake.set()

    def settle(self, account: Account, patience: float = LAST_LOOK) -> None:
        """Waits until MLflow shows what there is by now, where it can be used: what is written next
        leads to its runs.

        Args:
            account: what the experiment says now.
        """
        if self._mirror is None or self._thread is None:
            return
        self._mirror.account = lambda: account
        with self._looks:
            wanted = self._begun + 1
            self._hurry.set()
            self._wake.set()
            self._looks.wait_for(lambda: self._over >= wanted or self._trouble, patience)

    def widen(self, experiment: Experiment, cells: Sequence[Cell]) -> None:
        """Says that the run goes on with more cells. Returns at once."""
        self._experiment = experiment
        self._history = self._histories.begin(experiment, cells)
        if self._mirror is not None:
            self._mirror.history = self._history
            self._mirror.wanted = {cell.signature for cell in cells}
        self.catch_up()

    @activity("bringing MLflow up to date")
    def close(
        self,
        status: str = "FINISHED",
        artifacts: Mapping[str, bytes] | None = None,
        patience: float = PATIENCE,
        account: Account | None = None,
        ended: int | None = None,
    ) -> bool:
        """Ends the run of the experiment in MLflow; cells that are not finished end as KILLED.
        Called once more, it waits once more, and the first call's status and files stay.

        The parent run shows the experiment file and ``artifacts``. The ledger keeps them too:
        `supclap sync` takes them from there.

        Args:
            status: FINISHED, FAILED (a cell did) or KILLED (interrupted).
            artifacts: files for the parent run (tables, figures, the report), by relative name.
            patience: seconds to wait for a store that works; one that is away is tried once.
            account: what the experiment says at its end, where that is known already.
            ended: when it was over, where its report says so: in milliseconds since 1970.

        Returns:
            Whether MLflow shows all that the ledger has.
        """
        if not self._closing.is_set():
            if self._mirror is not None and account is not None:
                self._mirror.account = lambda: account
            self._end(status, artifacts or {}, ended)
        if self._mirror is None:
            return False
        if self._thread is None and account is not None:
            self._mirror.history = self._history
            if self._mirror.is_shown(account):
                return True
        self._wake.set()
        thread = self._start()
        assert thread is not None
        thread.join(patience)
        if thread.is_alive() or not self._idle.is_set():
            self._say(f"MLflow lacks a part of this run; `supclap sync` adds it ({self._place()})")
            return False
        return True

    def _end(self, status: str, artifacts: Mapping[str, bytes], ended: int | None) -> None:
        """Notes in the ledger how the run has ended."""
        try:
            self._history = self._histories.end(self._history, status, ended)
            self._histories.keep(self._history, artifacts)
        except OSError as error:  # a full disk: how it ended is shown, if not kept
            self._history = replace(self._history, status=status, ended=ended or now())
            place = self._histories.folder(self._history).uri
            self._say(f"{place}: cannot be written: {error.strerror or gist(error)}")
        self._presence.release()
        self._closing.set()
        self._hurry.set()

    def _start(self) -> threading.Thread | None:
        """The thread, at work from now on at the latest; None where there is nothing to look at."""
        if self._thread is None and self._mirror is not None:
            self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
            self._wake.set()
            self._thread.start()
        return self._thread

    def _work(self) -> None:
        """The thread: looks when it is woken, waits, and at the end looks once more."""
        wait = RETRY[0]
        while True:
            self._wake.wait()
            with self._looks:
                self._wake.clear()
                self._hurry.clear()
                self._begun += 1
            closing = self._closing.is_set()
            start = time.monotonic()
            done = self._look(closing)
            with self._looks:
                self._over = self._begun
                self._looks.notify_all()
            if closing and (done or self._trouble):
                return
            if done:
                wait = RETRY[0]
                spent = time.monotonic() - start
                self._pause(min(max(PAUSE[0], spent / SHARE - spent), PAUSE[1]))
            else:
                self._wake.set()  # what is missing is not forgotten
                self._pause(wait if self._trouble else PAUSE[0])
                wait = min(2 * wait, RETRY[1])

    def _pause(self, seconds: float) -> None:
        """Waits, unless the run is about to end."""
        if not self._closing.is_set():
            self._hurry.wait(seconds)

    def _look(self, closing: bool) -> bool:
        """One attempt. Whether MLflow now shows what the ledger had when it began."""
        mirror = self._mirror
        assert mirror is not None
        self._idle.clear()
        try:
            if closing:
                mirror.driving = False
                mirror.closing = True
                mirror.history = self._history
            done = mirror.catch_up()
            if closing and done:
                mirror.mark()
        except Exception as error:  # a view must never stop what it shows
            if not self._trouble:
                why = masked(reason(error), self.store.uri if self.store else "")
                self._say(
                    f"MLflow at {self._place()} cannot be used now ({why}); the run goes on and "
                    "catches up when it is back"
                )
            self._trouble = True
            return False
        if done and self._trouble:
            self._say(f"MLflow at {self._place()} is back, and up to date")
            self._trouble = False
        if done:
            self._idle.set()
        return done

    def _place(self) -> str:
        return self.store.shown if self.store else "nowhere"


def reason(error: BaseException) -> str:
    """Why MLflow cannot be used, in few words where it is one of the common reasons."""
    text = gist(error, None).lower()
    return next((known for known in REASONS if known in text), gist(error, 120))

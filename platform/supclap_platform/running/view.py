"""The live view: redrawn calmly on a terminal; in a log file a plain line, rarely."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from supclap.wording import duration
from supclap_platform.running.monitor import LINES
from supclap_platform.running.progress import Progress, Running

FIRST_LINE, LINE_EVERY = 15.0, 60.0  # seconds between plain lines: at first, and in the long run
FRESH = 0.3  # seconds; a grid of thousands of short cells must not be slowed by its picture
BAR = 12  # cells wide
_STYLES = {
    "done": "green",
    "running": "cyan",
    "elsewhere": "cyan",
    "failed": "bold red",
    "blocked": "red",
    "waiting": "dim",
}


class View:
    """Shows progress as it comes. Use it as a context manager."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(console=console, refresh_per_second=2, transient=True, screen=False)
        self._troubles: set[str] = set()
        self._pause = FIRST_LINE
        self._shown = -FRESH
        self._next = clock() + FIRST_LINE

    def due(self) -> bool:
        """Whether a look is worth its cost: what was shown is no longer fresh."""
        return self._clock() >= self._shown + FRESH

    def show(self, progress: Progress) -> None:
        """Redraws, or writes a plain line where one is due."""
        self._shown = self._clock()
        for trouble in progress.troubles:
            if trouble not in self._troubles:
                self._troubles.add(trouble)
                self.say(trouble, "red")
        if self._console.is_terminal:
            self._live.update(drawn(progress))
        elif self._clock() >= self._next:
            self._pause = min(2 * self._pause, LINE_EVERY)
            self._next = self._clock() + self._pause
            self._console.print(Text(line(progress)), soft_wrap=True)

    def say(self, text: str, style: str = "") -> None:
        """A line that stays, above the view."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()


def drawn(progress: Progress) -> RenderableType:
    """The overview for a terminal."""
    head = Text(progress.title, style="bold")
    times = [] if progress.seconds is None else [duration(progress.seconds)]
    if progress.seconds_left is not None:
        times.append(f"about {duration(progress.seconds_left)} left")
    if progress.money:
        times.append(progress.money)
    if times:
        head.append(f"   {', '.join(times)}", style="dim")
    counts = Text()
    for state, count in progress.counts.items():
        counts.append(f"{count} {state}   ", style=_STYLES.get(state, ""))
    table = Table.grid(padding=(0, 2))
    for one in progress.running[:LINES]:
        table.add_row(
            Text(one.label, overflow="ellipsis"), _bar(one), Text(one.state), _metric(one)
        )
    more = len(progress.running) - LINES
    looks = [Text(progress.look)] if progress.look else []
    parts: list[RenderableType] = [head, *looks, counts, table]
    if more > 0:
        parts.append(Text(f"and {more} more", style="dim"))
    return Group(*parts)


def line(progress: Progress) -> str:
    """The overview as one plain line."""
    counts = ", ".join(f"{count} {state}" for state, count in progress.counts.items())
    shown = [f"{one.label}: {one.state} {_metric(one)}".rstrip() for one in progress.running[:2]]
    if len(progress.running) > 2:
        shown.append(f"and {len(progress.running) - 2} more")
    left = (
        f"about {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    )
    since = "" if progress.seconds is None else f"{duration(progress.seconds)}: "
    parts = [since + counts, progress.look, "; ".join(shown), left, progress.money]
    return " | ".join(part for part in parts if part)


def _bar(one: Running) -> Text:
    full = int(one.share * BAR)
    return Text("━" * full, style="cyan").append("━" * (BAR - full), style="dim")


def _metric(one: Running) -> str:
    return "" if one.value is None else f"{one.metric} {one.value:.1f}"

"""What the live view, a log and `supclap status` show, from events alone."""

import io

from rich.console import Console
from supclap_platform.running.progress import (
    Progress,
    Running,
    running,
    seconds_left,
    seconds_per_epoch,
)
from supclap_platform.running.view import LINE_EVERY, View, drawn, line

from supclap.events import EpochEnded, Finished, Started

STARTED = Started({}, "code", "data", 1, 4, 10, 1000)
EPOCHS = [EpochEnded(n, 10 * n, 2.0 * n, {"val.t2a.R@1": 10.0 * n}) for n in (1, 2)]


def progress(seconds: float = 0.0, troubles: tuple[str, ...] = ()) -> Progress:
    one = Running("InfoNCE, seed 0", 2, 4, "val.t2a.R@1", 20.0, 6.0)
    return Progress("quick (laptop)", {"running": 1, "done": 3}, (one,), troubles, seconds, 90.0)


def test_a_running_cell_is_told_by_its_events() -> None:
    assert running("a", [], "val.t2a.R@1") == Running("a", 0, None, "val.t2a.R@1", None, None)
    found = running("a", [STARTED, *EPOCHS], "val.t2a.R@1")
    # Two epochs took 2 s and 4 s, so the two that are left take twice the mean.
    assert found == Running("a", 2, 4, "val.t2a.R@1", 20.0, 6.0)


def test_a_finished_cells_pace_includes_its_last_measurement() -> None:
    assert seconds_per_epoch([STARTED]) is None
    assert seconds_per_epoch([STARTED, *EPOCHS]) == 3.0
    assert seconds_per_epoch([STARTED, *EPOCHS, Finished(2, 20, 10.0)]) == 5.0


def test_the_time_left_weighs_cells_by_their_shape() -> None:
    at_work = [running("a", [STARTED, *EPOCHS], "m")]  # 6 s to go
    # By hand: 4 epochs at 1 s, and 4 of an unknown shape at the mean of 1 s and 3 s; two at once.
    waiting = [("small", 4), ("unknown", 4)]
    assert seconds_left(waiting, at_work, {"small": 1.0, "large": 3.0}, 2) == (4 + 8 + 6) / 2
    assert seconds_left([], at_work, {"small": 1.0}, 2) == 6.0  # the last cell cannot be shared
    assert seconds_left(waiting, [], {}, 2) is None


def test_a_log_gets_few_lines_and_every_failure_at_once() -> None:
    now = 0.0
    out = io.StringIO()
    with View(Console(file=out, width=80), clock=lambda: now) as view:
        for second in range(601):
            now = float(second)
            view.show(progress(now, ("failed: SVR, seed 1: killed",) if second >= 100 else ()))
    lines = out.getvalue().splitlines()
    assert lines.count("failed: SVR, seed 1: killed") == 1
    assert 600 / LINE_EVERY <= len(lines) - 1 <= 600 / LINE_EVERY + 3
    assert lines[0] == (
        "15 s: 1 running, 3 done | InfoNCE, seed 0: epoch 2/4 val.t2a.R@1 20.0 | "
        "about 1 min 30 s left"
    )


def test_a_terminal_shows_cells_by_state_and_what_runs() -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(drawn(progress(30.0)))
    text = console.export_text()
    for part in ("quick (laptop)", "30 s, about 1 min 30 s left", "3 done", "epoch 2/4"):
        assert part in text
    assert "val.t2a.R@1 20.0" in text


def test_many_running_cells_are_counted_not_listed() -> None:
    one = progress().running[0]
    many = Progress("many", {"running": 40}, (one,) * 40, (), 0.0, None)
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(drawn(many))
    assert "and 28 more" in console.export_text()
    assert line(many).count("InfoNCE") == 2

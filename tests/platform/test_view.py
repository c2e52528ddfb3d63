"""What the live view, a log and `supclap status` show, from events alone."""

import io
from dataclasses import replace

import pytest
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
from supclap.progress import STEPS, Doing

STARTED = Started({}, "code", "data", 1, 4, 10, 1000)
EPOCHS = [EpochEnded(n, 10 * n, 2.0 * n, {"val.t2a.R@1": 10.0 * n}) for n in (1, 2)]


def progress(seconds: float = 0.0, troubles: tuple[str, ...] = ()) -> Progress:
    one = Running("InfoNCE, seed 0", 2, 4, "val.t2a.R@1", 20.0, 6.0)
    return Progress("quick (laptop)", {"running": 1, "done": 3}, (one,), troubles, seconds, 90.0)


def test_a_running_cell_is_told_by_its_events() -> None:
    assert running("a", [], "val.t2a.R@1") == Running("a", 0, None, "val.t2a.R@1", None, None)
    found = running("a", [STARTED, *EPOCHS], "val.t2a.R@1")
    # Two epochs took 2 s and 4 s, so the two that are left take twice the mean of 3 s; what comes
    # after the last one is taken for a tenth of four epochs.
    assert found == Running("a", 2, 4, "val.t2a.R@1", 20.0, pytest.approx(6.0 + 1.2))
    assert found.state == "epoch 2/4"


def test_steps_within_an_epoch_count() -> None:
    doing = Doing("epoch 3/4", 5, 10, STEPS, seconds=1.5)
    found = running("a", [STARTED, *EPOCHS], "m", doing)
    assert (found.share, found.state) == (2.5 / 4, "epoch 3/4: 5 of 10 steps")
    assert found.seconds_left == pytest.approx(1.5 * 3.0 + 1.2)
    # The first epoch is timed by its own steps: 4 s for a quarter of it.
    first = running("a", [STARTED], "m", Doing("epoch 1/4", 5, 20, STEPS, seconds=4.0))
    assert first.seconds_left == pytest.approx(3.75 * 16.0 + 0.1 * 4 * 16.0)
    # What was written of an epoch that has ended meanwhile says nothing.
    assert running("a", [STARTED, *EPOCHS], "m", Doing("epoch 2/4", 9, 10, STEPS)).share == 0.5


def test_a_cell_that_does_something_else_says_what() -> None:
    making = Doing("making soundscenes", 40, 3200, "clips")
    assert running("a", [], "m").state == "starting"
    assert running("a", [], "m", making).state == "making soundscenes: 40 of 3,200 clips"
    measuring = Doing("measuring val", 30, 120, "clips")
    assert running("a", [STARTED, *EPOCHS], "m", measuring).state == "epoch 2/4, measuring val 25%"


def test_what_still_runs_is_never_without_time() -> None:
    last = [EpochEnded(n, 10 * n, 3.0) for n in (1, 2, 3, 4)]
    assert running("a", [STARTED, *last], "m").seconds_left == pytest.approx(1.2)
    assert running("a", [STARTED, *last], "m", whole=12.1).seconds_left == 1.0
    assert running("a", [STARTED, *last, Finished(2, 20, 10.0)], "m").seconds_left == 1.0
    # Where one of its shape took 20 s in all, 8 s of them came after its last epoch.
    assert running("a", [STARTED, *last], "m", whole=20.0).seconds_left == pytest.approx(8.0)
    assert running("a", [], "m", whole=20.0).seconds_left == 20.0


def test_a_finished_cells_pace_includes_what_comes_before_and_after_its_epochs() -> None:
    assert seconds_per_epoch([STARTED]) is None
    assert seconds_per_epoch([STARTED, *EPOCHS]) == pytest.approx(3.0 + 1.2 / 4)
    assert seconds_per_epoch([STARTED, *EPOCHS, Finished(2, 20, 10.0)]) == 5.0
    slow = replace(STARTED, setup_seconds=8.0)
    assert seconds_per_epoch([slow, *EPOCHS, Finished(2, 20, 10.0)]) == 9.0


def test_the_time_left_weighs_cells_by_their_shape() -> None:
    at_work = [Running("a", 2, 4, "m", None, 6.0)]
    # By hand: 4 epochs at 1 s begin at once in the free place and end at 4 s; 4 of an unknown shape
    # at the mean of 1 s and 3 s follow there and end at 12 s.
    waiting = [("small", 4), ("unknown", 4)]
    assert seconds_left(waiting, at_work, {"small": 1.0, "large": 3.0}, 2) == 12.0
    assert seconds_left([], at_work, {"small": 1.0}, 2) == 6.0  # the last cell cannot be shared
    assert seconds_left([], at_work, {}, 2) == 6.0
    assert seconds_left(waiting, [], {}, 2) is None
    # Three cells of 10 s, two at a time, take 20 s, not 15.
    assert seconds_left([("one", 10)] * 3, [], {"one": 1.0}, 2) == 20.0


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


def test_who_has_no_driver_has_no_time() -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    idle = replace(progress(), seconds=None, seconds_left=None)
    console.print(drawn(idle))
    assert console.export_text().splitlines()[0].rstrip() == "quick (laptop)"
    assert line(idle).startswith("1 running, 3 done | ")


def test_many_running_cells_are_counted_not_listed() -> None:
    one = progress().running[0]
    many = Progress("many", {"running": 40}, (one,) * 40, (), 0.0, None)
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(drawn(many))
    assert "and 28 more" in console.export_text()
    assert line(many).count("InfoNCE") == 2

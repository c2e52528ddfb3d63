"""What a process is busy with: said by whatever lasts, shown by a line, and of no effect."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tiny_run import everything, make_collection, tiny_config

from supclap.config import DataConfig
from supclap.data.soundscenes import soundscenes_collection
from supclap.progress import STEPS, Doing, activity, counting, followed, listening
from supclap.storage import Folder
from supclap.training import fit
from supclap.waiting import CLEAR, Drawing, Lines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_innermost_stage_is_what_the_process_is_busy_with() -> None:
    heard: list[str] = []
    with listening(lambda doing: heard.append(str(doing))):
        with activity("outer", 2, "things") as done:
            done(1)
            with activity("inner"):
                done(2)  # not shown while the inner one is open
        with activity("next"):
            pass
    with activity("nobody listens"):
        pass
    assert heard == [
        "outer: 0 of 2 things",
        "outer: 1 of 2 things",
        "inner",
        "outer: 2 of 2 things",
        "None",
        "next",
        "None",
    ]


def test_who_follows_hears_at_once_and_looks_after_each_pause_until_it_is_over() -> None:
    heard: list[str] = []
    looks: list[str] = []
    enough = threading.Event()

    def look() -> None:
        looks.append(heard[-1] if heard else "nothing yet")
        if len(looks) == 3:
            enough.set()

    follow = followed(lambda doing: heard.append(str(doing)), look, [0.0] * 3)
    with activity("before"), follow, activity("inside"):
        assert enough.wait(60)
    assert heard[0] == "inside"
    assert len(looks) == 3
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_counted_items_are_the_same_items() -> None:
    counts: list[int] = []
    assert list(counting("abc", counts.append)) == ["a", "b", "c"]
    assert counts == [0, 1, 2]


@pytest.mark.heavy
def test_a_run_says_what_it_does_and_ends_the_same_with_and_without_a_listener(
    tmp_path: Path,
) -> None:
    config = tiny_config(make_collection(tmp_path / "data"))
    silent, watched = Folder.at(tmp_path / "silent"), Folder.at(tmp_path / "watched")
    list(fit(config, silent))
    heard: list[Doing] = []
    with listening(lambda doing: heard.append(doing) if doing else None):
        list(fit(config, watched))
    assert everything(watched) == everything(silent)
    steps = [(one.what, one.done, one.total) for one in heard if one.unit == STEPS]
    assert steps == [(f"epoch {e}/2", done, 3) for e in (1, 2) for done in range(4)]
    names = list(dict.fromkeys(one.what for one in heard))
    assert names == [
        "loading PyTorch",
        "building the model",
        "training the tokenizer",
        "tokenizing the captions of 'train'",
        "tokenizing the captions of 'val'",
        "tokenizing the captions of 'test'",
        "tokenizing the captions of 'shifted'",
        "epoch 1/2",
        "measuring val",
        "writing a checkpoint",
        "epoch 2/2",
        "opening the best epoch's checkpoint",
        "measuring test",
        "measuring shifted",
        "measuring zero-shot",
        "encoding the clips",
        "keeping the model and its figures",
    ]


@pytest.mark.heavy
def test_a_resumed_epoch_goes_on_counting_where_it_was(tmp_path: Path) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), checkpoint_steps=2)
    folder = Folder.at(tmp_path / "run")
    heard: list[tuple[str, int]] = []

    def killed(doing: Doing | None) -> None:
        if doing and doing.unit == STEPS and (doing.what, doing.done) == ("epoch 1/2", 3):
            raise KeyboardInterrupt

    with listening(killed), pytest.raises(KeyboardInterrupt):
        list(fit(config, folder))
    with listening(lambda one: heard.append((one.what, one.done)) if one else None):
        list(fit(config, folder))
    assert [one for one in heard if one[0] == "epoch 1/2"] == [("epoch 1/2", 0), ("epoch 1/2", 3)]


@pytest.mark.heavy
def test_a_frozen_encoder_says_that_it_is_computed_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    config = tiny_config(make_collection(tmp_path / "data"), model__audio__freeze=True)
    for place, computed in (("first", True), ("second", False)):
        heard: list[Doing | None] = []
        with listening(heard.append):
            events = list(fit(config, Folder.at(tmp_path / place)))
        heard = [one for one in heard if one is not None]
        what = "computing the frozen audio encoder's outputs, once"
        found = [(one.done, one.total) for one in heard if one.what == what]
        assert (found[:2] == [(0, 24), (24, 24)]) is computed
        assert bool(found) is computed
        assert events[0].setup_seconds > 0


@pytest.mark.heavy
def test_soundscenes_count_their_clips(tmp_path: Path) -> None:
    heard: list[Doing] = []
    with listening(lambda one: heard.append(one) if one else None):
        made = soundscenes_collection(DataConfig(clips=20), tmp_path, workers=1)
    total = sum(len(made.split(split)) for split in made.splits)
    counts = [one.done for one in heard if one.what == "making soundscenes"]
    assert counts[1:] == list(range(total))
    assert {one.total for one in heard} == {total}


@pytest.mark.heavy
def test_who_waits_for_another_process_says_so(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from supclap.data.cache import build_once

def build(scratch):
    print("building", flush=True)
    sys.stdin.readline()

build_once(Path(sys.argv[1]), build)
"""
    from supclap.data import cache

    target = tmp_path / "made"
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "building\n"
    heard: list[str] = []

    def hear(doing: Doing | None) -> None:
        if not heard:
            other.stdin.write("\n")  # now the other one may end
            other.stdin.flush()
        heard.append(str(doing))

    before = cache.spent[0]
    with listening(hear):
        cache.build_once(target, lambda scratch: pytest.fail("the other process builds it"))
    assert heard == ["waiting for the process that makes made", "None"]
    assert cache.spent[0] > before
    assert other.wait() == 0


def test_without_a_terminal_a_wait_has_a_line_soon_and_then_rarely() -> None:
    clock, out = Clock(), io.StringIO()
    lines = Lines(out, clock)
    lines.take(Doing("making soundscenes", 0, 3200, "clips"))
    for second in range(121):
        clock.now = float(second)
        lines.take(Doing("making soundscenes", 20 * second, 3200, "clips"))
        lines.look()
    lines.take(None)
    clock.now = 200.0
    lines.look()  # nothing lasts, nothing is said
    assert out.getvalue().splitlines() == [
        "making soundscenes: 40 of 3,200 clips (2 s)",
        "making soundscenes: 340 of 3,200 clips (17 s, about 143 s left)",
        "making soundscenes: 940 of 3,200 clips (47 s, about 113 s left)",
        "making soundscenes: 2,140 of 3,200 clips (107 s, about 53 s left)",
    ]


def test_short_stages_are_silent_and_short_epochs_say_little() -> None:
    clock, out = Clock(), io.StringIO()
    lines = Lines(out, clock)
    for epoch in range(60):  # of 5 s each, every one followed by a line of its own
        for second in range(5):
            clock.now = 5.0 * epoch + second
            lines.take(Doing(f"epoch {epoch + 1}/60", 10 * second, 50, STEPS))
            lines.look()
        lines.take(Doing("writing a checkpoint"))
        lines.look()
    assert len(out.getvalue().splitlines()) <= 7  # of 300 seconds
    assert "checkpoint" not in out.getvalue()


def test_a_terminals_line_is_drawn_in_place_and_gone_when_the_stage_is_over() -> None:
    clock, out = Clock(), io.StringIO()
    drawing = Drawing(out, clock)
    drawing.take(Doing("making soundscenes", 0, 100, "clips"))
    drawing.look()
    assert out.getvalue() == ""  # it might be over at once
    clock.now = 4.0
    drawing.take(Doing("making soundscenes", 50, 100, "clips"))
    drawing.look()
    drawn = out.getvalue()
    assert drawn.startswith(CLEAR + "━" * 8 + "─" * 8)
    assert drawn.endswith("making soundscenes: 50 of 100 clips  4 s, about 4 s left")
    assert "\n" not in drawn
    drawing.take(None)
    assert out.getvalue() == drawn + CLEAR

"""`resources.gpu: auto`: the first cell of a form has a whole device, those after it what it took.

No device and no Ray: results say what was measured, and Ray's answers are given here."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from supclap_platform.commands.plan_shares import share_lines
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.prices import Prices
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.schema import Resources
from supclap_platform.ledger.bill import Bill
from supclap_platform.ledger.device_memory import Taken, form, share
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Plan, make_plan, remember
from supclap_platform.ledger.records import Result
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.ending import Ending
from supclap_platform.running.machine import demand, impossible
from supclap_platform.running.progress import running
from supclap_platform.running.shares import Shares
from supclap_platform.running.task import Task, task_of
from supclap_platform.testing import events_of, interrupt, leave

from supclap import device_share
from supclap.device_share import held_to, hold_to
from supclap.errors import InputError
from supclap.events import EpochEnded, Finished, Started
from supclap.memory import was_short
from supclap.version import went_on

FILE = """\
experiment: shared
base: {epochs: 2}
variants:
  A: {}
  B: {loss.temperature: 0.2, optimizer.lr: 0.01}
  SVR: {loss.svr: {sides: both, radius: dynamic}}
  large: {batch_size: 256}
seeds: 2
resources: {gpu: auto}
"""
CARD = 80_000.0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(tmp_path / "storage", writing=True)


@pytest.fixture
def plan(tmp_path: Path, ledger: Ledger) -> Plan:
    path = tmp_path / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    return make_plan(load_experiment(path), ledger, code_of=lambda _: "now")


def of(plan: Plan, variant: str, seed: int = 0) -> Cell:
    return next(c for c in plan.cells if (c.variant, c.seed) == (variant, seed))


def finish(ledger: Ledger, cell: Cell, reserved: float | None) -> None:
    *events, end = events_of(cell, [{"val.t2a.R@1": 1.0}] * 2, {"test.t2a.R@1": 1.0})
    assert isinstance(end, Finished)
    leave(ledger, cell, [*events, replace(end, reserved_MB=reserved)])


def gpu(cell: Cell) -> float:
    assert isinstance(cell.resources.gpu, float)
    return cell.resources.gpu


@pytest.mark.parametrize(
    ("value", "right"),
    [("auto", "auto"), (0.5, 0.5), ("0.5", 0.5), (2, 2.0), ("autom", None), ("Auto", None),
     (-1, None), (True, None), ("nan", None), ([1], None)],
)  # fmt: skip
def test_what_may_stand_there(tmp_path: Path, value: Any, right: Any) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE.replace("auto", json.dumps(value)), encoding="utf-8")
    if right is not None:
        assert load_experiment(path).variants[0].resources.gpu == right
        return
    with pytest.raises(InputError) as error:
        load_experiment(path)
    assert str(error.value).startswith(f"{path}:9: ")
    assert "gpu" in str(error.value)
    assert "a share of a device, a whole number of them, or 'auto', found" in str(error.value)
    assert "\n" not in str(error.value)


def test_it_asks_for_a_whole_device_and_is_refused_as_that_is(plan: Plan) -> None:
    cell = of(plan, "A")
    whole = replace(cell, resources=Resources(gpu=1))
    assert demand(cell.resources) == demand(whole.resources) == {"CPU": 1.0, "GPU": 1.0}
    assert impossible([cell], [{"CPU": 8.0}]) == impossible([whole], [{"CPU": 8.0}]) is not None
    # Several workers have a device each, which NCCL asks for.
    several = Resources(gpu="auto", workers=2)
    assert demand(several)["GPU"] == 2
    assert not several.auto
    assert not Resources(gpu=1).auto


def test_a_form_is_what_decides_memory(plan: Plan) -> None:
    """Numbers of the loss, rates and seeds change none; the loss's form and the batch do."""
    forms = {(c.variant, c.seed): form(c) for c in plan.cells}
    assert len({forms["A", 0], forms["A", 1], forms["B", 0]}) == 1
    assert len({forms["A", 0], forms["SVR", 0], forms["large", 0]}) == 3
    cell = of(plan, "A")
    for change in ({"precision": "bf16"}, {"chunk": 4}, {"compile": True}):
        other = replace(cell, config=cell.config.model_copy(update=change))
        assert form(other) != form(cell), change
    longer = cell.config.data.model_copy(update={"seconds": 9.5})
    assert form(replace(cell, config=cell.config.model_copy(update={"data": longer}))) != form(cell)
    later = replace(cell, config=cell.config.model_copy(update={"epochs": 99}))
    assert form(later) == form(cell)


@pytest.mark.parametrize(
    ("reserved", "card", "short", "parts"),
    [
        (0.0, 80_000.0, 0.0, 1),  # not measured
        (10_000.0, None, 0.0, 1),  # on what, nobody knows
        (10_000.0, 80_000.0, 0.0, 6),  # 80,000 / (11,500 + 1,000) = 6.4
        (10_000.0, 24_000.0, 0.0, 1),  # 1.92
        (34_000.0, 80_000.0, 0.0, 1),  # 80,000 / 40,100 = 1.995
        (33_000.0, 80_000.0, 0.0, 2),  # 80,000 / 38,950 = 2.05
        (100.0, 80_000.0, 0.0, 8),  # no more, however small
        (90_000.0, 80_000.0, 0.0, 1),
        (10_000.0, 80_000.0, 80_000.0 / 6, 5),
        (10_000.0, 80_000.0, 80_000.0 / 3, 2),
        (10_000.0, 80_000.0, 80_000.0 / 2, 1),
        (10_000.0, 80_000.0, 200_000.0, 1),
        (10_000.0, 40_000.0, 80_000.0 / 6, 2),  # 13,333 MB was too little: 40,000 / 3 is that
    ],
)
def test_how_many_share_a_device(
    reserved: float, card: float | None, short: float, parts: int
) -> None:
    assert Taken(reserved, short).parts(card) == parts


def test_shares_of_a_device_never_exceed_it() -> None:
    for parts in range(1, 9):
        assert 0.99 < parts * share(parts) <= 1
        assert round(share(parts) * 10_000) == pytest.approx(share(parts) * 10_000)


def shares(
    ledger: Ledger, card: float | None = CARD, now: Callable[[], float] = lambda: 0.0
) -> Shares:
    return Shares(ledger, lambda _: card, now)


def test_from_the_second_cell_on_they_share(plan: Plan, ledger: Ledger) -> None:
    mine = shares(ledger)
    first, second, other = of(plan, "A"), of(plan, "B"), of(plan, "large")
    assert gpu(mine.begins(first)) == 1
    assert gpu(mine.given(second)) == 1  # nothing has finished yet
    finish(ledger, first, 10_000.0)
    mine.ended(mine.given(first))
    assert gpu(mine.begins(second)) == 0.1666
    assert gpu(mine.given(other)) == 1  # of another form
    assert mine.news() == [
        "gpu: auto: B, seed 0 and others like it need 12.50 GB of a device: 6 cells share one of "
        "80.00 GB"
    ]
    fixed = replace(first, resources=Resources(gpu=0.5))
    assert mine.given(fixed) is fixed
    # One that takes more counts for all of them.
    finish(ledger, second, 20_000.0)
    mine.ended(mine.given(second))
    assert gpu(mine.given(of(plan, "A", 1))) == 0.3333


def test_it_is_known_at_once_after_a_resume_elsewhere_and_to_other_drivers(
    plan: Plan, ledger: Ledger, tmp_path: Path
) -> None:
    first, second = of(plan, "A"), of(plan, "B")
    now = [0.0]
    other = shares(ledger, now=lambda: now[0])
    assert gpu(other.given(second)) == 1
    finish(ledger, first, 10_000.0)
    # Its driver was killed before it noted anything: the result alone says it.
    again = make_plan(plan.experiment, ledger, code_of=lambda _: "now")
    mine = shares(ledger)
    mine.learn(again.cells, again.results)
    assert gpu(mine.given(second)) == 0.1666
    # Now another driver, and another experiment, may know it.
    assert gpu(other.given(second)) == 1  # as of a moment ago
    now[0] = 5.0
    assert gpu(other.given(second)) == 0.1666
    assert gpu(shares(ledger).given(second)) == 0.1666
    assert gpu(shares(ledger, 24_000.0).given(second)) == 1
    assert gpu(shares(ledger, None).given(second)) == 1
    (note,) = (tmp_path / "storage" / "memory").iterdir()
    assert json.loads(note.read_bytes())["of"] == [first.signature]  # as `clean` asks
    note.write_text("{", encoding="utf-8")  # nothing is lost but the knowledge
    assert gpu(shares(ledger).given(second)) == 1
    assert len(ledger.damage) == 1


def test_without_a_measurement_nothing_is_shared(plan: Plan, ledger: Ledger) -> None:
    """On a CPU, and in results of earlier versions, nothing of a device was measured."""
    finish(ledger, of(plan, "A"), None)
    again = make_plan(plan.experiment, ledger, code_of=lambda _: "now")
    mine = shares(ledger)
    mine.learn(again.cells, again.results)
    mine.ended(of(plan, "A"))
    assert gpu(mine.given(of(plan, "B"))) == 1
    assert not ledger.storage.exists("memory")


def test_out_of_memory_in_a_share_gives_the_next_larger_one(plan: Plan, ledger: Ledger) -> None:
    finish(ledger, of(plan, "A"), 30_000.0)
    mine = shares(ledger)
    mine.ended(of(plan, "A"))
    shown = []
    for _ in range(2):
        given = mine.begins(of(plan, "B"))
        shown.append(gpu(given))
        if gpu(given) < 1:
            ended = mine.too_small(given, Ending("failed", "out of memory", short=True))
            assert ended.kind == "moved"  # no attempt is charged, and no node is to blame
            assert mine.news()[-1] == (
                "B, seed 0: out of memory in 1/2 of a device of 80.00 GB; tried again with a whole "
                "one"
            )
    assert shown == [0.5, 1]
    # It counts for others of the form, after a kill too.
    assert gpu(shares(ledger).given(of(plan, "A", 1))) == 1
    assert gpu(shares(ledger, 160_000.0).given(of(plan, "A", 1))) == 0.3333  # 53 GB each


def test_a_share_that_does_not_do_is_never_given_twice(plan: Plan, ledger: Ledger) -> None:
    """Also where the note cannot be kept, or a smaller device has joined meanwhile."""
    finish(ledger, of(plan, "A"), 5_000.0)
    cards = iter([80_000.0, *[79_000.0, 81_000.0] * 40])
    mine = Shares(ledger, lambda _: next(cards), lambda: 0.0)
    mine.ended(of(plan, "A"))
    found = []
    while not found or found[-1] < 1:
        given = mine.begins(of(plan, "B"))
        found.append(gpu(given))
        if found[-1] < 1:
            mine.too_small(given, Ending("failed", "out of memory", short=True))
    assert found == sorted(set(found))
    assert len(found) <= 8


def test_the_plan_says_what_is_known(plan: Plan, ledger: Ledger) -> None:
    lines = list(share_lines(plan, ledger, CARD))
    unknown = "not measured yet; until the first has finished, each has a whole device"
    assert lines == [
        f"gpu: auto: A and 1 more row, 4 cells: {unknown}",
        f"gpu: auto: SVR, 2 cells: {unknown}",
        f"gpu: auto: large, 2 cells: {unknown}",
    ]
    finish(ledger, of(plan, "A"), 10_000.0)
    again = make_plan(plan.experiment, ledger, code_of=lambda _: "now")
    need = (
        "gpu: auto: A and 1 more row, 3 cells: 12.50 GB of a device each (10.00 GB measured in 1 "
        "finished cell, 15% more, and what a process takes besides)"
    )
    assert next(share_lines(again, ledger, CARD)) == f"{need}: 6 share one of 80.00 GB"
    assert next(share_lines(again, ledger, 20_000.0)) == f"{need}: a whole one of 20.00 GB"
    none = "; how many share one depends on its memory, and there is none here"
    assert next(share_lines(again, ledger, None)) == need + none
    mine = shares(ledger)
    mine.learn(again.cells, again.results)
    mine.too_small(mine.begins(of(plan, "B")), Ending("failed", short=True))
    assert "; 13.33 GB was too little: 5 share one" in next(share_lines(again, ledger, CARD))


def test_the_result_says_the_share_and_costs_no_more(plan: Plan) -> None:
    cell = of(plan, "A")
    start = events_of(cell, [])[0]
    assert isinstance(start, Started)
    started = replace(start, ran_on={"share": "1/4"})
    assert running("A", [started], "loss").state.endswith(", on 1/4 of a device")
    result = Result("s", {}, 3600.0, 1, 1, 1, 1, "", "", made_with={"device": "NVIDIA H100"})
    prices = Prices(None, {"H100": 8.0})
    costs = {  # of an hour
        "1/4": "$2.00",
        "1/4 + 1/2": "$4.00",  # of a version that did not note since when
        "1 + 1/4 from 1800 s": "$5.00",  # half an hour at 8, half an hour at 2
        "1/4 + 1 from 900 s + 1/2 from 2700 s": "$5.50",  # (1/4 * 900 + 1800 + 1/2 * 900) / 3600
        "1 + 1/4 from 0 s": "$2.00",
        "1 + 1/4 from 7200 s": "$8.00",
        "much": "$8.00",
    }
    for said, cost in costs.items():
        bill = Bill()
        bill.add_result(prices, cell.resources, replace(result, ran_on={"share": said}))
        assert bill.text == cost
    bill = Bill()  # what came before the first step is the first attempt's
    early = replace(result, setup_seconds=1800.0, ran_on={"share": "1 + 1/4 from 1800 s"})
    bill.add_result(prices, cell.resources, early)
    assert bill.text == "$9.00"
    went = replace(start, ran_on={"share": "1/4 + 1/2 from 60 s"})
    assert running("A", [went], "loss").state.endswith(", on 1/2 of a device")
    went = replace(start, ran_on={"share": "1/4 + 1 from 60 s"})
    assert "device" not in running("A", [went], "loss").state


def test_a_run_that_goes_on_says_since_when_it_has_its_share(
    plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a whole device nothing is said, as long as a run has had no other."""
    cell = of(plan, "A")
    remember(plan, ledger)
    interrupt(ledger, cell)
    seconds = sum(e.seconds for e in ledger.events(cell.signature) if isinstance(e, EpochEnded))
    assert seconds > 0
    monkeypatch.setattr(device_share, "_trained", [0.0])
    said: list[dict[str, str]] = []

    def fit(*_: Any) -> None:
        for before, now in (
            ("", ""),
            ("", "1/4"),
            ("1/4", "1/4"),
            ("1/4", ""),
            ("1/4 + 1/2", "1/8"),
        ):
            share = [{"share": one} if one else {} for one in (before, now)]
            said.append(went_on(*share))

    monkeypatch.setattr(type(cell.method), "fit", fit)
    ending = run_cell(task_of(replace(cell, resources=Resources(gpu=1)), ledger, "shared"))
    assert ending.error == "its workers ended without a result"
    since = f"from {seconds:.0f} s"
    assert [one.get("share", "") for one in said] == [
        "", f"1 + 1/4 {since}", "1/4", f"1/4 + 1 {since}", f"1/4 + 1/2 + 1/8 {since}",
    ]  # fmt: skip


class Gpus:
    """An own Ray with two devices, which runs nothing."""

    own, daemons = True, ()

    def check(self) -> None: ...

    def resources(self) -> dict[str, float]:
        return {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.heavy  # imports Ray
def test_the_executor_gives_ray_the_share_and_the_task_too(
    plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from supclap_platform.running import executor as module

    asked: list[dict[str, Any]] = []
    tasks: list[Task] = []

    class Remote:
        def __call__(self, _: Any) -> Remote:  # as of `ray.remote(max_calls=1)`
            return self

        def options(self, **options: Any) -> Remote:
            asked.append(options)
            return self

        def remote(self, work: Any, task: Task) -> str:
            tasks.append(task)
            return f"said {len(tasks)}"

    heard: dict[str, Ending] = {}
    monkeypatch.setattr(ray, "remote", lambda *_, **__: Remote())
    monkeypatch.setattr(ray, "wait", lambda left, **_: ([s for s in left if s in heard], []))
    monkeypatch.setattr(module, "_heard", lambda said: heard[said])
    monkeypatch.setattr(module, "_smallest_card", lambda: CARD)
    found = module.RayExecutor(Gpus(), ledger, "shared")
    first, second, third = of(plan, "A"), of(plan, "A", 1), of(plan, "B")
    found.begin([first, second, third])
    found.submit(first)
    found.submit(second)
    assert [one["num_gpus"] for one in asked] == [1, 1]
    assert [one.share for one in tasks] == [1, 1]
    assert not found.room_for(third)
    finish(ledger, first, 10_000.0)
    heard["said 1"] = Ending("done")
    found.wait(0)
    assert found.room_for(third)
    assert found.places(third) == 12  # six on each of two
    found.submit(third)
    assert asked[-1]["num_gpus"] == tasks[-1].share == 0.1666
    heard["said 3"] = Ending("failed", "out of memory", configuration=True, short=True)
    ((signature, ending),) = [e for e in found.wait(0) if e[0] == third.signature]
    assert (signature, ending.kind) == (third.signature, "moved")
    found.submit(third)
    assert asked[-1]["num_gpus"] == 0.2
    assert len(found.news()) == 3


@pytest.mark.heavy  # imports Ray
def test_a_process_that_has_a_device_serves_once(
    plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would give it a cell for another device, which it would train on its own. It is asked for
    what it knows itself of the functions that it is given, and nothing is started."""
    import ray
    from ray.remote_function import RemoteFunction
    from supclap_platform.running import executor as module
    from supclap_platform.running import fleet
    from supclap_platform.running.nodes import Node

    calls: list[int] = []

    class Given:
        def remote(self, *_: Any) -> str:
            return f"said {len(calls)}"

    def options(function: Any, **_: Any) -> Given:
        calls.append(function._max_calls)
        return Given()

    monkeypatch.setattr(RemoteFunction, "options", options)
    monkeypatch.setattr(ray, "get", lambda *_, **__: (80_000.0, 40_000.0))
    found = module.RayExecutor(Gpus(), ledger, "shared")
    cell = of(plan, "A")
    for gpu_ in (1, 0.25, "auto", 0):
        found.submit(replace(cell, resources=Resources(gpu=gpu_)))
    assert calls == [1, 1, 1, 0]  # 0: as often as Ray likes
    assert module._smallest_card() == 40_000
    assert calls.pop() == 1
    has = {"CPU": 4.0}
    nodes = [Node("a" * 56, "a", "h", 1, has | {"GPU": 2.0}), Node("b" * 56, "b", "h", 1, has)]
    fleet._asked(nodes, ledger, "marker")
    assert calls[-2:] == [1, 0]


def test_a_process_is_held_to_its_share_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its context takes is part of the share; PyTorch's allocator has the rest."""
    import torch

    fraction = [1.0]

    class Card:
        total_memory = 80_000 * 10**6

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)
    hold = "set_per_process_memory_fraction"
    monkeypatch.setattr(torch.cuda, hold, lambda part, _: fraction.__setitem__(0, part))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: fraction[0])
    assert held_to(torch.device("cuda")) == held_to(torch.device("cpu")) == ""
    for parts in range(2, 9):
        hold_to(share(parts))
        assert fraction[0] * 80_000 == pytest.approx(80_000 / parts - 1_000, abs=8)
        assert held_to(torch.device("cuda")) == f"1/{parts}"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    hold_to(0.5)  # nothing to hold
    assert fraction[0] * 80_000 == pytest.approx(9_000, abs=8)


def test_memory_that_ended_is_seen_behind_other_words() -> None:
    import torch

    def said() -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        except RuntimeError:
            raise InputError("loss: does not fit") from None

    def said_again() -> None:
        try:
            said()
        except InputError as error:
            raise RuntimeError("it ended") from error

    with pytest.raises(RuntimeError, match="it ended") as ended:
        said_again()
    assert was_short(ended.value)
    assert not was_short(RuntimeError("device-side assert triggered"))


def test_what_was_reserved_is_kept_over_a_reset_of_the_peaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from supclap.usage import Usage

    assert Usage().reserved() is None  # without a device
    now = {"reserved": 5e9, "allocated": 3e9}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: now.update(reserved=1e9))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: now["reserved"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: now["allocated"])
    usage = Usage()
    now["reserved"] = 5e9
    usage.measure()  # as every epoch does, and the peaks begin anew
    assert now["reserved"] == 1e9
    assert usage.reserved() == 5000.0
    now["reserved"] = 6e9
    assert usage.reserved() == 6000.0


def test_what_an_earlier_cell_has_left_to_the_allocator_is_not_this_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch's allocator, made up: reserved is what is allocated and what it keeps for later; a
    model that is in a reference cycle still has its memory."""
    import torch

    from supclap.usage import Usage

    class Memory:
        kept = peak = 5_000 * 10**6

        def empty(self) -> None:
            self.kept = held()

        def reset(self) -> None:
            self.peak = self.kept

    class Model:
        def __init__(self) -> None:
            self.itself = self

    def held() -> int:
        return 4_000 * 10**6 * (earlier() is not None)

    earlier = weakref.ref(Model())
    memory = Memory()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", memory.empty)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", memory.reset)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: memory.peak)
    assert Usage().reserved() == 0.0

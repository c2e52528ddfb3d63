"""The study of a search: what is handed out, what survives, what is stopped, what is best."""

import json
import math
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import optuna
import pytest
import sqlalchemy
import supclap_platform as sp
from click.testing import CliRunner
from driven_study import content, drive, opened
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.search import Objective
from supclap_platform.ledger.leases import acquire
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.search_figures import search_figures
from supclap_platform.running.cluster import RayLost
from supclap_platform.running.ending import Ending
from supclap_platform.running.fleet import Fleet
from supclap_platform.running.heartbeats import Heartbeats, Sign
from supclap_platform.running.nodes import ID_LABEL
from supclap_platform.running.place import Place
from supclap_platform.search import searcher
from supclap_platform.search.explain import explain
from supclap_platform.search.judging import findings_of, ranked
from supclap_platform.search.pruning import Asha
from supclap_platform.search.searcher import StudySearch
from supclap_platform.search.study import Book
from supclap_platform.search.warm import finished
from supclap_platform.search.winner import (
    Ranked,
    rank,
    read_findings,
    with_winner,
    write_findings,
)
from supclap_platform.testing import finish
from tiny_search import SEARCH
from two_nodes import ONE, TWO, World
from waiting import answers, until

from supclap.errors import InputError

FULL = "database or disk is full"


@pytest.mark.heavy
def test_a_study_killed_at_many_moments_ends_as_one_that_was_not(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, _ = opened(tmp_path / "whole")
    whole.prepare()
    assert drive(whole)
    deaths = [("asked", 0), ("suggested", 2), ("reported 1", 5), ("asked", 6), ("reported 1", 8),
              ("suggested", 9)]  # fmt: skip
    for death in deaths:
        killed, _ = opened(tmp_path / "killed")
        killed.prepare()
        assert not drive(killed, lambda *moment, death=death: moment == death)
    killed, _ = opened(tmp_path / "killed")
    killed.prepare()
    assert drive(killed)
    assert content(killed) == content(whole)
    assert len(content(whole)) == 10
    assert {state for _, state, *_ in content(whole)} == {"COMPLETE", "PRUNED"}
    assert content(whole)[0][3] == whole.search.space.free(whole.search.start[0])


@pytest.mark.heavy
@pytest.mark.parametrize(
    "sampler",
    [
        "{name: random}",
        "{name: tpe, startup: 2}",
        "{name: tpe, startup: 2, multivariate: true}",
        "{name: cmaes, startup: 2}",
        "{name: gp, startup: 2}",
    ],
)
def test_drivers_that_die_after_each_value_leave_the_settings_of_one_that_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """The shortest life of a driver: it dies as soon as it has stored one value of a setting."""
    if "cmaes" in sampler:
        pytest.importorskip("cmaes")
    text = SEARCH.replace("trials: 10", f"trials: 5\n  sampler: {sampler}")
    text = text.replace("start: [{}]", "start: [{loss.svr.alpha: 2.0}]")
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, _ = opened(tmp_path / "whole", text)
    whole.prepare()
    assert drive(whole)

    class Killed(BaseException):
        pass

    storage = type(whole.study._storage)
    store = storage.set_trial_param

    def dying(*arguments: Any) -> None:
        store(*arguments)
        raise Killed

    monkeypatch.setattr(storage, "set_trial_param", dying)
    deaths, over = 0, False
    while not over:
        killed, _ = opened(tmp_path / "killed", text)
        killed.prepare()
        try:
            over = drive(killed)
        except Killed:
            deaths += 1
    assert deaths == sum(len(trial.params) for trial in whole.study.trials)
    assert content(killed) == content(whole)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("value", "died", "stop"),
    [(30.0, "noted", False), (10.0, "noted", True), (10.0, "judged", True)],
)
def test_a_step_is_judged_once_whoever_has_come_to_the_rung_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, died: str, stop: bool
) -> None:
    """Four trials side by side, of which half pass the first rung. Their driver dies when one is
    judged; it reports the step again when two more have come, by which it would fare otherwise."""
    text = SEARCH.replace("trials: 10", "trials: 10\n  pruner: {name: asha, startup: 1, factor: 2}")
    book, _ = opened(tmp_path, text)
    book.prepare()
    first, judged, *later = [book.ask() for _ in range(4)]
    for trial in (first, judged, *later):
        book.params(trial)
    assert not book.report(first, 1, 20.0)
    if died == "judged":  # and not noted yet
        monkeypatch.setattr(Book, "note", lambda *arguments: None)
    assert book.report(judged, 1, value) == stop
    monkeypatch.undo()
    for trial in later:
        book.report(trial, 1, 5.0 if stop else 40.0)
    again, _ = opened(tmp_path, text)
    orphan = next(trial for trial in again.orphans() if trial.number == judged.number)
    assert again.report(orphan, 1, value) == stop
    assert again.study.trials[judged.number].intermediate_values == {1: value}


@pytest.mark.heavy
def test_no_more_trials_than_declared_and_more_when_more_are(tmp_path: Path) -> None:
    book, _ = opened(tmp_path)
    book.prepare()
    assert drive(book)
    assert book.left == 0
    again, _ = opened(tmp_path)
    again.prepare()
    assert again.ask() is None
    more, _ = opened(tmp_path, SEARCH.replace("trials: 10", "trials: 12"))
    assert more.left == 2
    assert drive(more)
    assert len(more.over()) == 12


@pytest.mark.heavy
def test_a_grid_is_tried_once_whole(tmp_path: Path) -> None:
    text = SEARCH.replace("trials: 10", "trials: 50\n  sampler: grid\n  pruner: none").replace(
        "{log_uniform: [0.1, 10]}", "{log_uniform: [0.1, 10], steps: 3}"
    )
    text = text.replace("  start: [{}]\n", "")
    book, _ = opened(tmp_path, text)
    book.prepare()
    assert drive(book)
    settings = [json.dumps(t.params, sort_keys=True) for t in book.over()]
    assert len(settings) == len(set(settings)) == 2 * 3 * 5
    assert book.left == 0


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[0.1, 10]", "[0.1, 5]", "space.loss.svr.alpha was"),
        ("epochs: 3", "epochs: 4", "base.epochs was 3, and is 4"),
        ("objective: val.t2a.R@1", "objective: val.a2t.R@1", "objective was"),
        ("[static, dynamic]", "{fixed: dynamic}", "space.loss.svr.radius was"),
    ],
)
def test_a_study_of_another_space_is_refused_with_what_differs(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    opened(tmp_path)
    text = SEARCH.replace(
        "    loss.svr.initial: {uniform: [-1, 2], when: {loss.svr.radius: static}}\n", ""
    )
    opened(tmp_path, text.replace("experiment: small", "experiment: smaller"))
    with pytest.raises(InputError) as caught:
        opened(tmp_path, text.replace("experiment: small", "experiment: smaller").replace(old, new))
    assert told in str(caught.value)
    assert "study: smaller-2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--study-storage nonsense") as caught:
        opened(tmp_path, url="nonsense://x")
    assert "\n" not in str(caught.value)
    opened(tmp_path)  # it is not kept as the study's place, which is in the storage as by default


def test_asha_lets_one_in_three_pass_each_rung() -> None:
    pruner = Asha(grace=1, factor=3, startup=2, last=9)
    assert pruner.rungs == [1, 3]
    study = optuna.create_study(direction="maximize")
    passed = []
    for number, first in enumerate([5.0, 1.0, 4.0, 6.0, 5.5, 2.0, 7.0]):
        trial = study.ask()
        trial.report(first, 1)
        if not pruner.prune(study, study.get_trials()[number]):
            passed.append(first)
    # The first two pass in any case; 4: second of three; 6: first of four; 5.5: second of five;
    # 2: sixth of six, 7: first of seven.
    assert passed == [5.0, 1.0, 6.0, 7.0]


def test_asha_never_stops_between_rungs_or_at_the_last_epoch() -> None:
    pruner = Asha(grace=1, factor=2, startup=0, last=4)
    assert pruner.rungs == [1, 2]
    study = optuna.create_study(direction="minimize")
    good, bad = study.ask(), study.ask()
    for step in (1, 2, 3, 4):
        good.report(1.0, step)
        bad.report(2.0, step)
        assert pruner.prune(study, study.get_trials()[1]) is (step in (1, 2))


def test_the_best_of_several_objectives_is_the_front_from_its_middle() -> None:
    up, down = Objective("val.t2a.R@1", "maximize"), Objective("seconds", "minimize")
    trials = [
        Ranked(0, {"a": 0}, [10.0, 1.0]),
        Ranked(1, {"a": 1}, [50.0, 9.0]),
        Ranked(2, {"a": 2}, [40.0, 3.0]),
        Ranked(3, {"a": 3}, [39.0, 4.0]),  # worse than 2 in both
        Ranked(4, {"a": 2}, [40.0, 3.0]),  # the same setting again
    ]
    assert [t.number for t in rank(trials, [up, down])] == [2, 0, 1]
    first = [Ranked(t.number, t.params, t.values[:1]) for t in trials]
    second = [Ranked(t.number, t.params, t.values[1:]) for t in trials]
    assert [t.number for t in rank(first, [up])] == [1, 2, 3, 0]
    assert [t.number for t in rank(second, [down])] == [0, 2, 3, 1]


@pytest.mark.heavy
def test_the_winner_is_a_row_only_when_the_search_has_ended(tmp_path: Path) -> None:
    book, ledger = opened(tmp_path)
    book.prepare()
    experiment = book.trials.experiment
    write_findings(experiment, findings_of(book), ledger, ended=False)
    before = with_winner(experiment, ledger)
    assert [v.name for v in before.variants] == ["InfoNCE"]
    assert before.claims == ()
    assert drive(book)
    write_findings(experiment, findings_of(book), ledger)
    after = with_winner(experiment, ledger)
    assert [v.name for v in after.variants] == ["InfoNCE", "winner"]
    assert [claim.text for claim in after.claims] == ["winner > InfoNCE on t2a.R@1"]
    best = max(book.over(), key=lambda trial: trial.values[0] if trial.values else -1)
    assert after.variants[1].config.loss.svr.alpha == best.params["loss.svr.alpha"]
    other = load_experiment(tmp_path / "e.yaml", changes={"epochs": 9})
    assert read_findings(other, ledger) is None


def searching(tmp_path: Path, check: Callable[[], None]) -> tuple[StudySearch, Book]:
    """A search with one trial under way, Tune's ``t``."""
    book, ledger = opened(tmp_path)
    book.prepare()
    search = StudySearch(book, ledger, lambda line: pytest.fail(line), check)
    assert "trial" in search.suggest("t")
    return search, book


@pytest.mark.heavy
def test_what_ends_with_a_dead_ray_is_no_trials_failure(tmp_path: Path) -> None:
    dead: list[str] = []

    def check() -> None:
        if dead:
            raise RayLost(*dead)

    search, book = searching(tmp_path, check)
    failed = {"kind": "failed", "error": "its workers", "configuration": False, "log": ()}
    dead.append("Ray died")
    for report in (
        lambda: search.on_trial_complete("t", error=True),
        lambda: search.hear("t", failed),
        lambda: search.suggest("u"),
    ):
        with pytest.raises(RayLost):
            report()
    assert [trial.state.name for trial in book.study.trials] == ["RUNNING"]
    assert not issubclass(RayLost, Exception)  # which Tune would take for its own


@pytest.mark.heavy
@pytest.mark.parametrize("moment", ["epoch", "finished", "failed", "next"])
def test_a_full_disk_ends_a_search_and_charges_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    search, book = searching(tmp_path, lambda: None)
    report = {"kind": moment, "step": 1, "value": 1.0, "error": "", "log": (), "configuration": 0}

    def full(*_: Any, **__: Any) -> None:
        raise sqlalchemy.exc.OperationalError("", None, sqlite3.OperationalError(FULL))

    with monkeypatch.context() as patch:
        patch.setattr("sqlalchemy.orm.Session.commit", full)
        if moment == "next":
            assert search.suggest("u") == "FINISHED"
        else:
            assert search.hear("t", report)
    assert search.stopping
    assert search.unkept is not None
    assert FULL in str(search.unkept.strerror)
    assert search.suggest("u") == "FINISHED"
    search.on_trial_complete("t", error=True)  # as Tune says of what it has stopped
    assert [trial.state.name for trial in book.study.trials] == ["RUNNING"]
    assert len(book.orphans()) == 1


class TwoNodes(Fleet):
    """The fleet of a cluster that is not there."""

    def __init__(self, world: World) -> None:
        self.nodes = world.nodes
        self.doubts: list[str] = []

    def end(self, place: Place) -> None: ...

    def doubt(self, name: str) -> None:
        self.doubts.append(name)


@pytest.mark.heavy
def test_a_trial_goes_on_elsewhere_when_its_machine_lacks_something_or_is_lost(
    tmp_path: Path,
) -> None:
    book, ledger = opened(tmp_path)
    book.prepare()
    world = World()
    said: list[str] = []
    search = StudySearch(book, ledger, said.append, lambda: None, TwoNodes(world))

    def begin(name: str, node: str) -> tuple[int, str]:
        """The trial that is handed out, and the nodes that it may not have."""
        config = search.suggest(name)
        place = asdict(Place(node, host="one" if node == ONE else "two", pid=7))
        assert search.hear(name, {"kind": "begun", "step": -1, "value": None, **place}) is False
        barred = json.loads(config["nodes"]).get(ID_LABEL, "")
        return json.loads(config["trial"])["number"], barred

    def fail(name: str, **why: Any) -> bool:
        signature = search.live[name].trial.signatures[0]
        ending = Ending("failed", "no storage here", configuration=True, node=ONE, **why)
        return search.hear(name, {**asdict(ending), "signature": signature})

    first, barred = begin("a", ONE)
    assert barred == ""
    assert not fail("a", unfit=True)
    search.on_trial_complete("a")  # as Tune says when its function has returned
    assert begin("b", TWO) == (first, f"!in({ONE})")
    other, _ = begin("c", TWO)
    assert other != first
    world.silent.add("two")
    (node,) = [n for n in world.nodes.living.values() if n.id == TWO]
    world.pass_time(15)
    assert [live.trial.number for live in search.lose(node, silent=True)] == [first, other]
    assert search.gone == {"b", "c"}
    assert search.hear("b", {"kind": "finished", "step": -1, "value": None})  # is to end
    search.on_trial_complete("b", error=True)
    world.silent.clear()
    world.nodes.take_back(ONE)
    world.pass_time(3)
    assert [begin("d", ONE)[0], begin("e", TWO)[0]] == [first, other]
    assert {trial.state.name for trial in book.study.trials[: other + 1]} == {"RUNNING"}
    assert said == []
    assert search.mistake is None
    fail("d")  # what is no machine's is met by every machine
    begin("f", TWO)
    signature = search.live["f"].trial.signatures[0]
    ending = Ending("failed", "no such key", configuration=True, node=TWO)
    search.hear("f", {**asdict(ending), "signature": signature})
    assert search.mistake is not None
    assert "no node can run it: one (10.0.0.1): no storage here; two (10." in search.mistake
    assert "no such key" in search.mistake


@pytest.mark.heavy
def test_a_search_on_a_cluster_ends_only_when_no_trial_can_come_back(tmp_path: Path) -> None:
    book, ledger = opened(tmp_path)
    book.prepare()
    world = World()
    search = StudySearch(book, ledger, pytest.fail, lambda: None, TwoNodes(world))
    names = [f"t{number}" for number in range(book.left)]
    assert all("trial" in search.suggest(name) for name in names)
    assert search.suggest("more") is None  # not now: Ray Tune asks again
    for name in names:
        search.live[name].place = Place(ONE)
    (node,) = [n for n in world.nodes.living.values() if n.id == ONE]
    search.lose(node, silent=False)
    assert json.loads(search.suggest("again")["trial"])["number"] == 0


@pytest.mark.heavy
@pytest.mark.heavy
def test_a_trial_that_is_silent_or_was_lost_before_it_said_where_it_is_goes_on_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, ledger = opened(tmp_path)
    book.prepare()
    world = World()
    fleet = TwoNodes(world)
    search = StudySearch(book, ledger, pytest.fail, lambda: None, fleet)
    heartbeats = Heartbeats(ledger, "e")
    numbers = {}
    for name in "abcdef":
        numbers[name] = json.loads(search.suggest(name)["trial"])["number"]
        if name in "abc":
            search.live[name].place = Place(ONE, host="one", pid=7)
    signs = {"a": Sign.STALE, "b": Sign.GONE, "c": Sign.TAKEN}
    # "b" tries a cell again later, "c" waits for one that another run trains
    monkeypatch.setattr(heartbeats, "look", lambda claims: signs if "a" in claims else {})
    assert [one.trial.number for one in search.lose_silent(heartbeats, "abcde")] == [numbers["a"]]
    assert fleet.doubts == [ONE]
    (node,) = [n for n in world.nodes.living.values() if n.id == TWO]
    search.lose(node, silent=True)
    assert search.lose_silent(heartbeats, "abcde") == []  # it may say so yet
    search.hear("d", {"kind": "begun", "step": -1, **asdict(Place(ONE, "p", "one", 8))})
    monkeypatch.setattr(searcher, "UNSAID", -1.0)
    # "f" has no process: it waits for room
    assert [one.trial.number for one in search.lose_silent(heartbeats, "abcde")] == [numbers["e"]]
    assert search.gone == {"a", "e"}
    assert json.loads(search.suggest("again")["trial"])["number"] == numbers["e"]


def test_the_figures_are_the_same_bytes_from_the_same_study(tmp_path: Path) -> None:
    book, ledger = opened(tmp_path)
    book.prepare()
    assert drive(book)
    with pytest.warns(UserWarning, match="small: its search has not ended yet"):
        assert sp.open(tmp_path / "e.yaml", tmp_path / "storage").trials().empty
    explain(book, ledger)
    first = search_figures(book.trials.experiment, ledger)
    explain(book, ledger)
    assert search_figures(book.trials.experiment, ledger) == first
    names = {figure.name for figure in first}
    assert {"history", "intermediate", "importance", "slice", "parallel"} <= names
    assert all(figure.svg.startswith(b"<?xml") for figure in first)
    assert all(figure.pdf.startswith(b"%PDF-") for figure in first)
    lines = (tmp_path / "storage/experiments/small/trials.csv").read_text().splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("trial,state,epochs,val.t2a.R@1,loss.svr.radius")
    # As data they are what the study itself has.
    found = sp.open(tmp_path / "e.yaml", tmp_path / "storage").trials().set_index("trial")
    assert len(found) == len(book.study.trials) == 10
    for trial in book.study.trials:
        row = found.loc[trial.number]
        if trial.state.name == "COMPLETE":
            assert (row["state"], row["val.t2a.R@1"]) == ("finished", trial.values[0])
        else:
            assert row["state"] == "stopped"
        assert row["epochs"] == max(trial.intermediate_values)
        assert row["set.loss.svr.alpha"] == trial.params["loss.svr.alpha"]
        assert row["set.loss.svr.radius"] == trial.params["loss.svr.radius"]
        width = trial.params.get("loss.svr.width", math.nan)
        assert row["set.loss.svr.width"] == pytest.approx(width, nan_ok=True)
    csv = tmp_path / "storage/experiments/small/trials.csv"
    csv.write_text(csv.read_text().replace("finished", "1", 1).replace("trial,", "number,"))
    with pytest.warns(UserWarning, match=r"trials.csv: damaged"):
        assert sp.open(tmp_path / "e.yaml", tmp_path / "storage").trials().empty


@pytest.mark.heavy
@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "gp"])
def test_every_sampler_fills_a_conditional_space_the_same_way_twice(
    tmp_path: Path, sampler: str
) -> None:
    text = SEARCH.replace("trials: 10", f"trials: 6\n  sampler: {{name: {sampler}, startup: 3}}")
    found = []
    for again in ("a", "b"):
        (tmp_path / again).mkdir()
        book, _ = opened(tmp_path / again, text)
        book.prepare()
        assert drive(book)
        found.append(content(book))
    assert found[0] == found[1]
    assert len({str(sorted(params.items())) for _, _, _, params, _ in found[0]}) == 6


@pytest.mark.heavy
def test_a_warm_start_learns_from_cells_of_the_space_but_not_from_the_winners_seeds(
    tmp_path: Path,
) -> None:
    text = SEARCH.replace("trials: 10", "trials: 10\n  warm_start: true")
    book, ledger = opened(tmp_path, text)
    params = book.search.start[0]
    outside = {**params, "loss.svr.alpha": 99.0}
    for number, (setting, seed, metric) in enumerate(
        [(params, 7, 30.0), (params, 8, 40.0), (params, 0, 99.0), (outside, 7, 98.0)]
    ):
        cell = book.trials.with_seeds(number, setting, [seed]).cells[0]
        write_result(ledger, cell, metric)
    found = list(finished(book.trials, ledger, lambda _: "code"))
    assert [(setting, values) for setting, values, _ in found] == [(params, [35.0])]
    assert list(finished(book.trials, ledger, lambda _: "other code")) == []
    book.prepare(found)
    assert book.left == 10  # what was known before is none of those declared
    known = book.study.get_trials()[0]
    assert known.values == [35.0]
    assert known.params == book.search.space.free(params)
    assert [one.params for one in ranked(book)] == [params]  # and may be the winner


@pytest.mark.heavy
def test_points_that_the_file_names_later_are_tried_next(tmp_path: Path) -> None:
    book, _ = opened(tmp_path, SEARCH.replace("trials: 10", "trials: 2"))
    book.prepare()
    assert drive(book)
    point = "{loss.svr.radius: static, loss.svr.alpha: 2.5}"
    text = SEARCH.replace("trials: 10", "trials: 3").replace(
        "start: [{}]", f"start: [{{}}, {point}]"
    )
    book, _ = opened(tmp_path, text)
    for _ in range(2):
        book.prepare()
    trial = book.ask()
    assert book.params(trial)["loss.svr.alpha"] == 2.5
    assert book.ask() is None


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        opened(tmp_path, url="nothing://ann:SECRET@host/name?password=SECRET")
    assert "nothing://ann@host/name" in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.heavy
def test_a_second_driver_of_a_search_is_refused(tmp_path: Path) -> None:
    _, ledger = opened(tmp_path)
    held = acquire(ledger.experiment_folder("small").below("search"))
    assert held is not None
    with held:
        arguments = ["run", str(tmp_path / "e.yaml"), "--storage", str(tmp_path / "storage")]
        ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 2
    assert "runs it already, and a search has one driver" in ran.output


def write_result(ledger: Ledger, cell: Cell, metric: float) -> None:
    finish(ledger, cell, {"val.t2a.R@1": metric}, code="code")


@pytest.mark.heavy
def test_the_dashboard_opens_the_study(tmp_path: Path) -> None:
    book, _ = opened(tmp_path)
    book.prepare()
    assert drive(book)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    url = book.place.url
    assert url is not None
    program = [Path(sys.executable).with_name("optuna-dashboard"), url, "--port", str(port)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}"), process)
        with urlopen(f"http://127.0.0.1:{port}/api/studies") as answer:
            studies = json.load(answer)["study_summaries"]
    finally:
        process.kill()
        process.wait()
    assert [study["study_name"] for study in studies] == ["small"]

"""A training loop of the user's behind the door: the page's example, and what goes wrong in one."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from own_loop import attempt, prepared, replaced, shown, write_loop
from supclap_platform.commands.plan import describe
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.folders import check_folders
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.forecast import forecast, time_shapes
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Status, make_plan
from supclap_platform.ledger.records import State
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.figures import draw_figures
from supclap_platform.results.report import build_report
from supclap_platform.search.promotion import promoted
from supclap_platform.search.winner import Ranked

from supclap import user_code
from supclap.checkpoint import Checkpoints
from supclap.errors import InputError
from supclap.events import EpochEnded, Event, Finished, Started

ROOT = Path(__file__).parents[2]
HEAD = "fit(self, config, run):\n"


@pytest.fixture(autouse=True)
def fresh() -> Any:
    """What one test loads is not there for the next."""
    with user_code.forgotten():
        yield


def one_cell(folder: Path, old: str = "", new: str = "", file: str = "") -> tuple[Cell, Ledger]:
    path = write_loop(folder, replaced(old, new) if old else str, file)
    cells, ledger = prepared(path)
    return cells[0], ledger


@pytest.mark.heavy
def test_the_pages_example_runs_and_is_judged_as_any_experiment(tmp_path: Path) -> None:
    assert len(shown("python").splitlines()) < 40
    path = write_loop(tmp_path, file=f"{shown('yaml')}figures: [convergence]\n")
    cells, ledger = prepared(path)
    assert [cell.label for cell in cells][:2] == ["narrow, seed 0", "narrow, seed 1"]
    told: list[Event] = []
    for cell in cells:
        assert attempt(cell, ledger, told.append if cell is cells[0] else None).kind == "done"
    kinds = [type(event) for event in told]
    assert kinds == [Started, *[EpochEnded] * 4, Finished]
    events = ledger.events(cells[0].signature)
    assert events == told
    result = ledger.result(cells[0].signature)
    ended = {e.epoch: e.metrics for e in events if isinstance(e, EpochEnded)}
    best = max(ended, key=lambda epoch: (ended[epoch]["val.accuracy"], -epoch))
    assert result.best_epoch == best
    assert {name: result.metrics[name] for name in ended[best]} == ended[best]
    assert 0 < result.metrics["test.accuracy"] <= 100
    experiment = load_experiment(path)
    text = conclude(experiment, ledger, mixed=False).text()
    assert "wide > narrow on test.accuracy" in text
    assert "Epoch chosen by val.accuracy." in text
    plan = make_plan(experiment, ledger)
    assert plan.count(Status.DONE) == 6
    (figure,) = draw_figures(experiment, ledger, ("svg",))
    assert [panel.metric for panel in figure.panels] == ["val.accuracy"]
    assert figure.files.keys() == {"convergence.svg"}
    page = build_report(experiment, ledger, False, None)
    assert b"test.accuracy" in page
    kept = ledger.storage.names("code")
    assert kept == [events[0].user_code]
    assert ledger.storage.read(f"code/{kept[0]}/my_loop.py").decode() == shown("python")


def test_a_killed_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """It is ended out of a report, and at worse moments: between an epoch's report and its save."""
    (tmp_path / "whole").mkdir()
    cell, ledger = one_cell(tmp_path / "whole")
    assert attempt(cell, ledger).kind == "done"
    want = ledger.result(cell.signature).metrics

    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 3:
            raise Killed

    (tmp_path / "killed").mkdir()
    same, other = one_cell(tmp_path / "killed")
    assert same.signature == cell.signature
    with pytest.raises(Killed):
        attempt(same, other, kill)
    assert other.state(same.signature) is State.RESUMABLE
    told: list[Event] = []
    assert attempt(same, other, told.append).kind == "done"
    assert [e.epoch for e in told if isinstance(e, EpochEnded)] == [1, 2, 3, 4]
    assert other.result(same.signature).metrics == want
    assert not other.folder(same.signature).exists("checkpoints/latest.json")


KILL = """\
import os, signal, sys
from pathlib import Path

from own_loop import attempt, prepared

cells, ledger = prepared(Path(sys.argv[1]))


def kill(event):
    if getattr(event, "epoch", 0) == 3:
        os.kill(os.getpid(), signal.SIGKILL)


attempt(cells[0], ledger, kill)
"""


@pytest.mark.heavy
def test_a_process_killed_for_good_goes_on_to_the_same_end(tmp_path: Path) -> None:
    cell, ledger = one_cell(tmp_path)
    script = [sys.executable, "-c", KILL, str(tmp_path / "rings.yaml")]
    path = os.pathsep.join(["tests/support", *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(script, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == -signal.SIGKILL
    assert ledger.state(cell.signature) is State.RESUMABLE
    told: list[Event] = []
    assert attempt(cell, ledger, told.append).kind == "done"
    assert [e.epoch for e in told if isinstance(e, EpochEnded)] == [1, 2, 3, 4]
    (tmp_path / "whole").mkdir()
    same, other = one_cell(tmp_path / "whole")
    assert attempt(same, other).kind == "done"
    whole, resumed = other.result(same.signature), ledger.result(cell.signature)
    assert resumed.metrics == whole.metrics
    assert resumed.best_epoch == whole.best_epoch


def test_a_search_that_has_seen_enough_ends_it_where_it_can_go_on(tmp_path: Path) -> None:
    cell, ledger = one_cell(tmp_path)

    def stop(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 2:
            raise SystemExit

    with pytest.raises(SystemExit):
        attempt(cell, ledger, stop)
    kept = Checkpoints(ledger.folder(cell.signature)).load_latest()
    assert len(kept["progress"]["events"]) == 3  # the start and two epochs: it was saved before
    assert attempt(cell, ledger).kind == "done"


REPORT = '{"train.loss": loss,'
SEEDED = "torch.manual_seed(run.seed)"
# What is written in the place of what, the words of the mistake, and how the attempt ends.
MISTAKES = [
    (SEEDED, "raise KeyError('lost')", "KeyError: 'lost'", "failed"),
    (SEEDED, "torch.ones(2) @ torch.ones(3)", "RuntimeError: inconsistent", "crashed"),
    (SEEDED, "torch.empty(10**15)", "RuntimeError: [enforce fail at alloc_cpu", "failed"),
    (SEEDED, "raise SystemExit(3)", "SystemExit: 3", "failed"),
    (SEEDED, "open('nowhere/file')", "FileNotFoundError: ", "crashed"),
    ("right[100:200].mean()", "-1", "epoch 1: val.accuracy is -1.0, which by", "failed"),
    ("run.report(epoch, {", "run.report(epoch + 1, {", "report: epoch 2 at the start", "failed"),
    (REPORT, '{"train.los": loss,', "epoch 1: reports 'train.los', which the", "failed"),
    (REPORT, '{"train.loss": loss * float("nan"),', "epoch 1: train.loss is nan", "failed"),
    (REPORT, '{"train.loss": "low",', "epoch 1: train.loss is 'low', no number", "failed"),
    (
        ', "val.accuracy": right[100:200].mean()})',
        "})  # less",
        "epoch 1: reports no val.accuracy, by",
        "failed",
    ),
    ("    kept = run.restore()", "    return", "fit ended without a report", "failed"),
    ("run.epochs + 1):", "run.epochs):", "fit ended after epoch 3 of 4", "failed"),
    ('{"test.accuracy": right.mean()}', "{'test.acc': 1}", "what fit returns: repo", "failed"),
    (
        '"model": model.state_dict(), "opt',
        '"model": model, "opt',
        "save: state['model'] is",
        "failed",
    ),
    ("kept = run.restore()", "kept = run.restored()", "AttributeError: ", "failed"),
]


@pytest.mark.parametrize(("old", "new", "said", "kind"), MISTAKES)
def test_a_mistake_in_the_loop_is_one_line_of_the_loop(
    tmp_path: Path, old: str, new: str, said: str, kind: str
) -> None:
    cell, ledger = one_cell(tmp_path, old, new)
    ending = attempt(cell, ledger)
    assert ending.kind == kind
    at = HEAD if said.startswith(("fit ", "what fit")) else new
    lines = (tmp_path / "my_loop.py").read_text().splitlines()
    (line,) = [number for number, text in enumerate(lines, 1) if at.strip() in text]
    assert ending.error.startswith(f"{tmp_path}/my_loop.py:{line}: {said[:8]}")
    assert said in ending.error
    assert "\n" not in ending.error
    assert ledger.result(cell.signature) is None


REFUSED = [
    ("reports = {", "reported = {", "my_loop.py:6: Mine: expected reports = "),
    ('"train.loss": "low"', '"train.loss": "lower"', "reports: train.loss: better: input should"),
    ('"train.loss": "low"', '"best_epoch": "low"', "'best_epoch' is a name of the platform's own"),
    ('"train.loss": "low"', '"train loss": "low"', "reports: 'train loss': expected a name"),
    ("class Config(BaseModel):", "class Config:", "expected a class 'Config', a pydantic.Base"),
    ("epochs: int = 4", "rounds: int = 4", "its Config has no 'epochs'"),
    ("width: int = 8", "resources: int = 8", "a key 'resources', which is the platform's"),
    (HEAD, "fit(self, config):\n", "expected a method 'fit(self, config, run)'"),
    ("class Mine:", "class Others:", "has no 'Mine'"),
    ("class Mine:", "import nothing_of_the_kind\nclass Mine:", "No module named 'nothing_of_the_"),
    ('select = "val.accuracy"', 'select = "val.acc"', "does not report 'val.acc'; did you mean"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED)
def test_a_class_that_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = write_loop(tmp_path, replaced(old, new))
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith((f"{path}:", f"{tmp_path}/my_loop.py:6: "))


WRONG_FILES = [
    ("my_loop.py:Mine", "my_loop.py", ":3: method: 'my_loop.py': expected FILE.py:CLASS"),
    ("my_loop.py:Mine", "../my_loop.py:Mine", "expected a file in this file's folder or below"),
    ("my_loop.py:Mine", "no_loop.py:Mine", "no file 'no_loop.py'"),
    ("{width: 2}", "{widht: 2}", ":6: narrow: unknown key 'widht'; did you mean 'width'?"),
    ("{width: 2}", "{loss.svr: {}}", ":6: narrow: unknown key 'loss'"),
    ("{width: 2}", "{width: wide}", ":6: narrow: width: input should be a valid integer"),
    ("{width: 2}", "{select.metric: test.acc}", ":6: narrow: select.metric: the method"),
    ("{width: 2}", "{width: 2, resources: {workers: 2}}", ":6: narrow: resources.workers: the m"),
    ("test.accuracy, train.loss]", "t2a.R@1]", "does not report 't2a.R@1'"),
    ("on test.accuracy", "on test.accurac", "did you mean 'test.accuracy'?"),
    ("seeds: 3", "seeds: 3\ninit: {base: {}}", ":9: init: the method my_loop.py:Mine has no mo"),
    ("seeds: 3", "seeds: 3\nfigures: [drift]", ":9: the method my_loop.py:Mine has no figure"),
    ("seeds: 3", "seeds: 3\ngroups: {val: {}}", "'val' begins the names of metrics"),
    (
        "seeds: 3",
        "seeds: 3\nsearch: {space: {width: [2, 4]}, objective: test.accuracy}",
        "proves nothing",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG_FILES)
def test_a_mistake_in_the_file_is_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write_loop(tmp_path, file=replaced(old, new)(shown("yaml")))
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert said.replace("proves nothing", "give val.accuracy") in str(caught.value)


def test_an_own_check_is_a_line_of_the_row(tmp_path: Path) -> None:
    check = (
        "    def check(self, config):\n        if config.width > 31:\n"
        "            raise ValueError('too wide')\n\n    def fit("
    )
    path = write_loop(tmp_path, replaced("    def fit(", check))
    with pytest.raises(InputError, match="wide: too wide"):
        load_experiment(path)


GRID = """\
experiment: rings
method: my_loop.py:Mine
base: {epochs: 4}
grid: {width: [2, 4]}
seeds: 3
table: {columns: [test.accuracy]}
claims: [width=4 > width=2 on test.accuracy]
"""


def test_grid_and_search_are_of_its_own_keys(tmp_path: Path) -> None:
    cells = cells_of(load_experiment(write_loop(tmp_path, file=GRID)))
    assert [cell.config.width for cell in cells] == [2, 2, 2, 4, 4, 4]
    assert [cell.config.seed for cell in cells] == [0, 1, 2] * 2
    assert len({cell.signature for cell in cells}) == 6
    more = "\nsearch: {space: {width: {integer: [2, 9]}}, objective: val.accuracy, trials: 2}\n"
    search = load_experiment(write_loop(tmp_path, file=shown("yaml") + more)).search
    assert str(search.objectives[0]) == "val.accuracy (max)"
    config, _ = search.build("trial 0", {"width": 7})
    assert (config.width, config.epochs) == (7, 4)


def test_settings_that_a_search_has_chosen_become_rows_of_a_file(tmp_path: Path) -> None:
    more = "\nsearch: {space: {width: {integer: [2, 9]}}, objective: val.accuracy, trials: 2}\n"
    experiment = load_experiment(write_loop(tmp_path, file=shown("yaml") + more))
    text = promoted(experiment, [Ranked(1, {"width": 7}, [80.0])], "supclap promote")
    (tmp_path / "top.yaml").write_text(text)
    top = load_experiment(tmp_path / "top.yaml")
    assert top.method.name == "my_loop.py:Mine"
    assert [variant.config.width for variant in top.variants] == [2, 32, 7]
    assert [claim.text for claim in top.claims] == ["trial 1 > narrow on test.accuracy"]


def test_an_edit_makes_its_cells_stale_and_a_comment_does_not(tmp_path: Path) -> None:
    path = write_loop(tmp_path, file=shown("yaml").replace("seeds: 3", "seeds: 1"))
    cells, ledger = prepared(path)
    for cell in cells:
        assert attempt(cell, ledger).kind == "done"
    write_loop(tmp_path, lambda text: f"# mine\n{text}", path.read_text())
    assert make_plan(load_experiment(path), ledger).count(Status.DONE) == 2
    write_loop(tmp_path, replaced("lr=0.05", "lr=0.06"), path.read_text())
    plan = make_plan(load_experiment(path), ledger)
    assert plan.count(Status.STALE) == 2
    (stale,) = plan.stale
    assert stale.changed == ("my_loop.py: Mine",)
    assert [cell.signature for cell in plan.cells] == [cell.signature for cell in cells]


def test_what_it_imports_of_this_package_is_its_code_too(tmp_path: Path) -> None:
    edit = replaced("import torch\n", "import torch\nfrom supclap.losses import InfoNCE\n")
    with_losses = load_experiment(write_loop(tmp_path, edit)).method.all_code()
    assert "supclap.losses.infonce" in with_losses
    assert "supclap.training" not in with_losses


def test_folders_enter_its_signature_by_their_content(tmp_path: Path) -> None:
    for name, content in (("one", "a"), ("two", "a"), ("three", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "list.csv").write_text(content)
    edit = replaced(
        "        width: int = 8\n", "        width: int = 8\n        place: Path = Path()\n"
    )
    path = write_loop(
        tmp_path,
        lambda text: edit(text).replace(
            "import torch", "from pathlib import Path\n\nimport torch", 1
        ),
    )

    def signatures(name: str) -> list[str]:
        found = load_experiment(path, changes={"place": str(tmp_path / name)})
        return [cell.signature for cell in cells_of(found)]

    assert signatures("one") == signatures("two") != signatures("three")
    with pytest.raises(InputError, match=r"place: .*nowhere is no file and no folder"):
        check_folders(load_experiment(path, changes={"place": str(tmp_path / "nowhere")}))


def test_it_travels_to_a_process_that_has_no_file(tmp_path: Path) -> None:
    cell, ledger = one_cell(tmp_path)
    packed = pickle.dumps(cell.method)
    (tmp_path / "my_loop.py").unlink()
    with user_code.forgotten():
        method = pickle.loads(packed)
        assert method.code(None) == cell.method.code(None)
        config = method.parse_stored(cell.method.stored(cell.config), "here")
        assert attempt(replace(cell, method=method, config=config), ledger).kind == "done"
    stored = json.loads(ledger.folder(cell.signature).read("config.json"))
    assert stored == {"method": "my_loop.py:Mine", "epochs": 4, "width": 2, "seed": 0} | {
        "select": {"metric": "val.accuracy"}
    }


def test_its_signature_is_a_hash_of_name_configuration_and_workers(tmp_path: Path) -> None:
    cell, _ = one_cell(tmp_path)
    run = {"epochs": 4, "seed": 0, "select": {"metric": "val.accuracy"}, "width": 2}
    whole = {"method": "my_loop.py:Mine", "run": run, "workers": 1}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    assert cell.signature == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_what_does_not_apply_is_said(tmp_path: Path) -> None:
    path = write_loop(tmp_path)
    cells, ledger = prepared(path)
    plan = make_plan(load_experiment(path), ledger)
    first = time_shapes(plan, ledger)
    lines = [str(line) for line in describe(plan, forecast(plan, ledger, 1, first), ledger)]
    assert any("my_loop.py:Mine is timed by its finished cells alone" in line for line in lines)
    assert attempt(cells[0], ledger).kind == "done"
    left = make_plan(load_experiment(path), ledger)
    assert forecast(left, ledger).unknown == 3  # the row's other seeds are known now

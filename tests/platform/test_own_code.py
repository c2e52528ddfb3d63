"""`code:` in an experiment file: announced, run before the file is checked, kept in the storage."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.own_code import CodePolicy
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.kept_code import KEPT, keep_code, kept_in
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.submit import Request, entrypoint, lay_out
from supclap_platform.running.task import task_of
from tiny_grid import SUPCLAP, attempts, environment, write_experiment

from supclap.errors import InputError
from supclap.events import Started
from supclap.user_code import fetch, forgotten, parts_of

SOURCE = '''"""Learning rates of my own."""
import enum

from helper import half
from supclap.parts import Schedule, register


class Way(enum.Enum):
    DOWN = "down"
    FLAT = "flat"


@register("sloped")
class Sloped(Schedule):
    least: float = 0.5
    way: Way = Way.DOWN

    def share(self, step, steps_per_epoch, epochs):
        return max(self.least, 1.0 - half(step) / (steps_per_epoch * epochs))


@register("stepped")
class Stepped(Schedule):
    every: int = 2

    def share(self, step, steps_per_epoch, epochs):
        return 0.1 ** (step // self.every)
'''
HELPER = "def half(x):\n    return x / 2\n"
ROWS = """
code: [my_idea.py]
"""
VARIANTS = """variants:
  InfoNCE: {}
  Sloped: {optimizer.schedule: {name: sloped, way: flat}}
  Stepped: {optimizer: {schedule: stepped, warmup: 0}}
"""


@pytest.fixture(autouse=True)
def nothing_stays_loaded() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An experiment of three rows, two of which have a part of the file beside it each."""
    path = write_experiment(tmp_path, epochs=1, seeds=1)
    text = path.read_text(encoding="utf-8").replace(", radius.text.mean", "")
    head, _, rest = text.partition("variants:")
    _, _, tail = rest.partition("seeds:")
    path.write_text(f"{ROWS}{head}{VARIANTS}seeds:{tail}", encoding="utf-8")
    (tmp_path / "my_idea.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "helper.py").write_text(HELPER, encoding="utf-8")
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)], prog_name="supclap")


def test_plan_says_first_what_it_runs_and_no_code_refuses(file: Path, tmp_path: Path) -> None:
    storage = ["--storage", str(tmp_path / "storage")]
    done = invoke("plan", file, *storage, "--no-timing")
    assert done.exit_code == 0, done.output
    first = done.output.splitlines()[0]
    assert first == (
        f"runs your code: {tmp_path}/my_idea.py, {tmp_path}/helper.py; --no-code refuses"
    )
    for command in ("plan", "status", "submit"):
        more = ["--address", "http://127.0.0.1:1"] if command == "submit" else storage
        with forgotten():
            (tmp_path / "my_idea.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
            refused = invoke(command, file, *more, "--no-code")
        assert refused.exit_code == 2, command
        assert refused.output == (
            f"supclap: {file}:2: --no-code: this file runs code of its own (my_idea.py)\n"
        )
    edit(file, "code: [my_idea.py]\n", "")
    edit(file, "  Sloped: {optimizer.schedule: {name: sloped, way: flat}}\n", "")
    edit(file, "  Stepped: {optimizer: {schedule: stepped, warmup: 0}}\n", "")
    for options in ([], ["--no-code"]):
        plain = invoke("plan", file, *storage, "--no-timing", *options)
        assert plain.exit_code == 0, plain.output
        assert "code:" not in plain.output.splitlines()[0]
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[my_idea.py]", "[my_ide.py]", r"tiny.yaml:2: code: no file 'my_ide.py' in .*my_idea.py'"),
        ("[my_idea.py]", "../my_idea.py", r"tiny.yaml:2: code: '../my_idea.py': expected a file"),
        ("[my_idea.py]", "[3]", r"tiny.yaml:2: code.0: input should be a valid string"),
        ("code: [my_idea.py]", "", r"no schedule 'sloped'.*comes from a file that 'code' names"),
        ("sloped, way: flat", "sloped, way: up", r"way: input should be 'down' or 'flat'"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(
    file: Path, old: str, new: str, told: str
) -> None:
    edit(file, old, new)
    with pytest.raises(InputError, match=told):
        load_experiment(file)


def test_a_mistake_in_the_code_is_one_line_with_its_line_before_anything_starts(
    file: Path, tmp_path: Path
) -> None:
    edit(tmp_path / "my_idea.py", "import enum\n", "import enum\nimport not_there\n")
    done = invoke("run", file, "--storage", tmp_path / "storage")
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == (
        f"supclap: {tmp_path}/my_idea.py:3: ModuleNotFoundError: No module named 'not_there'"
    )
    assert not (tmp_path / "storage").exists()


def test_an_edit_makes_stale_the_rows_that_it_can_change(file: Path, tmp_path: Path) -> None:
    def codes() -> dict[str, str]:
        from supclap.code import code_version

        return {v.name: code_version(v.config) for v in load_experiment(file).variants}

    def changed(name: str, old: str, new: str) -> set[str]:
        before = codes()
        edit(tmp_path / name, old, new)
        after = codes()
        return {row for row in before if before[row] != after[row]}

    assert changed("my_idea.py", "0.1 ** ", "0.4 ** ") == {"Stepped"}
    assert changed("helper.py", "x / 2", "x / 3") == {"Sloped"}
    assert changed("my_idea.py", "of my own", "of mine") == set()


def test_parts_of_an_include_bring_their_own_code(file: Path, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("tiny.yaml", "my_idea.py", "helper.py"):
        shutil.copy(tmp_path / name, tmp_path / "below" / name)
    edit(tmp_path / "below" / "tiny.yaml", "experiment: tiny", "experiment: other")
    both = tmp_path / "both.yaml"
    both.write_text("experiment: both\ninclude: [tiny.yaml, below/tiny.yaml]\n", encoding="utf-8")
    experiment = load_experiment(both)
    assert sorted(experiment.code_files) == [
        *("below/helper.py", "below/my_idea.py", "helper.py", "my_idea.py")
    ]
    assert len({cell.signature for cell in cells_of(experiment)}) == 3  # shared by both parts
    with pytest.raises(InputError, match=r"--no-code: this file runs code of its own"):
        load_experiment(both, policy=CodePolicy(run=False))
    edit(tmp_path / "below" / "my_idea.py", "least: float = 0.5", "least: float = 0.4")
    with pytest.raises(InputError, match=r"below/my_idea\.py: .*my_idea\.py, which differs"):
        load_experiment(both)


def test_what_is_kept_in_the_storage_stands_for_a_file_that_is_gone(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    ledger = open_ledger(tmp_path / "storage", writing=True)
    experiment = load_experiment(file)
    keep_code(experiment, ledger)
    plan = make_plan(experiment, ledger)
    remember(plan, ledger)
    Histories(ledger).begin(experiment, plan.cells)
    (history,) = Histories(ledger).of("tiny")
    assert {"tiny.yaml", "my_idea.py", "helper.py"} <= Histories(ledger).artifacts(history).keys()
    # What cannot be loaded by now hides no result, and starts no run.
    edit(tmp_path / "my_idea.py", "import enum", "import nothing_of_the_kind")
    for command, code in (("status", 0), ("plan", 2)):
        with forgotten():
            shown = invoke(command, file, "--storage", tmp_path / "storage")
        assert shown.exit_code == code, shown.output
        assert "my_idea.py:2: ModuleNotFoundError: No module named 'nothing_of_" in shown.output
        assert ("shown with the code of the last run" in shown.output) == (code == 0)
    (tmp_path / "my_idea.py").unlink()
    (tmp_path / "helper.py").unlink()
    with forgotten():
        done = invoke("plan", file, "--storage", tmp_path / "storage", "--no-timing")
        assert done.exit_code == 0, done.output
        kept = tmp_path / "cache" / f"code-{experiment.code.hash}"
        assert f"my_idea.py (as {kept} keeps it)" in done.output
    with forgotten():
        again = load_experiment(file, policy=CodePolicy(kept=kept_in(tmp_path / "storage")))
        assert [c.signature for c in cells_of(again)] == [c.signature for c in plan.cells]
        assert again.code.hash == experiment.code.hash
    # What was altered there is not run.
    (kept / "my_idea.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    with forgotten():
        wrong = invoke("status", file, "--storage", tmp_path / "storage")
    assert wrong.exit_code == 2
    assert "code: no file 'my_idea.py'" in wrong.output
    assert "my_idea.py: damaged (not what was written)" in wrong.output


@pytest.mark.heavy
def test_a_cell_is_trained_from_the_storage_and_again_years_later(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    ledger = open_ledger(tmp_path / "storage", writing=True)
    with forgotten():
        experiment = load_experiment(file)
        plain, sloped, _ = cells_of(experiment)
        keep_code(experiment, ledger)
        remember(make_plan(experiment, ledger), ledger)
        tasks = [task_of(cell, ledger, "tiny") for cell in (plain, sloped)]
    assert [bool(task.user_code) for task in tasks] == [False, True]
    (tmp_path / "my_idea.py").unlink()  # a worker sees the storage alone
    for task in tasks:
        with forgotten():
            assert run_cell(task).kind == "done"
    started = [ledger.events(cell.signature)[0] for cell in (plain, sloped)]
    assert all(isinstance(one, Started) for one in started)
    assert [one.user_code for one in started if isinstance(one, Started)] == [
        "",
        tasks[1].user_code,
    ]
    labels = [{n for n in s.modules if ": " in n} for s in started if isinstance(s, Started)]
    assert labels == [set(), {"my_idea.py: sloped"}]
    # Another version of the code is refused, as another one of the package is.
    with forgotten():
        wrong = run_cell(replace(tasks[1], code={**tasks[1].code, "my_idea.py: sloped": "0" * 12}))
    assert (wrong.kind, wrong.configuration) == ("failed", True)
    assert "my_idea.py: sloped" in wrong.error
    # Years later: from what the storage has, and nothing else.
    result = ledger.result(sloped.signature)
    assert result is not None
    config = ledger.folder(sloped.signature).local / "config.json"
    code = ledger.storage.local / "code" / tasks[1].user_code
    with forgotten():
        done = invoke("train", config, "--code", code, "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    again = json.loads((tmp_path / "again" / "result.json").read_text(encoding="utf-8"))
    assert again["metrics"]["train.loss"] == result.metrics["train.loss"]
    assert again["code"] == result.code


@pytest.mark.heavy
def test_another_process_has_the_same_from_the_storage(
    file: Path, tmp_path: Path, ledger: Ledger
) -> None:
    experiment = load_experiment(file)
    keep_code(experiment, ledger)
    _, sloped, _ = cells_of(experiment)
    (tmp_path / "task").write_bytes(pickle.dumps(task_of(sloped, ledger, "tiny")))
    code = (
        "import pickle, sys\n"
        "task = pickle.load(open(sys.argv[1], 'rb'))\n"
        "task.load_code()\n"
        "from supclap.user_code import parts_of\n"
        "config = task.configuration()\n"
        "print(parts_of(config), config.optimizer.schedule.way)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "task")],
        env={**environment(), "SUPCLAP_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path / "tones",
        capture_output=True,
        text=True,
    )
    assert found.stdout == f"{parts_of(sloped.config)} Way.FLAT\n", found.stderr


def test_code_of_which_the_storage_has_another_is_refused(
    file: Path, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    with forgotten():
        keep_code(load_experiment(file), ledger)
    with pytest.raises(InputError, match=r"code/0000: has no code\.json; run the experiment again"):
        fetch(ledger.storage, "0000")
    (named,) = ledger.storage.names("code")
    (ledger.storage.local / "code" / named / "helper.py").write_text("raise SystemExit\n")
    with pytest.raises(InputError, match=r"helper\.py: damaged \(not what was written\)"):
        fetch(ledger.storage, named)
    assert not (tmp_path / "cache" / f"code-{named}").exists()
    assert KEPT in ledger.experiment_folder("tiny").names()


def test_submit_uploads_the_code_and_lists_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "elsewhere" / "mylab"
    lab.mkdir(parents=True)
    (lab / "__init__.py").write_text("", encoding="utf-8")
    (lab / "ideas.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(lab.parent)
    edit(file, "[my_idea.py]", "[my_idea.py, mylab.ideas]")
    done = invoke("submit", file, "--address", "http://127.0.0.1:1", "--dry-run")
    assert done.exit_code == 0, done.output
    uploaded = re.findall(r"^would upload (.+) \((.+)\)$", done.output, flags=re.MULTILINE)
    assert [name for name, _ in uploaded[:5]] == [
        "experiments/helper.py",
        "experiments/my_idea.py",
        "experiments/tiny.yaml",
        "mylab/__init__.py",
        "mylab/ideas.py",
    ]
    assert uploaded[3][1] == "0 B"
    assert uploaded[4][1] == "6 B"
    start = "would start python -m supclap_platform run experiments/tiny.yaml --address auto"
    assert done.output.splitlines()[-1] == start
    experiment = load_experiment(file)
    request = Request(file, code=experiment.code_files)
    assert entrypoint(request).split()[4] == "experiments/tiny.yaml"
    folder = lay_out(request, tmp_path / "up")
    with forgotten():
        again = load_experiment(folder / request.place)
        assert [v.name for v in again.variants] == [v.name for v in experiment.variants]


@pytest.mark.heavy
def test_a_trial_of_a_search_loads_the_code_before_it_reads_its_setting(
    file: Path, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    from ray import tune
    from supclap_platform.search.job import Common, config_of, run_trial
    from supclap_platform.search.trials import Trials

    search = (
        "search:\n  base: {optimizer.schedule: {name: sloped, way: flat}}\n"
        "  space: {optimizer.schedule.least: {uniform: [0.1, 0.9]}}\n"
        "  objective: val.t2a.R@1\n  trials: 2\n"
    )
    file.write_text(file.read_text(encoding="utf-8") + search, encoding="utf-8")
    with forgotten():
        experiment = load_experiment(file)
        keep_code(experiment, ledger)
        remember(make_plan(experiment, ledger), ledger)
        trial = Trials(experiment).of(0, {"optimizer.schedule.least": 0.3})
        task = task_of(trial.cells[0], ledger, "tiny")
        common = Common(
            replace(task, label="", signature="", config={}, user_code=experiment.code.hash),
            experiment.search.objectives if experiment.search else (),
        )
        config = config_of(trial)
    reports: list[dict[str, object]] = []
    monkeypatch.setattr(tune, "report", reports.append)
    with forgotten():
        run_trial(config, common)
    assert [one["kind"] for one in reports] == ["epoch", "finished"]
    (started, *_) = ledger.events(trial.cells[0].signature)
    assert isinstance(started, Started)
    assert "my_idea.py: sloped" in started.modules
    assert started.config["optimizer"]["schedule"]["least"] == 0.3


@pytest.mark.heavy
def test_a_run_on_ray_and_only_the_row_of_an_edited_part_anew(file: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    edit(file, "  Sloped: {optimizer.schedule: {name: sloped, way: flat}}\n", "")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SUPCLAP, "run", str(file), "--storage", str(storage), "--cpus", "1", *options],
            env={**environment(), "SUPCLAP_CACHE": str(tmp_path / "cache")},
            cwd=tmp_path / "tones",  # nothing is found by where the command is called
            capture_output=True,
            text=True,
        )

    first = run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.startswith(f"runs your code: {tmp_path}/my_idea.py, {tmp_path}/helper.py")
    assert sorted(attempts(storage).values()) == [1, 1]
    logs = [path.read_text(encoding="utf-8") for path in storage.glob("cells/*/*/log.txt")]
    # On one core, one after the other: what loading does to a process reaches no other row.
    assert len({log.partition(", process ")[2].split()[0] for log in logs}) == 2
    edit(tmp_path / "my_idea.py", "step // self.every", "step")
    anew = run("--rerun-stale")
    assert anew.returncode == 0, anew.stdout + anew.stderr
    assert "2 cells, 1 done, 1 to run" in anew.stdout
    ledger = open_ledger(storage)
    cells = cells_of(load_experiment(file))
    assert [len(ledger.earlier(cell.signature)) for cell in cells] == [0, 1]
    (before,) = ledger.earlier(cells[1].signature).values()
    after = ledger.result(cells[1].signature)
    assert after is not None
    assert before.metrics["train.loss"] != after.metrics["train.loss"]
    assert len(ledger.storage.names("code")) == 2  # both states can be run again

"""`include`: files gathered into one experiment; shared cells run once, each part is concluded."""

import csv
import io
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.drivers import announce
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.tracking import Tracker
from supclap_platform.results.conclusion import conclude_parts
from supclap_platform.results.summary import summarise
from supclap_platform.results.table_files import tables_of
from supclap_platform.running.submit import Request, entrypoint, lay_out
from supclap_platform.testing import finish
from tiny_grid import attempts, supclap, write_experiment

from supclap.errors import STALE, InputError

FIRST = """\
experiment: first
about: Does A beat B?
base: {epochs: 3}
init: {base: {data.train: pretrain}}
variants: {A: {}, B: {batch_size: 8}}
seeds: 3
baseline: B
claims: [A > B on t2a.R@1, B > A on a2t.R@1]
profiles: {paper: {seeds: 2}}
"""
SECOND = """\
experiment: second
base: {epochs: 3}
init: {base: {data.train: pretrain}}
variants: {A again: {}, C: {batch_size: 9}}
groups: {one: {}, two: {optimizer.lr: 0.5}}
seeds: 3
claims: [C > A again on two.t2a.R@1]
profiles: {paper: {}}
"""
WHOLE = """\
experiment: whole
about: What do both say?
include:
  - first.yaml
  - below/second.yaml
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "first.yaml").write_text(FIRST, encoding="utf-8")
    (tmp_path / "below" / "second.yaml").write_text(SECOND, encoding="utf-8")
    path = tmp_path / "whole.yaml"
    path.write_text(WHOLE, encoding="utf-8")
    return path


def parts_of(path: Path) -> tuple[Experiment, Experiment]:
    return (
        load_experiment(path.parent / "first.yaml"),
        load_experiment(path.parent / "below" / "second.yaml"),
    )


def finish_cell(ledger: Ledger, cell: Cell, code: str | None = None) -> None:
    value = (10.0 * len(cell.config.loss.name) + cell.config.batch_size + cell.seed**2) / 4
    metrics = {"test.t2a.R@1": value, "test.a2t.R@1": value / 2}
    finish(ledger, cell, metrics, code=code)


def command(name: str, path: Path, *options: str) -> Result:
    storage = path.parent / "storage"
    if path.parent.name == "below":
        storage = path.parent.parent / "storage"
    return CliRunner().invoke(main, [name, str(path), "--storage", str(storage), *options])


def test_the_cells_are_those_of_the_parts_and_shared_ones_stand_once(path: Path) -> None:
    whole, (first, second) = load_experiment(path), parts_of(path)
    assert [part.name for part in whole.parts] == ["first", "second"]
    ours, theirs = cells_of(first), cells_of(second)
    shared = {c.signature for c in ours} & {c.signature for c in theirs}
    assert len(shared) == 1 + 3  # the init, and A with each seed
    cells = cells_of(whole)
    assert [c.signature for c in cells] == list(
        dict.fromkeys(c.signature for c in (*ours, *theirs))
    )
    names = {c.signature: c.variant for c in cells}
    assert names[ours[0].signature] == "first: init"
    assert {names[s] for s in shared} == {"first: init", "first: A"}
    assert {c.group for c in cells} == {None, "one", "two"}


def test_what_the_whole_has_run_each_part_finds_done(path: Path, ledger: Ledger) -> None:
    whole = make_plan(load_experiment(path), ledger)
    remember(whole, ledger)
    assert len(whole.to_run) == 1 + 6 + 3 + 6
    for cell in whole.to_run:
        finish_cell(ledger, cell)
    for part in parts_of(path):
        plan = make_plan(part, ledger)
        assert plan.to_run == []
        assert len(ledger.known(part.name, "laptop")) == len(plan.statuses)
    path.with_name("first.yaml").write_text(FIRST.replace("batch_size: 8", "batch_size: 10"))
    first = make_plan(load_experiment(path.with_name("first.yaml")), ledger)
    assert {cell.variant for cell in first.removed} == {"B"}


@pytest.mark.heavy
def test_the_plan_tells_each_parts_share(path: Path, ledger: Ledger) -> None:
    for cell in cells_of(parts_of(path)[0])[:3]:
        finish_cell(ledger, cell)
    done = command("plan", path)
    assert done.exit_code == 0, done.output
    assert "whole, profile laptop: 2 experiments, 16 runs" in done.output
    assert "first      7 runs: 3 done, 4 to run\n" in done.output
    assert (
        "second    13 runs: 3 done, 10 to run (4 of them shared with a part above)" in done.output
    )


def test_each_part_is_concluded_as_if_by_itself_and_all_claims_stand_together(
    path: Path, ledger: Ledger
) -> None:
    whole = load_experiment(path)
    for cell in cells_of(whole):
        if cell.variant != "second: C @ two":
            finish_cell(ledger, cell)
    done = command("table", path)
    assert done.exit_code == 0, done.output
    storage = path.parent / "storage" / "experiments"
    written = {
        part: {p.name: p.read_bytes() for p in (storage / part).iterdir() if p.is_file()}
        for part in ("first", "second")
    }
    for part in parts_of(path):
        alone = command("table", part.path)
        assert alone.stdout in done.stdout
        for name, content in written[part.name].items():
            assert (storage / part.name / name).read_bytes() == content
    assert sorted(p.name for p in (storage / "whole").iterdir()) == [
        "verdicts.csv",
        "verdicts.md",
        "verdicts.txt",
    ]
    text = (storage / "whole" / "verdicts.txt").read_text(encoding="utf-8")
    assert done.stdout.endswith(text)
    assert text.startswith("What do both say?\n")
    lines = [line.split() for line in text.splitlines()]
    assert ["supported", "contradicted", "undecided", "runs", "done"] in lines
    assert ["second", "0", "0", "1", "9/12"] in lines
    assert "second: C @ two: not finished for seeds 0, 1, 2." in text
    rows = list(csv.DictReader(io.StringIO((storage / "whole" / "verdicts.csv").read_text())))
    assert [(row["experiment"], row["claim"]) for row in rows] == [
        ("first", "A > B on t2a.R@1"),
        ("first", "B > A on a2t.R@1"),
        ("second", "C > A again on two.t2a.R@1"),
    ]
    own = list(csv.DictReader(io.StringIO(written["first"]["verdicts.csv"].decode())))
    assert [{k: v for k, v in row.items() if k != "experiment"} for row in rows[:2]] == own


def test_runs_that_parts_share_count_once_in_all(path: Path, ledger: Ledger) -> None:
    for cell in cells_of(load_experiment(path)):
        finish_cell(ledger, cell)
    text = command("table", path).stdout
    assert "all" in text
    lines = [line.split() for line in text.splitlines()]
    assert any(line[:1] == ["first"] and line[-1] == "6/6" for line in lines)
    assert any(line[:1] == ["second"] and line[-1] == "12/12" for line in lines)
    assert any(line[:1] == ["all"] and line[-1] == "15/15" for line in lines)


@pytest.mark.parametrize("form", ["txt", "md", "csv", "tex", "html"])
def test_every_format_shows_every_part(path: Path, ledger: Ledger, form: str) -> None:
    shown = command("table", path, "--format", form).stdout
    assert "first" in shown or "Does A beat B?" in shown
    assert "A again" in shown
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(shown)))
        assert [row["experiment"] for row in rows] == ["first"] * 4 + ["second"] * 8


def test_a_mixture_is_refused_within_a_part_only(path: Path, ledger: Ledger) -> None:
    first, second = parts_of(path)
    own = {cell.signature for cell in cells_of(first)}
    for cell in cells_of(second):
        if cell.signature not in own:
            finish_cell(ledger, cell, code="code-b")
    for cell in cells_of(first):
        finish_cell(ledger, cell)
    refused = command("table", path)  # A is of both parts, so the second mixes
    assert refused.exit_code == 2
    assert (
        "below/second.yaml: finished cells are of different code: code-b did not" in refused.stderr
    )
    for cell in cells_of(first):
        finish_cell(ledger, cell, code="code-b" if cell.config.epochs == 3 else None)
    assert command("table", path).exit_code == STALE  # all of a part are of one code, not today's


def test_profile_and_changes_reach_every_part(path: Path) -> None:
    paper = load_experiment(path, "paper", {"batch_size": 5})
    assert [len(part.seeds) for part in paper.parts] == [2, 3]
    assert [part.profile for part in paper.parts] == ["paper", "paper"]
    assert paper.parts[0].variant("A").config.batch_size == 5
    path.with_name("first.yaml").write_text(FIRST.replace("paper", "other"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_experiment(path, "paper")
    assert str(caught.value) == (
        f"{path.parent}/first.yaml:9: no profile 'paper' (profiles: laptop, other)"
    )


@pytest.mark.heavy
def test_a_part_may_have_no_part_in_a_profile_and_that_is_shown(path: Path, ledger: Ledger) -> None:
    second = path.parent / "below" / "second.yaml"
    second.write_text(SECOND.replace("{paper: {}}", "{paper: null}"), encoding="utf-8")
    whole = load_experiment(path, "paper")
    assert [part.name for part in whole.parts] == ["first"]
    assert second in whole.files  # a job that reads the file again finds it
    assert whole.without == "no part of profile paper: second"
    assert not load_experiment(path).without
    summary = summarise(whole, conclude_parts(whole, ledger))
    for form in ("verdicts.txt", "verdicts.md"):
        assert "no part of profile paper: second" in summary.files[form].decode()
    planned = command("plan", path, "--profile", "paper", "--no-timing")
    assert "no part of profile paper: second\n" in planned.output
    with pytest.raises(InputError, match=r"second.yaml:8: the file has no part in the profile"):
        load_experiment(second, "paper")
    first = path.with_name("first.yaml")
    first.write_text(FIRST.replace("{paper: {seeds: 2}}", "{paper: null}"), encoding="utf-8")
    with pytest.raises(InputError, match=r"whole.yaml:3: include: no file of it has a part"):
        load_experiment(path, "paper")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("- first.yaml", "- firs.yaml", ":4: include: no file 'firs.yaml' in "),
        ("- first.yaml", "- ../first.yaml", ":4: include: '../first.yaml': expected a file in thi"),
        ("- first.yaml", "- /etc/passwd", ":4: include: '/etc/passwd': expected a file in this"),
        ("- first.yaml", '- "a\\0b"', ":4: include: 'a\\x00b': expected a file"),
        ("- first.yaml", "- below", ":4: include: no file 'below' in "),
        ("- first.yaml", f"- {'x' * 5000}", ":4: include: no file 'xxxx"),
        ("- first.yaml", "- below/second.yaml", ":5: include: below/second.yaml stands twice"),
        ("- first.yaml", "- whole.yaml", ":4: include: whole.yaml includes others itself; name"),
        ("- first.yaml", "- 3", ":4: include.0: input should be a valid string, got 3"),
        ("about: What do both say?", "seeds: 3", ":2: 'seeds' beside 'include': a file that incl"),
        ("experiment: whole", "experiment: second", ":5: include: two experiments are called 'se"),
        ("include:\n  - first.yaml\n  - below/second.yaml", "include: []", ":3: include: expected"),
        (
            "include:\n  - first.yaml\n  - below/second.yaml",
            "include:",
            ":3: include: input should",
        ),
    ],
)
def test_a_mistake_gets_file_and_line(path: Path, old: str, new: str, expected: str) -> None:
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    line = str(caught.value)
    assert line.startswith(f"{path}:")
    assert expected in line
    assert line.isprintable()


def test_a_mistake_in_a_part_is_told_where_it_is(path: Path) -> None:
    path.with_name("first.yaml").write_text(FIRST.replace("epochs: 3", "epoch: 3"))
    with pytest.raises(InputError, match=r"/first.yaml:3: .*unknown key 'epoch'"):
        load_experiment(path)


def test_a_search_is_run_by_itself(path: Path) -> None:
    search = "search: {space: {optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}}, trials: 3}\n"
    path.with_name("first.yaml").write_text(FIRST + search)
    with pytest.raises(InputError, match=r"first\.yaml has a search; run it by itself"):
        load_experiment(path)


def test_the_parent_run_keeps_each_parts_files_below_its_name(path: Path, ledger: Ledger) -> None:
    whole = load_experiment(path)
    cells = cells_of(whole)
    for cell in cells[:5]:
        finish_cell(ledger, cell)
    tracker = Tracker(whole, cells, ledger, None, say=lambda line: None)
    files = tables_of(whole, ledger) | dict(summarise(whole, conclude_parts(whole, ledger)).files)
    tracker.close("FAILED", files)
    (parent,) = Histories(ledger).of("whole")
    assert parent.tags["parts"] == "first, second"
    kept = Histories(ledger).artifacts(parent)
    assert {"whole.yaml", "verdicts.txt", "first/first.yaml", "second/second.yaml"} <= set(kept)
    assert {
        f"{part}/table.{end}" for part in ("first", "second") for end in ("txt", "json")
    } <= set(kept)
    assert kept["first/first.yaml"].decode() == FIRST
    assert Histories(ledger).of("first") == []


def test_a_part_is_told_of_the_run_that_it_belongs_to(path: Path, ledger: Ledger) -> None:
    whole = load_experiment(path)
    Histories(ledger).begin(whole, cells_of(whole))
    assert Histories(ledger).including("second") == ["whole"]
    assert Histories(ledger).including("whole") == Histories(ledger).including("sec") == []
    first = path.with_name("first.yaml")
    with announce(ledger, "whole"):
        assert f"driven by process {os.getpid()} on" in command("status", first).output
        assert ", as a part of whole" in command("status", first).output
        stopped = command("stop", first).output
        assert "nothing runs first in" in stopped
        assert "runs it as a part of whole; to stop that, give its file" in stopped
    assert "as a part of" not in command("stop", first).output


def test_a_job_takes_the_included_files_along(path: Path, tmp_path: Path) -> None:
    request = Request(path, others=load_experiment(path).files[1:])
    (tmp_path / "up").mkdir()
    folder = lay_out(request, tmp_path / "up")
    assert " run experiments/whole.yaml " in entrypoint(request)
    staged = load_experiment(folder / "experiments" / "whole.yaml")
    assert [part.name for part in staged.parts] == ["first", "second"]


@pytest.mark.heavy
def test_a_run_of_the_whole_on_ray(tmp_path: Path) -> None:
    one = write_experiment(tmp_path, epochs=1, seeds=1, more="claims: []\n")
    other = tmp_path / "other.yaml"
    text = one.read_text().replace("experiment: tiny", "experiment: other")
    other.write_text(text.replace("variants:\n", "variants:\n  SigLIP: {loss.name: siglip}\n"))
    whole = tmp_path / "whole.yaml"
    whole.write_text("experiment: whole\ninclude: [tiny.yaml, other.yaml]\n")
    storage = tmp_path / "storage"
    code, output = supclap("run", whole, "--storage", storage, "--cpus", "2")
    assert code == 0, output
    assert "whole, profile laptop: 3 cells, 0 done, 3 to run" in output
    assert sorted(attempts(storage).values()) == [1, 1, 1]
    tables = {
        name: (storage / "experiments" / name / "table.txt").read_bytes()
        for name in ("tiny", "other")
    }
    assert (storage / "experiments" / "whole" / "verdicts.txt").is_file()
    for file in (one, other):  # all done: the address, where nothing answers, is not needed
        code, output = supclap("run", file, "--storage", storage, "--address", "127.0.0.1:1")
        assert code == 0, output
    for name, table in tables.items():
        assert (storage / "experiments" / name / "table.txt").read_bytes() == table
    assert sorted(attempts(storage).values()) == [1, 1, 1]

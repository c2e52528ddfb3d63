"""`supclap compare`: before and after, from runs whose numbers are chosen here."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from ranks_of import t2a_ranks
from scipy import stats
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.earlier import Earlier
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.results.statistics import holm
from supclap_platform.testing import BEGIN, events_of, fail, finish, interrupt, leave

from supclap.user_code import forgotten

pytestmark = pytest.mark.heavy
R1, RANK = "test.t2a.R@1", "test.t2a.meanR"
FILE = """\
experiment: before-after
base: {epochs: 2}
variants:
  InfoNCE: {}
  SVR: {loss.svr: {radius: static}}
seeds: 5
table: {columns: [t2a.R@1, t2a.meanR]}
profiles:
  paper: {base: {epochs: 3}}
"""
BEFORE = {  # row -> (R@1, mean rank) for each seed
    "InfoNCE": [(40.1, 9.0), (41.3, 8.2), (39.7, 9.9), (40.6, 9.1), (40.2, 8.8)],
    "SVR": [(43.0, 7.0), (42.1, 7.5), (44.2, 6.1), (43.3, 7.2), (42.7, 7.4)],
}
Numbers = Mapping[str, Sequence[tuple[float, float]]]


def shifted(numbers: Numbers, row: str, by: tuple[float, float], seed: int = 0) -> Numbers:
    """The same numbers, one row's moved by so much on average, with a little noise."""
    noise = np.random.default_rng(seed).normal(0, 0.2, (5, 2))
    moved = [
        (a + by[0] + x, b + by[1] + y)
        for (a, b), (x, y) in zip(numbers[row], noise.tolist(), strict=True)
    ]
    return {**numbers, row: moved}


def noisy(numbers: Numbers, seed: int) -> Numbers:
    """Every number again, with noise."""
    for row in numbers:
        numbers = shifted(numbers, row, (0.0, 0.0), seed)
        seed += 1000
    return numbers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def filled(
    place: Path, file: Path, numbers: Numbers, profile: str = "laptop", **how: Any
) -> Ledger:
    """A storage with every run of a file finished."""
    ledger = open_ledger(place)
    for cell in cells_of(load_experiment(file, profile)):
        if cell.seed < len(numbers.get(cell.variant, ())):
            finish(ledger, cell, metrics(numbers, cell), **how)
    return ledger


def metrics(numbers: Numbers, cell: Cell) -> dict[str, float]:
    return dict(zip((R1, RANK), numbers[cell.variant][cell.seed], strict=True))


def compare(*words: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, words)], prog_name="supclap")


def compared(*words: object) -> dict[str, Any]:
    found = compare(*words, "--format", "json")
    assert found.exit_code in (0, 1), found.output
    values: dict[str, Any] = json.loads(found.stdout)
    assert values["regression"] == (found.exit_code == 1)
    return values


def lines_of(values: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(line["row"], line["column"]): line for line in values["lines"]}


def test_each_line_is_a_paired_t_test_and_all_are_corrected_together(
    tmp_path: Path, file: Path
) -> None:
    after = noisy(shifted(BEFORE, "SVR", (-1.0, 0.4)), 3)
    filled(tmp_path / "old", file, BEFORE)
    filled(tmp_path / "new", file, after)
    values = compared(f"{file}@storage={tmp_path / 'old'}", file, "--storage", tmp_path / "new")
    found = lines_of(values)
    ps = []
    for (row, place), line in zip(itertools.product(BEFORE, (0, 1)), values["lines"], strict=True):
        old, new = ([own[place] for own in side[row]] for side in (BEFORE, after))
        truth = stats.ttest_rel(new, old)
        interval = truth.confidence_interval(0.95)
        ps.append(float(truth.pvalue))
        assert line == found[row, ("t2a.R@1", "t2a.meanR")[place]]
        assert line["p"] == pytest.approx(truth.pvalue)
        assert line["effect"] == pytest.approx(np.mean(new) - np.mean(old))
        assert line["interval"] == pytest.approx((interval.low, interval.high))
        assert line["seeds"] == [0, 1, 2, 3, 4]
    order = sorted(range(4), key=ps.__getitem__)
    least = 0.0
    for step, place in enumerate(order):  # Holm, step by step
        least = max(least, min(1.0, (4 - step) * ps[place]))
        assert values["lines"][place]["corrected"] == pytest.approx(least)


def test_which_way_is_worse_is_the_metrics_own(tmp_path: Path, file: Path) -> None:
    """R@1 that falls is worse, a mean rank that falls is better; the exit code follows."""
    filled(tmp_path / "old", file, BEFORE)
    filled(tmp_path / "fallen", file, noisy(shifted(BEFORE, "SVR", (-3.0, -3.0)), 1))
    filled(tmp_path / "risen", file, noisy(shifted(BEFORE, "SVR", (3.0, -3.0)), 1))
    old = f"{file}@storage={tmp_path / 'old'}"
    worse = compared(old, file, "--storage", tmp_path / "fallen")
    assert {one["column"]: one["verdict"] for one in worse["columns"]} == {
        "t2a.R@1": "worse",
        "t2a.meanR": "better",
    }
    assert worse["columns"][0]["lines"] == {"worse": 1, "undecided": 1}
    assert worse["summary"].startswith("Regression in t2a.R@1: of 4 lines 1 worse, 1 better")
    better = compared(old, file, "--storage", tmp_path / "risen")
    assert [one["verdict"] for one in better["columns"]] == ["better", "better"]
    back = compared(file, old, "--storage", tmp_path / "risen")
    assert [one["verdict"] for one in back["columns"]] == ["worse", "worse"]


def test_equal_is_certainly_within_what_does_not_matter(tmp_path: Path, file: Path) -> None:
    after = noisy(BEFORE, 5)
    filled(tmp_path / "old", file, BEFORE)
    filled(tmp_path / "new", file, after)
    sides = (f"{file}@storage={tmp_path / 'old'}", file, "--storage", tmp_path / "new")
    assert {one["verdict"] for one in compared(*sides)["columns"]} == {"undecided"}
    one = compared(*sides, "--within", "t2a.R@1=1")
    assert [column["verdict"] for column in one["columns"]] == ["equal", "undecided"]
    for row in BEFORE:  # TOST, written out
        differences = np.array([b[0] - a[0] for a, b in zip(BEFORE[row], after[row], strict=True)])
        below = stats.ttest_1samp(differences, 1.0, alternative="less").pvalue
        above = stats.ttest_1samp(differences, -1.0, alternative="greater").pvalue
        assert lines_of(one)[row, "t2a.R@1"]["p"] == pytest.approx(max(below, above))
    both = compared(*sides, "--within", "1", "--within", "test.t2a.meanR=0.01")
    assert [column["verdict"] for column in both["columns"]] == ["equal", "undecided"]
    assert "equal within 1" in compare(*sides, "--within", 1).stdout
    # certainly not zero and certainly small: what does not matter is no regression
    filled(tmp_path / "small", file, noisy(shifted(BEFORE, "SVR", (-0.7, 0.0)), 1))
    small = (*sides[:3], tmp_path / "small")
    assert compare(*small).exit_code == 1
    found = compared(*small, "--within", 2)
    line = lines_of(found)["SVR", "t2a.R@1"]
    assert line["verdict"] == "equal"
    assert line["remarks"] == ["certainly not zero, and certainly within what does not matter"]


def test_two_code_versions_of_one_experiment(tmp_path: Path, file: Path) -> None:
    """Only SVR was trained anew: InfoNCE is the same runs, and asks nothing of the correction."""
    ledger = filled(tmp_path / "s", file, BEFORE, code="old-code")
    after = shifted(BEFORE, "SVR", (-2.0, 0.5))
    nothing = compare(f"{file}@code=earlier", file, "--storage", tmp_path / "s")
    assert nothing.exit_code == 2
    assert "no run of it was trained anew in" in nothing.output
    for cell in cells_of(load_experiment(file)):
        if cell.variant == "SVR":
            ledger.set_aside(cell.signature)
            finish(ledger, cell, metrics(after, cell))
    storage = ("--storage", tmp_path / "s")
    values = compared(f"{file}@code=earlier", file, *storage)
    found = lines_of(values)
    old, new = ([own[0] for own in side["SVR"]] for side in (BEFORE, after))
    p = stats.ttest_rel(new, old).pvalue
    ranks = stats.ttest_rel(*([own[1] for own in side["SVR"]] for side in (after, BEFORE))).pvalue
    assert [found["SVR", c]["corrected"] for c in ("t2a.R@1", "t2a.meanR")] == pytest.approx(
        holm([p, ranks])
    )
    assert found["InfoNCE", "t2a.R@1"]["remarks"] == ["the same runs"]
    assert found["InfoNCE", "t2a.R@1"]["verdict"] == "equal"
    assert any(note.startswith("A: 5 of 10 runs as they were before") for note in values["notes"])
    stale = "B: 5 finished runs are of earlier code than would run today (stale): InfoNCE"
    assert stale in values["notes"]
    named = compared(f"{file}@code=old-code", file, *storage)  # by version: InfoNCE's are there too
    assert lines_of(named)["SVR", "t2a.R@1"]["p"] == pytest.approx(p)
    wrong = compare(f"{file}@code=earler", file, *storage)
    assert wrong.exit_code == 2
    assert f"A ({file}@code=earler): code 'earler': no result in" in wrong.output
    # a second rerun: what comes before is the last of those that are kept
    again = shifted(BEFORE, "SVR", (4.0, 0.0), 9)
    for cell in cells_of(load_experiment(file)):
        if cell.variant == "SVR":
            ledger.set_aside(cell.signature)
            finish(ledger, cell, metrics(again, cell), code="third")
    kept = {len(ledger.earlier(c.signature)) for c in cells_of(load_experiment(file))}
    assert kept == {0, 2}


def test_the_last_kept_version_is_what_was_before(tmp_path: Path, file: Path) -> None:
    ledger = open_ledger(tmp_path)
    (cell, *_) = cells_of(load_experiment(file))
    for place, code in enumerate(("zzz", "aaa", "mmm")):  # their names are in no order
        time = BEGIN + 1000 * place
        leave(ledger, cell, events_of(cell, [{}], {R1: float(place)}, code=code, begin=time))
        ledger.set_aside(cell.signature)
    finish(ledger, cell, {R1: 3.0})
    for which, value in (("earlier", 2.0), ("zzz", 0.0), ("aaa", 1.0)):
        then = Earlier(ledger, which)
        overview, results = then.examine([cell.signature])
        assert overview.of(cell.signature) == "done"
        assert results[cell.signature].value(R1) == value


def test_two_profiles_and_changes_of_the_base(tmp_path: Path, file: Path) -> None:
    filled(tmp_path, file, BEFORE)
    filled(tmp_path, file, shifted(BEFORE, "InfoNCE", (2.0, 0.0)), "paper")
    values = compared(file, f"{file}@paper", "--storage", tmp_path)
    assert lines_of(values)["InfoNCE", "t2a.R@1"]["verdict"] == "better"
    assert "same numbers" in lines_of(values)["SVR", "t2a.R@1"]["remarks"][0]
    same = compared(f"{file}@epochs=3", f"{file}@paper", "--storage", tmp_path)
    assert {line["remarks"][0] for line in same["lines"]} == {"the same runs"}
    again = compare(file, file, "--storage", tmp_path)
    assert again.exit_code == 0
    assert "No regression: of 4 lines 4 equal" in again.stdout


def test_what_only_one_side_has_is_counted_and_shown(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.yaml"
    text = FILE.replace("  InfoNCE: {}", "  InfoNCE: {}\n  New: {loss: siglip}")
    other.write_text(text.replace("t2a.meanR]", "a2t.R@1]"), encoding="utf-8")
    old = filled(tmp_path / "s", file, BEFORE)
    new = {**noisy(BEFORE, 7), "New": BEFORE["SVR"]}
    ledger = open_ledger(tmp_path / "t")
    for cell in cells_of(load_experiment(other)):
        if (cell.variant, cell.seed) == ("SVR", 1):
            fail(ledger, cell, "the loss is not finite")
        elif (cell.variant, cell.seed) == ("SVR", 2):
            interrupt(ledger, cell)
        else:
            finish(ledger, cell, metrics(new, cell), data="data-b")
    values = compared(f"{file}@storage={old.storage.uri}", other, "--storage", tmp_path / "t")
    notes = values["notes"]
    assert "only B has the row New" in notes
    assert "only A has the column t2a.meanR" in notes
    assert "only B has the column a2t.R@1" in notes
    assert "B: SVR failed for seed 1" in notes
    assert "B: SVR is not finished for seed 2" in notes
    assert "SVR: only A has seeds 1, 2" in notes
    assert any(
        "saw different data in 2 rows (InfoNCE, SVR): A data-a, B data-b" in n for n in notes
    )
    assert list(lines_of(values)) == [("InfoNCE", "t2a.R@1"), ("SVR", "t2a.R@1")]
    line = lines_of(values)["SVR", "t2a.R@1"]
    assert line["seeds"] == [0, 3, 4]
    pairs = [[side["SVR"][s][0] for s in (0, 3, 4)] for side in (new, BEFORE)]
    assert line["p"] == pytest.approx(stats.ttest_rel(*pairs).pvalue)
    text = compare(f"{file}@storage={old.storage.uri}", other, "--storage", tmp_path / "t").stdout
    for note in notes[:3]:
        assert note in " ".join(text.split())


def test_without_common_seeds_it_is_welchs_test_and_says_so(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(FILE.replace("seeds: 5", "seeds: [5, 6, 7, 8]"), encoding="utf-8")
    filled(tmp_path / "s", file, BEFORE)
    ledger = open_ledger(tmp_path / "s")
    new = {"InfoNCE": [38.0, 37.1, 38.9, 37.7], "SVR": [43.2, 42.5, 43.9, 42.8]}
    for cell in cells_of(load_experiment(other)):
        finish(ledger, cell, {R1: new[cell.variant][cell.seed - 5], RANK: 5.0 + cell.seed})
    values = compared(file, other, "--storage", tmp_path / "s", "--within", "t2a.R@1=3")
    for row in BEFORE:
        line = lines_of(values)[row, "t2a.R@1"]
        old = [own[0] for own in BEFORE[row]]
        truth = stats.ttest_ind(new[row], old, equal_var=False)
        interval = truth.confidence_interval(0.95)
        assert line["unpaired"] == [5, 4]
        assert line["interval"] == pytest.approx((interval.low, interval.high))
        remark = "no seeds in common: unpaired, by Welch's t test over all seeds of each"
        assert remark in line["remarks"]
        if line["verdict"] == "equal":
            less = stats.ttest_ind(np.array(new[row]) - 3, old, equal_var=False, alternative="less")
            more = stats.ttest_ind(
                np.array(new[row]) + 3, old, equal_var=False, alternative="greater"
            )
            assert line["p"] == pytest.approx(max(less.pvalue, more.pvalue))
        else:
            assert line["p"] == pytest.approx(truth.pvalue)
    assert lines_of(values)["InfoNCE", "t2a.R@1"]["verdict"] == "worse"
    assert lines_of(values)["SVR", "t2a.R@1"]["verdict"] == "equal"


def test_one_seed_is_no_verdict_and_unequal_queries_are_none(tmp_path: Path, file: Path) -> None:
    short = tmp_path / "short.yaml"
    short.write_text(FILE.replace("seeds: 5", "seeds: 1"), encoding="utf-8")
    filled(tmp_path / "s", short, BEFORE)
    filled(tmp_path / "t", short, shifted(BEFORE, "SVR", (-9.0, 0.0)))
    sides = (f"{short}@storage={tmp_path / 's'}", short, "--storage", tmp_path / "t")
    line = lines_of(compared(*sides))["SVR", "t2a.R@1"]
    assert line["verdict"] == "undecided"
    assert line["cannot_be_judged"] == ["one seed has no spread; 2 are the least"]
    assert line["effect"] == pytest.approx(-9, abs=1)
    for place, clips in (("u", 4), ("v", 5)):
        ledger = open_ledger(tmp_path / place)
        for cell in cells_of(load_experiment(file)):
            ranks = t2a_ranks([[True, False]] * (clips - 1) + [[cell.seed > 1, True]])
            value = 100 * float((ranks["t2a_ranks"] < 1).mean())
            finish(ledger, cell, {R1: value, RANK: 3.0 + cell.seed}, ranks=ranks)
    found = compared(f"{file}@storage={tmp_path / 'u'}", file, "--storage", tmp_path / "v")
    line = lines_of(found)["SVR", "t2a.R@1"]
    assert line["cannot_be_judged"] == ["the runs answer unequal sets of queries (8 and 10)"]
    assert line["verdict"] == "undecided"


def test_queries_are_paired_too(tmp_path: Path, file: Path) -> None:
    """The second interval against a bootstrap written out: clips drawn, seeds' deviations by t."""
    chance = np.random.default_rng(0)
    level = chance.random((60, 1))
    for place, by in (("old", 0.0), ("new", 0.15)):
        ledger = open_ledger(tmp_path / place)
        for cell in cells_of(load_experiment(file)):
            hits = (chance.random((60, 3)) < 0.3 + 0.4 * level + by).tolist()
            ranks = t2a_ranks(hits)
            value = 100 * float((ranks["t2a_ranks"] < 1).mean())
            finish(ledger, cell, {R1: value, RANK: 1.0}, ranks=ranks)
    found = compared(f"{file}@storage={tmp_path / 'old'}", file, "--storage", tmp_path / "new")
    line = lines_of(found)["SVR", "t2a.R@1"]
    assert line["queries"] == 180
    low, high = line["interval_over_queries_too"]
    cells = [c for c in cells_of(load_experiment(file)) if c.variant == "SVR"]
    sides = []
    for place in ("old", "new"):
        ledger = open_ledger(tmp_path / place)
        results = [ledger.result(c.signature) for c in cells]
        arrays = [ledger.ranks(r)["t2a_ranks"].reshape(60, 3) for r in results if r is not None]
        sides.append(100.0 * (np.stack(arrays) < 1))
    differences = sides[1] - sides[0]  # (seeds, clips, captions)
    drawn = []
    for _ in range(4000):
        clips = chance.integers(0, 60, 60)
        drawn.append(differences[:, clips].mean())
    error = differences.mean((1, 2)).std(ddof=1) / 5**0.5
    # crossed: not narrower than over seeds alone, nor wider than both deviations added
    alone = 2 * stats.t.ppf(0.975, 4) * error
    over_clips = np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025)
    assert 0.95 * alone < high - low < 1.05 * (alone**2 + over_clips**2) ** 0.5
    assert low < differences.mean() < high


def test_where_each_seed_has_its_own_world_it_is_that_of_both_sides(tmp_path: Path) -> None:
    """Other data from seed to seed is meant; other data of one seed is a difference to be named."""
    path = tmp_path / "e.yaml"
    looks = "seeds: {until: decided, looks: [3], at_most: 3, vary: [world]}"
    text = FILE.replace("seeds: 5", f"{looks}\nclaims: [SVR > InfoNCE on t2a.R@1]")
    path.write_text(text.replace(", t2a.meanR", ""), encoding="utf-8")
    for place, other in (("old", ""), ("new", ""), ("odd", "another-")):
        ledger = open_ledger(tmp_path / place)
        for number, cell in enumerate(cells_of(load_experiment(path))):
            hits = np.random.default_rng([number, len(place + other)]).random((20, 2)) < 0.5
            ranks = t2a_ranks(hits.tolist())
            world = f"{other if cell.seed == 1 else ''}world-{cell.seed}"
            value = 100 * float((ranks["t2a_ranks"] < 1).mean()) + 1e-9 * len(place)
            finish(ledger, cell, {R1: value}, ranks=ranks, data=world)
    old = f"{path}@storage={tmp_path / 'old'}"
    found = compared(old, path, "--storage", tmp_path / "new")
    assert not [note for note in found["notes"] if "different data" in note]
    assert lines_of(found)["SVR", "t2a.R@1"]["queries"] == 40
    found = compared(old, path, "--storage", tmp_path / "odd")
    (note,) = [note for note in found["notes"] if "saw different data in 2 rows" in note]
    assert "A world-0, world-1, world-2, B another-world-1, world-0, world-2" in note
    remarks = lines_of(found)["SVR", "t2a.R@1"]["remarks"]
    assert "the runs of seed 1 saw different data" in remarks


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{e}@nope", "{e}"], "no profile 'nope' (profiles: laptop, paper)"),
        (["{e}@paper@laptop", "{e}"], "two profiles, paper and laptop"),
        (["{e}@", "{e}"], "nothing stands behind an @; expected FILE, then any of @PROFILE"),
        (["@paper", "{e}"], "'@paper': expected FILE, then any of @PROFILE"),
        (["{e}@code=", "{e}"], "expected @code=earlier or @code=HASH"),
        (["{e}@profile=paper", "{e}"], "a profile is written @paper"),
        (["{e}@storage=", "{e}"], "@storage= names no place"),
        (["{e}@epoch=3", "{e}"], "unknown key 'epoch'; did you mean 'epochs'?"),
        (
            ["{e}@code=none", "{e}"],
            "A ({e}@code=none): code 'none': no result in {s} is of that ver",
        ),
        (["{e}", "{e}@storage={t}/empty"], "B ({e}@storage={t}/empty): no run of it has finished"),
        (["{e}", "{t}/gone.yaml"], "cannot be read: No such file or directory"),
        (["{e}", "{t}"], "a folder without a trained model (model.json)"),
        (
            ["{e}", "{e}", "--within", "x"],
            "--within x: expected a number above 0, or COLUMN=NUMBER",
        ),
        (["{e}", "{e}", "--within", "0"], "--within 0: expected a number above 0"),
        (["{e}", "{e}", "--within", "1", "--within", "2"], "there is one of all columns already"),
        (
            ["{e}", "{e}", "--within", "t2a.R@2=1"],
            "no column 't2a.R@2' is compared; did you mean 't2a.R@1'?",
        ),
        (["{e}", "{e}", "--column", "t2a.R@2"], "--column t2a.R@2: no run reports 't2a.R@2'"),
        (["{e}", "{e}", "--column", "val.t2a.R@5"], "nothing to compare: of no row do A"),
        (["{e}", "{e}", "--out", "{t}/x.pdf"], "expected a name that ends in one of .txt, .md"),
        (["{e}", "{e}", "--out", "{t}/gone/x.md"], "there is no folder {t}/gone"),
        (["{e}", "{e}", "--data", "soundscenes"], "--data belongs to two trained models"),
        (["{e}", "{o}"], "nothing to compare: no row of A ({e}) is called as one of B ({o})"),
        (["{e}"], "missing argument 'B' (supclap compare --help)"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: list[str], message: str, tmp_path: Path, file: Path
) -> None:
    other = tmp_path / "o.yaml"
    other.write_text(FILE.replace("InfoNCE", "One").replace("SVR", "Two"), encoding="utf-8")
    renamed = {"One": BEFORE["InfoNCE"], "Two": BEFORE["SVR"]}
    filled(tmp_path / "s", file, BEFORE)
    filled(tmp_path / "s", other, renamed)
    places = {"e": file, "o": other, "t": tmp_path, "s": tmp_path / "s"}
    found = compare(*(w.format(**places) for w in words), "--storage", tmp_path / "s")
    assert found.exit_code == 2, found.output
    assert message.format(**places) in found.output
    said = [line for line in found.output.splitlines() if not line.startswith("reading the runs")]
    assert len(said) == 1
    assert said[0].startswith("supclap: ")


def test_a_file_that_is_called_like_a_side_is_that_file(tmp_path: Path, file: Path) -> None:
    named = tmp_path / "e.yaml@paper"
    shutil.copy(file, named)
    filled(tmp_path / "s", named, BEFORE)
    assert compare(named, file, "--storage", tmp_path / "s").exit_code == 0


class Text(HTMLParser):
    """The cells and badges of a page, as a reader sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def test_every_form_says_the_same(tmp_path: Path, file: Path) -> None:
    text = FILE.replace("SVR:", '"<b>|SVR*":')
    file.write_text(text, encoding="utf-8")
    old = {"InfoNCE": BEFORE["InfoNCE"], "<b>|SVR*": BEFORE["SVR"]}
    filled(tmp_path / "old", file, old)
    filled(tmp_path / "new", file, noisy(shifted(old, "<b>|SVR*", (-3.0, 0.0)), 2))
    sides = (f"{file}@storage={tmp_path / 'old'}", file, "--storage", tmp_path / "new")
    outs = [tmp_path / f"x.{form}" for form in ("txt", "md", "json", "html")]
    options = [word for out in outs for word in ("--out", out)]
    found = compare(*sides, *options)
    assert found.exit_code == 1
    plain, marked, values, page = (out.read_text(encoding="utf-8") for out in outs)
    assert found.stdout == plain
    line = lines_of(json.loads(values))["<b>|SVR*", "t2a.R@1"]
    effect = f"−{-line['effect']:.2f}"
    reader = Text()
    reader.feed(page)
    for shown in (plain, marked, reader.text):
        assert effect in shown
        assert "worse" in " ".join(shown).replace(" ", "") or "worse" in shown
    assert "| \\<b\\>\\|SVR\\* | t2a.R@1 |" in marked
    assert "<b>" not in page
    assert "<b>|SVR*" in reader.text
    assert "script" not in page
    assert "default-src 'none'" in page


def test_what_neither_side_reports_asks_nothing(tmp_path: Path, file: Path) -> None:
    """A radius, of a row that has none: no line, and no place in the correction."""
    after = noisy(BEFORE, 11)
    for place, numbers in (("old", BEFORE), ("new", after)):
        ledger = open_ledger(tmp_path / place)
        for cell in cells_of(load_experiment(file)):
            radius = {"radius.text.mean": 1.0 + numbers["SVR"][cell.seed][1]}
            own = radius if cell.variant == "SVR" else {}
            finish(ledger, cell, {**metrics(numbers, cell), **own})
    columns = ("--column", "t2a.R@1", "--column", "radius.text.mean")
    old = f"{file}@storage={tmp_path / 'old'}"
    found = compared(old, file, "--storage", tmp_path / "new", *columns)
    assert list(lines_of(found)) == [
        ("InfoNCE", "t2a.R@1"),
        ("SVR", "t2a.R@1"),
        ("SVR", "radius.text.mean"),
    ]
    assert "radius.text.mean is reported by neither side in the row InfoNCE" in found["notes"]
    ps = [line["p"] for line in found["lines"]]
    assert [line["corrected"] for line in found["lines"]] == pytest.approx(holm(ps))


def test_columns_of_ones_own_choice_and_one_of_which_no_value_is_better(
    tmp_path: Path, file: Path
) -> None:
    """seconds is low to be good; best_epoch is neither."""
    for place, seconds, epochs in (("old", 10.0, 1), ("new", 20.0, 2)):
        ledger = open_ledger(tmp_path / place)
        for cell in cells_of(load_experiment(file)):
            finish(
                ledger,
                cell,
                metrics(BEFORE, cell),
                [{}] * epochs,
                seconds=seconds + cell.seed * epochs,
            )
    found = compared(
        *(f"{file}@storage={tmp_path / 'old'}", file, "--storage", tmp_path / "new"),
        *("--column", "seconds", "--column", "best_epoch", "--column", "t2a.R@1"),
    )
    verdicts = {one["column"]: one["verdict"] for one in found["columns"]}
    assert verdicts == {"seconds": "worse", "best_epoch": "undecided", "t2a.R@1": "equal"}
    reasons = lines_of(found)["SVR", "best_epoch"]["cannot_be_judged"]
    assert reasons == ["every seed gives the same value: no spread to judge by"]


def test_both_sides_may_have_parts_of_the_same_name(tmp_path: Path) -> None:
    """The same file before and after, in two folders, each with its own code beside it."""
    idea = (
        "from supclap.parts import LossTerm, register\n\n\n"
        '@register("compared")\nclass Compared(LossTerm):\n    margin: float = {margin}\n\n'
        "    def forward(self, pairs):\n        return pairs.similarities.mean() * self.margin\n"
    )
    text = (
        "experiment: own\ncode: [idea.py]\nbase: {epochs: 2}\n"
        "variants: {own: {loss.terms.compared: {weight: 0.5}}}\nseeds: 3\n"
        "table: {columns: [t2a.R@1]}\n"
    )
    chance = np.random.default_rng(0)
    for name, margin in (("old", 0.1), ("new", 0.2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "idea.py").write_text(idea.format(margin=margin), encoding="utf-8")
        (folder / "e.yaml").write_text(text, encoding="utf-8")
        with forgotten():
            ledger = open_ledger(tmp_path / "s")
            for cell in cells_of(load_experiment(folder / "e.yaml")):
                finish(ledger, cell, {R1: 40 + 100 * margin + chance.normal(0, 0.1)})
    found = compared(tmp_path / "old/e.yaml", tmp_path / "new/e.yaml", "--storage", tmp_path / "s")
    line = lines_of(found)["own", "t2a.R@1"]
    assert line["verdict"] == "better"
    assert line["effect"] == pytest.approx(10, abs=0.5)
    refused = compare(tmp_path / "old/e.yaml", tmp_path / "new/e.yaml", "--no-code")
    assert refused.exit_code == 2
    assert "--no-code: this file runs code of its own (idea.py)" in refused.output


def test_groups_and_files_that_include_others(tmp_path: Path) -> None:
    grouped = FILE + "groups: {small: {}, large: {epochs: 7}}\n"
    (tmp_path / "g.yaml").write_text(grouped.replace("before-after", "g"), encoding="utf-8")
    (tmp_path / "e.yaml").write_text(FILE, encoding="utf-8")
    whole = tmp_path / "all.yaml"
    whole.write_text("experiment: all\ninclude: [g.yaml, e.yaml]\n", encoding="utf-8")
    for place, by in (("old", 0.0), ("new", -2.0)):
        ledger = open_ledger(tmp_path / place)
        for number, cell in enumerate(cells_of(load_experiment(whole))):
            row = cell.variant.partition(": ")[2].partition(" @ ")[0]
            value, rank = noisy(BEFORE, number)[row][cell.seed]
            down = by if cell.group == "large" and row == "SVR" else 0.0
            finish(ledger, cell, {R1: value + down, RANK: rank})
    found = compared(*(f"{whole}@storage={tmp_path / 'old'}", whole, "--storage", tmp_path / "new"))
    worse = [where for where, line in lines_of(found).items() if line["verdict"] == "worse"]
    assert worse == []  # the same noise in both: nothing but the one that was moved differs
    moved = lines_of(found)["g: SVR", "large.t2a.R@1"]
    assert moved["effect"] == pytest.approx(-2)
    assert len(found["lines"]) == 2 * 2 * 2 + 2 * 2
    assert sum(line["same"] for line in found["lines"]) == 2 * 2 * 2 + 2 * 2 - 2

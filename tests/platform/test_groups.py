"""Groups: every variant in each of them, side by side in the table; and profiles that word anew."""

import csv
import io
import random
import statistics
from pathlib import Path

import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.claims import Greater, Trend, Within, parse_claim
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.content import tags_of
from supclap_platform.results.formats import FORMATS, as_csv, as_text
from supclap_platform.results.tables import build_table
from supclap_platform.results.verdicts import Outcome, judge
from supclap_platform.testing import finish

from supclap.errors import InputError

TEXT = """\
experiment: grouped
base: {epochs: 3, batch_size: 24}
init: {base: {data.train: pretrain}}
variants:
  InfoNCE: {}
  bi-StaticSVR: {loss.svr: {radius: static}}
  slow: {epochs: 9}
groups:
  N=24: {}
  N=48: {batch_size: 48, epochs: 6}
seeds: 3
baseline: InfoNCE
table:
  columns: [t2a.R@1, N=48.a2t.medR, a2t.R@1]
claims:
  - bi-StaticSVR > InfoNCE on N=48.t2a.R@1
"""
PROFILE = """
profiles:
  paper:
    base: {batch_size: 10}
    groups: {N=24: {epochs: 4, optimizer.lr: 0.5}, N=48: null, AC: {batch_size: 7}}
    table: {columns: [AC.a2t.R@1]}
    claims: [slow > InfoNCE on AC.t2a.R@1]
"""


def load(folder: Path, text: str = TEXT, profile: str = "laptop", **changes: object) -> Experiment:
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, profile, changes)


def mistake(folder: Path, text: str, profile: str = "laptop") -> str:
    with pytest.raises(InputError) as caught:
        load(folder, text, profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_row_is_a_variant_of_each_group_and_a_rows_own_settings_win(tmp_path: Path) -> None:
    experiment = load(tmp_path)
    assert experiment.groups == ("N=24", "N=48")
    assert experiment.rows == ("InfoNCE", "bi-StaticSVR", "slow")
    assert [(v.name, v.row, v.group) for v in experiment.variants] == [
        (f"{row} @ {group}", row, group) for group in experiment.groups for row in experiment.rows
    ]
    assert [(v.config.batch_size, v.config.epochs) for v in experiment.variants] == [
        *[(24, 3), (24, 3), (24, 9)],
        *[(48, 6), (48, 6), (48, 9)],
    ]


def test_a_group_lies_above_the_command_line_and_below_the_grid(tmp_path: Path) -> None:
    assert [v.config.batch_size for v in load(tmp_path, batch_size=5).variants] == [5] * 3 + [
        48
    ] * 3
    grid = "grid: {batch_size: [1000, 2000], variants: [slow]}\n"
    sizes = {v.name: v.config.batch_size for v in load(tmp_path, TEXT + grid).variants}
    assert sizes["slow, batch_size=2000 @ N=48"] == 2000
    assert sizes["InfoNCE @ N=48"] == 48


def test_all_groups_start_from_one_stage_that_no_group_changes(tmp_path: Path) -> None:
    stage, *cells = cells_of(load(tmp_path))
    assert (stage.config.batch_size, stage.config.epochs, stage.group) == (24, 3, None)
    assert len(cells) == 2 * 3 * 3
    assert {cell.start for cell in cells} == {stage.signature}
    assert {cell.group for cell in cells} == {"N=24", "N=48"}


def test_a_group_that_changes_nothing_for_a_row_shares_its_run(
    tmp_path: Path, ledger: Ledger
) -> None:
    text = TEXT.replace("  slow: {epochs: 9}", "  slow: {epochs: 9, batch_size: 64}")
    experiment = load(tmp_path, text)
    slow = {c.variant: c.signature for c in cells_of(experiment) if c.variant.startswith("slow")}
    assert slow["slow @ N=24"] == slow["slow @ N=48"]
    plan = make_plan(experiment, ledger)
    assert len(plan.to_run) == len(plan.statuses) == 1 + 5 * 3
    for cell in plan.to_run:
        finish(ledger, cell, {"test.t2a.R@1": 1.0, "test.a2t.R@1": 2.0, "test.a2t.medR": 3.0})
    assert all(
        entry.complete for row in build_table(experiment, ledger).rows for entry in row.entries
    )
    twins = TEXT.replace("  slow: {epochs: 9}", "  slow: {seed_is_not: 1}")
    assert "unknown key" in mistake(tmp_path, twins)
    twins = TEXT.replace("  slow: {epochs: 9}", "  slow: {}")
    assert "'InfoNCE @ N=24' and 'slow @ N=24' are the same run" in mistake(tmp_path, twins)


def test_a_bare_column_stands_for_every_group(tmp_path: Path) -> None:
    columns = load(tmp_path).columns
    assert [(c.name, c.group, c.metric) for c in columns] == [
        ("N=24.t2a.R@1", "N=24", "t2a.R@1"),
        ("N=24.a2t.R@1", "N=24", "a2t.R@1"),
        ("N=48.t2a.R@1", "N=48", "t2a.R@1"),
        ("N=48.a2t.medR", "N=48", "a2t.medR"),
        ("N=48.a2t.R@1", "N=48", "a2t.R@1"),
    ]


def test_an_entry_comes_from_the_cells_of_its_group(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    chance = random.Random(0)
    values: dict[str, list[float]] = {}
    for cell in cells_of(experiment)[1:]:
        value = round(chance.uniform(0, 99), 3)
        values.setdefault(cell.variant, []).append(value)
        finish(ledger, cell, {"test.t2a.R@1": value, "test.a2t.R@1": value, "test.a2t.medR": 1.0})
    table = build_table(experiment, ledger)
    for row in table.rows:
        for column, entry in zip(table.columns, row.entries, strict=True):
            if column.metric == "t2a.R@1":
                own = values[f"{row.variant} @ {column.group}"]
                base = values[f"InfoNCE @ {column.group}"]
                assert entry.summary is not None
                assert entry.summary.mean == pytest.approx(statistics.fmean(own))
                if row.variant == "InfoNCE":
                    assert entry.difference is None
                else:
                    assert entry.difference is not None
                    assert entry.difference.ours == pytest.approx(
                        statistics.fmean(a - b for a, b in zip(own, base, strict=True))
                    )
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert len(rows) == 3 * 5
    signatures = {f"{c.variant} {c.seed}": c.signature for c in cells_of(experiment)}
    for line in rows:
        name = f"{line['variant']} @ {line['column'].split('.')[0]}"
        assert line["signatures"] == " ".join(
            f"{seed}:{signatures[f'{name} {seed}']}" for seed in range(3)
        )


def test_what_a_group_lacks_is_told_with_its_name(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    for cell in cells_of(experiment)[1:]:
        if cell.variant == "slow @ N=48" and cell.seed:
            ledger.record_failure(cell.signature, "out of memory")
        elif cell.variant != "InfoNCE @ N=24":
            finish(ledger, cell, {"test.t2a.R@1": 5.0, "test.a2t.R@1": 5.0, "test.a2t.medR": 1.0})
    table = build_table(experiment, ledger)
    assert "InfoNCE @ N=24: not finished for seeds 0, 1, 2." in table.gaps
    assert "slow @ N=48: failed for seeds 1, 2." in table.gaps
    assert len(table.gaps) == 2
    assert set(table.gaps) <= set(table.notes)
    assert "slow @ N=48: Δ rests on seed 0." in table.notes
    assert "(1/3)" in as_text(table)
    for render in FORMATS.values():
        assert render(table)


def test_published_numbers_belong_to_a_column_of_a_group(tmp_path: Path, ledger: Ledger) -> None:
    text = TEXT.replace(
        "a2t.R@1]",
        "a2t.R@1]\n  published:\n    table: table1_retrieval\n"
        "    rows: {bi-StaticSVR: InfoNCE-bi-StaticSVR}\n"
        "    columns: {N=24.t2a.R@1: AC.t2a.R@1, N=48.t2a.R@1: CL.t2a.R@1}",
    )
    table = build_table(load(tmp_path, text), ledger)
    names = [column.name for column in table.columns]
    static = table.rows[1].entries
    assert [static[names.index(f"N={n}.t2a.R@1")].published for n in (24, 48)] == [43.89, 19.50]
    difference = static[names.index("N=24.t2a.R@1")].difference
    assert difference is not None
    assert (difference.ours, difference.published) == (None, pytest.approx(2.02))
    wrong = text.replace("{N=24.t2a.R@1: AC", "{t2a.R@1: AC")
    assert "no table column 't2a.R@1'" in mistake(tmp_path, wrong)


def test_claims_name_the_group_before_the_metric_or_behind_the_rows() -> None:
    groups = ["24", "48"]
    names = [f"{row} @ {group}" for group in groups for row in ("A", "B")]

    def read(text: str) -> object:
        return parse_claim(text, names, groups)

    said = "A > B on 24.t2a.R@1"
    assert read(said) == Greater(said, "A @ 24", "B @ 24", "test.t2a.R@1")
    said = "A @ 24 > A @ 48 on val.t2a.R@1 by at least 1"
    assert read(said) == Greater(said, "A @ 24", "A @ 48", "val.t2a.R@1", 1.0)
    said = "48.radius.text.mean of B falls over epochs"
    assert read(said) == Trend(said, "B @ 48", "radius.text.mean", "falls")
    said = "radius.text.mean of B @ 48 rises over epochs"
    assert read(said) == Trend(said, "B @ 48", "radius.text.mean", "rises")
    said = "A within 5 % of B on 48.seconds"
    assert read(said) == Within(said, "A @ 48", "B @ 48", "seconds", 5.0)
    for text, told in {
        "A > B on t2a.R@1": "does not say which group of 'A'; put one before the metric",
        "drift.text of B falls over epochs": "does not say which group of 'B'",
        "A > B on 42.t2a.R@1": "'42.t2a.R@1': no group '42'; did you mean",
        "A > C on 24.t2a.R@1": "no variant 'C' (variants: A, B)",
        "A @ 24 > B @ 42 on t2a.R@1": "no variant 'B @ 42'; did you mean",
        "A > A on 24.t2a.R@1": "compares 'A @ 24' with itself",
        "A > B on 24.t2a.R@2": "no run reports 't2a.R@2'; did you mean",
    }.items():
        with pytest.raises(InputError) as caught:
            read(text)
        assert told in str(caught.value)


def test_a_claim_is_judged_on_its_groups_cells(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    for cell in cells_of(experiment)[1:]:
        better = cell.variant == "bi-StaticSVR @ N=48"
        value = (60.0 if better else 50.0) + 0.1 * cell.seed + 0.01 * better * cell.seed
        finish(ledger, cell, {"test.t2a.R@1": value})
    (verdict,) = judge(experiment, ledger)
    assert verdict.outcome is Outcome.SUPPORTED
    assert verdict.effect == pytest.approx(10.01)
    other = load(tmp_path, TEXT.replace("InfoNCE on N=48.", "InfoNCE on N=24."))
    (verdict,) = judge(other, ledger)
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.effect == pytest.approx(0.0)


def test_a_profile_lays_its_groups_on_top_and_words_table_and_claims_anew(tmp_path: Path) -> None:
    paper = load(tmp_path, TEXT + PROFILE, "paper")
    assert paper.groups == ("N=24", "AC")
    assert paper.rows == load(tmp_path, TEXT + PROFILE).rows
    first, other = paper.variant("InfoNCE @ N=24").config, paper.variant("InfoNCE @ AC").config
    assert (first.batch_size, first.epochs, first.optimizer.lr) == (10, 4, 0.5)
    assert (other.batch_size, other.epochs) == (7, 3)
    assert paper.variant("slow @ N=24").config.epochs == 9
    assert [column.name for column in paper.columns] == ["AC.a2t.R@1"]
    assert [claim.text for claim in paper.claims] == ["slow > InfoNCE on AC.t2a.R@1"]
    assert [c.text for c in load(tmp_path, TEXT + PROFILE).claims] == [
        "bi-StaticSVR > InfoNCE on N=48.t2a.R@1"
    ]


def test_no_claims_in_a_profile_are_no_claims(tmp_path: Path) -> None:
    text = TEXT + "profiles: {paper: {claims: []}}\n"
    assert load(tmp_path, text, "paper").claims == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  N=48: {b", "  N.48: {b", ":10: groups.N.48.[key]: expected a name of letters, digits,"),
        ("  N=48: {b", "  val: {b", ":10: groups.val: 'val' begins the names of metrics"),
        ("  N=48: {b", "  N 48: {b", "expected a name of letters, digits"),
        ("batch_size: 48", "batch_sise: 48", ":10: InfoNCE @ N=48: unknown key 'batch_sise'; did"),
        ("  slow: {epochs: 9}", "  a @ b: {epochs: 9}", ":7: 'a @ b': ' @ ' stands between a row"),
        ("[t2a.R@1,", "[N=49.t2a.R@1,", ":14: 'N=49.t2a.R@1': no group 'N=49'; did you mean 'N=4"),
        ("[t2a.R@1,", "[N=48.t2a.R@1, t2a.R@1,", "the column 'N=48.t2a.R@1' stands twice"),
        (
            "[t2a.R@1,",
            "[N=24.MRV,",
            "no variant reports 'N=24.MRV': InfoNCE @ N=24: data.languages",
        ),
        (
            "on N=48.t2a.R@1",
            "on t2a.R@1",
            ":16: claim 'bi-StaticSVR > InfoNCE on t2a.R@1': does no",
        ),
        ("baseline: InfoNCE", "baseline: InfoNCE @ N=24", "baseline: no variant 'InfoNCE @ N=24'"),
        (
            "init: {base: {data.train: pretrain}}",
            "init: {variant: InfoNCE}",
            ":3: init: all groups start from one stage",
        ),
    ],
)
def test_a_mistake_gets_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in TEXT
    line = mistake(tmp_path, TEXT.replace(old, new, 1))
    assert line.startswith(f"{tmp_path}/e.yaml:")
    assert expected in line


def test_a_mistake_in_a_profiles_words_is_told_there(tmp_path: Path) -> None:
    paper = TEXT + PROFILE
    line = mistake(tmp_path, paper.replace("optimizer.lr: 0.5", "optimizer.rl: 0.5"), "paper")
    assert ":21: InfoNCE @ N=24: unknown key 'optimizer.rl'" in line
    line = mistake(tmp_path, paper.replace("[AC.a2t.R@1]", "[N=48.a2t.R@1]"), "paper")
    assert ":22: 'N=48.a2t.R@1': no group 'N=48'" in line
    line = mistake(tmp_path, paper.replace("[slow >", "[fast >"), "paper")
    assert ":23: claim 'fast > InfoNCE on AC.t2a.R@1': no variant 'fast'" in line
    line = mistake(tmp_path, paper.replace("AC: {batch_size: 7}", "N=24: null"), "paper")
    assert ":21: the key 'N=24' stands twice" in line
    gone = paper.replace("{N=24: {epochs: 4, optimizer.lr: 0.5}, N=48: null, AC: {batch_size: 7}}",
                         "{N=24: null, N=48: null}")  # fmt: skip
    assert ":21: the profile takes every group away" in mistake(tmp_path, gone, "paper")


def test_the_ledger_and_mlflow_know_a_runs_group(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path)
    remember(make_plan(experiment, ledger), ledger)
    known = {cell.variant: cell for cell in ledger.known("grouped", "laptop")}
    assert tags_of(known["slow @ N=48"], None, None)["group"] == "N=48"
    assert "group" not in tags_of(known["init"], None, None)


def test_the_examples_in_the_documentation_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = Path(__file__).parents[2].joinpath("docs", "experiments.md").read_text("utf-8")
    blocks = [part.split("```")[0] for part in guide.split("```yaml\n")[1:]]
    whole = blocks[0].replace("claims:", "#").replace(", published: table3_ablation", "")
    groups, paper, gathered = (
        next(b for b in blocks if b.startswith(start) and word in b)
        for start, word in (("groups:", ""), ("profiles:", "null"), ("experiment:", "include:"))
    )
    assert load(tmp_path, whole + groups).groups == ("N=24", "N=48")
    monkeypatch.setenv("SUPCLAP_CLOTHO", "clotho")
    paper = paper.replace("N=24: {", "N=24: {data.name: collection, ")
    assert load(tmp_path, whole + groups + paper, "paper").groups == ("N=24",)
    for name in ("table1_retrieval", "table3_ablation"):
        (tmp_path / f"{name}.yaml").write_text(whole.replace("my-ablation", name), "utf-8")
    assert len(load(tmp_path, gathered).parts) == 2


def test_a_profile_takes_away_only_groups_that_there_are(tmp_path: Path) -> None:
    text = TEXT + "profiles: {paper: {groups: {N=47: null}}}\n"
    assert "no group 'N=47' to take away; did you mean 'N=48'?" in mistake(tmp_path, text, "paper")


def test_a_search_has_no_groups_of_a_profile_either(tmp_path: Path) -> None:
    text = """\
experiment: searching
search: {space: {loss.temperature: [0.05, 0.1]}, objective: val.t2a.R@1, trials: 2}
profiles: {paper: {groups: {N=24: {}}}}
"""
    assert load(tmp_path, text).search is not None
    assert "a search has no groups" in mistake(tmp_path, text, "paper")

"""The report: what the ledger holds, in the page; nothing from elsewhere; text stays text."""

import base64
import hashlib
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ranks_of import t2a_ranks
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.mirror.store import Store
from supclap_platform.mirror.tracked import tracked_runs
from supclap_platform.results.figures import draw_figures
from supclap_platform.results.report import build_report
from supclap_platform.results.tables import build_table, shown
from supclap_platform.results.verdict_formats import account_of
from supclap_platform.results.verdicts import judge
from supclap_platform.testing import finish, interrupt

from supclap.code import code_version
from supclap.errors import InputError

pytestmark = pytest.mark.heavy  # each takes a moment

TEXT = """\
experiment: shown
about: Does it hold?
base: {epochs: 3}
variants:
  InfoNCE: {}
  bi-StaticSVR: {loss.svr: {radius: static}}
  "<script>alert('&')</script>": {loss: siglip}
seeds: 3
baseline: InfoNCE
table: {columns: [t2a.R@1], published: table3_ablation}
claims:
  - bi-StaticSVR > InfoNCE on t2a.R@1
  - bi-StaticSVR > InfoNCE on t2a.R@5
  - radius.text.mean of bi-StaticSVR falls over epochs
figures: [radius, similarity]
"""
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags, text and attributes of a page, and whether its tags are nested as they should be."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and "/" not in (self.get_starttag_text() or "")[-2:]:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    (tmp_path / "e.yaml").write_text(TEXT, encoding="utf-8")
    return load_experiment(tmp_path / "e.yaml")


def finish_one(ledger: Ledger, cell: Cell) -> None:
    rank = {"InfoNCE": 0, "bi-StaticSVR": 2}.get(cell.variant, 1)
    hits = [[query + rank > cell.seed * (1 + query % 3)] for query in range(10)]
    kept = t2a_ranks(hits) | {"t2a_similarity": np.linspace(0.1 * rank, 0.9, 10)}
    count = cell.config.epochs
    epochs = [{"radius.text.mean": 1 / (e + cell.seed)} for e in range(1, count + 1)]
    share = 100.0 * float(np.mean(hits))
    finish(ledger, cell, {"test.t2a.R@1": share}, epochs if rank == 2 else [{}] * count, kept)


def test_the_page_says_what_the_ledger_says(experiment: Experiment, ledger: Ledger) -> None:
    for cell in cells_of(experiment):
        finish_one(ledger, cell)
    page = Page(build_report(experiment, ledger))
    assert "Does it hold?" in page.text
    for one in judge(experiment, ledger):
        assert one.claim.text in page.text
        assert account_of(one) in page.text
    assert page.text.index("Verdicts") < page.text.index(" Table ") < page.text.index(" Figures ")
    table = build_table(experiment, ledger)
    for row in table.rows:
        for entry, column in zip(row.entries, table.columns, strict=True):
            assert shown(entry, column) in page.text
        for run in row.runs:
            assert run.signature in page.text
    assert "41.87" in page.text  # InfoNCE in the paper
    codes = sorted({code_version(cell.config) for cell in cells_of(experiment)})
    assert f"code of the runs{', '.join(codes)}" in page.text
    assert "torch of the runstorch of today" in page.text
    assert "9 of 9 runs finished" in page.text
    assert f"{9 * 10 / 3600:.2f}" in page.text  # worker-hours: ten seconds for each run
    assert "loss.svr.radius: static" in page.text
    for line in TEXT.splitlines():
        assert " ".join(line.split()) in page.text


def test_each_outcome_has_a_sign_and_a_word(experiment: Experiment, ledger: Ledger) -> None:
    for cell in cells_of(experiment):
        finish_one(ledger, cell)
    outcomes = [str(one.outcome) for one in judge(experiment, ledger)]
    page = Page(build_report(experiment, ledger))
    signs = {"supported": "✓", "contradicted": "✗", "undecided": "?"}
    for word, sign in signs.items():
        assert f"{outcomes.count(word)} {sign} {word}" in page.text
        own = [a for t, a in page.tags if t == "li" and a.get("class") == f"verdict {word}"]
        assert len(own) == outcomes.count(word)


def test_names_are_text_and_never_tags(experiment: Experiment, ledger: Ledger) -> None:
    for cell in cells_of(experiment):
        finish_one(ledger, cell)
    ledger.record_failure(cells_of(experiment)[0].signature, "<img src=x onerror=alert(1)>")
    page = Page(build_report(experiment, ledger))
    assert page.text.count("<script>alert('&')</script>") > 3
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}]  # its own
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_the_page_needs_nothing_but_itself(experiment: Experiment, ledger: Ledger) -> None:
    for cell in cells_of(experiment):
        finish_one(ledger, cell)
    content = build_report(experiment, ledger)
    page = Page(content)
    pictures = page.values("src")
    assert pictures
    for picture in pictures:
        kind, _, data = picture.partition("base64,")
        assert kind == "data:image/svg+xml;"
        assert b"<svg" in base64.b64decode(data)
    assert all(link.startswith(("#", "data:")) for link in page.values("href"))
    assert not page.values("style")  # the policy would refuse it
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("style", "script"):  # the one of each kind that the policy allows
        own = re.search(rf"<{kind}>(.*?)</{kind}>", content.decode(), re.DOTALL)
        assert not re.search(r"url\(|import|fetch|https?:", own[1])
        allowed = base64.b64encode(hashlib.sha256(own[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{allowed}';" in policy


def test_the_page_holds_the_pdf_of_each_figure(experiment: Experiment, ledger: Ledger) -> None:
    """The very files of `supclap figures`: where the page is sent alone, a link would be dead."""
    cells = cells_of(experiment)
    assert b"application/pdf" not in build_report(experiment, ledger)  # nothing to draw yet
    for cell in cells:
        finish_one(ledger, cell)
    content = build_report(experiment, ledger)
    address = "data:application/pdf;base64,"
    held = {
        attrs["download"]: base64.b64decode(attrs["href"].removeprefix(address))
        for tag, attrs in Page(content).tags
        if tag == "a" and "download" in attrs
    }
    drawings = draw_figures(experiment, ledger)
    files = {name: made for one in drawings for name, made in one.files.items()}
    assert held == {name: made for name, made in files.items() if name.endswith(".pdf")}
    assert sorted(held) == ["radius.pdf", "similarity.pdf"]
    drawn = {"shown": drawings}  # as `supclap run` has them at hand
    assert build_report(experiment, ledger, drawings=drawn) == content


def links_within(page: Page) -> set[str]:
    return {link.removeprefix("#") for link in page.values("href") if link.startswith("#")}


def test_every_link_within_the_page_leads_somewhere(experiment: Experiment, ledger: Ledger) -> None:
    for cell in cells_of(experiment):
        finish_one(ledger, cell)
    page = Page(build_report(experiment, ledger))
    places = page.values("id")
    assert len(places) == len(set(places))
    links = links_within(page)
    assert links <= set(places)
    assert len(links) > 10


def test_what_is_missing_is_named_with_its_reason(experiment: Experiment, ledger: Ledger) -> None:
    cells = cells_of(experiment)
    for cell in cells[:4]:
        finish_one(ledger, cell)
    interrupt(ledger, cells[4])
    ledger.record_failure(cells[5].signature, "out of memory")
    text = Page(build_report(experiment, ledger)).text
    assert "5 of 9 runs have no result" in text
    assert f"failed bi-StaticSVR, seed 2 ({cells[5].signature}): out of memory" in text
    assert "resumable bi-StaticSVR, seed 1" in text
    assert "to run <script>alert('&')</script>, seeds 0, 1, 2" in text
    assert "bi-StaticSVR failed for seed 2" in text  # the verdict says it too


def test_nothing_finished_is_a_page_too(experiment: Experiment, ledger: Ledger) -> None:
    text = Page(build_report(experiment, ledger)).text
    assert "9 of 9 runs have no result" in text
    assert "3 ? undecided" in text
    assert text.count("Nothing to draw yet.") == 2


def test_the_same_ledger_gives_the_same_bytes_and_a_mixture_is_refused(
    experiment: Experiment, ledger: Ledger
) -> None:
    cells = cells_of(experiment)
    for cell in cells:
        finish_one(ledger, cell)
    assert build_report(experiment, ledger) == build_report(experiment, ledger)
    finish(ledger, cells[0], {"test.t2a.R@1": 1.0}, data="data-b")
    with pytest.raises(InputError, match="different data"):
        build_report(experiment, ledger)
    assert "MIXED" in Page(build_report(experiment, ledger, mixed=True)).text


def test_a_gathering_file_is_one_page_with_all_verdicts_first(
    tmp_path: Path, ledger: Ledger, experiment: Experiment
) -> None:
    other = TEXT.replace("experiment: shown", "experiment: other").replace("it hold", "that hold")
    (tmp_path / "f.yaml").write_text(other.replace("epochs: 3", "epochs: 2"), encoding="utf-8")
    (tmp_path / "all.yaml").write_text(
        "experiment: all\nabout: Do they hold?\ninclude: [e.yaml, f.yaml]\n", encoding="utf-8"
    )
    gathered = load_experiment(tmp_path / "all.yaml")
    for cell in cells_of(gathered):
        finish_one(ledger, cell)
    page = Page(build_report(gathered, ledger))
    places = page.values("id")
    assert len(places) == len(set(places))
    assert {"summary", "part:shown", "part:other"} <= set(places)
    assert links_within(page) <= set(places)
    first = page.text[: page.text.index("How to read them")]
    assert first.count("bi-StaticSVR > InfoNCE on t2a.R@1") >= 3  # summary of both, first section
    assert page.text.index("All verdicts") < page.text.index("Does it hold?")
    assert "18 of 18" in page.text


def test_parts_called_alike_keep_their_own_places(tmp_path: Path, ledger: Ledger) -> None:
    names = ("t.a", "t-a", "t", "t-table", "versions")
    for name in names:
        text = TEXT.replace("experiment: shown", f"experiment: {name}")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    files = ", ".join(f"{name}.yaml" for name in names)
    (tmp_path / "all.yaml").write_text(f"experiment: all\ninclude: [{files}]\n", encoding="utf-8")
    page = Page(build_report(load_experiment(tmp_path / "all.yaml"), ledger))
    places = page.values("id")
    assert len(places) == len(set(places))
    assert links_within(page) <= set(places)


def test_a_run_that_two_groups_share_counts_once(tmp_path: Path, ledger: Ledger) -> None:
    text = "experiment: g\nvariants: {A: {}, C: {loss.temperature: 0.1}}\n"
    path = tmp_path / "g.yaml"
    path.write_text(f"{text}groups: {{one: {{}}, two: {{}}}}\nseeds: 2\n", encoding="utf-8")
    shared = load_experiment(path)
    for cell in cells_of(shared):
        finish(ledger, cell, {"test.t2a.R@1": 1.0})
    page = Page(build_report(shared, ledger))
    assert "4 of 4 runs finished, 40 s of training" in page.text
    assert len(page.values("id")) == len(set(page.values("id")))


def test_the_page_names_the_command_that_makes_it_again(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "e.yaml").write_text(TEXT, encoding="utf-8")
    changes = {"epochs": 2, "data.languages": ["eng"]}
    changed = load_experiment(tmp_path / "e.yaml", "laptop", changes)
    text = Page(build_report(changed, ledger, mixed=True)).text
    assert "supclap report e.yaml --set epochs=2 --set 'data.languages=[\"eng\"]' --mixed" in text


def test_runs_lead_to_mlflow(tmp_path: Path, experiment: Experiment, ledger: Ledger) -> None:
    cell = cells_of(experiment)[0]
    finish_one(ledger, cell)
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as database:
        database.executescript("""
            CREATE TABLE experiments (experiment_id INTEGER, name TEXT);
            CREATE TABLE runs (run_uuid TEXT, experiment_id INTEGER, lifecycle_stage TEXT,
                               start_time INTEGER);
            CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
            INSERT INTO experiments VALUES (1, 'shown'), (2, 'another');
            INSERT INTO runs VALUES ('older000', 1, 'active', 1), ('newer000', 1, 'active', 2),
                                    ('deleted0', 1, 'deleted', 3), ('elsewhere', 2, 'active', 4);
        """)
        rows = [("signature", cell.signature, r) for r in ("older000", "newer000", "deleted0")]
        rows.append(("signature", cell.signature, "elsewhere"))
        database.executemany("INSERT INTO tags VALUES (?, ?, ?)", rows)
    store = Store(f"sqlite:///{path}")
    assert tracked_runs(store, "shown")[cell.signature].run == "newer000"
    assert "newer000" in Page(build_report(experiment, ledger, store=store)).text


@pytest.mark.parametrize("uri", ["sqlite:///nowhere/mlflow.db", "http://127.0.0.1:9"])
def test_a_store_that_is_away_costs_the_links_alone(
    experiment: Experiment, ledger: Ledger, uri: str
) -> None:
    assert tracked_runs(Store(uri), "shown") == {}
    assert b"Does it hold?" in build_report(experiment, ledger, store=Store(uri))


def test_a_file_that_is_no_database_costs_the_links_alone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 500)
    assert tracked_runs(Store(f"sqlite:///{tmp_path}/mlflow.db"), "shown") == {}


def test_the_command_writes_the_page_and_says_where(
    tmp_path: Path, experiment: Experiment, ledger: Ledger
) -> None:
    for cell in cells_of(experiment):
        finish_one(ledger, cell)
    call = ["report", str(tmp_path / "e.yaml"), "--storage", str(tmp_path / "storage")]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    place = tmp_path / "storage" / "experiments" / "shown" / "report.html"
    assert done.stdout.strip() == str(place)
    assert Path(place).read_bytes() == build_report(experiment, ledger)

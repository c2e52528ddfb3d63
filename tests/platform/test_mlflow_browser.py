"""MLflow's own pages in a real browser: what `supclap ui FILE` opens is the experiment's table.

How MLflow keeps a view is its own affair (`supclap_platform.mirror.views`): these tests notice when
it changes.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_browser, started
from mlflow_server import free_port, wait_for
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.store import default_store
from supclap_platform.mirror.tracking import open_tracker
from supclap_platform.results.account import account_now
from supclap_platform.results.table_files import tables_of
from supclap_platform.testing import finish
from waiting import PATIENCE

from supclap.storage import Folder

TEXT = """\
experiment: table3-ablation
about: Which parts of SVR matter on monolingual retrieval?
base: {epochs: 2}
variants:
  InfoNCE: {}
  bi-StaticSVR: {loss.svr: {radius: static}}
  bi-DynamicSVR, constraint weight alpha 0.1: {loss.svr: {constraint: 0.1}}
  bi-DynamicSVR, constraint weight alpha 0.2: {loss.svr: {constraint: 0.2}}
seeds: 3
baseline: InfoNCE
table: {columns: [t2a.R@1, a2t.mAP10, t2a.medR]}
claims: [bi-StaticSVR > InfoNCE on t2a.R@1, bi-StaticSVR > InfoNCE on a2t.mAP10]
"""
# By t2a.R@1 the last row is the best, then the static one.
VALUES = (30.0, 33.0, 31.5, 34.25)
BROWSER = find_browser()
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here (set CHROMIUM to its program)"),
]


def write_store(folder: Path) -> None:
    """A storage with a finished experiment, and MLflow's store of it."""
    path = folder / "table3.yaml"
    path.write_text(TEXT, encoding="utf-8")
    experiment = load_experiment(path)
    ledger = Ledger(Folder.at(folder / "storage"))
    remember(make_plan(experiment, ledger), ledger)
    cells = cells_of(experiment)
    store = default_store(folder / "storage")
    tracker = open_tracker(experiment, cells, ledger, store.uri, account=account_now)
    rows = list(experiment.rows)
    for cell in cells:
        value = VALUES[rows.index(cell.variant)] + 0.3 * cell.seed * (-1) ** len(cell.variant)
        metrics = {"test.t2a.R@1": value, "test.a2t.mAP10": value / 2, "test.t2a.medR": 3.0}
        epochs = [
            {"train.loss": 3.0 / e, "val.t2a.R@1": value * e / 2, "drift_cosine.text": 0.1 * e}
            for e in (1, 2)
        ]
        finish(ledger, cell, metrics | {"val.t2a.R@1": value}, epochs)
    assert tracker.close("FINISHED", tables_of(experiment, ledger))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What `supclap ui FILE` prints, while it serves."""
    folder = tmp_path_factory.mktemp("shown")
    write_store(folder)
    port = free_port()
    command = "from supclap_platform.cli import main; main()"
    call = ["ui", folder / "table3.yaml", "--storage", folder / "storage", "--port", port]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *map(str, call)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline().strip() for _ in range(2)]
        wait_for(f"http://127.0.0.1:{port}")
        yield lines
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(str(BROWSER), tmp_path_factory.mktemp("profile")) as one:
        yield one


def shown(browser: Browser, script: str, wanted: int = 1) -> list[str]:
    """The texts that a selector finds in the page, once there are as many."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found: list[str] = browser.value(
            f"[...document.querySelectorAll({script!r})].map(e => e.innerText.trim())"
        )
        if len(found) >= wanted:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{script}: not in the page: {browser.value('document.body.innerText')}")


def visit(browser: Browser, address: str) -> None:
    """Opens a page anew: what differs behind the # alone would load nothing."""
    browser.open("about:blank", 1280)
    browser.open(address, 1280)


def test_ui_opens_the_table_of_the_experiment(pages: list[str], browser: Browser) -> None:
    assert re.fullmatch(r"MLflow: http://127.0.0.1:\d+ \(Ctrl-C ends it\)", pages[0])
    name, _, address = pages[1].partition(": ")
    assert name == "table3-ablation"
    visit(browser, address)
    names = shown(browser, ".ag-pinned-left-cols-container [col-id*='Run Name'] a", 4)
    assert [text.partition(" | ")[0] for text in names] == [
        "0.2", "bi-StaticSVR", "0.1", "InfoNCE"
    ]  # fmt: skip
    heads = shown(browser, ".ag-header-cell[col-id^='metrics']", 2)
    assert heads[:3] == [
        "Table/t2a.R_at_1", "Table/a2t.mAP10", "Table/t2a.medR"
    ]  # fmt: skip
    best = shown(browser, ".ag-center-cols-container [row-index='0'] [col-id^='metrics']", 2)
    assert best[:3] == ["34.55", "17.275", "3"]  # 34.25 and 0.3 a seed
    assert "Model training" in browser.value("document.body.innerText")
    page = browser.value("location.href")
    assert "workflowType=machine_learning" in page


def test_the_experiments_own_page_has_question_verdicts_and_table(
    pages: list[str], browser: Browser
) -> None:
    visit(browser, pages[1].partition(": ")[2])
    shown(browser, ".ag-pinned-left-cols-container [col-id*='Run Name'] a", 4)
    first = browser.value(
        "document.querySelector('.ag-pinned-left-cols-container [col-id*=\"Run Name\"] a').href"
    )
    visit(browser, first)
    deadline = time.monotonic() + PATIENCE
    above = None
    while above is None and time.monotonic() < deadline:
        above = browser.value(
            "[...document.querySelectorAll('a')].filter(a => a.innerText.startsWith("
            "'table3-ablation, laptop')).map(a => a.href)[0] ?? null"
        )
        time.sleep(0.2)
    assert above is not None
    visit(browser, above)
    tables = shown(browser, "table th", 5)
    assert {"verdict", "effect", "claim"} <= set(tables)
    text = browser.value("document.body.innerText")
    assert "Which parts of SVR matter on monolingual retrieval?" in text
    assert "bi-StaticSVR > InfoNCE on t2a.R@1" in text

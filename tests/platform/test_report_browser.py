"""The report in a real browser: on a phone and on a wide screen, in light, dark and on paper."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_browser, started
from PIL import Image
from ranks_of import t2a_ranks
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.report import build_report
from supclap_platform.testing import finish

from supclap.storage import Folder

LONG = "a name of 97 signs, " + "no_browser_can_break_it_" * 3 + "_ever"
TEXT = f"""\
experiment: shown
about: Does it hold, in a question long enough that a phone must break it into several lines?
base: {{epochs: 3}}
variants:
  InfoNCE: {{}}
  bi-StaticSVR: {{loss.svr: {{radius: static}}}}
  {LONG}: {{loss: siglip}}
seeds: 3
baseline: InfoNCE
table:
  columns: [t2a.R@1, t2a.R@5, t2a.R@10, t2a.mAP10, a2t.R@1, a2t.R@5, a2t.R@10, a2t.mAP10]
  published: table3_ablation
claims:
  - bi-StaticSVR > InfoNCE on t2a.R@1
  - InfoNCE > bi-StaticSVR on t2a.R@5
  - {LONG} > bi-StaticSVR on t2a.R@10
figures: [convergence, similarity]
"""
BROWSER = find_browser()
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here (set CHROMIUM to its program)"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "e.yaml").write_text(TEXT, encoding="utf-8")
    experiment = load_experiment(folder / "e.yaml")
    ledger = Ledger(Folder.at(folder / "storage"))
    chance = np.random.default_rng(0)
    *cells, last = cells_of(experiment)
    for cell in cells:
        better = 10.0 * (cell.variant == "bi-StaticSVR") + chance.random()
        metrics = {f"test.{way}.R@{k}": better + k for way in ("t2a", "a2t") for k in (1, 5, 10)}
        epochs = [{"val.t2a.R@1": e + better, "similarity.positive": e / 9} for e in (1, 2, 3)]
        kept = t2a_ranks([[True]] * 50) | {"t2a_similarity": chance.random(50)}
        finish(ledger, cell, metrics, epochs, kept)
    ledger.record_failure(last.signature, "an error with a path " + "/long" * 60)
    (folder / "report.html").write_bytes(build_report(experiment, ledger))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(str(BROWSER), tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400, 2560])
def test_it_opens_well(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark)
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("window.scrollTo(999, 0), window.scrollX") == 0
    shown = browser.value(
        "[...document.querySelectorAll('.verdict .badge')].filter(b => b.checkVisibility())"
        ".map(b => b.innerText.split(' ').pop())"
    )
    assert sorted(shown) == ["contradicted", "supported", "undecided"]
    assert browser.value("document.querySelectorAll('.panels img').length") == 3
    assert browser.value(
        "[...document.images].every(i => i.complete && i.naturalWidth && i.width > 250)"
    )
    kinds = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
    assert [event for event in browser.events if event["method"] in kinds] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.absolute().as_uri()]


def test_a_wide_table_scrolls_in_its_own_box(browser: Browser, page: Path) -> None:
    browser.open(page, 390)
    box = "document.querySelector('.result .scroll')"
    assert browser.value(f"{box}.scrollWidth > {box}.clientWidth + 100")
    assert browser.value(f"{box}.clientWidth <= 390")
    assert browser.value(f"({box}.scrollLeft = 80, {box}.scrollLeft)") == 80


def test_text_is_readable_on_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, 390)
    sizes = browser.value(
        "[...document.querySelectorAll('p, li, td, th, dd, dt, summary')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(browser: Browser, page: Path, dark: bool) -> None:
    """WCAG's contrast of 4.5 or more, for the colours that the page sets."""
    browser.open(page, 390, dark)
    pairs = browser.value(
        "[...document.querySelectorAll('p, .badge, dt, dd, a, th, td, li, .counts span')]"
        ".map(e => { const own = x => getComputedStyle(x).backgroundColor; let ground = e;"
        " while (own(ground) === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;"
        " return `${getComputedStyle(e).color} on ${own(ground)}` })"
    )
    assert len(set(pairs)) > 4
    for pair in set(pairs):
        ink, ground = (
            luminance([int(part) for part in colour[4:-1].split(",")])
            for colour in pair.split(" on ")
        )
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5, pair


def luminance(colour: list[int]) -> float:
    """Relative luminance of an sRGB colour, as WCAG 2 defines it."""
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_schemes_differ(browser: Browser, page: Path) -> None:
    light = {}
    for dark in (False, True):
        browser.open(page, 390, dark)
        image = Image.open(io.BytesIO(browser.picture())).convert("L")
        light[dark] = np.asarray(image).mean()
    assert light[False] > 200
    assert light[True] < 80


# Inches: width and height of a sheet. The browser's own margins are 0.4 on each side.
SHEETS = pytest.mark.parametrize("sheet", [(8.27, 11.69), (8.5, 11.0)], ids=["A4", "Letter"])


@SHEETS
def test_the_sheets_of_a_wide_table_lie_on_their_side(
    browser: Browser, page: Path, sheet: tuple[float, float]
) -> None:
    browser.open(page, 1400)
    printed = browser.ask("Page.printToPDF", paperWidth=sheet[0], paperHeight=sheet[1])["data"]
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", base64.b64decode(printed))
    sizes = [(round(float(w) / 72, 1), round(float(h) / 72, 1)) for w, h in boxes]
    upright = (round(sheet[0], 1), round(sheet[1], 1))
    assert set(sizes) == {upright, upright[::-1]}
    assert sizes[0] == sizes[-1] == upright  # verdicts before it, versions behind it


@SHEETS
def test_on_paper_every_column_of_the_table_is_there(
    browser: Browser, page: Path, sheet: tuple[float, float]
) -> None:
    upright, sideways = (int(96 * (side - 0.8)) for side in sheet)  # CSS pixels within the margins
    for wide, tables in ((upright, "table:not(.sideways *)"), (sideways, ".sideways table")):
        browser.open(page, wide)
        browser.ask("Emulation.setEmulatedMedia", media="print")
        try:
            edges = browser.value(
                f"[...document.querySelectorAll('{tables}')].filter(t => t.offsetParent !== null)"
                ".map(t => t.getBoundingClientRect().right)"
            )
            heads = browser.value(
                "[...document.querySelectorAll('.result thead th.metric')]"
                ".filter(h => h.offsetParent !== null).map(h => h.innerText)"
            )
        finally:
            browser.ask("Emulation.setEmulatedMedia", media="")
        assert max(edges) <= wide
        ways = [f"{way}.{name}" for way in ("t2a", "a2t") for name in ("R@1", "R@5", "R@10")]
        assert sorted(heads) == sorted([*ways, "t2a.mAP10", "a2t.mAP10"])
    assert len(edges) > 1  # the table in pieces


@pytest.mark.parametrize("width", [390, 1400, 2560])
def test_a_long_name_does_not_lie_over_the_first_column(
    browser: Browser, page: Path, width: int
) -> None:
    browser.open(page, width)
    over = browser.value(
        "[...document.querySelectorAll('.result tbody tr')]"
        ".filter(row => row.offsetParent !== null).map(row => {"
        " const words = document.createRange(); words.selectNodeContents(row.cells[0]);"
        " const edge = Math.max(...[...words.getClientRects()].map(r => r.right));"
        " return edge - row.cells[1].getBoundingClientRect().left })"
    )
    assert len(over) >= 3
    assert max(over) <= 0


def test_on_paper_a_list_of_runs_says_whose_they_are(browser: Browser, page: Path) -> None:
    browser.open(page, 700)
    browser.value("document.querySelectorAll('.runs details').forEach(d => d.open = true)")
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:
        said = browser.value(
            "[...document.querySelectorAll('.runs details')]"
            ".filter(d => d.querySelector('ul').checkVisibility())"
            ".map(d => d.querySelector('summary')).map(s => s.checkVisibility() && s.innerText)"
        )
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")
    assert said == [f"Runs of {row}" for row in ("InfoNCE", "bi-StaticSVR", LONG)]


def test_on_a_screen_the_table_is_whole(browser: Browser, page: Path) -> None:
    browser.open(page, 1400)
    tables = browser.value(
        "[...document.querySelectorAll('.result .table')]"
        ".filter(t => t.offsetParent !== null).length"
    )
    assert tables == 1


GROUPED = """\
experiment: grouped
variants:
  row 10: {}
  row 9: {loss.svr: {radius: static}}
  Row <b>: {loss: siglip}
  without runs: {loss.temperature: 0.1}
seeds: 2
groups: {one: {}, two: {epochs: 2}}
baseline: row 9
table: {columns: [t2a.R@1, a2t.medR, t2a.R@5, t2a.R@10]}
"""
FIGURES = {"row 10": 9.5, "row 9": 100.0, "Row <b>": 20.004}  # R@1 in group "two"
NAMES = (
    "[...document.querySelectorAll('.result table')].map(t => [...t.tBodies[0].rows]"
    ".filter(r => !r.hidden).map(r => r.cells[0].textContent))"
)
SAID = "document.querySelector('.tools [role=status]').textContent"


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grouped")
    (folder / "e.yaml").write_text(GROUPED, encoding="utf-8")
    experiment = load_experiment(folder / "e.yaml")
    ledger = Ledger(Folder.at(folder / "storage"))
    for cell in cells_of(experiment):
        row = str(cell.variant).removeprefix("one, ").removeprefix("two, ")
        row = next((name for name in FIGURES if name in row), "")
        if row:
            value = FIGURES[row] if cell.group == "two" else 20.0
            value += 0.001 * (row == "row 9") * (cell.group == "one")  # shown alike as the others
            finish(ledger, cell, {"test.t2a.R@1": value, "test.a2t.medR": 3.0})
    (folder / "report.html").write_bytes(build_report(experiment, ledger))
    return folder / "report.html"


def press(browser: Browser, title: str, key: str = "") -> None:
    """Clicks a head of the table, or presses a key on it."""
    found = (
        f"[...document.querySelectorAll('thead button')].find(b => b.title.startsWith({title!r}))"
    )
    if not key:
        browser.value(f"{found}.click()")
        return
    browser.value(f"{found}.focus()")
    text = {"Enter": "\r", " ": " "}[key]
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=key, text=text)


def test_a_head_sorts_by_value_and_puts_what_has_none_last(browser: Browser, grouped: Path) -> None:
    browser.open(grouped, 1400)
    declared = ["row 10", "row 9", "Row <b>", "without runs"]
    assert browser.value(NAMES) == [declared] * 3  # the whole, and two pieces for paper
    column = "Sort by two, t2a.R@1, ours:"
    state = "[...document.querySelectorAll('[aria-sort]')].map(h => h.getAttribute('aria-sort'))"
    press(browser, column)
    assert browser.value(NAMES) == [["row 9", "Row <b>", "row 10", "without runs"]] * 3
    assert browser.value(state) == ["descending"]
    assert browser.value(SAID) == "sorted by two, t2a.R@1, ours, largest first"
    press(browser, column, "Enter")
    assert browser.value(NAMES)[0] == ["row 10", "Row <b>", "row 9", "without runs"]
    assert browser.value(state) == ["ascending"]
    press(browser, column, " ")
    assert browser.value(NAMES) == [declared] * 3
    assert browser.value(state) == []
    assert browser.value(SAID) == ""
    # Differences have signs; the baseline has none of its own, and no row is left without a place.
    press(browser, "Sort by two, t2a.R@1, Δ:")
    assert browser.value(NAMES)[0] == ["Row <b>", "row 10", "row 9", "without runs"]
    press(browser, "Sort by one, t2a.R@1, ours:")  # by what lies behind the rounded text
    assert browser.value(NAMES)[0] == ["row 9", "row 10", "Row <b>", "without runs"]
    press(browser, "Sort by name")  # 9 before 10, and signs before figures
    assert browser.value(NAMES)[0] == ["Row <b>", "row 9", "row 10", "without runs"]
    assert browser.value(SAID) == "sorted by name, A to Z"


def test_a_box_filters_rows_by_name_and_says_how_many(browser: Browser, grouped: Path) -> None:
    browser.open(grouped, 1400)
    browser.value("document.querySelector('.tools input').focus()")
    browser.ask("Input.insertText", text="ROW 1")
    assert browser.value(NAMES) == [["row 10"]] * 3
    assert browser.value(SAID) == "1 of 4 rows are shown"
    press(browser, "Sort by two, t2a.R@1, ours:")
    assert browser.value(NAMES)[0] == ["row 10"]
    browser.value("document.querySelector('.tools input').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key="Escape", windowsVirtualKeyCode=27)
    assert browser.value(NAMES)[0] == ["row 9", "Row <b>", "row 10", "without runs"]
    browser.ask("Input.insertText", text="<b>")
    assert browser.value(NAMES)[0] == ["Row <b>"]
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:  # a sheet says what it leaves out, and has no box to type in
        assert browser.value("document.querySelector('.tools').innerText.trim()") == (
            "1 of 4 rows are shown; sorted by two, t2a.R@1, ours, largest first"
        )
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")


def test_without_script_the_table_is_as_it_was_written(browser: Browser, grouped: Path) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(grouped, 1400)
        assert browser.value("document.querySelectorAll('button, input, .tools').length") == 0
        assert browser.value("document.querySelectorAll('.result tbody tr').length") == 3 * 4
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)

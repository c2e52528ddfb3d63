"""The report in a real browser: on a phone and on a wide screen, in light, dark and on paper."""

import io
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


def test_it_prints(browser: Browser, page: Path) -> None:
    browser.open(page, 1400)
    printed = browser.ask("Page.printToPDF")["data"]
    assert len(printed) > 10_000


# Inner width of a sheet in CSS pixels, 96 an inch, with the browser's own margins of 0.4 inches.
@pytest.mark.parametrize(("sheet", "wide"), [("A4", 8.27 - 0.8), ("Letter", 8.5 - 0.8)])
def test_on_paper_every_column_of_the_table_is_there(
    browser: Browser, page: Path, sheet: str, wide: float
) -> None:
    browser.open(page, int(96 * wide))
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:
        edges = browser.value(
            "[...document.querySelectorAll('table')].filter(t => t.offsetParent !== null)"
            ".map(t => t.getBoundingClientRect().right)"
        )
        assert len(edges) > 2  # the table in pieces
        assert max(edges) <= int(96 * wide)
        heads = browser.value(
            "[...document.querySelectorAll('.result thead th.metric')]"
            ".filter(h => h.offsetParent !== null).map(h => h.innerText)"
        )
        ways = [f"{way}.{name}" for way in ("t2a", "a2t") for name in ("R@1", "R@5", "R@10")]
        assert sorted(heads) == sorted([*ways, "t2a.mAP10", "a2t.mAP10"])
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")


def test_on_a_screen_the_table_is_whole(browser: Browser, page: Path) -> None:
    browser.open(page, 1400)
    tables = browser.value(
        "[...document.querySelectorAll('.result .table')]"
        ".filter(t => t.offsetParent !== null).length"
    )
    assert tables == 1

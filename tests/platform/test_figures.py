"""Figures: the right curves, bands over seeds, told apart in grey, the same bytes each time."""

import io
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.stats import gaussian_kde
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.schema import FIGURES
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results import curves, fonts, panels
from supclap_platform.results.figures import CAPTIONS, draw_figures, figure_files
from supclap_platform.results.panels import PANELS
from supclap_platform.results.styles import PAPER, styles_of
from supclap_platform.testing import finish, interrupt

pytestmark = pytest.mark.heavy  # each takes a moment

TEXT = """\
experiment: drawn
base: {epochs: 3}
variants:
  InfoNCE: {}
  bi-StaticSVR: {loss.svr: {radius: static}}
  a $cheap_ one: {loss: siglip}
seeds: 3
figures: [radius, convergence]
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    (tmp_path / "e.yaml").write_text(TEXT, encoding="utf-8")
    return load_experiment(tmp_path / "e.yaml")


def curve(seed: int, epoch: int) -> float:
    return 10.0 * epoch + seed**2


def finish_all(experiment: Experiment, ledger: Ledger, seeds: int = 3) -> None:
    for cell in cells_of(experiment):
        epochs = []
        for epoch in (1, 2, 3):
            value = curve(cell.seed, epoch)
            metrics = {"val.t2a.R@1": value, "val.a2t.R@1": value / 2}
            if cell.config.loss.svr is not None:
                metrics["radius.text.mean"] = 1 / value
            epochs.append(metrics)
        if cell.seed < seeds:
            finish(ledger, cell, {}, epochs)
        else:
            interrupt(ledger, cell)


def test_every_figure_that_a_file_may_ask_for_is_known() -> None:
    assert set(PANELS) == set(CAPTIONS) == set(FIGURES)


def test_lines_are_means_over_seeds_with_sample_deviations(
    experiment: Experiment, ledger: Ledger
) -> None:
    finish_all(experiment, ledger)
    _, convergence = draw_figures(experiment, ledger, endings=())
    lines = convergence.lines["val.t2a.R@1"]
    assert [line.variant for line in lines] == ["InfoNCE", "bi-StaticSVR", "a $cheap_ one"]
    values = np.array([[curve(seed, epoch) for epoch in (1, 2, 3)] for seed in (0, 1, 2)])
    for line in lines:
        assert line.places == (1, 2, 3)
        assert line.means == pytest.approx(values.mean(0))
        assert line.stds == pytest.approx(values.std(0, ddof=1))
        assert (line.seeds, line.wanted) == (3, 3)


def test_what_a_figure_lacks_is_told(experiment: Experiment, ledger: Ledger) -> None:
    finish_all(experiment, ledger, seeds=2)
    radius, _ = draw_figures(experiment, ledger, endings=("svg",))
    (line,) = radius.lines["radius.text.mean"]
    assert (line.variant, line.seeds, line.wanted) == ("bi-StaticSVR", 2, 3)
    assert "radius, radius.text.mean: bi-StaticSVR rests on 2/3 runs" in radius.notes
    assert "radius, radius.text.mean: not reported by InfoNCE, a $cheap_ one" in radius.notes
    assert radius.lines["radius.audio.mean"] == ()
    assert radius.files  # one panel is there


def test_an_epoch_that_is_no_number_in_one_run_is_left_out_and_told(
    experiment: Experiment, ledger: Ledger
) -> None:
    finish_all(experiment, ledger)
    first = cells_of(experiment)[0]
    finish(ledger, first, {}, [{"val.t2a.R@1": v} for v in (10.0, float("nan"), 30.0)])
    _, convergence = draw_figures(experiment, ledger, endings=())
    line = convergence.lines["val.t2a.R@1"][0]
    assert (line.places, line.left_out) == ((1, 3), 1)
    assert any("1 epoch of InfoNCE left out" in note for note in convergence.notes)


def test_nothing_finished_draws_nothing_and_says_so(experiment: Experiment, ledger: Ledger) -> None:
    for drawing in draw_figures(experiment, ledger):
        assert drawing.files == {}
        assert any("no finished run of InfoNCE" in note for note in drawing.notes)


@pytest.mark.heavy
def test_files_are_whole_undated_and_the_same_each_time(
    experiment: Experiment, ledger: Ledger
) -> None:
    finish_all(experiment, ledger)
    files = figure_files(draw_figures(experiment, ledger))
    assert set(files) == {
        f"figures/{name}.{ending}"
        for name in ("radius", "convergence")
        for ending in ("svg", "pdf", "png")
    }
    assert figure_files(draw_figures(experiment, ledger)) == files
    svg, pdf, png = (files[f"figures/radius.{ending}"] for ending in ("svg", "pdf", "png"))
    assert b"<svg" in svg
    assert pdf.startswith(b"%PDF")
    assert pdf.rstrip().endswith(b"%%EOF")
    for content in (svg, pdf):
        assert not re.search(rb"dc:date|CreationDate|20[0-9]{2}-[01][0-9]-", content)
    image = Image.open(io.BytesIO(png))
    assert image.width > 1000
    assert np.asarray(image.convert("L")).std() > 5  # something is drawn


def test_bands_are_there_with_two_seeds_and_not_with_one(
    experiment: Experiment, ledger: Ledger
) -> None:
    finish_all(experiment, ledger)
    banded = draw_figures(experiment, ledger, ["svg"])[1].files["convergence.svg"]
    assert banded.count(b"PolyCollection") == 6  # three variants in two panels


def test_one_seed_has_no_band(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "one.yaml").write_text(TEXT.replace("seeds: 3", "seeds: 1"), encoding="utf-8")
    experiment = load_experiment(tmp_path / "one.yaml")
    finish_all(experiment, ledger)
    svg = draw_figures(experiment, ledger, ["svg"])[1].files["convergence.svg"]
    assert b"PolyCollection" not in svg


def test_styles_are_told_apart_without_colour() -> None:
    names = [f"variant {place}" for place in range(58)]
    styles = styles_of([*PAPER, *names])
    plain = [(style.dashes, style.marker) for style in styles.values()]
    assert len(set(plain)) == len(plain)
    assert len({(style.colour, style.dashes) for style in list(styles.values())[:8]}) == 8


def test_neighbours_differ_in_colour_dashes_and_marker() -> None:
    eight = list(styles_of(PAPER).values())
    for one, other in combinations(eight[:6], 2):
        assert one.colour != other.colour
        assert one.dashes != other.dashes
        assert one.marker != other.marker


def test_a_variant_of_the_paper_looks_the_same_in_every_file() -> None:
    one = styles_of(["SigLIP", "mine", "InfoNCE", "bi-DynamicSVR"])
    other = styles_of(["bi-DynamicSVR", "InfoNCE", "alpha=1", "alpha=2"])
    assert one["InfoNCE"] == other["InfoNCE"]
    assert one["bi-DynamicSVR"] == other["bi-DynamicSVR"]
    assert len({*one.values()}) == 4


@pytest.mark.heavy
def test_the_command_writes_the_figures_and_refuses_where_none_are_asked_for(
    tmp_path: Path, experiment: Experiment, ledger: Ledger
) -> None:
    finish_all(experiment, ledger)
    storage = ["--storage", str(tmp_path / "storage")]
    done = CliRunner().invoke(main, ["figures", str(tmp_path / "e.yaml"), *storage])
    assert done.exit_code == 0, done.stderr
    folder = tmp_path / "storage" / "experiments" / "drawn" / "figures"
    written = {str(path) for path in folder.iterdir() if path.stat().st_size > 1000}
    assert written == set(done.stdout.split())
    assert len(written) == 6
    assert "not reported by InfoNCE" in done.stderr
    (tmp_path / "none.yaml").write_text(TEXT.partition("figures")[0], encoding="utf-8")
    refused = CliRunner().invoke(main, ["figures", str(tmp_path / "none.yaml"), *storage])
    assert refused.exit_code == 2
    assert "declares no figures" in refused.stderr


GROUPED = """\
experiment: grouped
base: {epochs: 3}
groups: {plain: {}, noisy: {data.noise: 0.2}}
variants:
  InfoNCE: {}
  bi-StaticSVR: {loss.svr: {radius: static}}
seeds: 2
table: {columns: [t2a.R@1]}
figures: [convergence, similarity]
"""


def test_groups_are_rows_of_panels_on_shared_axes(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "g.yaml").write_text(GROUPED, encoding="utf-8")
    experiment = load_experiment(tmp_path / "g.yaml")
    for cell in cells_of(experiment):
        height = 80.0 if cell.group == "noisy" else 20.0
        finish(ledger, cell, {}, [{"val.t2a.R@1": height + e} for e in (1, 2, 3)])
    convergence, _ = draw_figures(experiment, ledger, ["svg"])
    assert convergence.groups == ("plain", "noisy")
    lines = convergence.lines["val.t2a.R@1"]
    assert [(line.row, line.group) for line in lines] == [
        (row, group) for group in ("plain", "noisy") for row in ("InfoNCE", "bi-StaticSVR")
    ]
    assert set(convergence.styles) == {"InfoNCE", "bi-StaticSVR"}  # the same in both groups
    figure = panels.whole_figure(
        convergence.panels, convergence.groups, convergence.lines, convergence.styles
    )
    first, second = figure.axes
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[0] < 21
    assert second.get_ylim()[1] > 83
    assert [len(axes.lines) for axes in (first, second)] == [2, 2]
    assert second.get_title().startswith("noisy: ")
    (panel,) = convergence.panels
    whole = convergence.files["convergence.svg"]
    for group in convergence.groups:
        single = convergence.single(panel, group)
        assert single.count(b"PolyCollection") == 2  # the bands of this group alone
    assert whole.count(b"PolyCollection") == 4


def test_a_density_is_that_of_scipy_and_keeps_its_mass() -> None:
    chance = np.random.default_rng(0)
    cosines = np.tanh(chance.normal(0.4, 0.2, 2000))
    width = curves.middles()[1] - curves.middles()[0]
    found = curves.density(cosines)
    assert found.sum() * width == pytest.approx(1)
    assert (found * curves.middles()).sum() * width == pytest.approx(cosines.mean(), abs=0.002)
    theirs = gaussian_kde(cosines)(curves.middles())
    assert np.abs(found - theirs).max() < 0.02 * theirs.max()
    against_the_edge = curves.density(1 - np.abs(chance.normal(0, 0.05, 500)))
    assert against_the_edge.sum() * width == pytest.approx(1)  # none beyond 1
    assert against_the_edge[-1] == pytest.approx(against_the_edge.max(), rel=0.2)
    assert curves.density(np.array([0.5])).sum() * width == pytest.approx(1)


def test_figure_4_is_a_mean_of_densities_and_tells_who_kept_none(
    tmp_path: Path, experiment: Experiment, ledger: Ledger
) -> None:
    text = TEXT.replace("[radius, convergence]", "[similarity]")
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    experiment = load_experiment(tmp_path / "s.yaml")
    chance = np.random.default_rng(1)
    kept = {}
    for cell in cells_of(experiment):
        epochs = [{"similarity.positive": 0.1 * e} for e in (1, 2, 3)]
        ranks = {"t2a_ranks": np.zeros(3)}
        if cell.variant == "InfoNCE" or (cell.variant == "bi-StaticSVR" and cell.seed == 0):
            ranks["t2a_similarity"] = chance.normal(0.3, 0.1, 400).astype("f4")
            kept[cell.variant, cell.seed] = ranks["t2a_similarity"]
        finish(ledger, cell, {}, epochs, ranks)
    (drawing,) = draw_figures(experiment, ledger, endings=())
    ours, other = drawing.lines["t2a_similarity"]
    assert (ours.seeds, other.seeds, other.wanted) == (3, 1, 3)
    each = np.stack([curves.density(kept["InfoNCE", seed]) for seed in (0, 1, 2)])
    at = np.isin(np.round(curves.middles(), 9), np.round(ours.places, 9))
    assert ours.means == pytest.approx(each.mean(0)[at])
    assert ours.stds == pytest.approx(each.std(0, ddof=1)[at])
    left_out = each.mean(0)[~at]
    assert left_out.sum() * 2 / curves.BINS < 0.001  # what is not drawn
    assert "similarity, distribution: bi-StaticSVR rests on 1/3 runs" in drawing.notes
    assert "similarity, distribution: not reported by a $cheap_ one" in drawing.notes
    assert [line.variant for line in drawing.lines["similarity.positive"]] == [
        "InfoNCE",
        "bi-StaticSVR",
        "a $cheap_ one",
    ]


def test_more_rows_than_an_eye_tells_apart_are_not_drawn_and_that_is_told(
    tmp_path: Path, ledger: Ledger
) -> None:
    rows = "\n".join(f"  row {n}: {{loss.svr: {{alpha: {0.1 + n / 100}}}}}" for n in range(30))
    (tmp_path / "m.yaml").write_text(
        f"experiment: many\nvariants:\n{rows}\nbaseline: row 29\nfigures: [convergence]\n",
        encoding="utf-8",
    )
    experiment = load_experiment(tmp_path / "m.yaml")
    finish_all(experiment, ledger)
    (drawing,) = draw_figures(experiment, ledger, endings=())
    drawn = [line.row for line in drawing.lines["val.t2a.R@1"]]
    assert drawn == [*(f"row {n}" for n in range(23)), "row 29"]
    assert "convergence: 24 of 30 rows are drawn, baselines and the first" in drawing.notes


def test_no_band_reaches_where_its_quantity_cannot_be(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "e.yaml").write_text(
        TEXT.replace("[radius, convergence]", "[convergence, similarity]"), encoding="utf-8"
    )
    chosen = load_experiment(tmp_path / "e.yaml")
    for cell in cells_of(chosen):
        # Seeds so far apart that mean - std of recall is below 0, and of most densities too.
        value = {0: 0.0, 1: 0.0, 2: 99.0}[cell.seed]
        epochs = [{"val.t2a.R@1": value, "val.a2t.R@1": 100.0 - value} for _ in range(3)]
        finish(ledger, cell, {}, epochs)
        kept = io.BytesIO()
        cosines = np.random.default_rng(cell.seed).normal(0.4 * cell.seed - 0.4, 0.05, 300)
        np.savez(kept, t2a_similarity=cosines.astype(np.float32))
        ledger.folder(cell.signature).write("ranks.npz", kept.getvalue())
    for drawing in draw_figures(chosen, ledger, endings=()):
        shown = panels.whole_figure(drawing.panels, (None,), drawing.lines, drawing.styles)
        for axes, panel in zip(shown.axes, drawing.panels, strict=True):
            line = drawing.lines[panel.metric][0]
            raw = [m - s for m, s in zip(line.means, line.stds, strict=True)]
            above = [m + s for m, s in zip(line.means, line.stds, strict=True)]
            assert min(raw) < panel.least or max(above) > panel.most  # else it shows nothing
            for band in axes.collections:
                heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
                assert heights.min() >= panel.least
                assert heights.max() <= panel.most
            low, high = axes.get_ylim()
            assert low >= panel.least
            assert high <= panel.most


def test_a_font_is_found_for_signs_that_the_own_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    owned = {fonts.OWN: frozenset("abc é"), "Han": frozenset("a支持"), "Kana": frozenset("の支")}
    monkeypatch.setattr(fonts, "_signs", lambda family: owned[family])
    monkeypatch.setattr(fonts, "_others", lambda: ("Han", "Kana"))
    assert fonts.families_for(["a b", "c é"]) == ([fonts.OWN], "")
    assert fonts.families_for(["a支", "持"]) == ([fonts.OWN, "Han"], "")
    assert fonts.families_for(["支の"]) == ([fonts.OWN, "Han", "Kana"], "")
    assert fonts.families_for(["支 한\n"]) == ([fonts.OWN, "Han"], "한")


def test_what_no_font_has_is_text_in_the_svg_and_noted(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_others", lambda: ())
    text = TEXT.replace("a $cheap_ one", "支持 row").replace("[radius, convergence]", "[radius]")
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    chosen = load_experiment(tmp_path / "e.yaml")
    for cell in cells_of(chosen):
        finish(ledger, cell, {}, [{"radius.text.mean": 0.5}] * 3)
    (drawing,) = draw_figures(chosen, ledger, endings=("svg", "png"))
    assert "支持 row" in drawing.files["radius.svg"].decode()
    (note,) = [note for note in drawing.notes if "no font" in note]
    assert note.startswith("radius: no font of this machine has the signs 持 支: ")


def test_names_in_the_own_font_draw_the_same_bytes_as_ever(
    experiment: Experiment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(experiment, ledger)
    monkeypatch.setattr(fonts, "_others", lambda: pytest.fail("no other font is looked for"))
    draw_figures(experiment, ledger, endings=("svg",))

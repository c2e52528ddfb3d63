"""Figures: the right curves, bands over seeds, told apart in grey, the same bytes each time."""

import io
import re
from itertools import combinations

import numpy as np
import pytest
from click.testing import CliRunner
from fake_evidence import leave
from fake_runs import interrupt
from PIL import Image
from supclap_platform.cells import cells_of
from supclap_platform.cli import main
from supclap_platform.experiment import Experiment, load_experiment
from supclap_platform.ledger import Ledger
from supclap_platform.results.figures import PANELS, draw_figures, figure_files
from supclap_platform.results.styles import PAPER, styles_of
from supclap_platform.schema import FIGURES

from supclap.storage import Folder

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
def ledger(tmp_path) -> Ledger:
    return Ledger(Folder.at(tmp_path / "storage"))


@pytest.fixture
def experiment(tmp_path) -> Experiment:
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
            leave(ledger, cell, {}, epochs)
        else:
            interrupt(ledger, cell)


def test_every_figure_that_a_file_may_ask_for_is_known():
    assert set(PANELS) == set(FIGURES)


def test_lines_are_means_over_seeds_with_sample_deviations(experiment, ledger):
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


def test_what_a_figure_lacks_is_told(experiment, ledger):
    finish_all(experiment, ledger, seeds=2)
    radius, _ = draw_figures(experiment, ledger, endings=("svg",))
    (line,) = radius.lines["radius.text.mean"]
    assert (line.variant, line.seeds, line.wanted) == ("bi-StaticSVR", 2, 3)
    assert "radius, radius.text.mean: bi-StaticSVR rests on 2/3 runs" in radius.notes
    assert "radius, radius.text.mean: not reported by InfoNCE, a $cheap_ one" in radius.notes
    assert radius.lines["radius.audio.mean"] == ()
    assert radius.files  # one panel is there


def test_an_epoch_that_is_no_number_in_one_run_is_left_out_and_told(experiment, ledger):
    finish_all(experiment, ledger)
    first = cells_of(experiment)[0]
    leave(ledger, first, {}, [{"val.t2a.R@1": v} for v in (10.0, float("nan"), 30.0)])
    _, convergence = draw_figures(experiment, ledger, endings=())
    line = convergence.lines["val.t2a.R@1"][0]
    assert (line.places, line.left_out) == ((1, 3), 1)
    assert any("1 epoch(s) of InfoNCE left out" in note for note in convergence.notes)


def test_nothing_finished_draws_nothing_and_says_so(experiment, ledger):
    for drawing in draw_figures(experiment, ledger):
        assert drawing.files == {}
        assert any("no finished run of InfoNCE" in note for note in drawing.notes)


def test_files_are_whole_undated_and_the_same_each_time(experiment, ledger):
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


def test_bands_are_there_with_two_seeds_and_not_with_one(experiment, ledger):
    finish_all(experiment, ledger)
    banded = draw_figures(experiment, ledger, ["svg"])[1].files["convergence.svg"]
    assert banded.count(b"PolyCollection") == 6  # three variants in two panels


def test_one_seed_has_no_band(tmp_path, ledger):
    (tmp_path / "one.yaml").write_text(TEXT.replace("seeds: 3", "seeds: 1"), encoding="utf-8")
    experiment = load_experiment(tmp_path / "one.yaml")
    finish_all(experiment, ledger)
    svg = draw_figures(experiment, ledger, ["svg"])[1].files["convergence.svg"]
    assert b"PolyCollection" not in svg


def test_styles_are_told_apart_without_colour():
    names = [f"variant {place}" for place in range(58)]
    styles = styles_of([*PAPER, *names])
    plain = [(style.dashes, style.marker) for style in styles.values()]
    assert len(set(plain)) == len(plain)
    assert len({(style.colour, style.dashes) for style in list(styles.values())[:8]}) == 8


def test_neighbours_differ_in_colour_dashes_and_marker():
    eight = list(styles_of(PAPER).values())
    for one, other in combinations(eight[:6], 2):
        assert one.colour != other.colour
        assert one.dashes != other.dashes
        assert one.marker != other.marker


def test_a_variant_of_the_paper_looks_the_same_in_every_file():
    one = styles_of(["SigLIP", "mine", "InfoNCE", "bi-DynamicSVR"])
    other = styles_of(["bi-DynamicSVR", "InfoNCE", "alpha=1", "alpha=2"])
    assert one["InfoNCE"] == other["InfoNCE"]
    assert one["bi-DynamicSVR"] == other["bi-DynamicSVR"]
    assert len({*one.values()}) == 4


def test_the_command_writes_the_figures_and_refuses_where_none_are_asked_for(
    tmp_path, experiment, ledger
):
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

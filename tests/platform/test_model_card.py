"""The winner's model as a folder for the Hub: what its card says, and that it opens again."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import ModelCard
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.kept_code import keep_code
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.testing import finish

import supclap
from supclap.config import ModelConfig
from supclap.model.clap import build_model
from supclap.model.folder import save_model
from supclap.user_code import forgotten

HEAD = """\
from torch import nn
from supclap.parts import Head, register


@register("narrow")
class Narrow(Head):
    def setup(self, width, dim):
        self.up = nn.Linear(width, dim)

    def forward(self, outputs):
        return self.up(outputs)
"""
FILE = """\
experiment: small
about: Does SVR | help?
base: {data: {name: soundscenes, clips: 200}}
variants:
  InfoNCE: {}
  SVR: {loss.svr: {}}
seeds: 3
table: {columns: [t2a.R@1]}
claims: [SVR > InfoNCE on t2a.R@1]
"""


@pytest.fixture
def file(tmp_path: Path, ledger: Ledger) -> Path:
    """An experiment all of whose runs are done; the model of the best is kept."""
    path = tmp_path / "small.yaml"
    path.write_text(FILE, encoding="utf-8")
    tests = {"InfoNCE": (40.0, 41.0, 42.0), "SVR": (44.0, 45.2, 45.9)}
    for cell in cells_of(load_experiment(path)):
        test = tests[cell.variant][cell.seed]
        # On validation, by which the winner is chosen, the middle seed of SVR is the best.
        val = test + 10 * (cell.seed == 1)
        finish(ledger, cell, {"test.t2a.R@1": test, "val.t2a.R@1": val})
        if (cell.variant, cell.seed) == ("SVR", 1):
            model = build_model(ModelConfig(), ["a dog barks", "rain"], 1.0, seed=0)
            save_model(model, Path(ledger.folder(cell.signature).base, "model"))
    return path


def promote(file: Path, ledger: Ledger, *options: str) -> tuple[int, str]:
    call = ["promote", str(file), "--storage", ledger.storage.base, *options]
    done = CliRunner().invoke(main, call)
    return done.exit_code, done.output


@pytest.mark.heavy
def test_the_card_says_what_was_found_and_the_model_opens_again(
    file: Path, ledger: Ledger, tmp_path: Path
) -> None:
    target = tmp_path / "out/clap"
    code, output = promote(file, ledger, "--to", str(target))
    assert code == 0, output
    assert f"hf upload OWNER/NAME {target}" in output
    card = ModelCard.load(target / "README.md")  # as the Hub's own library reads it
    body = card.text
    assert (card.data.library_name, card.data.language) == ("supclap", ["eng"])
    (found,) = card.data.eval_results
    assert (found.metric_type, found.metric_value) == ("test.t2a.R@1", 45.2)
    assert (found.dataset_name, found.dataset_type) == ("soundscenes", "data-a")
    settings = yaml.safe_load(body.rpartition("```yaml\n")[2].rpartition("```")[0])
    assert settings["loss"]["svr"]["radius"] == "dynamic"
    assert str(tmp_path) not in body
    # A bar would end a cell of a Markdown table, so that names and questions are escaped.
    assert "Does SVR \\| help?" in body
    assert "| **supported** | +4.03 |" in body
    assert "| SVR | **45.03 ± 0.96** |" in body
    assert "chosen by val.t2a.R@1 55.2" in body
    kept = next(path for path in Path(ledger.storage.base).rglob("model.json"))
    words = ["a dog barks"]
    ours, theirs = (supclap.load(at).encode_text(words) for at in (target, kept.parent))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.heavy
def test_nothing_is_left_where_it_cannot_be_done(
    file: Path, ledger: Ledger, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    code, output = promote(file, ledger, "--to", str(tmp_path / "x"), "--row", "InfoNCE")
    assert (code, output.count("\n")) == (2, 1)
    assert "the run is kept without a model" in output
    (tmp_path / "full").write_text("no folder")
    code, output = promote(file, ledger, "--to", str(tmp_path / "full/x"))
    assert (code, output.count("\n")) == (2, 1)
    assert "cannot be" in output
    (tmp_path / "full").unlink()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.heavy
def test_code_of_ones_own_goes_along(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "my_head.py").write_text(HEAD, encoding="utf-8")
    path = tmp_path / "small.yaml"
    own = FILE.replace("base: {", "code: [my_head.py]\nbase: {model.text.head: narrow, ")
    path.write_text(own.replace("seeds: 3", "seeds: 1"), encoding="utf-8")
    with forgotten():
        experiment = load_experiment(path)
        keep_code(experiment, ledger)
        for cell in cells_of(experiment):
            finish(ledger, cell, {"test.t2a.R@1": 40.0, "val.t2a.R@1": 40.0})
            model = build_model(cell.config.model, ["a dog barks"], 1.0, seed=0)
            save_model(model, Path(ledger.folder(cell.signature).base, "model"))
        assert promote(path, ledger, "--to", str(tmp_path / "clap"))[0] == 0
    card = (tmp_path / "clap/README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r'supclap.load\("\.", code="(code/\w+)"\)', card)
    with forgotten():
        loaded = supclap.load(tmp_path / "clap", code=tmp_path / "clap" / code)
    assert loaded.encode_text(["a dog barks"]).shape == (1, 256)

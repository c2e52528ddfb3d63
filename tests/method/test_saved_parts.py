"""A saved model that needs a part of somebody's own: it says so, and never runs it by itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_run import make_collection

import supclap
from supclap.config import parse_config
from supclap.errors import InputError
from supclap.model.clap import build_model
from supclap.model.folder import check_model
from supclap.use_commands import evaluate_command
from supclap.user_code import forgotten, load_code, parts_of

SOURCE = """
from torch import nn
from supclap.parts import Head, register


@register("narrow")
class Narrow(Head):
    rank: int = 3

    def setup(self, width, dim):
        self.down, self.up = nn.Linear(width, self.rank), nn.Linear(self.rank, dim)

    def forward(self, outputs):
        return self.up(self.down(outputs))


@register("other")
class Other(Head):
    pass
"""
SMALL = {
    "audio": {"name": "cnn", "width": 8, "layers": 2},
    "text": {"width": 32, "layers": 1, "vocabulary": 300, "head": {"name": "narrow", "rank": 4}},
    "dim": 16,
}
WORDS = ["a dog barks", "rain falls", "a bell rings"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a model that was saved where its code was loaded."""
    (tmp_path / "my_idea.py").write_text(SOURCE, encoding="utf-8")
    with forgotten():
        load_code(["my_idea.py"], tmp_path)
        config = parse_config({"model": SMALL}).model
        build_model(config, WORDS * 4, 0.5, seed=1).save(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_names_its_parts_and_is_refused_without_them(model: Path) -> None:
    index = json.loads((model / "model.json").read_text(encoding="utf-8"))
    (version,) = index["parts"].values()
    assert list(index["parts"]) == ["my_idea.py: narrow"]
    with pytest.raises(InputError) as caught:
        supclap.load(model)
    assert str(caught.value) == (
        f"{model}: needs my_idea.py: narrow (version {version}), and nothing is loaded for it by "
        'itself; give supclap.load(folder, code="my_idea.py"), or --code my_idea.py; a storage '
        f"keeps it as code/{index['user_code']}"
    )
    assert check_model(model)  # its files are whole: to copy it takes no code


def test_a_model_opens_with_its_code_and_with_no_other(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_idea.py"
    with forgotten():
        before = supclap.load(model, code=file).encode_text(WORDS)
    with forgotten():
        load_code(["my_idea.py"], tmp_path)
        assert np.array_equal(supclap.load(model).encode_text(WORDS), before)
    # Another part of the file may be edited, and the words of this one.
    file.write_text(SOURCE.replace("    pass", "    more = 1") + "# the end\n", encoding="utf-8")
    with forgotten():
        assert np.array_equal(supclap.load(model, code=[file]).encode_text(WORDS), before)
    file.write_text(SOURCE.replace("self.down(outputs)", "-self.down(outputs)"), encoding="utf-8")
    with forgotten(), pytest.raises(InputError, match=r"was saved with my_idea\.py: narrow \(ver"):
        supclap.load(model, code=file)


def test_the_commands_take_the_code_of_a_model(model: Path, tmp_path: Path) -> None:
    make_collection(tmp_path / "tones")
    arguments = [str(model), "--data", str(tmp_path / "tones")]
    with forgotten():
        refused = CliRunner().invoke(evaluate_command, arguments)
        assert isinstance(refused.exception, InputError)
    with forgotten():
        code = ["--code", str(tmp_path / "my_idea.py")]
        done = CliRunner().invoke(evaluate_command, [*arguments, *code], catch_exceptions=False)
    assert done.exit_code == 0
    assert "t2a.R@1" in done.output


def test_a_model_without_parts_of_its_own_is_saved_as_ever(tmp_path: Path) -> None:
    config = parse_config({"model": {**SMALL, "text": {"width": 32, "vocabulary": 300}}}).model
    build_model(config, WORDS * 4, 0.5, seed=1).save(tmp_path / "plain")
    index = json.loads((tmp_path / "plain" / "model.json").read_text(encoding="utf-8"))
    assert index.keys() == {"format", "seconds", "config", "files", "seal"}
    assert not check_model(tmp_path / "plain")
    assert not parts_of(config)
    supclap.load(tmp_path / "plain")


@pytest.mark.heavy
def test_mlflow_takes_the_code_of_a_model_as_its_configuration(model: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from supclap_platform.mirror.logged_model import save_flavor

    save_flavor(model, tmp_path / "logged", needs_code=True)
    place = str(tmp_path / "logged")
    with pytest.raises(InputError, match=r"needs my_idea\.py: narrow"):
        mlflow.pyfunc.load_model(place)
    config = {"code": str(tmp_path / "my_idea.py")}
    loaded = mlflow.pyfunc.load_model(place, model_config=config)
    import pandas

    found = loaded.predict(pandas.DataFrame({"text": WORDS}))
    assert np.allclose(found["embedding"].tolist(), supclap.load(model).encode_text(WORDS))

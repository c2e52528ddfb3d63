"""Mistakes that start nothing: each is one line with its place, from whatever would train."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from supclap_platform.experiment.folders import check_folders
from supclap_platform.experiment.reader import load_experiment
from tiny_run import make_collection

FILE = """\
experiment: small
base:
  data: {name: soundscenes, clips: 200}
  epochs: 3
  batch_size: 32
variants:
  InfoNCE: {}
  SVR:
    loss.svr: {sides: both, radius: dynamic}
groups:
  A: {}
  B: {epochs: 4}
seeds: 2
profiles:
  wide: {base: {model.dim: 64}, resources: {workers: 2}}
"""
# What is written in the place of a line, and the line and the words of the mistake.
MISTAKES = [
    ("  InfoNCE: {}", "  InfoNCE: {model.text.width: 16}", 7, "InfoNCE @ A: model.text.width: 16"),
    ("  InfoNCE: {}", "  InfoNCE: {model.text: {vocabulary: 200}}", 7, "at least 258"),
    ("    loss.svr: {sides: both, radius: dynamic}", "    model.audio: {width: 4}", 9, "SVR @ A"),
    ("  B: {epochs: 4}", "  B: {model.audio.name: cmm}", 12, "InfoNCE @ B: model.audio.name: no"),
    ("  B: {epochs: 4}", "  B: {data.seconds: 0.5}", 12, "0.5 is too short for a scene"),
    ("  B: {epochs: 4}", "  B: {data.train: trian}", 12, "no split 'trian'; did you mean 'train'"),
    ("  batch_size: 32", "  batch_size: 300", 5, "300 is more than data.clips, 200"),
    ("  epochs: 3", "  loss: {learn_temperature: yes, temperature: 1e-3}", 4, "cannot be learned"),
    ("  epochs: 3", "  data: {noise: 0.005}", 4, "the key 'data' stands twice"),
    ("clips: 200}", "clips: 200, noise: 0.005}", 3, "0.005 of 200 clips is 1"),
    ("clips: 200}", f"clips: 200, folder: {'n' * 300}}}", 3, "longer than a file system takes"),
    ("  epochs: 3", "  also: {X: {split: tset}}", 4, "also.X.split"),
    ("seeds: 2", "seeds: [99999999999999999999]", 13, "seeds.0: input should be less than"),
]


def said(done: Result) -> str:
    """The one line of a refusal; a wait of more than two seconds says so in lines before it."""
    (line,) = [one for one in done.stderr.splitlines() if not one.endswith(" s)")]
    return line


@pytest.mark.parametrize(("old", "new", "line", "told"), MISTAKES)
@pytest.mark.parametrize("command", ["plan", "run", "submit"])
def test_a_mistake_starts_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    old: str,
    new: str,
    line: int,
    told: str,
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr("supclap_platform.commands.run.connected", started)
    monkeypatch.setattr("supclap_platform.commands.submit.connect", started)
    path = tmp_path / "e.yaml"
    assert old in FILE
    path.write_text(FILE.replace(old, new), encoding="utf-8")
    options = ["--address", "http://x:1"] if command == "submit" else ["--storage", tmp_path / "s"]
    done = CliRunner().invoke(main, [command, str(path), *map(str, options)])
    assert done.exit_code == 2, done.output
    assert said(done).startswith(f"supclap: {path}:{line}: ")
    assert told in said(done)
    assert not (tmp_path / "s" / "cells").exists()


def test_the_command_lines_own_mistake_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    done = CliRunner().invoke(main, ["plan", str(path), "--set", "model.text.width=16"])
    assert said(done).startswith("supclap: --set model.text.width: InfoNCE @ A: model.text.width")
    done = CliRunner().invoke(main, ["plan", str(path), "--set", "seeds=3"])
    assert "write the seeds at the file's top level" in said(done)


def test_what_a_profile_makes_impossible_is_named_where_the_profile_says_it(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE.replace("{workers: 2}", "{workers: 40}"))
    load_experiment(path)
    with pytest.raises(ValueError, match=r"batch_size: 32 is too few for 40 workers"):
        load_experiment(path, "wide")


def test_a_space_is_tried_at_each_of_its_edges(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(
        "experiment: s\nsearch:\n  space:\n    optimizer.lr: [1e-3, 1e-2]\n"
        "    model.text.width: [32, 48, 64]\n"
    )
    with pytest.raises(ValueError, match=r"e\.yaml:5: search: model.text.width: 48 is no multiple"):
        load_experiment(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ("data.train: trian", "e.yaml:6: b: data.train: "),
        ("data.languages: [fra]", "e.yaml:6: b: split 'train': batch_size is 8, but there are o"),
        ("batch_size: 25", "e.yaml:6: b: split 'train': batch_size is 25, but there are only 24"),
        ("data.folder: /nowhere", "e.yaml:6: b: /nowhere: not a prepared collection"),
        ("model.start: /nowhere", "e.yaml:6: b: model.start: /nowhere is not a folder"),
        ("model.audio: {name: ced, folder: /nowhere}", "e.yaml:6: b: model.audio.folder: /nowhere"),
        ("also: {x: {split: tset}}", "e.yaml:6: b: also.x.split: "),
    ],
)  # fmt: skip
def test_what_folders_do_not_hold_is_named_with_its_row(
    tmp_path: Path, changes: str, told: str
) -> None:
    make_collection(tmp_path / "tones")
    data = json.dumps({"name": "collection", "folder": str(tmp_path / "tones"), "seconds": 0.5})
    path = tmp_path / "e.yaml"
    text = (
        f"experiment: e\nbase: {{data: {data}, batch_size: 8}}\nresources: {{cpu: 1}}\n"
        f"variants:\n  a: {{}}\n  b: {{{changes}}}\n"
    )
    path.write_text(text)
    done = CliRunner().invoke(main, ["plan", str(path), "--storage", str(tmp_path / "s")])
    assert done.exit_code == 2, done.output
    assert told in said(done)


@pytest.mark.heavy
def test_a_thousand_cells_are_looked_at_without_pytorch(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    rates = ", ".join(f"{1e-4 * (i + 1):.4g}" for i in range(100))
    path.write_text(
        f"experiment: many\ngrid:\n  optimizer.lr: [{rates}]\n  model.text.width: [32, 64]\n"
        "  loss.temperature: [0.05, 0.07, 0.1, 0.2, 0.5]\n"
    )
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from supclap_platform.experiment.reader import load_experiment\n"
        "from supclap_platform.experiment.folders import check_folders\n"
        "from supclap_platform.ledger.plan import make_plan\n"
        "from supclap_platform.ledger.ledger import open_ledger\n"
        f"e = load_experiment(Path({str(path)!r}))\ncheck_folders(e)\n"
        f"print(len(make_plan(e, open_ledger({str(tmp_path / 's')!r})).to_run))\n"
        "print(*sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["1000"], done.stdout + done.stderr


def test_folders_are_opened_once_for_all_that_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_collection(tmp_path / "tones")
    path = tmp_path / "e.yaml"
    folder = json.dumps(str(tmp_path / "tones"))
    path.write_text(
        f"experiment: e\nbase: {{data: {{name: collection, folder: {folder}}}, batch_size: 8}}\n"
        "grid: {optimizer.lr: [1e-3, 2e-3, 3e-3], loss.temperature: [0.05, 0.07]}\n"
    )
    from supclap import batches

    made = []
    real = batches.Batches.__init__

    def counted(self: object, *arguments: object, **named: object) -> None:
        made.append(named)
        real(self, *arguments, **named)

    monkeypatch.setattr(batches.Batches, "__init__", counted)
    check_folders(load_experiment(path))
    assert len(made) == 1

"""A plan of what cannot run here: all that is missing, with the command that gets each."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from supclap_platform.commands import plan_preview
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan
from supclap_platform.testing import finish
from tiny_encoders import make_ced
from tiny_run import make_collection

from supclap.data.prepare_command import prepare_command
from supclap.data.sources import SOURCES

FILE = """
experiment: large
base:
  data: {name: collection, folder: "${SUPCLAP_AUDIOCAPS}", seconds: 0.5}
  also: {us8k: {data: {name: collection, folder: "${SUPCLAP_US8K}"}, split: test}}
  model:
    audio: {name: ced, folder: "${SUPCLAP_CED}"}
    text: {name: sonar, folder: "${SUPCLAP_SONAR}"}
    dim: 16
  batch_size: 8
variants: {InfoNCE: {}, "bi-StaticSVR": {loss.svr: {sides: both, radius: static}}}
resources: {gpu: 3, cpu: 1}
"""
NAMES = ("AUDIOCAPS", "US8K", "CED", "SONAR")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        monkeypatch.delenv(f"SUPCLAP_{name}", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    path = tmp_path / "large.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def plan(file: Path, *more: str) -> Result:
    arguments = ["plan", str(file), "--storage", str(file.parent / "storage"), *more]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_all_that_is_missing_is_listed_at_once_each_with_what_gets_it(file: Path) -> None:
    found = plan(file, "--no-timing")
    lines = [line.strip() for line in found.stdout.splitlines()]
    assert lines == [
        "large, profile laptop: what is missing here",
        "data     SUPCLAP_AUDIOCAPS is not set (data.folder)",
        "supclap prepare audiocaps --source AUDIOCAPS --out data/audiocaps; "
        "export SUPCLAP_AUDIOCAPS=$PWD/data/audiocaps",
        "data     SUPCLAP_US8K is not set (also.us8k.data.folder)",
        "supclap prepare urbansound8k --source URBANSOUND8K --out data/urbansound8k; "
        "export SUPCLAP_US8K=$PWD/data/urbansound8k",
        "weights  SUPCLAP_CED is not set (model.audio.folder)",
        "hf download mispeech/ced-base config.json model.safetensors --local-dir ced-base; "
        "export SUPCLAP_CED=$PWD/ced-base",
        "weights  SUPCLAP_SONAR is not set (model.text.folder)",
        "hf download cointegrated/SONAR_200_text_encoder config.json model.safetensors "
        "tokenizer.json --local-dir sonar_200_text_encoder; "
        "export SUPCLAP_SONAR=$PWD/sonar_200_text_encoder",
        "machine  a run asks for 3 GPU, this machine has 2",
        f"supclap run {file} --address auto    (on a cluster that has it: docs/cluster/README.md)",
        "what can be known without it",
        "runs: 2 runs; which of them have finished is known once data and weights are here",
        "forecast: none for 2 cells: no finished cell of their shape (same configuration but for "
        "loss and seed) is in this storage yet",
    ]
    assert found.exit_code == 2
    said = found.stderr.splitlines()
    assert said[-1].endswith("5 things that are not here; each is listed above, with what gets it")
    assert not (file.parent / "storage").exists()
    # What is said to get it can be typed.
    for line in lines:
        for command in line.split("; "):
            if command.startswith("supclap prepare"):
                words = shlex.split(command)[2:]
                with prepare_command.make_context("prepare", words) as context:
                    assert context.params["name"] in SOURCES


@pytest.mark.heavy
def test_what_is_there_is_not_listed_and_what_is_broken_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, ced = make_collection(file.parent / "tones"), make_ced(file.parent / "ced")
    monkeypatch.setenv("SUPCLAP_AUDIOCAPS", str(there))
    monkeypatch.setenv("SUPCLAP_CED", str(ced))
    monkeypatch.setenv("SUPCLAP_US8K", str(file.parent / "us8k"))
    (file.parent / "us8k").mkdir()
    monkeypatch.setenv("SUPCLAP_SONAR", str(ced))  # which is not SONAR's
    found = plan(file, "--set", "resources.gpu=0", "--no-timing")
    lines = [line.strip() for line in found.stdout.splitlines()]
    assert found.exit_code == 2
    assert lines[5] == "what can be known without it"
    assert lines[1].startswith(f"data     {file.parent}/us8k: not a prepared collection")
    assert (
        lines[2] == f"supclap prepare urbansound8k --source URBANSOUND8K --out {there.parent}/us8k"
    )
    assert lines[3].startswith(f"weights  model.text.folder: {ced} has no tokenizer.json")
    assert lines[4].endswith(f"tokenizer.json --local-dir {ced}")
    file.write_text(FILE.split("  also")[0] + "  batch_size: 8\n", encoding="utf-8")
    whole = plan(file, "--no-timing")
    assert whole.exit_code == 0, whole.output
    assert "missing" not in whole.stdout


def test_a_mistake_in_the_file_is_said_before_what_is_missing(file: Path) -> None:
    file.write_text(FILE.replace("batch_size: 8", "batch_size: -8"), encoding="utf-8")
    found = plan(file)
    assert found.exit_code == 2
    assert "missing here" not in found.stdout
    assert "batch_size" in found.stderr.splitlines()[-1]


def test_a_variable_that_is_no_place_ends_with_one_line_as_it_did(file: Path) -> None:
    text = FILE.replace("batch_size: 8", 'batch_size: 8\n  optimizer: {schedule: "${WHICH}"}')
    file.write_text(text, encoding="utf-8")
    found = plan(file)
    assert found.exit_code == 2
    assert found.stdout == ""
    assert "data.folder: the environment variable SUPCLAP_AUDIOCAPS is not set" in found.stderr


PAPER_MODEL = 855_332_480  # numbers; test_preview.py counts them one by one
Usage = namedtuple("Usage", "total used free")


@pytest.mark.heavy  # transformers is imported: five seconds
def test_what_needs_neither_a_gpu_nor_data_is_forecast_without_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 20 * 10**9))
    large = FILE.replace("dim: 16", "dim: 1024").replace("batch_size: 8", "batch_size: 24")
    file.write_text(f"{large}seeds: 3\nprices: {{gpu: 2}}\n", encoding="utf-8")
    found = plan(file, "--only", "InfoNCE", "--at-once", "1")
    missing, known = (part.splitlines() for part in found.stdout.split("what can be known "))
    assert found.exit_code == 2
    size = 4 * PAPER_MODEL / 1e9
    # Models of three runs, and of the one that is at work two checkpoints of weights and Adam's
    # two averages: with the little that the text model has besides.
    disk = 3 * size + 2 * 3 * size
    assert f"  room     it writes {disk:.2f} GB in {file.parent}/storage, which has 20.00" in (
        "\n".join(missing)
    )
    assert missing[-1].strip().startswith("supclap clean    (or --storage ELSEWHERE")
    assert "6 things" in found.stderr.splitlines()[-1]
    lines = [line.strip() for line in known[1:]]
    assert lines[0].startswith("runs: 3 runs; ")
    assert lines[1] == (  # 49,838 clips of AudioCaps in batches of 24, the last one left out
        "3 runs: 10 epochs of 2,076 steps with 24 pairs, 855.3 M parameters each"
    )
    assert lines[2] == (
        "taken for what is not here: ced of the size of mispeech/ced-base; sonar of the size of "
        "cointegrated/SONAR_200_text_encoder; the 49,838 clips of AudioCaps 1.0"
    )
    assert lines[3] == (  # weights, gradients, two averages
        f"memory: at least {4 * size:.2f} GB a worker on its GPU (weights, gradients and the "
        "optimizer's state; a step takes more)"
    )
    assert lines[4].startswith(f"disk: {disk:.2f} GB (3 models, ")
    assert lines[5].endswith("none could be timed: it asks for a GPU, and this machine has none")
    assert lines[6] == (
        "not known: hours and money; what a step takes of memory. On a machine with 3 GPU "
        f"`supclap plan {file}` times a step and says it"
    )
    assert len(lines) == 7


TINY = """
experiment: small
base:
  data: {name: collection, folder: tones, seconds: 0.5}
  model:
    audio: {name: cnn, width: 8, layers: 2}
    text: {name: transformer, width: 32, layers: 1, vocabulary: 300}
    dim: 16
  batch_size: 8
variants: {InfoNCE: {}, "bi-StaticSVR": {loss.svr: {sides: both, radius: static}}}
resources: {gpu: 1, cpu: 1}
seeds: 2
"""


@pytest.mark.heavy
def test_with_only_a_gpu_missing_the_plan_is_made_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    make_collection(tmp_path / "tones")
    file = tmp_path / "small.yaml"
    file.write_text(TINY.replace("tones", str(tmp_path / "tones")), encoding="utf-8")
    found = plan(file, "--set", "epochs=2")
    lines = found.stdout.splitlines()
    assert found.exit_code == 0  # it may be meant for a cluster
    at = next(n for n, line in enumerate(lines) if line.startswith("not on this machine: "))
    assert "1 GPU, this machine has 0" in lines[at]
    command = f"{file} --set epochs=2"
    assert lines[at + 1] == (
        f"to run it: supclap run {command} --address auto    "
        "(on a cluster that has it: docs/cluster/README.md)"
    )
    assert lines[at + 2].startswith("4 runs: 2 epochs of 3 steps with 8 pairs, 0.0 M parameters")
    assert lines[at + 3].startswith("memory: at least ")
    assert lines[at + 4].startswith("disk: ")
    assert lines[at + 5].startswith("forecast: none for 4 cells")
    assert lines[at + 6] == (
        "not known: hours; what a step takes of memory. On a machine with 1 GPU "
        f"`supclap plan {command}` times a step and says it"
    )
    # What has finished is known: its shape has its time, and nothing is open.
    ledger = open_ledger(tmp_path / "storage", writing=True)
    whole = make_plan(load_experiment(file, changes={"epochs": 2}), ledger)
    for cell in whole.cells[:2]:
        finish(ledger, cell, {}, seconds=7.0)
    shown = plan(file, "--set", "epochs=2").stdout
    assert "forecast: 2 cells take" in shown
    assert "not known" not in shown


@pytest.mark.heavy
def test_packages_that_are_not_installed_are_listed_with_the_rest(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    absent = {"peft", "cmaes"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in absent else find(name, *a)
    )
    text = FILE.replace('folder: "${SUPCLAP_CED}"', 'folder: "${SUPCLAP_CED}", lora: {rank: 4}')
    search = """
search:
  space: {loss.temperature: {log_uniform: [0.01, 0.1]}}
  objective: val.t2a.R@1
  trials: 3
  seeds: [7]
  sampler: cmaes
"""
    file.write_text(text + search, encoding="utf-8")
    found = plan(file, "--no-timing")
    assert found.exit_code == 2, found.output
    lines = [line.strip() for line in found.stdout.splitlines()]
    for reason, command in (
        ("the sampler cmaes needs the package cmaes", "pip install cmaes"),
        (
            "InfoNCE: model.audio.lora: needs peft, which is not installed",
            "pip install 'supclap[lora]'",
        ),
    ):
        assert lines[lines.index(f"package  {reason}") + 1] == command
    assert "large: search for val.t2a.R@1 (max): 3 trials, none over yet" in lines
    # Alone it is one line, as it was.
    tones = make_collection(file.parent / "tones")
    small = TINY.replace("tones", str(tones)).replace("width: 8", "lora: {rank: 2}, width: 8")
    file.write_text(small, encoding="utf-8")
    alone = plan(file, "--no-timing")
    assert alone.exit_code == 2
    assert "model.audio.lora: needs peft, which is not installed: pip install" in alone.stderr


@pytest.mark.heavy
def test_runs_of_many_kinds_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    make_collection(tmp_path / "tones")
    file = tmp_path / "small.yaml"
    grid = f"grid: {{epochs: [1, 2, 3, 4, 5, 6]}}\n{TINY}"
    file.write_text(grid.replace("tones", str(tmp_path / "tones")), encoding="utf-8")
    lines = plan(file).stdout.splitlines()
    kinds = [line for line in lines if " of 3 steps with 8 pairs, " in line]
    assert len(kinds) == plan_preview.MOST_KINDS
    assert "8 more runs of 2 other kinds" in lines

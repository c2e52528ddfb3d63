"""A plan of what cannot run here: all that is missing, with the command that gets each."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
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
    found = plan(file)
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
    found = plan(file, "--set", "resources.gpu=0")
    lines = [line.strip() for line in found.stdout.splitlines()]
    assert found.exit_code == 2
    assert len(lines) == 5
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
